package raftnode

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"hive/fsm"
)

// watcher looks at nodes' states all the time and remembers the newest that each has shown, over restarts.
type watcher struct {
	mu   sync.Mutex // guards what is below
	seen map[fsm.NodeID]uint64
	errs []error
}

// watch looks at every node of r, each time that its state changes, until ctx ends.
func (w *watcher) watch(ctx context.Context, r *rig) {
	for ctx.Err() == nil {
		for _, m := range r.members() {
			w.look(m)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (w *watcher) look(m *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.seen[m.id]
	var index uint64
	err := m.View(func(v *fsm.View) error {
		index = v.Index()
		return nil
	})
	if err != nil || m.gone.Load() { // closed, not shown, or a dead node's
		return
	}
	if index < before {
		w.errs = append(w.errs, fmt.Errorf("%s shows index %d after %d", m.id, index, before))
	}
	w.seen[m.id] = index
}

func (w *watcher) check(t interface{ Error(...any) }) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.errs {
		t.Error(err)
	}
}

func TestNoViewIsEverOlderThanOneBeforeItOverRestarts(t *testing.T) {
	t.Parallel()
	fast := func(c *Config) {
		c.Timing.Heartbeat = 60 * time.Millisecond
		c.Snapshots = Snapshots{Threshold: 1 << 20, Trailing: 20}
	}
	until := time.Now().Add(8 * time.Second) // a check takes about a second
	rapid.Check(t, func(rt *rapid.T) {
		if time.Now().After(until) {
			return
		}
		r := newRig(t, fast)
		m := r.form(1)[0]
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		w := &watcher{seen: map[fsm.NodeID]uint64{}}
		var watching sync.WaitGroup
		defer func() {
			cancel()
			watching.Wait()
			w.check(rt)
			r.closeAll()
		}()
		watching.Go(func() { w.watch(ctx, r) })
		value := uint64(0)
		for step := range rapid.IntRange(3, 7).Draw(rt, "steps") {
			for range rapid.IntRange(0, 15).Draw(rt, "proposals") {
				if err := m.Propose(ctx, set("b", value+1)); err != nil {
					rt.Fatal(err)
				}
				value++
			}
			if rapid.Bool().Draw(rt, "snapshot") {
				if err := m.Snapshot(ctx); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
					rt.Fatal(err)
				}
			}
			boot := m.boot
			if rapid.Bool().Draw(rt, "power") {
				boot = fmt.Sprint("boot ", step)
			}
			w.look(m)
			dir := m.dir
			if rapid.Bool().Draw(rt, "killed") {
				dir = r.kill(m)
			} else {
				r.stop(m)
			}
			m = r.start("n-1", dir, boot)
			if err := m.ReadIndex(ctx); err != nil {
				rt.Fatal(err)
			}
			<-m.Ready()
			if got := get(t, m, "b"); got != value {
				rt.Fatalf("%d was acknowledged, %d is there", value, got)
			}
		}
	})
}

func TestStateThatIsBuiltAgainIsNotShownBeforeItHasCaughtUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Snapshots = Snapshots{Threshold: 1 << 20, Trailing: 5} })
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	last := r.follower(ctx)
	if err := last.Propose(ctx, set("b", 1)); err != nil {
		t.Fatal(err)
	}
	if err := last.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := last.Propose(ctx, set("b", 2)); err != nil {
		t.Fatal(err)
	}
	dir := r.kill(last)
	var dirs []string
	others := r.others(last)
	for _, m := range others {
		dirs = append(dirs, r.kill(m))
	}
	back := r.start(last.id, dir, "another boot")
	if _, err := lookup(back, "b"); !errors.Is(err, ErrReplaying) {
		t.Errorf("the snapshot's state was shown: %v", err)
	}
	for i, m := range others {
		r.start(m.id, dirs[i], "boot")
	}
	select {
	case <-back.Ready():
	case <-ctx.Done():
		t.Fatal("never ready")
	}
	if got := get(t, back, "b"); got != 2 {
		t.Errorf("%d", got)
	}
	if len(nodes) != 3 {
		t.Fatal(len(nodes))
	}
	r.compare()
}

func TestReplaySkipsWhatTheStateHas(t *testing.T) {
	t.Parallel()
	dir := grownDir(t, 0)
	r, m, err := reopen(t, dir, "boot", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	before := m.Applied()
	changed := m.Changed()
	r.run(m)
	ctx := testContext(t, 20*time.Second)
	if err := m.ReadIndex(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Errorf("the state changed by replaying: %d, now %d", before, m.Applied())
	default:
	}
}

func TestEntryOfAnotherTermThanItWasProposedForIsVoid(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	lead := r.leader(ctx)
	entry, err := fsm.EncodeCommand(set("late", 1))
	if err != nil {
		t.Fatal(err)
	}
	tag := encodeTag(proposalID{1, 1}, lead.live.raft.CurrentTerm()-1)
	future := lead.live.raft.ApplyLog(raft.Log{Data: entry, Extensions: tag}, 0)
	if err := future.Error(); err != nil || future.Response() != errVoid {
		t.Fatalf("%v, %v", err, future.Response())
	}
	for _, m := range nodes {
		if err := m.ReadIndex(ctx); err != nil {
			t.Fatal(err)
		}
		if got := get(t, m, "late"); got != 0 {
			t.Errorf("%s took it", m.id)
		}
	}
	r.compare()
}

func TestProposalThatIsSentTwiceIsRecordedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.form(3)
	ctx := testContext(t, 30*time.Second)
	lead := r.leader(ctx)
	l := lead.live
	term := l.raft.CurrentTerm()
	entry, err := fsm.EncodeCommand(set("twice", 1))
	if err != nil {
		t.Fatal(err)
	}
	id := proposalID{run: 99, number: 1}
	var first verdict
	for i := range 3 {
		o := l.inbox.accept(term, []*outgoing{newOutgoing(id, entry)})[0]
		<-o.done
		if i == 0 {
			first = o.verdict
		}
		if o.verdict != first || first.status != isRecorded {
			t.Errorf("%+v, first %+v", o.verdict, first)
		}
	}
	// Once it is forgotten it is refused as such, not recorded again.
	l.inbox.mu.Lock()
	l.inbox.turn()
	l.inbox.turn()
	l.inbox.mu.Unlock()
	o := l.inbox.accept(term, []*outgoing{newOutgoing(id, entry)})[0]
	<-o.done
	if o.verdict.status != isForgotten {
		t.Errorf("%+v", o.verdict)
	}
	if o = l.inbox.accept(term-1, []*outgoing{newOutgoing(proposalID{99, 2}, entry)})[0]; o.verdict.status != isRefused {
		t.Errorf("for another term: %+v", o.verdict)
	}
	r.compare()
}

func TestNewNodesDirectoryNeedsNoReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.start("n-1", filepath.Join(t.TempDir(), "new"), "boot")
	select {
	case <-m.Ready():
	default:
		t.Error("an empty state has nothing to catch up with")
	}
}
