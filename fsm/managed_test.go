package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
)

func TestPolicyHasFiveVersionsAndOneThatCounts(t *testing.T) {
	g := world(t)
	version := func(n int, text string, counts bool) *fsm.CreatePolicyVersion {
		return &fsm.CreatePolicyVersion{
			Account: accountA, Policy: "ANPA1", Version: fsm.PolicyVersion{Number: n, Document: text, Created: int64(n)}, Default: counts,
		}
	}
	g.refused(version(3, doc, false), fsm.ErrConflict)
	for n := 2; n <= fsm.MaxPolicyVersions; n++ {
		g.must(version(n, fmt.Sprint("text ", n), n == 3))
	}
	g.refusedAs(version(6, doc, false), fsm.ErrLimit, "policy-versions/"+arnOf(accountA, "Read"))
	g.view(func(v *fsm.View) {
		p, _ := fsm.ManagedPolicyByARN(v, accountA, arnOf(accountA, "Read"))
		if p.Default != 3 || p.Versions != 5 || p.Latest != 5 || p.Updated != 5 {
			t.Errorf("%+v", p)
		}
		if text, ok := fsm.ManagedDocument(v, accountA, p.ARN()); !ok || text != "text 3" {
			t.Errorf("%q, %v", text, ok)
		}
		if n := fsm.UsedOf(v, accountA, fsm.VersionsInUse); n != 5 {
			t.Errorf("%d versions are counted", n)
		}
	})
	g.refusedAs(&fsm.DeletePolicyVersion{Account: accountA, Policy: "ANPA1", Number: 3}, fsm.ErrInUse, "policy-default/"+arnOf(accountA, "Read"))
	g.refused(&fsm.DeletePolicyVersion{Account: accountA, Policy: "ANPA1", Number: 9}, fsm.ErrNotFound)
	g.refused(&fsm.SetDefaultPolicyVersion{Account: accountA, Policy: "ANPA1", Number: 9}, fsm.ErrNotFound)
	g.refused(&fsm.SetDefaultPolicyVersion{Account: accountB, Policy: "ANPA1", Number: 1}, fsm.ErrNotFound)
	g.must(&fsm.DeletePolicyVersion{Account: accountA, Policy: "ANPA1", Number: 5})
	g.must(version(6, doc, false)) // a number is never given twice
	g.must(&fsm.SetDefaultPolicyVersion{Account: accountA, Policy: "ANPA1", Number: 6})
	g.refusedAs(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"}, fsm.ErrInUse, "policy-versions/"+arnOf(accountA, "Read"))
	for _, n := range []int{1, 2, 3, 4} {
		g.must(&fsm.DeletePolicyVersion{Account: accountA, Policy: "ANPA1", Number: n})
	}
	g.must(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"})
	g.view(func(v *fsm.View) {
		if n := fsm.UsedOf(v, accountA, fsm.VersionsInUse); n != 0 || len(fsm.PolicyVersionsOf(v, accountA, "ANPA1")) != 0 {
			t.Errorf("%d versions are left", n)
		}
	})
	g.refused(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"}, fsm.ErrNotFound)
	g.refused(version(7, doc, false), fsm.ErrNotFound)
}

func TestTextOfPoliciesIsBounded(t *testing.T) {
	g := world(t)
	text := func(n int) string { return strings.Repeat("x", n) + " \n\t\r" }
	g.refusedAs(&fsm.CreateManagedPolicy{Policy: ofPolicy(accountA, "ANPA2", "x"), Document: text(6145)}, fsm.ErrLimit, "quota/PolicySize: 6144")
	g.must(&fsm.CreateManagedPolicy{Policy: ofPolicy(accountA, "ANPA2", "x"), Document: text(6144)})
	long := ofRole(accountA, "AROA2", "long")
	long.Trust = text(2049)
	g.refusedAs(&fsm.CreateRole{Role: long}, fsm.ErrLimit, "quota/ACLSizePerRole: 2048")
	for owner, limit := range map[fsm.EntityID]int{"AIDA1": 2048, "AGPA1": 5120, "AROA1": 10240} {
		put := func(name string, n int) *fsm.PutInlinePolicy {
			return &fsm.PutInlinePolicy{Account: accountA, Owner: owner, Policy: fsm.InlinePolicy{Name: name, Document: text(n)}}
		}
		g.must(put("a", limit-1))
		g.must(put("b", 1))
		g.refused(put("c", 1), fsm.ErrLimit)
	}
	g.refusedAs(&fsm.PutInlinePolicy{Account: accountA, Owner: "AROA1", Policy: fsm.InlinePolicy{Name: "d", Document: text(9)}},
		fsm.ErrLimit, "policy-size/10240 bytes exceeded for role Worker")
	g.refused(&fsm.PutInlinePolicy{Account: accountA, Owner: "AIPA1", Policy: fsm.InlinePolicy{Name: "d"}}, fsm.ErrInvalid)
	g.refused(&fsm.PutInlinePolicy{Account: accountA, Owner: "AROA9", Policy: fsm.InlinePolicy{Name: "d"}}, fsm.ErrNotFound)
}

func TestAttachedPolicyKnowsItsOwners(t *testing.T) {
	g := world(t)
	own, theirs := arnOf(accountA, "Read"), "arn:aws:iam::aws:policy/ReadOnlyAccess"
	for _, owner := range []fsm.EntityID{"AROA1", "AIDA1", "AGPA1"} {
		g.must(&fsm.AttachPolicy{Account: accountA, Owner: owner, ARN: own})
		g.must(&fsm.AttachPolicy{Account: accountA, Owner: owner, ARN: own}) // changes nothing
		g.must(&fsm.AttachPolicy{Account: accountA, Owner: owner, ARN: theirs})
	}
	g.refusedAs(&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: arnOf(accountA, "None")}, fsm.ErrNotFound, "attachable/"+arnOf(accountA, "None"))
	g.refused(&fsm.AttachPolicy{Account: accountA, Owner: "AIPA1", ARN: own}, fsm.ErrInvalid)
	g.view(func(v *fsm.View) {
		if got := slices.Collect(fsm.AttachedTo(v, accountA, own, "")); !slices.Equal(got, []fsm.EntityID{"AGPA1", "AIDA1", "AROA1"}) {
			t.Errorf("attached to %v", got)
		}
		if got := slices.Collect(fsm.AttachedTo(v, accountA, theirs, "AIDA")); len(got) != 2 {
			t.Errorf("from AIDA on attached to %v", got)
		}
		if use := fsm.PolicyUseOf(v, accountA, own); use != (fsm.PolicyUse{Attached: 3}) {
			t.Errorf("%+v", use)
		}
	})
	g.refusedAs(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"}, fsm.ErrInUse, "policy-use/"+own)
	for _, del := range []fsm.Command{
		&fsm.DeleteRole{Account: accountA, ID: "AROA1"}, &fsm.DeleteUser{Account: accountA, ID: "AIDA1"}, &fsm.DeleteGroup{Account: accountA, ID: "AGPA1"},
	} {
		g.refused(del, fsm.ErrInUse)
	}
	for _, owner := range []fsm.EntityID{"AROA1", "AIDA1", "AGPA1"} {
		g.must(&fsm.DetachPolicy{Account: accountA, Owner: owner, ARN: own})
		g.refused(&fsm.DetachPolicy{Account: accountA, Owner: owner, ARN: own}, fsm.ErrNotFound)
	}
	g.must(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"})
}

func TestBoundaryFollowsItsEntity(t *testing.T) {
	g := world(t)
	own, theirs := arnOf(accountA, "Read"), "arn:aws:iam::aws:policy/ReadOnlyAccess"
	uses := func(arn string, want ...fsm.EntityID) {
		t.Helper()
		g.view(func(v *fsm.View) {
			got := slices.Collect(fsm.BoundaryUses(v, accountA, arn, ""))
			if !slices.Equal(got, want) || fsm.PolicyUseOf(v, accountA, arn).Boundaries != len(want) {
				t.Errorf("%s bounds %v, counted %+v, want %v", arn, got, fsm.PolicyUseOf(v, accountA, arn), want)
			}
		})
	}
	bob := user(accountA, "AIDA2", "bob")
	bob.Boundary = own
	g.must(&fsm.CreateUser{User: bob})
	role := ofRole(accountA, "AROA2", "bounded")
	role.Boundary = own
	g.must(&fsm.CreateRole{Role: role})
	uses(own, "AIDA2", "AROA2")
	g.refusedAs(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"}, fsm.ErrInUse, "policy-use/"+own)

	bob = g.user(accountA, "bob")
	bob.Boundary = theirs
	g.must(&fsm.UpdateUser{User: bob})
	uses(own, "AROA2")
	uses(theirs, "AIDA2")
	g.must(&fsm.DeleteUser{Account: accountA, ID: "AIDA2"})
	uses(theirs)
	g.view(func(v *fsm.View) { role, _ = fsm.RoleByName(v, accountA, "bounded") })
	role.Boundary, role.Description, role.MaxSession, role.Trust = "", "d", 7200, doc+" "
	g.must(&fsm.UpdateRole{Role: role})
	uses(own)
	g.refused(&fsm.UpdateRole{Role: role}, fsm.ErrConflict)
	g.view(func(v *fsm.View) {
		got, _ := fsm.RoleByARN(v, accountA, "arn:aws:iam::111111111111:role/bounded")
		if got.Description != "d" || got.MaxSession != 7200 || got.Trust != doc+" " {
			t.Errorf("%+v", got)
		}
		role = got
	})
	role.Boundary = own
	g.must(&fsm.UpdateRole{Role: role})
	g.must(&fsm.DeleteRole{Account: accountA, ID: "AROA2"})
	uses(own)
	carol := user(accountA, "AIDA3", "carol")
	for boundary, cause := range map[string]error{arnOf(accountA, "None"): fsm.ErrNotFound, "x": fsm.ErrInvalid, "arn:é": fsm.ErrInvalid} {
		carol.Boundary, role.Boundary = boundary, boundary
		g.refused(&fsm.CreateUser{User: carol}, cause)
		g.refused(&fsm.CreateRole{Role: role}, cause)
	}
	g.must(&fsm.DeleteManagedPolicy{Account: accountA, ID: "ANPA1"})
}

func TestTrustPolicyFollowsWhomItNames(t *testing.T) {
	g := world(t)
	const text = `{"AWS":["arn:aws:iam::111111111111:user/alice","arn:aws:iam::111111111111:role/Worker","arn:aws:iam::999999999999:role/x"]}`
	role := ofRole(accountA, "AROA2", "trusting")
	role.Trust = text
	role.Trusted = []fsm.Trusted{{ARN: "arn:aws:iam::111111111111:user/alice", ID: "AIDA1"}, {ARN: "arn:aws:iam::111111111111:role/Worker", ID: "AROA1"}}
	g.must(&fsm.CreateRole{Role: role})
	now := func() (trust string) {
		g.view(func(v *fsm.View) {
			r, _ := fsm.RoleByID(v, accountA, "AROA2")
			trust = r.TrustNow(v)
		})
		return trust
	}
	if got := now(); got != text {
		t.Errorf("%s", got)
	}
	alice := g.user(accountA, "alice")
	alice.Name = "anna"
	g.must(&fsm.UpdateUser{User: alice})
	g.must(&fsm.DeleteRole{Account: accountA, ID: "AROA1"})
	g.must(&fsm.CreateRole{Role: ofRole(accountA, "AROA3", "Worker")}) // a namesake
	want := `{"AWS":["arn:aws:iam::111111111111:user/anna","AROA1","arn:aws:iam::999999999999:role/x"]}`
	if got := now(); got != want {
		t.Errorf("%s", got)
	}
	g.view(func(v *fsm.View) { role, _ = fsm.RoleByID(v, accountA, "AROA2") })
	role.Trust, role.Trusted = "{}", nil
	g.must(&fsm.UpdateRole{Role: role})
	if got := now(); got != "{}" {
		t.Errorf("%s", got)
	}
}

func TestTrustFollowsThoseWhoTakeEachOthersNames(t *testing.T) {
	g := world(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA2", "bob")})
	const alice, bob = `"arn:aws:iam::111111111111:user/alice"`, `"arn:aws:iam::111111111111:user\/bob"`
	role := ofRole(accountA, "AROA2", "Guarded")
	role.Trust = "[" + bob + "," + alice + "]"
	role.Trusted = []fsm.Trusted{{ARN: "arn:aws:iam::111111111111:user/bob", ID: "AIDA2"}, {ARN: "arn:aws:iam::111111111111:user/alice", ID: "AIDA1"}}
	g.must(&fsm.CreateRole{Role: role})
	rename := func(id fsm.EntityID, name string) {
		g.view(func(v *fsm.View) {
			u, _ := fsm.UserByID(v, accountA, id)
			u.Name = name
			g.must(&fsm.UpdateUser{User: u})
		})
	}
	rename("AIDA1", "carol")
	rename("AIDA2", "alice")
	g.view(func(v *fsm.View) {
		r, _ := fsm.RoleByID(v, accountA, "AROA2")
		if got, want := r.TrustNow(v), `["arn:aws:iam::111111111111:user/alice","arn:aws:iam::111111111111:user/carol"]`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
