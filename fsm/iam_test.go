package fsm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

const (
	accountA fsm.AccountID = "111111111111"
	accountB fsm.AccountID = "222222222222"
)

type iamGroup struct {
	*fsmtest.Group
	t *testing.T
}

func newIAM(t *testing.T) iamGroup {
	g := iamGroup{fsmtest.New(t, fsm.Control), t}
	g.must(&fsm.CreateAccount{Account: fsm.Account{ID: accountA}, RootKeys: []fsm.AccessKey{key(accountA, "", "AKIAROOTA")}})
	g.must(&fsm.CreateAccount{Account: fsm.Account{ID: accountB}, RootKeys: []fsm.AccessKey{key(accountB, "", "AKIAROOTB")}})
	return g
}

func (g iamGroup) must(cmd fsm.Command) {
	g.t.Helper()
	if err := g.Propose(g.t.Context(), cmd); err != nil {
		g.t.Fatalf("%T: %v", cmd, err)
	}
}

func (g iamGroup) refused(cmd fsm.Command, cause error) {
	g.t.Helper()
	if err := g.Propose(g.t.Context(), cmd); !errors.Is(err, cause) {
		g.t.Errorf("%T: %v, want %v", cmd, err, cause)
	}
}

func (g iamGroup) view(fn func(v *fsm.View)) {
	g.t.Helper()
	if err := g.View(func(v *fsm.View) error { fn(v); return nil }); err != nil {
		g.t.Fatal(err)
	}
}

func key(a fsm.AccountID, u fsm.EntityID, id fsm.AccessKeyID) fsm.AccessKey {
	return fsm.AccessKey{Account: a, User: u, ID: id, Secret: []byte("sealed"), Created: 1}
}

func user(a fsm.AccountID, id fsm.EntityID, name string) fsm.User {
	return fsm.User{Account: a, ID: id, Name: name, Path: "/", Created: 1}
}

func TestAccountsAreIsolated(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	g.must(&fsm.CreateUser{User: user(accountB, "AIDA2", "alice")})
	g.must(&fsm.PutInlinePolicy{Account: accountA, Owner: "AIDA1", Policy: fsm.InlinePolicy{Name: "p", Document: "{}"}})
	g.refused(&fsm.PutInlinePolicy{Account: accountB, Owner: "AIDA1", Policy: fsm.InlinePolicy{Name: "p", Document: "{}"}}, fsm.ErrNotFound)
	g.refused(&fsm.CreateAccessKey{Key: key(accountB, "AIDA1", "AKIA1")}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteUser{Account: accountB, ID: "AIDA1"}, fsm.ErrNotFound)
	g.refused(&fsm.UpdateAccessKey{Account: accountB, ID: "AKIAROOTA", Inactive: true}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteAccessKey{Account: accountB, ID: "AKIAROOTA"}, fsm.ErrNotFound)
	g.view(func(v *fsm.View) {
		if n := len(fsm.InlinePoliciesOf(v, accountB, "AIDA2")); n != 0 {
			t.Errorf("the other account's user has %d policies", n)
		}
		names := 0
		fsm.UsersFrom(v, accountA, "", func(u fsm.User) bool { names++; return u.Account == accountA })
		if names != 1 {
			t.Errorf("account A lists %d users", names)
		}
	})
}

func TestUserNamesAreOnePerAccountWhateverTheirCase(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "Alice")})
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA2", "bob")})
	g.refused(&fsm.CreateUser{User: user(accountA, "AIDA3", "aLICE")}, fsm.ErrExists)
	g.refused(&fsm.CreateUser{User: user(accountA, "AIDA1", "carol")}, fsm.ErrExists)
	g.view(func(v *fsm.View) {
		u, ok := fsm.UserByName(v, accountA, "ALICE")
		if !ok || u.Name != "Alice" || u.ARN() != "arn:aws:iam::111111111111:user/Alice" {
			t.Errorf("%+v, %v", u, ok)
		}
	})
	bob := g.user(accountA, "bob")
	bob.Name = "ALICE"
	g.refused(&fsm.UpdateUser{User: bob}, fsm.ErrExists)
	alice := g.user(accountA, "alice")
	alice.Name = "ALICE" // only the case changes
	g.must(&fsm.UpdateUser{User: alice})
	if got := g.user(accountA, "alice"); got.Name != "ALICE" || got.ID != "AIDA1" {
		t.Errorf("%+v", got)
	}
}

