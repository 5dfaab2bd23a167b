package qlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"hive/fsm"
	"hive/internal/vfs"
)

// story is what a test has done so far. Values do not change.
type story struct {
	ids    []int // of the records that the log may hold, from the first that is wanted on
	acked  int   // how many of them must be there
	from   uint64
	formed bool // an opening has returned, with all copies members
}

// moment is what a loss of power at one operation would leave, and what must then be there.
type moment struct {
	op            string
	disks         map[fsm.NodeID]*vfs.Mem
	before, after story
}

// teller appends records with ids of their own and keeps the story.
type teller struct {
	t    testing.TB
	now  atomic.Pointer[story]
	next int
	seqs []uint64 // of the story's ids
}

func (w *teller) append(l *Log, size int) {
	w.t.Helper()
	s := *w.now.Load()
	id := w.next
	w.next++
	s.ids = append(slices.Clone(s.ids), id)
	w.now.Store(&s)
	at, err := l.Append(Write, int64(id)*4096, int64(size), content(id, size))
	if err != nil {
		w.t.Fatal(err)
	}
	w.seqs = append(w.seqs, at.Seq)
}

func (w *teller) sync(l *Log) {
	w.t.Helper()
	mustSync(w.t, l)
	s := *w.now.Load()
	s.acked = len(s.ids)
	w.now.Store(&s)
}

// opened takes over what a new owner was given.
func (w *teller) opened(records []Record) {
	w.t.Helper()
	s := *w.now.Load()
	if err := s.allows(records); err != nil {
		w.t.Fatal(err)
	}
	s.ids, s.acked, w.seqs = s.ids[:len(records)], len(records), nil
	for _, r := range records {
		w.seqs = append(w.seqs, r.Seq)
	}
	w.now.Store(&s)
}

// checkpoint says that the first n records are not wanted any more.
func (w *teller) checkpoint(n int) uint64 {
	s := *w.now.Load()
	s.from, s.ids, s.acked = w.seqs[n], s.ids[n:], max(0, s.acked-n)
	w.seqs = w.seqs[n:]
	w.now.Store(&s)
	return s.from
}

// allows tells whether a new owner may be given these records.
func (s story) allows(records []Record) error {
	if len(records) < s.acked || len(records) > len(s.ids) {
		return fmt.Errorf("%d records, %d were synced of %d", len(records), s.acked, len(s.ids))
	}
	for i, r := range records {
		if r.Offset != int64(s.ids[i])*4096 || !bytes.Equal(r.Data, content(s.ids[i], len(r.Data))) {
			return fmt.Errorf("record %d (seq %d) is not what was appended: id %d, want %d", i, r.Seq, r.Offset/4096, s.ids[i])
		}
		if i > 0 && r.Seq <= records[i-1].Seq {
			return fmt.Errorf("record %d has sequence %d after %d", i, r.Seq, records[i-1].Seq)
		}
	}
	return nil
}

// watch takes a moment before every operation of the nodes' disks.
func watch(b *bed, w *teller, keep func(moment)) {
	var ops atomic.Int64
	disks := map[fsm.NodeID]*vfs.Mem{}
	for id, n := range b.nodes {
		disks[id] = n.fs.(*vfs.Mem)
	}
	for _, id := range b.ids() {
		b.stop(id)
		b.nodes[id].fs = vfs.Hooked(disks[id], func(op vfs.Op) error {
			if op.Name == "read" || op.Name == "list" || op.Name == "open" {
				return nil
			}
			for began := ops.Add(1); ; began = ops.Load() {
				m := moment{op: string(id) + " " + op.String(), disks: map[fsm.NodeID]*vfs.Mem{}, before: *w.now.Load()}
				for id, disk := range disks {
					m.disks[id] = disk.CrashClone(nil)
					m.disks[id+"+"] = disk.CrashClone(rand.New(rand.NewPCG(uint64(len(m.op)), uint64(op.Off))))
				}
				if m.after = *w.now.Load(); ops.Load() == began { // else the disks are not of one moment
					keep(m)
					return nil
				}
			}
		})
		b.start(id)
	}
}

// mustSurvive opens the log on what a moment left, on the nodes given.
func mustSurvive(t *testing.T, m moment, all []fsm.NodeID, up []fsm.NodeID, torn bool) {
	t.Helper()
	b := newBed(t, 0)
	for _, id := range all {
		disk := m.disks[id]
		if torn {
			disk = m.disks[id+"+"]
		}
		b.nodes[id] = &node{id: id, fs: disk.CrashClone(nil)}
		if slices.Contains(up, id) {
			b.start(id)
		}
	}
	cfg := b.config(up[0], 1000)
	cfg.From = m.after.from
	l, records, err := b.tryOwner(cfg)
	if errors.Is(err, ErrNoQuorum) && !m.before.formed {
		return // no opening had returned: nothing can have been synced
	}
	if err != nil {
		t.Fatalf("%s: open on %v (torn %v): %v", m.op, up, torn, err)
	}
	before := m.before
	if skip := len(before.ids) - len(m.after.ids); m.before.from != m.after.from && skip >= 0 {
		before = m.after
	}
	if one, two := before.allows(records), m.after.allows(records); one != nil && (two != nil || before.acked > len(records)) {
		t.Fatalf("%s: on %v (torn %v): %v; %v", m.op, up, torn, one, two)
	}
	add(t, l, 1<<20, 10)
	mustSync(t, l)
	b.close(l)
	for _, id := range up {
		b.stop(id)
	}
}

func TestSyncedRecordsSurviveALossOfPowerAtEveryOperation(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBed(t, n)
			b.segment = 4 << 10
			w := &teller{t: t}
			w.now.Store(&story{from: 1})
			var mu sync.Mutex
			var moments []moment
			watch(b, w, func(m moment) {
				mu.Lock()
				defer mu.Unlock()
				moments = append(moments, m)
			})
			tell(t, b, w)
			all := b.ids()
			for _, id := range all {
				b.stop(id)
			}
			mu.Lock()
			defer mu.Unlock()
			for i, m := range moments {
				up := all
				if n == 3 && i%4 > 0 {
					up = slices.Delete(slices.Clone(all), i%4-1, i%4)
				}
				mustSurvive(t, m, all, up, i%2 == 1)
			}
			t.Logf("%d moments", len(moments))
		})
	}
}

// tell is a life of a log: three owners, syncs, a cut, a copy that is away and back.
func tell(t *testing.T, b *bed, w *teller) {
	all := b.ids()
	l, records := b.owner(all[0], 1)
	w.opened(records)
	for _, id := range all {
		waitSynced(t, l, id)
	}
	s := *w.now.Load()
	s.formed = true
	w.now.Store(&s)
	for i := range 6 {
		for range i {
			w.append(l, 900)
		}
		w.sync(l)
	}
	if len(all) > 1 {
		b.part(all[0], all[1], true)
	}
	for range 5 {
		w.append(l, 700)
	}
	w.sync(l)
	if len(all) > 1 {
		b.part(all[0], all[1], false)
	}
	if err := l.Cut(t.Context(), w.checkpoint(8)); err != nil {
		t.Fatal(err)
	}
	w.append(l, 500) // not synced
	l2, records, err := b.tryOwner(func() Config {
		c := b.config(all[len(all)-1], 2)
		c.From = w.now.Load().from
		return c
	}())
	if err != nil {
		t.Fatal(err)
	}
	w.opened(records)
	b.close(l)
	for range 3 {
		w.append(l2, 1100)
		w.sync(l2)
	}
	b.close(l2)
}
