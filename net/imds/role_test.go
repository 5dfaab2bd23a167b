package imds_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"hive/fsm"
	"hive/net/imds"
	"hive/net/nettest"
)

const ownAccount fsm.AccountID = "000000000001"

// withRole makes a role in an instance profile of account 1, and an instance that has it.
func (r *rig) withRole() {
	r.t.Helper()
	for _, cmd := range []fsm.Command{
		&fsm.CreateRole{Role: fsm.Role{Account: ownAccount, ID: "AROAAAAAAAAAAAAAAAAAA", Name: "web", Path: "/x/", Trust: "{}", MaxSession: 3600}},
		&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: ownAccount, ID: "AIPAAAAAAAAAAAAAAAAAA", Name: "prof", Path: "/y/"}},
		&fsm.AddRoleToInstanceProfile{Account: ownAccount, Profile: "AIPAAAAAAAAAAAAAAAAAA", Role: "AROAAAAAAAAAAAAAAAAAA"},
	} {
		if err := r.w.Propose(r.t.Context(), cmd); err != nil {
			r.t.Fatal(err)
		}
	}
	r.w.Launch(guest(func(i *fsm.Instance) { i.Profile = "AIPAAAAAAAAAAAAAAAAAA" }))
}

func TestInstanceIsToldOfItsRole(t *testing.T) {
	r := newRig(t)
	asked := 0
	given := imds.Credentials{
		AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "se/cret+", Token: "token==", Updated: time.Unix(1_800_000_000, 0), Expires: time.Unix(1_800_021_600, 0),
	}
	var fails error
	r.cfg.Credentials = func(_ context.Context, i fsm.Instance) (imds.Credentials, error) {
		asked++
		if i.ID != guest(nil).ID() {
			t.Errorf("asked for %s", i.ID)
		}
		return given, fails
	}
	r.withRole()
	other := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2}
	r.w.Launch(other)
	const at = "/latest/meta-data/iam/"
	for path, want := range map[string]string{
		at: "info\nsecurity-credentials/", at + "security-credentials/": "web", at + "security-credentials": "web",
		at + "info": "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2027-01-15T08:00:00Z\",\n" +
			"  \"InstanceProfileArn\" : \"arn:aws:iam::000000000001:instance-profile/y/prof\",\n  \"InstanceProfileId\" : \"AIPAAAAAAAAAAAAAAAAAA\"\n}",
	} {
		if a := r.ask(one, "GET", path); a.status != 200 || a.body != want {
			t.Errorf("%s: %d %q, want %q", path, a.status, a.body, want)
		}
	}
	if a := r.ask(one, "GET", "/latest/meta-data/"); !strings.Contains(a.body, "hostname\niam/\ninstance-action") {
		t.Errorf("%q", a.body)
	}
	if asked != 0 {
		t.Errorf("credentials were made %d times that nobody asked for", asked)
	}
	want := "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2027-01-15T08:00:00Z\",\n  \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : \"ASIAEXAMPLE\",\n" +
		"  \"SecretAccessKey\" : \"se/cret+\",\n  \"Token\" : \"token==\",\n  \"Expiration\" : \"2027-01-15T14:00:00Z\"\n}"
	if a := r.ask(one, "GET", at+"security-credentials/web"); a.status != 200 || a.body != want || asked != 1 {
		t.Errorf("%d %q, want %q", a.status, a.body, want)
	}
	for _, c := range []struct{ from, path string }{
		{one, at + "security-credentials/none"}, {one, at + "security-credentials/web/x"},
		{other.Address, at}, {other.Address, at + "info"}, {other.Address, at + "security-credentials/web"},
	} {
		if a := r.ask(c.from, "GET", c.path); a.status != 404 {
			t.Errorf("%s asks %s: %d", c.from, c.path, a.status)
		}
	}
	given = imds.Credentials{Refused: "it does not trust us", Updated: given.Updated}
	var refused struct{ Code, Message, AccessKeyID string }
	if a := r.ask(one, "GET", at+"security-credentials/web"); json.Unmarshal([]byte(a.body), &refused) != nil ||
		refused.Code != "AssumeRoleUnauthorizedAccess" || refused.Message != given.Refused || refused.AccessKeyID != "" {
		t.Errorf("%q", a.body)
	}
	fails = errors.New("no quorum")
	if a := r.ask(one, "GET", at+"security-credentials/web"); a.status != 500 {
		t.Errorf("%d", a.status)
	}
}

func TestProfileThatIsEmptyOrGoneGivesNothing(t *testing.T) {
	r := newRig(t)
	r.cfg.Credentials = func(context.Context, fsm.Instance) (imds.Credentials, error) {
		t.Error("asked for credentials")
		return imds.Credentials{}, nil
	}
	r.withRole()
	do := func(cmd fsm.Command) {
		t.Helper()
		if err := r.w.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	do(&fsm.RemoveRoleFromInstanceProfile{Account: ownAccount, Profile: "AIPAAAAAAAAAAAAAAAAAA", Role: "AROAAAAAAAAAAAAAAAAAA"})
	if a := r.ask(one, "GET", "/latest/meta-data/iam/"); a.body != "info" {
		t.Errorf("%q", a.body)
	}
	do(&fsm.DeleteInstanceProfile{Account: ownAccount, ID: "AIPAAAAAAAAAAAAAAAAAA"})
	if a := r.ask(one, "GET", "/latest/meta-data/iam/info"); a.status != 200 || !strings.Contains(a.body, "\"Code\" : \"InstanceProfileNotFound\"") {
		t.Errorf("%d %q", a.status, a.body)
	}
	if a := r.ask(one, "GET", "/latest/meta-data/iam/security-credentials/web"); a.status != 404 {
		t.Errorf("%d", a.status)
	}
}
