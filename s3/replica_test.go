package s3

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// replicated is a group on several nodes whose states follow one log, each at its own pace: what a
// service sees of a Raft group that never fails.
type replicated struct {
	mu      sync.Mutex // guards log and answers
	log     [][]byte
	answers []error // of the first node to apply, by log index
	nodes   []*replica
}

// replica is one node's Group.
type replica struct {
	group   *replicated
	machine *fsm.Machine
	more    chan struct{} // the log has grown
}

func newReplicated(t *testing.T, class fsm.Class, nodes int) *replicated {
	g := &replicated{}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i := range nodes {
		m, err := fsm.Open(fsm.Config{Path: filepath.Join(t.TempDir(), fmt.Sprintf("state-%d.db", i)), Class: class, BootID: "test", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		r := &replica{group: g, machine: m, more: make(chan struct{}, 1)}
		g.nodes = append(g.nodes, r)
		running.Go(func() { r.follow(stop, rand.New(rand.NewSource(int64(i)))) })
	}
	t.Cleanup(func() {
		close(stop)
		running.Wait()
		for _, r := range g.nodes {
			if err := r.machine.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return g
}

// follow applies the log, now and then late.
func (r *replica) follow(stop chan struct{}, random *rand.Rand) {
	for next := uint64(1); ; {
		select {
		case <-stop:
			return
		case <-r.more:
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(random.Intn(2000)) * time.Microsecond):
		}
		for ; ; next++ {
			entry, ok := r.group.entry(next)
			if !ok {
				break
			}
			answer, _ := r.machine.Apply(&raft.Log{Index: next, Type: raft.LogCommand, Data: entry}).(error)
			r.group.answered(next, answer)
		}
	}
}

func (g *replicated) entry(index uint64) ([]byte, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if index > uint64(len(g.log)) {
		return nil, false
	}
	return g.log[index-1], true
}

func (g *replicated) answered(index uint64, answer error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answers[index-1] = answer
}

func (r *replica) Propose(ctx context.Context, cmd fsm.Command) error {
	entry, err := fsm.EncodeCommand(cmd)
	if err != nil {
		return err
	}
	g := r.group
	g.mu.Lock()
	g.log, g.answers = append(g.log, entry), append(g.answers, nil)
	index := uint64(len(g.log))
	g.mu.Unlock()
	for _, n := range g.nodes {
		select {
		case n.more <- struct{}{}:
		default:
		}
	}
	if err := r.machine.Wait(ctx, index); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answers[index-1]
}

func (r *replica) ReadIndex(ctx context.Context) error {
	r.group.mu.Lock()
	index := uint64(len(r.group.log))
	r.group.mu.Unlock()
	return r.machine.Wait(ctx, index)
}

func (r *replica) View(fn func(*fsm.View) error) error { return r.machine.View(fn) }
