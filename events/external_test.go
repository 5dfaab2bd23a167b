package events_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"hive/events"
)

// elsewhere is a NATS server that is not Hive's.
func elsewhere(t *testing.T, n *node) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: n.host, Port: 4333, NoLog: true, NoSigs: true, Username: "hive", Password: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server elsewhere does not begin")
	}
	return s
}

func TestEventsGoToANATSElsewhere(t *testing.T) {
	r := newRig(t)
	a, b := r.add("n-a"), r.add("n-b")
	url := "nats://hive:secret@" + a.host + ":4333"
	outside := elsewhere(t, a)
	c := &client{t: t, seen: map[string]int{}, more: make(chan struct{})}
	var err error
	c.conn, err = nats.Connect(url, nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.conn.Close)
	c.subscribe("hive." + region + "." + string(alice) + ".>")
	for _, n := range []*node{a, b} {
		n.start(func(cfg *events.Config) { cfg.External = func() string { return url } })
	}
	before, missed, after := names("before", 20), names("missed", 600), names("after", 20)
	r.objects(alice, before)
	c.inOrder(before)
	outside.Shutdown()
	outside.WaitForShutdown()
	r.objects(alice, missed)
	elsewhere(t, a)
	a.kill() // and another node publishes
	r.objects(alice, after)
	c.inOrder(slices.Concat(before, missed, after))
	if s := b.bridge.Status(); !s.External || s.Server != nil {
		t.Errorf("an embedded server runs beside the one elsewhere: %+v", s)
	}
	if _, err := b.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)}); err == nil {
		t.Error("credentials for a server that is not Hive's")
	}
}

func TestAnEventThatIsTooLongForNATSGoesWithoutItsDetail(t *testing.T) {
	r := newRig(t)
	a := r.add("n-a")
	s, err := server.NewServer(&server.Options{Host: a.host, Port: 4333, NoLog: true, NoSigs: true, MaxPayload: 1500})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	c := &client{t: t, seen: map[string]int{}, more: make(chan struct{})}
	if c.conn, err = nats.Connect(s.ClientURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.conn.Close)
	c.subscribe("hive." + region + "." + string(alice) + ".>")
	a.start(func(cfg *events.Config) { cfg.External = s.ClientURL })
	r.objects(alice, []string{"short", strings.Repeat("k", 1000), "short again"})
	got := c.has(3)
	if nameOf(got[0]) != "short" || got[1].Detail["truncated"] != true || nameOf(got[2]) != "short again" {
		t.Errorf("%v", got)
	}
}

func TestNATSMayMoveElsewhereAndBack(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	outside := elsewhere(t, n)
	var where atomic.Pointer[string]
	where.Store(new(string))
	n.start(func(cfg *events.Config) { cfg.External = func() string { return *where.Load() } })
	inside := r.subscriber(alice, n)
	first := names("first", 5)
	r.objects(alice, first)
	inside.inOrder(first)
	url := "nats://hive:secret@" + outside.Addr().String()
	c := &client{t: t, seen: map[string]int{}, more: make(chan struct{})}
	var err error
	if c.conn, err = nats.Connect(url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.conn.Close)
	c.subscribe("hive.>")
	where.Store(&url)
	eventually(t, "the move", func() bool { s := n.bridge.Status(); return s.External && s.Server == nil && s.Publishing })
	second := names("second", 5)
	r.objects(alice, second)
	eventually(t, "events elsewhere", func() bool {
		return slices.ContainsFunc(c.firsts(), func(e events.Event) bool { return nameOf(e) == second[4] })
	})
	where.Store(new(string))
	eventually(t, "the way back", func() bool { return inside.conn.IsConnected() && n.bridge.Status().Server != nil })
	third := names("third", 5)
	r.objects(alice, third)
	eventually(t, "events inside", func() bool {
		return slices.ContainsFunc(inside.firsts(), func(e events.Event) bool { return nameOf(e) == third[4] })
	})
}
