package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"hive/fsm"
)

type running struct {
	*Gossip
	stop func()
}

func listen(t *testing.T, node fsm.NodeID, ip string, key byte) *Gossip {
	t.Helper()
	addr := net.JoinHostPort(ip, "0")
	l, err := net.Listen("tcp", addr) // a free port, for both protocols
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		Node: node, Bind: addr, Advertise: addr, Keys: [][]byte{bytes.Repeat([]byte{key}, 32)},
		Meta: Meta{Addr: ip + ":8443", Caps: []string{"s3"}, Version: "0.1.0"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func start(t *testing.T, node fsm.NodeID, ip string, key byte, seeds ...string) running {
	t.Helper()
	g := listen(t, node, ip, key)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx, func() []string { return seeds }) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return running{g, stop}
}

func (r running) waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		changed := r.Changed()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: %+v", what, r.Members())
		}
	}
}

func TestNodesFindEachOtherAndTellWhatTheyAre(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	b := start(t, "n-b", "127.0.0.1", 1, a.Addr())
	for _, g := range []running{a, b} {
		g.waitFor(t, "two members", func() bool { return len(g.Members()) == 2 })
	}
	if addr, ok := a.ClusterAddr("n-b"); !ok || addr != "127.0.0.1:8443" {
		t.Errorf("address %q", addr)
	}
	if err := b.Update(Meta{Addr: "127.0.0.9:8443", Version: "0.2.0"}); err != nil {
		t.Fatal(err)
	}
	a.waitFor(t, "the new metadata", func() bool { m, _ := a.Member("n-b"); return m.Meta.Version == "0.2.0" })
}

func TestANodeThatLeavesIsDeadAndComesBackAtAnotherAddress(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	b := start(t, "n-b", "127.0.0.1", 1, a.Addr())
	a.waitFor(t, "n-b alive", func() bool { return a.Alive("n-b") })
	b.stop()
	a.waitFor(t, "n-b dead", func() bool { return !a.Alive("n-b") })
	b2 := start(t, "n-b", "127.0.0.2", 1, a.Addr())
	a.waitFor(t, "n-b back", func() bool { return a.Alive("n-b") })
	if m, _ := a.Member("n-b"); m.Addr != b2.Addr() {
		t.Errorf("address %s, want %s", m.Addr, b2.Addr())
	}
}

func TestAKilledNodeIsDeadWithinFiveSeconds(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	b := start(t, "n-b", "127.0.0.1", 1, a.Addr())
	c := listen(t, "n-c", "127.0.0.1", 1)
	if _, err := c.list.Join([]string{a.Addr()}); err != nil {
		t.Fatal(err)
	}
	for _, g := range []running{a, b} {
		g.waitFor(t, "three members", func() bool { return len(g.Members()) == 3 })
	}
	if err := c.list.Shutdown(); err != nil { // without a farewell, as when its process is killed
		t.Fatal(err)
	}
	killed := time.Now()
	a.waitFor(t, "n-c dead", func() bool { return !a.Alive("n-c") })
	b.waitFor(t, "n-c dead", func() bool { return !b.Alive("n-c") })
	took := time.Since(killed)
	t.Logf("dead after %v", took)
	if took > 5*time.Second {
		t.Errorf("dead after %v", took)
	}
	if m, _ := a.Member("n-c"); m.State != Dead || m.Meta.Addr == "" {
		t.Errorf("what is known of the dead: %+v", m)
	}
}

func TestALiveNodesIDIsNotTakenByAnother(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	b := start(t, "n-b", "127.0.0.1", 1, a.Addr())
	a.waitFor(t, "n-b alive", func() bool { return a.Alive("n-b") })
	twin := start(t, "n-b", "127.0.0.2", 1)
	// A push and pull is an exchange of all that both know: when it is over, a has seen the twin.
	if _, err := twin.list.Join([]string{a.Addr()}); err != nil {
		t.Log(err)
	}
	if m, _ := a.Member("n-b"); m.Addr != b.Addr() || m.State == Dead {
		t.Errorf("n-b is %+v, was at %s", m, b.Addr())
	}
}

