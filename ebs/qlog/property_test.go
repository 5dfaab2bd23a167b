package qlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/vfs"

	"pgregory.net/rapid"
)

// world is three nodes, the owners that ever were, and what must never be lost.
type world struct {
	t          *rapid.T
	b          *bed
	owners     []*holder // oldest first; the last is the newest
	generation uint64
	attempts   int // openings, also those that failed
	opened     int // the newest that did not
	nextID     int
	must       []int // ids that were synced or checkpointed, from the beginning of time, in order
	base       int   // how many of them are checkpointed
	from       uint64
	rotten     fsm.NodeID // whose disk may flip one bit; it never loses power: two faults at once are not survived
	flipped    bool
	events     []string // what happened, for a failure's message: a race may not happen again
}

func (w *world) note(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.events, "\n"), &w.b.said)
}

// holder is one opening.
type holder struct {
	node fsm.NodeID
	gen  uint64
	try  int
	l    *Log
	ids  []int    // that its log holds, from the beginning of time
	seqs []uint64 // of ids[base:]
	base int
	late bool // has appended after a newer owner was there
}

func (w *world) up() (out []fsm.NodeID) {
	for _, id := range w.b.ids() {
		if w.b.nodes[id].store != nil {
			out = append(out, id)
		}
	}
	return out
}

// reach is how many copies a node reaches, itself too.
func (w *world) reach(from fsm.NodeID) (n int) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	for id, node := range w.b.nodes {
		if node.store != nil && !w.b.cut[[2]fsm.NodeID{from, id}] {
			n++
		}
	}
	return n
}

func (w *world) holder() *holder {
	if len(w.owners) == 0 {
		w.t.Skip("nobody owns the log")
	}
	return w.owners[rapid.IntRange(0, len(w.owners)-1).Draw(w.t, "owner")]
}

func (w *world) newest(h *holder) bool { return h.try == w.opened }

// sole tells that nobody tried to open the log after h.
func (w *world) sole(h *holder) bool { return h.try == w.attempts && h.l.Err() == nil }

func (w *world) append(*rapid.T) {
	h := w.holder()
	for range rapid.IntRange(1, 5).Draw(w.t, "records") {
		size := rapid.SampledFrom([]int{1, 300, 1500, 5000}).Draw(w.t, "size")
		at, err := h.l.Append(Write, int64(w.nextID)*4096, int64(size), content(w.nextID, size))
		if err != nil {
			if w.sole(h) {
				w.fail("append: %v", err)
			}
			return
		}
		h.ids, h.seqs = append(slices.Clone(h.ids), w.nextID), append(h.seqs, at.Seq)
		w.note("append by %s (%d): %d, seq %d", h.node, h.gen, w.nextID, at.Seq)
		h.late = h.late || !w.newest(h)
		w.nextID++
	}
}

