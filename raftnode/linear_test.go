package raftnode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"hive/fsm"
)

// A register's history: what clients asked and were told, and when.
type regInput struct {
	key   string
	write bool
	value uint64
}

// registers is a map of registers: each may be checked alone.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(regInput).key
			by[key] = append(by[key], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range by {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		in := input.(regInput)
		if in.write {
			return true, in.value
		}
		return output.(uint64) == state.(uint64), state
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %v", input, output) },
}

// history collects operations.
type history struct {
	start time.Time
	mu    sync.Mutex // guards ops
	ops   []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// client asks nodes at random until ctx ends; an operation that fails with an unknown outcome may take
// effect at any time after, one that certainly failed never.
func (h *history) client(ctx context.Context, t *testing.T, r *rig, id int, values *atomic.Uint64) {
	rnd := rand.New(rand.NewPCG(uint64(id), 7))
	for ctx.Err() == nil {
		nodes := r.members()
		m := nodes[rnd.IntN(len(nodes))]
		op := porcupine.Operation{ClientId: id, Call: h.now()}
		in := regInput{key: fmt.Sprintf("k-%d", rnd.IntN(3)), write: rnd.IntN(2) == 0}
		short, cancel := context.WithTimeout(ctx, time.Second)
		var err error
		if in.write {
			in.value = values.Add(1)
			err = m.Propose(short, set(in.key, in.value))
		} else {
			var got uint64
			if err = m.ReadIndex(short); err == nil {
				got, err = lookup(m, in.key)
			}
			op.Output = got
		}
		cancel()
		op.Input, op.Return = in, h.now()
		switch {
		case err == nil:
			h.add(op)
		case !in.write, errors.Is(err, ErrNoLeader):
		case errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrStopped):
			op.Return = math.MaxInt64
			h.add(op)
			id += 1000 // a client with an operation under way starts no other
		default:
			t.Errorf("%s: %v", m.id, err)
		}
	}
}

// torment does one of the things that happen to clusters, and mends it.
func torment(ctx context.Context, r *rig, rnd *rand.Rand) {
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	nodes := r.members()
	m := nodes[rnd.IntN(len(nodes))]
	if rnd.IntN(2) == 0 {
		for _, n := range nodes {
			if n.IsLeader() {
				m = n
			}
		}
	}
	switch rnd.IntN(4) {
	case 0:
		r.net.split([]fsm.NodeID{m.id}, ids(r.others(m)))
		pause(time.Duration(500+rnd.IntN(1500)) * time.Millisecond)
		r.net.heal()
	case 1: // two of the three ways are cut one by one: the node in the middle reaches both
		others := ids(r.others(m))
		r.net.split(others[:1], others[1:])
		pause(time.Duration(500+rnd.IntN(1000)) * time.Millisecond)
		r.net.heal()
	case 2:
		resume := r.net.hang(m.id)
		pause(time.Duration(300+rnd.IntN(2500)) * time.Millisecond)
		resume()
	case 3:
		boot := m.boot
		if rnd.IntN(2) == 0 {
			boot += "+"
		}
		dir := r.kill(m)
		pause(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		r.start(m.id, dir, boot)
	}
	pause(time.Duration(rnd.IntN(800)) * time.Millisecond)
}

func TestOperationsAreLinearizableUnderFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.form(3)
	ctx, cancel := context.WithTimeout(testContext(t, time.Minute), tormentFor)
	defer cancel()
	h := &history{start: time.Now()}
	var values atomic.Uint64
	var wg sync.WaitGroup
	for id := range 8 {
		wg.Go(func() { h.client(ctx, t, r, id, &values) })
	}
	w := &watcher{seen: map[fsm.NodeID]uint64{}}
	wg.Go(func() { w.watch(ctx, r) })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, seed))
	for ctx.Err() == nil {
		torment(ctx, r, rnd)
	}
	wg.Wait()
	w.check(t)
	t.Logf("%d operations", len(h.ops))
	if result, _ := porcupine.CheckOperationsVerbose(registers, h.ops, 30*time.Second); result != porcupine.Ok {
		t.Errorf("history is %s", result)
	}
	r.compare()
}

// tormentFor is how long the history of the linearizability test is.
const tormentFor = 12 * time.Second
