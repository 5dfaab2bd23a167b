package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
)

const doc = `{"Version":"2012-10-17","Statement":[]}`

func ofGroup(a fsm.AccountID, id fsm.EntityID, name string) fsm.IAMGroup {
	return fsm.IAMGroup{Account: a, ID: id, Name: name, Path: "/", Created: 1}
}

func ofRole(a fsm.AccountID, id fsm.EntityID, name string) fsm.Role {
	return fsm.Role{Account: a, ID: id, Name: name, Path: "/", Created: 1, Trust: doc, MaxSession: 3600}
}

func ofProfile(a fsm.AccountID, id fsm.EntityID, name string) fsm.InstanceProfile {
	return fsm.InstanceProfile{Account: a, ID: id, Name: name, Path: "/p/", Created: 1}
}

func ofPolicy(a fsm.AccountID, id fsm.EntityID, name string) fsm.ManagedPolicy {
	return fsm.ManagedPolicy{Account: a, ID: id, Name: name, Path: "/", Created: 1}
}

func arnOf(a fsm.AccountID, policy string) string {
	return "arn:aws:iam::" + string(a) + ":policy/" + policy
}

// world has one entity of each kind in account A.
func world(t *testing.T) iamGroup {
	g := newIAM(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	g.must(&fsm.CreateGroup{Group: ofGroup(accountA, "AGPA1", "Admins")})
	g.must(&fsm.CreateRole{Role: ofRole(accountA, "AROA1", "Worker")})
	g.must(&fsm.CreateInstanceProfile{Profile: ofProfile(accountA, "AIPA1", "Web")})
	g.must(&fsm.CreateManagedPolicy{Policy: ofPolicy(accountA, "ANPA1", "Read"), Document: doc})
	return g
}

func TestEntitiesAreFoundByNameInAnyCaseAndByID(t *testing.T) {
	g := world(t)
	for kind, name := range map[fsm.EntityKind]string{
		fsm.UserEntity: "ALICE", fsm.GroupEntity: "admins", fsm.RoleEntity: "worker", fsm.ProfileEntity: "WEB", fsm.PolicyEntity: "read",
	} {
		g.view(func(v *fsm.View) {
			e, ok := fsm.EntityByName(v, accountA, kind, name)
			if !ok || e.ID.Kind() != kind || !strings.EqualFold(e.Name, name) {
				t.Errorf("%s %s: %+v, %v", kind, name, e, ok)
			}
			if same, ok := fsm.EntityByID(v, accountA, e.ID); !ok || same != e {
				t.Errorf("%s by id: %+v, %v", kind, same, ok)
			}
			if _, ok := fsm.EntityByName(v, accountB, kind, name); ok {
				t.Errorf("the other account has the %s", kind)
			}
			if same, ok := fsm.EntityByARN(v, e.ARN()); !ok || same != e {
				t.Errorf("%s by ARN: %+v, %v", kind, same, ok)
			}
			if want := "arn:aws:iam::111111111111:" + string(kind) + e.Path + e.Name; e.ARN() != want {
				t.Errorf("%s, want %s", e.ARN(), want)
			}
		})
	}
	g.view(func(v *fsm.View) {
		for _, arn := range []string{"", "arn", "arn:aws:iam::111111111111:root", "arn:aws:iam::111111111111:user/", "arn:aws:iam::111111111111:user/x/alice", "arn:aws:iam::222222222222:user/alice"} {
			if e, ok := fsm.EntityByARN(v, arn); ok {
				t.Errorf("%q is %+v", arn, e)
			}
		}
		if _, ok := fsm.InstanceProfileByARN(v, accountA, "arn:aws:iam::111111111111:instance-profile/p/Web"); !ok {
			t.Error("no profile of that ARN")
		}
		if _, ok := fsm.InstanceProfileByARN(v, accountA, "arn:aws:iam::111111111111:instance-profile/Web"); ok {
			t.Error("a profile is found by an ARN without its path")
		}
	})
}

func TestEntityNamesAndIDsAreOnePerAccountAndKind(t *testing.T) {
	g := world(t)
	for _, cmd := range []fsm.Command{
		&fsm.CreateGroup{Group: ofGroup(accountA, "AGPA2", "ADMINS")},
		&fsm.CreateGroup{Group: ofGroup(accountA, "AGPA1", "other")},
		&fsm.CreateRole{Role: ofRole(accountA, "AROA2", "WORKER")},
		&fsm.CreateRole{Role: ofRole(accountA, "AROA1", "other")},
		&fsm.CreateInstanceProfile{Profile: ofProfile(accountA, "AIPA2", "web")},
		&fsm.CreateManagedPolicy{Policy: ofPolicy(accountA, "ANPA2", "READ"), Document: doc},
	} {
		g.refused(cmd, fsm.ErrExists)
	}
	g.must(&fsm.CreateGroup{Group: ofGroup(accountA, "AGPA2", "Worker")})
	g.must(&fsm.CreateGroup{Group: ofGroup(accountB, "AGPA3", "Admins")})
	for _, cmd := range []fsm.Command{
		&fsm.CreateUser{User: user(accountA, "AGPA9", "x")},
		&fsm.CreateGroup{Group: ofGroup(accountA, "AIDA9", "x")},
		&fsm.CreateRole{Role: ofRole(accountA, "AROA9", "é")},
		&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: accountA, ID: "AIPA9", Name: "x", Path: "x"}},
		&fsm.CreateManagedPolicy{Policy: ofPolicy(accountA, "A", "x")},
	} {
		g.refused(cmd, fsm.ErrInvalid)
	}
	g.refused(&fsm.CreateGroup{Group: ofGroup("999999999999", "AGPA9", "x")}, fsm.ErrNotFound)
}

