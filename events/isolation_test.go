package events_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"hive/events"
	"hive/events/natsd"
	"hive/fsm"
)

func TestATenantCanNeitherHearNorSpeakForAnother(t *testing.T) {
	r := newRig(t)
	a, b, _ := r.three()
	mine, theirs := r.subscriber(alice, a), r.subscriber(bob, b)
	for _, subject := range []string{
		"hive." + region + "." + string(bob) + ".>", "hive." + region + "." + string(bob) + ".s3.object-created", "hive.>", "hive.*.*.s3.>", ">", "*.>",
		"hive." + region + ".cluster.>", "$SYS.>", "_INBOX.>", "hive-sync",
	} {
		if _, err := mine.conn.Subscribe(subject, func(m *nats.Msg) { t.Errorf("%s: heard %s", subject, m.Subject) }); err != nil {
			t.Fatal(err)
		}
		mine.refused("subscribing to " + subject)
	}
	for _, subject := range []string{
		"hive." + region + "." + string(bob) + ".s3.object-created", "hive." + region + "." + string(alice) + ".s3.object-created",
		"hive-sync", "$SYS.REQ.USER.INFO", "anything",
	} {
		if err := mine.conn.PublishRequest(subject, "anything", []byte(`{"version":"0","forged":true}`)); err != nil {
			t.Fatal(err)
		}
		mine.refused("publishing to " + subject)
	}
	r.object(bob, "secret")
	r.object(alice, "own")
	if got := theirs.has(1); len(got) != 1 || nameOf(got[0]) != "secret" {
		t.Errorf("bob got %v", got)
	}
	if got := mine.has(1); len(got) != 1 || nameOf(got[0]) != "own" {
		t.Errorf("alice got %v", got)
	}
}

func TestWrongCredentialsAreRefused(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	n.start()
	eventually(t, "server", func() bool { return n.bridge.Status().Server != nil })
	good, err := n.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := n.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(bob)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{good.User, good.Password + "x"}, {good.User, ""}, {"", ""}, {good.User, theirs.Password}, {"333333333333", good.Password},
		{"hive-bridge", good.Password}, {"hive-bridge", ""}, {"HIVE", good.Password}, {"cluster", good.Password},
	} {
		if _, err := r.connectAs(c[0], c[1], n); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
			t.Errorf("as %q with %q: %v", c[0], c[1], err)
		}
	}
	if _, err := r.connectAs(good.User, good.Password, n); err != nil {
		t.Error(err)
	}
	plain := nats.UserInfo(good.User, good.Password)
	if conn, err := nats.Connect("nats://"+n.host+":4222", plain, nats.Secure(&tls.Config{})); err == nil {
		conn.Close()
		t.Error("a client without the cluster's CA believed the server")
	}
}

func (r *rig) account(id fsm.AccountID) fsm.Account {
	r.t.Helper()
	var a fsm.Account
	if err := r.control.View(func(v *fsm.View) error { a, _ = fsm.AccountOf(v, id); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) suspend(id fsm.AccountID, suspended bool) {
	r.t.Helper()
	a := r.account(id)
	a.Suspended = suspended
	r.propose(r.control, &fsm.UpdateAccount{Account: a})
}

func TestASuspendedAccountLosesItsConnectionsAndGetsNoOthers(t *testing.T) {
	r := newRig(t)
	a, b, _ := r.three()
	mine, theirs := r.subscriber(alice, b), r.subscriber(bob, b)
	good, err := a.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)})
	if err != nil {
		t.Fatal(err)
	}
	r.suspend(alice, true)
	eventually(t, "end of the connection", func() bool { return !mine.conn.IsConnected() })
	if _, err := r.connectAs(good.User, good.Password, a); err == nil {
		t.Error("let in while suspended")
	}
	if _, err := a.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)}); err == nil {
		t.Error("credentials while suspended")
	}
	r.object(alice, "unheard")
	r.object(bob, "heard")
	theirs.has(1)
	if !theirs.conn.IsConnected() || theirs.conn.Stats().Reconnects > 0 {
		t.Error("another account's connection ended too")
	}
	r.suspend(alice, false)
	if _, err := r.connectAs(good.User, good.Password, a); err != nil {
		t.Errorf("resumed: %v", err)
	}
}