func (w *world) sync(*rapid.T) {
	h := w.holder()
	able := w.sole(h) && w.reach(h.node) >= 2 && !w.flipped // the bit may have been the only whole copy of an unsynced record
	limit := 10 * time.Millisecond
	if able {
		limit = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := h.l.Sync(ctx)
	w.note("sync by %s (%d): %d records: %v", h.node, h.gen, len(h.ids), err)
	switch {
	case err == nil && h.late:
		w.fail("a sync of generation %d succeeds after %d was installed", h.gen, w.generation)
	case err == nil:
		w.learn(h.ids)
	case able && !errors.Is(err, ErrCorrupt):
		w.fail("sync: %v", err)
	}
}

// learn adds what must never be lost.
func (w *world) learn(ids []int) {
	n := min(len(ids), len(w.must))
	if !slices.Equal(ids[:n], w.must[:n]) {
		w.fail("two owners synced different logs: %v and %v", ids, w.must)
	}
	if len(ids) > len(w.must) {
		w.must = slices.Clone(ids)
	}
}

func (w *world) checkpoint(*rapid.T) {
	if len(w.owners) == 0 {
		w.t.Skip("nobody owns the log")
	}
	h := w.owners[len(w.owners)-1]
	if !w.newest(h) || h.l.Err() != nil || h.base != w.base {
		w.t.Skip("the newest owner has lost it")
	}
	n := rapid.IntRange(0, len(h.seqs)).Draw(w.t, "checkpointed")
	w.learn(h.ids[:h.base+n])
	w.from = h.l.r.end()
	if n < len(h.seqs) {
		w.from = h.seqs[n]
	}
	h.base, h.seqs = h.base+n, h.seqs[n:]
	w.base = h.base
	w.note("checkpoint by %s (%d) to %d records, from %d", h.node, h.gen, w.base, w.from)
	if err := h.l.Cut(context.Background(), w.from); err != nil && h.l.Err() == nil {
		w.fail("cut: %v", err)
	}
}

func (w *world) takeover(*rapid.T) {
	up := w.up()
	if len(up) == 0 {
		w.t.Skip("all nodes are down")
	}
	self := rapid.SampledFrom(up).Draw(w.t, "new owner")
	again := len(w.owners) > 0 && w.owners[len(w.owners)-1].node == self && rapid.Bool().Draw(w.t, "the same generation")
	if !again {
		w.generation++
	}
	w.open(self)
}

func (w *world) open(self fsm.NodeID) {
	reach := w.reach(self)
	w.attempts++
	cfg := w.b.config(self, w.generation)
	cfg.From = w.from
	l, records, err := w.b.tryOwner(cfg)
	w.note("open by %s (%d) from %d, reaches %d of %v: %d records, %v", self, w.generation, w.from, reach, w.up(), len(records), err)
	if err != nil {
		able := reach == 3 || reach == 2 && !w.flipped
		if able || !errors.Is(err, ErrNoQuorum) && !errors.Is(err, ErrCorrupt) {
			w.fail("open on %s, which reaches %d: %v", self, reach, err)
		}
		return
	}
	w.opened = w.attempts
	h := &holder{try: w.attempts, node: self, gen: w.generation, l: l, base: w.base, ids: slices.Clone(w.must[:w.base])}
	for i, r := range records {
		id := int(r.Offset / 4096)
		if !bytes.Equal(r.Data, content(id, len(r.Data))) || i > 0 && r.Seq <= records[i-1].Seq || r.Seq < w.from {
			w.fail("record %d, id %d, is not what was appended", r.Seq, id)
		}
		h.ids, h.seqs = append(h.ids, id), append(h.seqs, r.Seq)
	}
	if len(h.ids) < len(w.must) {
		w.fail("%d records were synced, the new owner sees %d", len(w.must), len(h.ids))
	}
	w.learn(h.ids)
	w.owners = append(w.owners, h)
}

func (w *world) partition(*rapid.T) {
	ids := w.b.ids()
	x, y := rapid.SampledFrom(ids).Draw(w.t, "x"), rapid.SampledFrom(ids).Draw(w.t, "y")
	if x != y {
		cut := rapid.Bool().Draw(w.t, "cut")
		w.b.part(x, y, cut)
		w.note("between %s and %s: cut %v", x, y, cut)
	}
}

func (w *world) crash(*rapid.T) {
	up := w.up()
	if len(up) == 0 {
		w.t.Skip("all nodes are down")
	}
	id := rapid.SampledFrom(up).Draw(w.t, "node")
	if seed := rapid.Uint64Range(0, 20).Draw(w.t, "seed"); seed == 0 || id == w.rotten {
		w.b.stop(id)
		w.note("%s is killed", id)
	} else {
		w.note("%s loses power", id)
		w.b.lose(id, rand.New(rand.NewPCG(seed, 1)))
	}
	w.owners = slices.DeleteFunc(w.owners, func(h *holder) bool {
		if h.node == id {
			w.b.close(h.l)
		}
		return h.node == id
	})
	if rapid.Bool().Draw(w.t, "back at once") {
		w.b.start(id)
		w.note("%s is back", id)
	}
}

func (w *world) restart(*rapid.T) {
	for _, id := range w.b.ids() {
		if w.b.nodes[id].store == nil {
			w.b.start(id)
			w.note("%s is back", id)
			return
		}
	}
	w.t.Skip("all nodes are up")
}

// flip inverts a bit of the rotten node's disk, while it is down or up.
func (w *world) flip(*rapid.T) {
	if w.flipped {
		w.t.Skip("one fault at a time")
	}
	disk := w.b.nodes[w.rotten].fs.(*vfs.Mem)
	all := files(w.b.t, disk)
	name := rapid.SampledFrom(sortedKeys(all)).Draw(w.t, "file")
	if all[name] == 0 {
		w.t.Skip("an empty file")
	}
	off := rapid.Int64Range(0, all[name]-1).Draw(w.t, "byte")
	if err := disk.Flip(name, off, uint(off)%8); err != nil {
		return // the file has just been cut
	}
	w.flipped = true
	w.note("%s, byte %d is flipped on %s", name, off, w.rotten)
}

func sortedKeys(m map[string]int64) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (w *world) await(l *Log, id fsm.NodeID) {
	if err := awaitCopy(l, id); err != nil {
		w.fail("%v", err)
	}
}

func TestWhateverFailsSyncedRecordsStayAndOlderOwnersAreShutOut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t, 3)
		b.segment = 8 << 10
		w := &world{t: rt, b: b, generation: 1, from: 1}
		w.rotten = rapid.SampledFrom(b.ids()).Draw(rt, "rotten")
		defer func() {
			for _, h := range w.owners {
				b.close(h.l)
			}
			for _, id := range b.ids() {
				b.stop(id)
			}
		}()
		w.open(rapid.SampledFrom(b.ids()).Draw(rt, "first owner"))
		for _, id := range b.ids() {
			w.await(w.owners[0].l, id)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": w.append, "append more": w.append, "sync": w.sync, "checkpoint": w.checkpoint, "takeover": w.takeover,
			"partition": w.partition, "crash": w.crash, "restart": w.restart, "flip": w.flip,
		})
		for _, id := range b.ids() {
			for _, other := range b.ids() {
				b.part(id, other, false)
			}
			if b.nodes[id].store == nil {
				b.start(id)
			}
		}
		w.generation++
		w.open("n-b")
		last := w.owners[len(w.owners)-1].l
		for _, id := range b.ids() {
			w.await(last, id)
		}
		mustBeEqual(rt, b)
	})
}

// mustBeEqual fails unless all copies hold the same records where they have any.
func mustBeEqual(t *rapid.T, b *bed) {
	var all []*replica
	for _, id := range b.ids() {
		r, err := b.nodes[id].store.replica(testVolume)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	for _, r := range all[1:] {
		from, end := max(all[0].begin(), r.begin()), all[0].end()
		if r.end() != end {
			t.Fatalf("a copy ends at %d, another at %d", r.end(), end)
		}
		for seq := from; seq < end; seq++ {
			one, _, err1 := all[0].chunk(nil, seq, seq, 1)
			two, _, err2 := r.chunk(nil, seq, seq, 1)
			if errors.Is(err1, errHole) || errors.Is(err2, errHole) {
				continue // the flipped bit, not yet read by anyone
			}
			if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
				t.Fatal(fmt.Sprintf("record %d differs between copies", seq), err)
			}
		}
	}
}