func TestQuotasOfEntitiesAreTheAccounts(t *testing.T) {
	g := world(t)
	for _, name := range []string{fsm.QuotaUsers, fsm.QuotaGroups, fsm.QuotaRoles, fsm.QuotaInstanceProfiles, fsm.QuotaPolicies} {
		g.must(&fsm.SetQuota{Account: accountA, Name: name, Limit: 1})
		g.view(func(v *fsm.View) {
			if n := fsm.UsedOf(v, accountA, name); n != 1 {
				t.Errorf("%d %s are counted", n, name)
			}
		})
	}
	for want, cmd := range map[string]fsm.Command{
		"quota/UsersPerAccount: 1":            &fsm.CreateUser{User: user(accountA, "AIDA2", "x")},
		"quota/GroupsPerAccount: 1":           &fsm.CreateGroup{Group: ofGroup(accountA, "AGPA2", "x")},
		"quota/RolesPerAccount: 1":            &fsm.CreateRole{Role: ofRole(accountA, "AROA2", "x")},
		"quota/InstanceProfilesPerAccount: 1": &fsm.CreateInstanceProfile{Profile: ofProfile(accountA, "AIPA2", "x")},
		"quota/PoliciesPerAccount: 1":         &fsm.CreateManagedPolicy{Policy: ofPolicy(accountA, "ANPA2", "x"), Document: doc},
	} {
		g.refusedAs(cmd, fsm.ErrLimit, want)
	}
	g.must(&fsm.DeleteGroup{Account: accountA, ID: "AGPA1"})
	g.must(&fsm.CreateGroup{Group: ofGroup(accountA, "AGPA2", "x")})
}

// refusedAs expects a refusal about a resource.
func (g iamGroup) refusedAs(cmd fsm.Command, cause error, resource string) {
	g.t.Helper()
	g.refused(cmd, cause)
	if err := g.Propose(g.t.Context(), cmd); err == nil || err.Error() != resource+": "+cause.Error() {
		g.t.Errorf("%T: %v, want %s", cmd, err, resource)
	}
}

