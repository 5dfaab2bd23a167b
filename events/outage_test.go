package events_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hive/events"
	"hive/fsm"
)

func names(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%04d", prefix, i))
	}
	return out
}

func (r *rig) objects(owner fsm.AccountID, keys []string) {
	for _, k := range keys {
		r.object(owner, k)
	}
}

func TestWhatNATSMissedIsSentWhenItIsBack(t *testing.T) {
	r := newRig(t)
	a, b, c := r.three()
	mine := r.subscriber(alice, a, b, c)
	before, missed, after := names("before", 20), names("missed", 700), names("after", 20)
	r.objects(alice, before)
	mine.inOrder(before)
	for _, n := range []*node{a, b, c} {
		n.kill()
	}
	r.objects(alice, missed)
	for _, n := range []*node{a, b, c} {
		n.start()
	}
	r.objects(alice, after)
	mine.inOrder(slices.Concat(before, missed, after))
}

func TestAnotherNodePublishesWhenThePublisherIsKilled(t *testing.T) {
	r := newRig(t)
	a, b, c := r.three()
	clients := []*client{r.subscriber(alice, a, b, c), r.subscriber(alice, b, c), r.subscriber(alice, c, b)}
	keys := names("k", 600)
	half := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for i, k := range keys {
			r.object(alice, k)
			if i == len(keys)/2 {
				close(half)
			}
		}
	})
	<-half
	a.kill()
	work.Wait()
	for _, c := range clients {
		c.inOrder(keys)
	}
	if !b.bridge.Status().Publishing || c.bridge.Status().Publishing {
		t.Error("the lowest node that is alive does not publish")
	}
	a.start()
	eventually(t, "the first node's turn", func() bool { return a.bridge.Status().Publishing && !b.bridge.Status().Publishing })
	more := names("more", 50)
	r.objects(alice, more)
	for _, c := range clients {
		c.inOrder(slices.Concat(keys, more))
	}
}

func TestOnlyWhatWasNotSentIsSentAfterARestart(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	n.start()
	mine := r.subscriber(alice, n)
	first := names("first", 50)
	r.objects(alice, first)
	mine.inOrder(first)
	var at uint64
	if err := r.index.View(func(v *fsm.View) error { at = v.Index(); return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cursor", func() bool { return r.cursor("index-0") == at })
	n.kill()
	n.start()
	again := r.subscriber(alice, n)
	second := names("second", 5)
	r.objects(alice, second)
	again.inOrder(second)
}

func (r *rig) cursor(g fsm.GroupID) (at uint64) {
	r.t.Helper()
	if err := r.control.View(func(v *fsm.View) error { at = fsm.EventCursors(v)[g]; return nil }); err != nil {
		r.t.Fatal(err)
	}
	return at
}

func TestAServerCutOffFromTheOthersIsSentWhatItMissed(t *testing.T) {
	r := newRig(t)
	a, b := r.add("n-a"), r.add("n-b")
	wires := []*wire{newWire(t, a), newWire(t, b)}
	for _, n := range []*node{a, b} {
		n.start()
	}
	eventually(t, "routes", func() bool { return a.routes() > 0 && b.routes() > 0 })
	near, far := r.subscriber(alice, a), r.subscriber(alice, b)
	before, missed, after := names("before", 20), names("missed", 300), names("after", 20)
	r.objects(alice, before)
	far.inOrder(before)
	for _, w := range wires {
		w.cut()
	}
	eventually(t, "end of the routes", func() bool { return a.routes() == 0 && b.routes() == 0 })
	r.objects(alice, missed)
	near.inOrder(slices.Concat(before, missed))
	if n := len(far.firsts()); n != len(before) {
		t.Errorf("%d events came through a wire that was cut", n-len(before))
	}
	for _, w := range wires {
		w.mend()
	}
	r.objects(alice, after)
	far.inOrder(slices.Concat(before, missed, after))
	near.inOrder(slices.Concat(before, missed, after))
}

// wire carries the routes that others open to a node, until it is cut.
type wire struct {
	to string

	mu    sync.Mutex // guards what is below
	conns map[net.Conn]bool
	down  bool
}

// newWire lays a wire to n, which tells others to use it.
func newWire(t *testing.T, n *node) *wire {
	t.Helper()
	l, err := net.Listen("tcp", n.host+":6223")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{to: n.host + ":6222", conns: map[net.Conn]bool{}}
	n.route = l.Addr().String()
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		work.Wait()
	})
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for c := range w.conns {
		c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// hold keeps connections for cut, unless the wire is down.
func (w *wire) hold(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		w.conns[c] = true
	}
	return !w.down
}

func (w *wire) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !w.hold(in, out) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		io.Copy(in, out)
		in.Close()
	}()
	io.Copy(out, in)
	out.Close()
	<-back
}