func TestKeysAreRotatedWhileTheGossipGoesOn(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	b := start(t, "n-b", "127.0.0.1", 1, a.Addr())
	a.waitFor(t, "n-b alive", func() bool { return a.Alive("n-b") })
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	for step, keys := range [][][]byte{{key(1), key(2)}, {key(2), key(1)}, {key(2)}} {
		for _, g := range []running{a, b} {
			if err := g.SetKeys(keys); err != nil {
				t.Fatal(err)
			}
		}
		version := fmt.Sprint("after step ", step)
		if err := b.Update(Meta{Addr: "127.0.0.1:8443", Version: version}); err != nil {
			t.Fatal(err)
		}
		a.waitFor(t, version, func() bool { m, _ := a.Member("n-b"); return m.Meta.Version == version })
	}
	old := start(t, "n-x", "127.0.0.1", 1)
	if _, err := old.list.Join([]string{a.Addr()}); err == nil {
		t.Error("a node with the old key only joined")
	}
	start(t, "n-y", "127.0.0.1", 2, a.Addr())
	a.waitFor(t, "n-y at n-a", func() bool { return len(a.Members()) == 3 })
	if err := a.SetKeys(nil); err == nil {
		t.Error("no key was taken")
	}
	if err := a.SetKeys([][]byte{{1, 2, 3}}); err == nil {
		t.Error("a short key was taken")
	}
}

func TestMetadataOfANewerVersionIsReadAsFarAsItIsKnown(t *testing.T) {
	raw, err := Meta{Addr: "h:8443", Caps: []string{"s3"}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = metaVersion + 1
	if m, err := decodeMeta(raw); err != nil || m.Addr != "h:8443" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range [][]byte{nil, {0}, {metaVersion}, {metaVersion, 0xff}} {
		if m, err := decodeMeta(bad); err == nil {
			t.Errorf("%x is %+v", bad, m)
		}
	}
}

func TestAnotherKeyIsNotHeard(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	stranger := start(t, "n-x", "127.0.0.1", 2)
	if _, err := stranger.list.Join([]string{a.Addr()}); err == nil {
		t.Error("a node with another key joined")
	}
	if _, known := a.Member("n-x"); known {
		t.Error("a node with another key is a member")
	}
}

func TestRandomBytesDoNotStopTheGossip(t *testing.T) {
	a := start(t, "n-a", "127.0.0.1", 1)
	for i := range 100 {
		for _, network := range []string{"tcp", "udp"} {
			conn, err := net.Dial(network, a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(bytes.Repeat([]byte{byte(i)}, 1+i*7)); err != nil {
				t.Log(err)
			}
			conn.Close()
		}
	}
	b := start(t, "n-b", "127.0.0.1", 1, a.Addr())
	b.waitFor(t, "the first node", func() bool { return b.Alive("n-a") })
}

func TestMetadataThatIsTooLongIsRefused(t *testing.T) {
	if _, err := (Meta{Zone: strings.Repeat("z", 600)}).encode(); err == nil {
		t.Error("600 bytes were taken")
	}
	longest := Meta{
		Addr: strings.Repeat("h", 253) + ":65535", Caps: []string{"api", "ec2", "s3", "ebs", "vpc", "nats"},
		Version: "10.20.30-rc.40", Zone: "ap-southeast-2a", Kinds: 1000, CPUs: 512, Memory: 1 << 45, Disk: 1 << 50,
	}
	if _, err := longest.encode(); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	raw, err := Meta{Addr: "a:1", Caps: []string{"s3"}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := decodeMeta(raw); err == nil {
			if _, err := m.encode(); err != nil && len(raw) < 100 {
				t.Error(err)
			}
		}
	})
}