func TestMembershipIsSeenFromBothSides(t *testing.T) {
	g := world(t)
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA2", "bob")})
	add := &fsm.AddUserToGroup{Account: accountA, Group: "AGPA1", User: "AIDA1"}
	g.must(add)
	g.must(add) // changes nothing
	g.must(&fsm.AddUserToGroup{Account: accountA, Group: "AGPA1", User: "AIDA2"})
	members := func(start fsm.EntityID) (names []string) {
		g.view(func(v *fsm.View) {
			for u := range fsm.UsersOfGroup(v, accountA, "AGPA1", start) {
				names = append(names, u.Name)
			}
		})
		return names
	}
	if got := members(""); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Errorf("the group has %v", got)
	}
	if got := members("AIDA2"); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("from AIDA2 on the group has %v", got)
	}
	g.refusedAs(&fsm.DeleteUser{Account: accountA, ID: "AIDA1"}, fsm.ErrInUse, "memberships/alice")
	g.refusedAs(&fsm.DeleteGroup{Account: accountA, ID: "AGPA1"}, fsm.ErrInUse, "memberships/Admins")
	g.refused(&fsm.AddUserToGroup{Account: accountA, Group: "AGPA9", User: "AIDA1"}, fsm.ErrNotFound)
	g.refused(&fsm.AddUserToGroup{Account: accountA, Group: "AGPA1", User: "AIDA9"}, fsm.ErrNotFound)
	g.refused(&fsm.AddUserToGroup{Account: accountB, Group: "AGPA1", User: "AIDA1"}, fsm.ErrNotFound)
	g.refused(&fsm.RemoveUserFromGroup{Account: accountA, Group: "AGPA9", User: "AIDA1"}, fsm.ErrNotFound)
	for _, u := range []fsm.EntityID{"AIDA1", "AIDA1", "AIDA2"} {
		g.must(&fsm.RemoveUserFromGroup{Account: accountA, Group: "AGPA1", User: u})
	}
	if got := members(""); len(got) != 0 {
		t.Errorf("the emptied group has %v", got)
	}
	g.must(&fsm.DeleteUser{Account: accountA, ID: "AIDA1"})
	g.must(&fsm.DeleteGroup{Account: accountA, ID: "AGPA1"})
	g.refused(&fsm.DeleteGroup{Account: accountA, ID: "AGPA1"}, fsm.ErrNotFound)
}

func TestUserIsInTenGroupsAtMost(t *testing.T) {
	g := world(t)
	for i := range fsm.MaxGroupsPerUser + 1 {
		id := fsm.EntityID(fmt.Sprintf("AGPAX%02d", i))
		g.must(&fsm.CreateGroup{Group: ofGroup(accountA, id, string(id))})
		add := &fsm.AddUserToGroup{Account: accountA, Group: id, User: "AIDA1"}
		if i == fsm.MaxGroupsPerUser {
			g.refusedAs(add, fsm.ErrLimit, "quota/GroupsPerUser: 10")
			break
		}
		g.must(add)
	}
	g.must(&fsm.AddUserToGroup{Account: accountA, Group: "AGPAX00", User: "AIDA1"})
}

func TestRenamedGroupKeepsItsUsersAndPolicies(t *testing.T) {
	g := world(t)
	g.must(&fsm.AddUserToGroup{Account: accountA, Group: "AGPA1", User: "AIDA1"})
	group := ofGroup(accountA, "AGPA1", "Owners")
	group.Path = "/x/"
	g.refused(&fsm.UpdateGroup{Group: group}, fsm.ErrConflict)
	g.view(func(v *fsm.View) {
		have, _ := fsm.IAMGroupByID(v, accountA, "AGPA1")
		group.Rev = have.Rev
	})
	g.must(&fsm.UpdateGroup{Group: group})
	g.view(func(v *fsm.View) {
		if _, ok := fsm.IAMGroupByName(v, accountA, "Admins"); ok {
			t.Error("the old name is still found")
		}
		if got := fsm.GroupsOfUser(v, accountA, "AIDA1"); len(got) != 1 || got[0].ARN() != "arn:aws:iam::111111111111:group/x/Owners" {
			t.Errorf("alice is in %+v", got)
		}
	})
	g.refused(&fsm.UpdateGroup{Group: ofGroup(accountA, "AGPA9", "x")}, fsm.ErrNotFound)
	g.must(&fsm.CreateGroup{Group: ofGroup(accountA, "AGPA2", "Admins")})
	g.view(func(v *fsm.View) { group, _ = fsm.IAMGroupByID(v, accountA, "AGPA1") })
	group.Name = "ADMINS"
	g.refused(&fsm.UpdateGroup{Group: group}, fsm.ErrExists)
}