func (g iamGroup) user(a fsm.AccountID, name string) (u fsm.User) {
	g.t.Helper()
	g.view(func(v *fsm.View) {
		var ok bool
		if u, ok = fsm.UserByName(v, a, name); !ok {
			g.t.Errorf("no user %s", name)
		}
	})
	return u
}

func TestRenamedUserKeepsWhatHangsOnIt(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	g.must(&fsm.CreateAccessKey{Key: key(accountA, "AIDA1", "AKIA1")})
	g.must(&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	u := g.user(accountA, "alice")
	u.Name, u.Path = "anna", "/staff/"
	g.must(&fsm.UpdateUser{User: u})
	g.refused(&fsm.UpdateUser{User: u}, fsm.ErrConflict) // the Rev that was read is old now
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA2", "alice")})
	g.view(func(v *fsm.View) {
		if len(fsm.AccessKeysOf(v, accountA, "AIDA1")) != 1 || len(fsm.AttachedPoliciesOf(v, accountA, "AIDA1")) != 1 {
			t.Error("the renamed user lost its key or policy")
		}
		if len(fsm.AccessKeysOf(v, accountA, "AIDA2")) != 0 {
			t.Error("the new user of the old name has the old one's key")
		}
	})
}

func TestUserWithKeysOrPoliciesIsNotDeleted(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	g.must(&fsm.CreateAccessKey{Key: key(accountA, "AIDA1", "AKIA1")})
	g.must(&fsm.PutInlinePolicy{Account: accountA, Owner: "AIDA1", Policy: fsm.InlinePolicy{Name: "p", Document: "{}"}})
	g.must(&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	del := &fsm.DeleteUser{Account: accountA, ID: "AIDA1"}
	for _, step := range []fsm.Command{
		&fsm.DeleteAccessKey{Account: accountA, User: "AIDA1", ID: "AKIA1"},
		&fsm.DeleteInlinePolicy{Account: accountA, Owner: "AIDA1", Name: "p"},
		&fsm.DetachPolicy{Account: accountA, Owner: "AIDA1", ARN: "arn:aws:iam::aws:policy/ReadOnlyAccess"},
	} {
		g.refused(del, fsm.ErrInUse)
		g.must(step)
		g.refused(step, fsm.ErrNotFound)
	}
	g.must(del)
	g.refused(del, fsm.ErrNotFound)
	g.view(func(v *fsm.View) {
		if n := fsm.UsedOf(v, accountA, fsm.QuotaUsers); n != 0 {
			t.Errorf("the account counts %d users", n)
		}
		if _, ok := fsm.AccessKeyByID(v, "AKIA1"); ok {
			t.Error("the deleted key is still found")
		}
	})
}

func TestQuotasAreKept(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	g.must(&fsm.CreateAccessKey{Key: key(accountA, "AIDA1", "AKIA1")})
	g.must(&fsm.CreateAccessKey{Key: key(accountA, "AIDA1", "AKIA2")})
	g.refused(&fsm.CreateAccessKey{Key: key(accountA, "AIDA1", "AKIA3")}, fsm.ErrLimit)
	g.must(&fsm.CreateAccessKey{Key: key(accountA, "", "AKIA4")})
	g.refused(&fsm.CreateAccessKey{Key: key(accountA, "", "AKIA5")}, fsm.ErrLimit)

	for i := range fsm.MaxAttachedPolicies {
		g.must(&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: fmt.Sprint("arn:aws:iam::aws:policy/", i)})
	}
	g.refused(&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: "arn:aws:iam::aws:policy/x"}, fsm.ErrLimit)
	g.must(&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: "arn:aws:iam::aws:policy/0"})

	half := strings.Repeat("x", fsm.MaxInlineUserPolicyText/2)
	put := func(name, doc string) *fsm.PutInlinePolicy {
		return &fsm.PutInlinePolicy{Account: accountA, Owner: "AIDA1", Policy: fsm.InlinePolicy{Name: name, Document: doc}}
	}
	g.must(put("a", half))
	g.must(put("b", half+" \n\t\r"))
	g.refused(put("c", "x"), fsm.ErrLimit)
	g.must(put("a", half)) // it replaces its own
	g.refused(put("a", half+"x"), fsm.ErrLimit)
}

