package iam_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"crypto/rand"

	"github.com/aws/aws-sdk-go-v2/aws"

	"hive/fsm"
	"hive/iam"
	"hive/internal/fsmtest"
)

// cutOff is a group that a node has lost while down is set.
type cutOff struct {
	*fsmtest.Group
	down error
}

func (g *cutOff) ReadIndex(ctx context.Context) error {
	if g.down != nil {
		return g.down
	}
	return g.Group.ReadIndex(ctx)
}

const trustEC2 = `{"Service":"ec2.amazonaws.com"}`

// instance is an instance with a profile that has the role of that name.
func (w *wire) instance(role string) fsm.Instance {
	w.t.Helper()
	var found fsm.Role
	if err := w.group.View(func(v *fsm.View) error { found, _ = fsm.RoleByName(v, home, role); return nil }); err != nil {
		w.t.Fatal(err)
	}
	w.propose(
		&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: home, ID: "AIPAAAAAAAAAAAAAAAAAA", Name: "p", Path: "/"}},
		&fsm.AddRoleToInstanceProfile{Account: home, Profile: "AIPAAAAAAAAAAAAAAAAAA", Role: found.ID},
	)
	return fsm.Instance{ID: "i-00000000000000001", Account: home, Profile: "AIPAAAAAAAAAAAAAAAAAA"}
}

func TestInstanceHasItsRolesCredentialsAndNewOnesInTime(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	group := &cutOff{Group: w.group}
	node := iam.NewSTS(iam.STSConfig{Group: group, Sealer: w.box, Authorizer: w.auth, Clock: w.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	w.role(home, "web", trusts(trustEC2, `"sts:AssumeRole"`, ""), func(r *fsm.Role) { r.MaxSession = 3600 })
	w.put("AROA", "web", "p", allows("iam:ListUsers", "*"))
	i := w.instance("web")
	first := ok(node.InstanceCredentials(ctx, i))(t)
	if first.Refused != "" || first.Expires.Sub(first.Updated) != 6*time.Hour || !first.Updated.Equal(w.now) || !strings.HasPrefix(first.AccessKeyID, "ASIA") {
		t.Fatalf("%+v", first)
	}
	creds := aws.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey, SessionToken: first.Token}
	if who := w.identity(creds); *who.Arn != "arn:aws:sts::123456789012:assumed-role/web/i-00000000000000001" {
		t.Errorf("%v", *who.Arn)
	}
	ok(w.iamOf(creds).ListUsers(ctx, nil))(t)
	if c := w.caller(creds); c.Session.Instance != string(i.ID) {
		t.Errorf("%+v", c.Session)
	}
	w.pass(3*time.Hour - time.Second)
	if again := ok(node.InstanceCredentials(ctx, i))(t); again != first {
		t.Error("new ones before half of the life is over")
	}
	w.pass(time.Second)
	group.down = errors.New("no quorum")
	if kept := ok(node.InstanceCredentials(ctx, i))(t); kept != first {
		t.Error("without a quorum what is good still is not given")
	}
	group.down = nil
	second := ok(node.InstanceCredentials(ctx, i))(t)
	if second.AccessKeyID == first.AccessKeyID || second.Expires.Sub(w.now) != 6*time.Hour {
		t.Errorf("%+v", second)
	}
	w.identity(creds) // the old ones last beside the new
	w.pass(6 * time.Hour)
	group.down = errors.New("no quorum")
	if _, err := node.InstanceCredentials(ctx, i); !errors.Is(err, group.down) {
		t.Errorf("credentials that are over: %v", err)
	}
}

func TestInstanceGetsNoCredentialsOfARoleThatIsNotItsOwn(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	w.role(home, "web", trusts(trustEC2, `"sts:AssumeRole"`, ""), nil)
	w.role(home, "people", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	i := w.instance("web")
	first := ok(w.sts.InstanceCredentials(ctx, i))(t)
	swap := func(from, to fsm.EntityID) {
		t.Helper()
		w.propose(&fsm.RemoveRoleFromInstanceProfile{Account: home, Profile: i.Profile, Role: from})
		if to != "" {
			w.propose(&fsm.AddRoleToInstanceProfile{Account: home, Profile: i.Profile, Role: to})
		}
	}
	var people fsm.Role
	if err := w.group.View(func(v *fsm.View) error { people, _ = fsm.RoleByName(v, home, "people"); return nil }); err != nil {
		t.Fatal(err)
	}
	swap(first.Role, people.ID)
	got := ok(w.sts.InstanceCredentials(ctx, i))(t)
	if got.Token != "" || !strings.Contains(got.Refused, "EC2 cannot assume the role people") {
		t.Errorf("%+v", got)
	}
	swap(people.ID, "")
	for name, i := range map[string]fsm.Instance{
		"empty profile": i, "no profile": {ID: "i-1", Account: home}, "another account's": {ID: "i-1", Account: abroad, Profile: i.Profile},
	} {
		if _, err := w.sts.InstanceCredentials(ctx, i); !errors.Is(err, iam.ErrNoRole) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