func TestInstanceProfileHasOneRole(t *testing.T) {
	g := world(t)
	g.must(&fsm.CreateRole{Role: ofRole(accountA, "AROA2", "other")})
	add := &fsm.AddRoleToInstanceProfile{Account: accountA, Profile: "AIPA1", Role: "AROA1"}
	remove := &fsm.RemoveRoleFromInstanceProfile{Account: accountA, Profile: "AIPA1", Role: "AROA1"}
	g.refused(&fsm.AddRoleToInstanceProfile{Account: accountA, Profile: "AIPA9", Role: "AROA1"}, fsm.ErrNotFound)
	g.refused(&fsm.AddRoleToInstanceProfile{Account: accountA, Profile: "AIPA1", Role: "AROA9"}, fsm.ErrNotFound)
	g.refused(remove, fsm.ErrNotFound)
	g.must(add)
	g.refusedAs(add, fsm.ErrLimit, "quota/InstanceSessionsPerInstanceProfile: 1")
	g.refused(&fsm.RemoveRoleFromInstanceProfile{Account: accountA, Profile: "AIPA1", Role: "AROA2"}, fsm.ErrNotFound)
	g.refusedAs(&fsm.DeleteRole{Account: accountA, ID: "AROA1"}, fsm.ErrInUse, "profile-roles/Worker")
	g.refusedAs(&fsm.DeleteInstanceProfile{Account: accountA, ID: "AIPA1"}, fsm.ErrInUse, "profile-roles/Web")
	g.view(func(v *fsm.View) {
		for p := range fsm.InstanceProfilesOfRole(v, accountA, "AROA1", "") {
			p.Tags, p.Role = []fsm.Tag{{Key: "k"}}, ""
			defer g.must(&fsm.UpdateInstanceProfile{Profile: p})
		}
	})
	g.view(func(v *fsm.View) {
		if p, _ := fsm.InstanceProfileByID(v, accountA, "AIPA1"); p.Role != "AROA1" || len(p.Tags) != 1 {
			t.Errorf("%+v: the tags are changed, and they only", p)
		}
	})
	g.must(remove)
	g.must(&fsm.DeleteInstanceProfile{Account: accountA, ID: "AIPA1"})
	g.must(&fsm.DeleteRole{Account: accountA, ID: "AROA1"})
	g.refused(&fsm.DeleteRole{Account: accountA, ID: "AROA1"}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteInstanceProfile{Account: accountA, ID: "AIPA1"}, fsm.ErrNotFound)
}

func TestChangesOfEntitiesAndWhatTheyHaveAreTold(t *testing.T) {
	g := world(t)
	var before uint64
	g.view(func(v *fsm.View) { before = v.Index() })
	g.must(&fsm.AddUserToGroup{Account: accountA, Group: "AGPA1", User: "AIDA1"})
	g.must(&fsm.AttachPolicy{Account: accountA, Owner: "AROA1", ARN: arnOf(accountA, "Read")})
	g.must(&fsm.PutInlinePolicy{Account: accountA, Owner: "AIDA1", Policy: fsm.InlinePolicy{Name: "p", Document: doc}})
	g.must(&fsm.DeleteInlinePolicy{Account: accountA, Owner: "AIDA1", Name: "p"})
	g.must(&fsm.DeleteInstanceProfile{Account: accountA, ID: "AIPA1"})
	g.must(&fsm.DeleteAccount{ID: accountA, Entities: true})
	var got []string
	g.view(func(v *fsm.View) {
		for _, n := range fsm.Notices(v, before, 100) {
			if n.Source != "aws.iam" || n.Account != accountA || len(n.Resources) != 1 || !strings.Contains(n.Resources[0], string(accountA)) {
				if n.Source == "aws.iam" {
					t.Errorf("%+v", n)
				}
				continue
			}
			got = append(got, strings.TrimPrefix(n.DetailType, "Hive IAM ")+" "+n.Detail["change"])
		}
	})
	want := []string{
		"Group Membership Change created", "Policy Attachment Change created", "Inline Policy Change created", "Inline Policy Change deleted",
		"Instance Profile Change deleted",
		"User Change deleted", "Group Change deleted", "Role Change deleted", "Policy Change deleted", // with the account
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