func TestAccessKeyIDsAreOneInTheCluster(t *testing.T) {
	g := newIAM(t)
	g.refused(&fsm.CreateAccessKey{Key: key(accountB, "", "AKIAROOTA")}, fsm.ErrExists)
	g.refused(&fsm.CreateAccount{
		Account: fsm.Account{ID: "333333333333"}, RootKeys: []fsm.AccessKey{key("333333333333", "", "AKIAROOTA")},
	}, fsm.ErrExists)
	g.must(&fsm.UpdateAccessKey{Account: accountA, ID: "AKIAROOTA", Inactive: true})
	g.view(func(v *fsm.View) {
		if k, ok := fsm.AccessKeyByID(v, "AKIAROOTA"); !ok || !k.Root() || !k.Inactive || k.Account != accountA {
			t.Errorf("%+v, %v", k, ok)
		}
	})
}

func TestIAMCommandsThatAreNotWellFormedAreRefused(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	long := strings.Repeat("x", 200)
	for _, cmd := range []fsm.Command{
		&fsm.CreateAccount{Account: fsm.Account{ID: "12"}},
		&fsm.CreateAccount{Account: fsm.Account{ID: "12345678901x"}},
		&fsm.CreateAccount{Account: fsm.Account{ID: "333333333333"}, RootKeys: []fsm.AccessKey{key(accountA, "", "K")}},
		&fsm.CreateAccount{Account: fsm.Account{ID: "333333333333"}, RootKeys: []fsm.AccessKey{key("333333333333", "AIDA1", "K")}},
		&fsm.CreateAccount{Account: fsm.Account{ID: "333333333333"}, RootKeys: []fsm.AccessKey{key("333333333333", "", "K"), key("333333333333", "", "K")}},
		&fsm.CreateUser{User: user(accountA, "", "x")},
		&fsm.CreateUser{User: user(accountA, "AIDA9", "")},
		&fsm.CreateUser{User: user(accountA, "AIDA9", "a\x00b")},
		&fsm.CreateUser{User: user(accountA, "AIDA9", "é")},
		&fsm.CreateUser{User: user(accountA, "AIDA9", long)},
		&fsm.CreateUser{User: fsm.User{Account: accountA, ID: "AIDA9", Name: "x", Path: "x"}},
		&fsm.UpdateUser{User: user(accountA, "AIDA1", "")},
		&fsm.CreateAccessKey{Key: key(accountA, "AIDA1", "")},
		&fsm.CreateAccessKey{Key: fsm.AccessKey{Account: accountA, ID: "AKIA9"}},
		&fsm.PutInlinePolicy{Account: accountA, Owner: "AIDA1", Policy: fsm.InlinePolicy{Name: long}},
		&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: "ReadOnlyAccess"},
		&fsm.AttachPolicy{Account: accountA, Owner: "AIDA1", ARN: "arn:" + strings.Repeat("x", 40_000)},
	} {
		g.refused(cmd, fsm.ErrInvalid)
	}
	g.refused(&fsm.CreateUser{User: user("999999999999", "AIDA9", "x")}, fsm.ErrNotFound)
	if err := g.Failure(); err != nil {
		t.Error(err)
	}
}
