package shard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"hive/fsm"
)

// health remembers which nodes did not answer (a circuit breaker): they are passed over at once
// until a probe in the background is answered, so that only the first request waits for a node
// that hangs.
type health struct {
	alive func(fsm.NodeID) bool // gossip's opinion
	log   *slog.Logger

	mu      sync.Mutex // guards what is below
	out     map[fsm.NodeID]time.Time
	back    map[fsm.NodeID]time.Time // when a node that had been out answered again
	strikes map[fsm.NodeID]int
	wake    chan struct{} // has a token when somebody was tripped
}

// maxStrikes is how often in a row a node may be outrun by the reconstruction of its shard.
const maxStrikes = 3

func newHealth(alive func(fsm.NodeID) bool, log *slog.Logger) *health {
	return &health{
		alive: alive, log: log, out: map[fsm.NodeID]time.Time{}, strikes: map[fsm.NodeID]int{},
		back: map[fsm.NodeID]time.Time{}, wake: make(chan struct{}, 1),
	}
}

// up tells whether node is worth asking.
func (h *health) up(node fsm.NodeID) bool {
	h.mu.Lock()
	_, out := h.out[node]
	h.mu.Unlock()
	return !out && h.alive(node)
}

// trip notes that node did not answer.
func (h *health) trip(node fsm.NodeID, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, out := h.out[node]; out {
		return
	}
	h.out[node] = time.Now()
	h.log.Warn("storage node does not answer: passed over until it does", "node", node, "cause", cause)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// shakyFor is how long a node that had not answered is given less time.
const shakyFor = 10 * time.Second

// shaky tells whether node hung a moment ago.
func (h *health) shaky(node fsm.NodeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	back, ok := h.back[node]
	return ok && time.Since(back) < shakyFor
}

// strike notes that node was too slow for a read; many in a row trip it.
func (h *health) strike(node fsm.NodeID) {
	h.mu.Lock()
	h.strikes[node]++
	over := h.strikes[node] >= maxStrikes
	h.mu.Unlock()
	if over {
		h.trip(node, context.DeadlineExceeded)
	}
}

// good notes that node answered in time.
func (h *health) good(node fsm.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.strikes[node] > 0 {
		h.strikes[node] = 0
	}
}

func (h *health) tripped() (out []fsm.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for node := range h.out {
		out = append(out, node)
	}
	return out
}

func (h *health) restore(node fsm.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := h.out[node]
	delete(h.out, node)
	h.back[node] = time.Now()
	h.strikes[node] = 0
	h.log.Info("storage node answers again", "node", node, "after", time.Since(since).Round(time.Millisecond))
}

// Times of the probing of nodes that did not answer.
const (
	probeEvery   = 200 * time.Millisecond
	probeTimeout = time.Second
)

// run probes the nodes that were tripped until ctx is done.
func (h *health) run(ctx context.Context, ping func(context.Context, fsm.NodeID) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		for nodes := h.tripped(); len(nodes) > 0; nodes = h.tripped() {
			h.probe(ctx, nodes, ping)
			if !pause(ctx, probeEvery) {
				return
			}
		}
	}
}

func (h *health) probe(ctx context.Context, nodes []fsm.NodeID, ping func(context.Context, fsm.NodeID) error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() {
			if ping(ctx, node) == nil {
				h.restore(node)
			}
		})
	}
	wg.Wait()
}

// pause waits, and answers false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