func TestNewCredentialsEndTheOldOnes(t *testing.T) {
	r := newRig(t)
	a, b, _ := r.three()
	mine := r.subscriber(alice, b)
	old, err := a.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)})
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := a.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice), Rotate: true})
	if err != nil || fresh.Password == old.Password {
		t.Fatalf("%v, the same password: %v", err, fresh.Password == old.Password)
	}
	eventually(t, "end of the old connection", func() bool { return !mine.conn.IsConnected() })
	if _, err := r.connectAs(old.User, old.Password, a); err == nil {
		t.Error("the old password is still good")
	}
	if _, err := r.connectAs(fresh.User, fresh.Password, b); err != nil {
		t.Error(err)
	}
	if other, err := b.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)}); err != nil || other.Password != fresh.Password {
		t.Errorf("another node gives another password: %v", err)
	}
}

func TestADeletedAccountThatIsMadeAgainHasAnotherPassword(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	n.start()
	const id = "333333333333"
	password := func(created int64) string {
		r.propose(r.control, &fsm.CreateAccount{Account: fsm.Account{ID: id, Name: "c", Created: created}})
		c, err := n.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: id})
		if err != nil {
			t.Fatal(err)
		}
		r.propose(r.control, &fsm.DeleteAccount{ID: id})
		if _, err := n.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: id}); err == nil {
			t.Error("credentials for an account that is gone")
		}
		return c.Password
	}
	if password(5) == password(6) {
		t.Error("the same")
	}
}

func TestOneTenantCannotTakeAllConnections(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	n.start()
	var open []*client
	for len(open) < natsd.MaxClientsPerTenant {
		open = append(open, r.subscriber(alice, n))
	}
	if _, err := r.connect(string(alice), n); err == nil {
		t.Error("one more was let in")
	}
	r.subscriber(bob, n)
	open[0].conn.Close()
	eventually(t, "room for another", func() bool { _, err := r.connect(string(alice), n); return err == nil })
}

func TestTheClustersOwnEventsAreForItsOperator(t *testing.T) {
	r := newRig(t)
	a, b, _ := r.three()
	c, err := r.connect("cluster", b)
	if err != nil {
		t.Fatal(err)
	}
	c.subscribe("hive." + region + ".cluster.>")
	eventually(t, "a publisher", func() bool { return a.bridge.Status().Sent > 0 })
	r.suspend(bob, true)
	eventually(t, "the change", func() bool {
		for _, e := range c.firsts() {
			if e.DetailType == "Hive Account Change" && e.Detail["account"] == string(bob) && e.Detail["suspended"] == true {
				return e.Account == "cluster" && e.Source == "hive.cluster"
			}
		}
		return false
	})
}

func TestARouteNeedsTheCertificateOfAMember(t *testing.T) {
	for what, issuer := range map[string]func(r *rig) tls.Certificate{
		"of another authority": func(*rig) tls.Certificate { return newAuthority(t).issue(t, "n-b", "127.0.0.1") },
		"of no member":         func(r *rig) tls.Certificate { return r.ca.issue(t, "n-stranger", "127.0.0.1") },
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t)
			a, b := r.add("n-a"), r.add("n-b") // both are known from the start, so neither server begins again to reach the other
			cert := issuer(r)
			a.start()
			b.start(func(c *events.Config) { c.Certificate = func() *tls.Certificate { return &cert } })
			for _, n := range []*node{a, b} {
				eventually(t, "server", func() bool { return n.bridge.Status().Server != nil })
			}
			mine := r.subscriber(alice, a)
			r.object(alice, what)
			mine.has(1) // the others have been asked meanwhile
			if a.routes() > 0 || b.routes() > 0 {
				t.Error("it opened a route")
			}
		})
	}
}