func TestAServerWhosePortIsTakenStartsWhenItIsFree(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	taken, err := net.Listen("tcp", n.host+":4222")
	if err != nil {
		t.Fatal(err)
	}
	n.start()
	keys := names("k", 300)
	r.objects(alice, keys) // nobody waits for NATS
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	r.subscriber(alice, n).inOrder(keys)
}

func TestAConsumerThatDoesNotReadIsCutAndHoldsUpNobody(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	n.start()
	mine := r.subscriber(alice, n)
	cred, err := n.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)})
	if err != nil {
		t.Fatal(err)
	}
	r.mute(n, cred)
	long, sent := strings.Repeat("k", 1000), 0
	for n.bridge.Status().Server.Cut == 0 {
		for range 200 {
			r.object(alice, fmt.Sprintf("%s%06d", long, sent))
			sent++
		}
		if sent > 100_000 {
			t.Fatal("the consumer is not cut")
		}
	}
	mine.has(sent)
	if mine.conn.Stats().Reconnects > 0 {
		t.Error("the consumer that reads was cut too")
	}
}

// mute is a client that subscribes and never reads.
func (r *rig) mute(n *node, cred events.Credentials) {
	r.t.Helper()
	raw, err := net.Dial("tcp", n.host+":4222")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { raw.Close() })
	if err := raw.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		r.t.Fatal(err)
	}
	one := make([]byte, 1)
	for one[0] != '\n' { // INFO, before TLS
		if _, err := io.ReadFull(raw, one); err != nil {
			r.t.Fatal(err)
		}
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: r.ca.roots, ServerName: n.host})
	_, err = fmt.Fprintf(conn, "CONNECT {\"user\":%q,\"pass\":%q,\"tls_required\":true,\"verbose\":false}\r\nSUB %s 1\r\nPING\r\n", cred.User, cred.Password, cred.Subject)
	if err != nil {
		r.t.Fatal(err)
	}
	answer := make([]byte, 6)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "PONG\r\n" {
		r.t.Fatalf("%q, %v", answer, err)
	}
}

// TestProposalsTakeNoLongerWhateverNATSDoes prints what proposals cost while NATS is well, dead and full. Only what is
// wrong whatever the machine does is an error: the states must be the same.
func TestProposalsTakeNoLongerWhateverNATSDoes(t *testing.T) {
	const count = 400
	run := func(prepare func(*rig)) (time.Duration, time.Duration, [32]byte) {
		r := newRig(t)
		prepare(r)
		var took []time.Duration
		for _, k := range names("k", count) {
			began := time.Now()
			r.object(alice, k)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		_, sum, err := r.index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return took[count/2], took[count*99/100], sum
	}
	base50, base99, want := run(func(*rig) {})
	for _, c := range []struct {
		what    string
		prepare func(*rig)
	}{
		{"well, with a subscriber", func(r *rig) { a, _, _ := r.three(); r.subscriber(alice, a) }},
		{"dead: its port is taken", func(r *rig) {
			n := r.add("n-a")
			l, err := net.Listen("tcp", n.host+":4222")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			n.start()
		}},
		{"elsewhere, and silent", func(r *rig) {
			n := r.add("n-a")
			l, err := net.Listen("tcp", n.host+":4222")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			n.start(func(c *events.Config) { c.External = func() string { return "nats://" + n.host + ":4222" } })
		}},
		{"full: a subscriber does not read", func(r *rig) {
			n := r.add("n-a")
			n.start()
			eventually(t, "server", func() bool { return n.bridge.Status().Server != nil })
			cred, err := n.bridge.Credentials(t.Context(), events.CredentialsRequest{Account: string(alice)})
			if err != nil {
				t.Fatal(err)
			}
			r.mute(n, cred)
		}},
	} {
		p50, p99, sum := run(c.prepare)
		t.Logf("NATS %s: proposal p50 %v (%.2f of without), p99 %v (%.2f)", c.what, p50, float64(p50)/float64(base50), p99, float64(p99)/float64(base99))
		if sum != want {
			t.Errorf("NATS %s: the state is another than without", c.what)
		}
	}
}

func TestEventsAreSentWhileCursorsCannotMove(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	leaderless := func(c *events.Config) {
		c.Propose = func(context.Context, fsm.Command) error { return errors.New("no leader") }
	}
	n.start(leaderless)
	mine := r.subscriber(alice, n)
	first := names("first", 300)
	r.objects(alice, first)
	mine.inOrder(first)
	n.kill()
	n.start()
	again := r.subscriber(alice, n)
	second := names("second", 10)
	r.objects(alice, second)
	again.inOrder(slices.Concat(first, second)) // no cursor says that the first were sent
	mine.inOrder(slices.Concat(first, second))
}

func TestAServerTakesClientsSoonAfterItsStart(t *testing.T) {
	r := newRig(t)
	n := r.add("n-a")
	began := time.Now()
	n.start()
	eventually(t, "server", func() bool { return n.bridge.Status().Server != nil })
	t.Logf("a server takes clients %v after the bridge began", time.Since(began))
	r.subscriber(alice, n)
}
