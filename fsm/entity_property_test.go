package fsm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// Whatever commands come in whatever order, what is stored from two sides says the same from both.
func TestIndexesOfEntitiesAgreeWithTheirRecords(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(Config{Path: filepath.Join(dir, "state"), Class: Control, BootID: "b", Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		const account = AccountID("123456789012")
		index := uint64(0)
		apply := func(cmd Command) {
			index++
			data, err := EncodeCommand(cmd)
			if err != nil {
				t.Fatal(err)
			}
			m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: data})
		}
		apply(&CreateAccount{Account: Account{ID: account}})
		for i := range 2 {
			apply(&CreateUser{User: User{Account: account, ID: EntityID([]string{"AIDA0", "AIDA1"}[i]), Name: []string{"a", "b"}[i], Path: "/"}})
		}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			apply(drawEntityCommand(t, account))
		}
		if err := m.View(func(v *View) error { checkEntities(t, v, account); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func checkEntities(t *rapid.T, v *View, account AccountID) {
	checkTable(t, v, users)
	checkTable(t, v, groups)
	checkTable(t, v, roles)
	checkTable(t, v, profiles)
	checkTable(t, v, policies)
	checkMirror(t, v, groupsOfUser, usersOfGroup)
	checkMirror(t, v, attachments, attachedTo)
	uses := map[string]PolicyUse{}
	for key := range attachedTo.Scan(v, "") {
		arn := strings.Split(string(key), "\x00")[1]
		uses[arn] = PolicyUse{uses[arn].Attached + 1, uses[arn].Boundaries}
	}
	for key := range boundaryOf.Scan(v, "") {
		part := strings.Split(string(key), "\x00")
		uses[part[1]] = PolicyUse{uses[part[1]].Attached, uses[part[1]].Boundaries + 1}
		if role, ok := RoleByID(v, account, EntityID(part[2])); !ok || role.Boundary != part[1] {
			t.Fatalf("%s is said to be the boundary of %s", part[1], part[2])
		}
	}
	for key := range policyUses.Scan(v, "") {
		arn := strings.Split(string(key), "\x00")[1]
		if PolicyUseOf(v, account, arn) != uses[arn] {
			t.Fatalf("%s: counted %+v, has %+v", arn, PolicyUseOf(v, account, arn), uses[arn])
		}
		if _, ok := ManagedPolicyByARN(v, account, arn); !ok {
			t.Fatalf("%s is used and is not there", arn)
		}
		delete(uses, arn)
	}
	if len(uses) > 0 {
		t.Fatalf("not counted: %v", uses)
	}
	versions := int64(0)
	for _, p := range policies.records.Scan(v, "") {
		have := PolicyVersionsOf(v, account, p.ID)
		versions += int64(len(have))
		if len(have) != p.Versions || !slices.ContainsFunc(have, func(x PolicyVersion) bool { return x.Number == p.Default }) {
			t.Fatalf("%+v has %+v", p, have)
		}
	}
	if UsedOf(v, account, VersionsInUse) != versions {
		t.Fatalf("%d versions counted of %d", UsedOf(v, account, VersionsInUse), versions)
	}
	for _, p := range profiles.records.Scan(v, "") {
		if _, ok := RoleByID(v, account, p.Role); p.Role != "" && (!ok || !profilesOfRole.Has(v, keyOfPair(account, string(p.Role), string(p.ID)))) {
			t.Fatalf("%+v has a role that does not know it", p)
		}
	}
}

// checkTable checks that names and records of a kind of entity are each other's, and that they are counted.
func checkTable[V entityRecord](t *rapid.T, v *View, e entities[V]) {
	records, names := map[AccountID]int64{}, 0
	for _, rec := range e.records.Scan(v, "") {
		head := rec.Entity()
		records[head.Account]++
		if found, ok := e.byName(v, head.Account, head.Name); !ok || found.Entity() != head {
			t.Fatalf("%+v is not found by its name", head)
		}
	}
	for range e.names.Scan(v, "") {
		names++
	}
	for account, n := range records {
		if UsedOf(v, account, e.quota) != n || int64(names) != n {
			t.Fatalf("%d of %s, %d names, %d counted", n, e.kind, names, UsedOf(v, account, e.quota))
		}
	}
}

// checkMirror checks that two tables of pairs have the same pairs, the one turned about.
func checkMirror[A, B any](t *rapid.T, v *View, one Table[pairKey, A], other Table[pairKey, B]) {
	n := 0
	for key := range one.Scan(v, "") {
		part := strings.Split(string(key), "\x00")
		if !other.Has(v, keyOfPair(AccountID(part[0]), part[2], part[1])) {
			t.Fatalf("%s has %q, %s does not", one.Name, key, other.Name)
		}
		n++
	}
	for range other.Scan(v, "") {
		n--
	}
	if n != 0 {
		t.Fatalf("%s and %s differ by %d", one.Name, other.Name, n)
	}
}
