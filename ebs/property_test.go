package ebs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"hive/ebs/qlog"
	"hive/fsm"
	"hive/internal/fsmtest"
)

// world is volumes and snapshots beside what they must be.
type world struct {
	t         *rapid.T
	b         *bench
	volumes   []*known
	snapshots []*frozen
	random    *rand.Rand
}

type known struct {
	v         *volume
	id        fsm.VolumeID
	now       model
	durable   model    // as of the last flush
	unflushed []change // since
}

type frozen struct {
	id      fsm.SnapshotID
	of      *known
	content model
}

var errInjected = errors.New("injected")

func (w *world) pick() *known {
	return w.volumes[rapid.IntRange(0, len(w.volumes)-1).Draw(w.t, "volume")]
}

func (w *world) add(id fsm.VolumeID, content model) {
	w.volumes = append(w.volumes, &known{v: w.b.open(id, true), id: id, now: content.clone(), durable: content.clone()})
}

// span draws a range; most lie in a window.
func (w *world) span() (off, n int64) {
	window := windowAt(rapid.IntRange(0, 2).Draw(w.t, "window"))
	sector := rapid.Int64Range(0, windowSize/sectorSize-1).Draw(w.t, "sector")
	length := rapid.Int64Range(1, windowSize/sectorSize-sector).Draw(w.t, "sectors")
	if rapid.Bool().Draw(w.t, "short") {
		length = min(length, 9)
	}
	return window + sector*sectorSize, length * sectorSize
}

func (w *world) change(k *known, kind qlog.Kind, c change) {
	ctx := context.Background()
	var err error
	if kind == qlog.Write {
		err = k.v.write(ctx, c.data, c.off, false)
	} else {
		err = k.v.zero(ctx, kind, c.off, c.n, false)
	}
	if err != nil {
		w.t.Fatalf("change: %v", err)
	}
	k.now.apply(c)
	k.unflushed = append(k.unflushed, c)
}

func (w *world) write(*rapid.T) {
	k := w.pick()
	off, n := w.span()
	w.change(k, qlog.Write, change{off, n, pattern(byte(w.random.IntN(256)), int(n))})
}

func (w *world) zero(*rapid.T) {
	k := w.pick()
	off, n := w.span()
	switch rapid.IntRange(0, 5).Draw(w.t, "reach") {
	case 0: // over pages and windows
		off, n = 0, rapid.Int64Range(1, testGiB<<30/sectorSize).Draw(w.t, "many")*sectorSize
	case 1:
		off = rapid.Int64Range(0, testGiB<<30/sectorSize-1).Draw(w.t, "from") * sectorSize
		n = testGiB<<30 - off
	}
	w.change(k, rapid.SampledFrom([]qlog.Kind{qlog.Zero, qlog.Trim}).Draw(w.t, "kind"), change{off, n, nil})
}

func (w *world) read(*rapid.T) {
	k := w.pick()
	off, n := w.span()
	got := make([]byte, n)
	if err := k.v.read(context.Background(), got, off); err != nil {
		w.t.Fatalf("read: %v", err)
	}
	for i := range k.now {
		if start := windowAt(i); off >= start && off < start+windowSize {
			if string(got) != string(k.now[i][off-start:off-start+n]) {
				w.t.Fatalf("%d bytes at %d of %s are not what was written", n, off, k.id)
			}
		}
	}
}

func (w *world) flushed(k *known) {
	k.durable, k.unflushed = k.now.clone(), nil
}

func (w *world) flush(*rapid.T) {
	k := w.pick()
	if err := k.v.sync(context.Background()); err != nil {
		w.t.Fatalf("flush: %v", err)
	}
	w.flushed(k)
}

// checkpoint makes one that may fail at any of its steps.
func (w *world) checkpoint(*rapid.T) {
	k := w.pick()
	w.failing(func(ctx context.Context) error { _, err := k.v.checkpoint(ctx); return err })
}

// failing runs fn with a blob or a proposal that fails, some time, or a context that ends then; a proposal may fail before or
// after it counts.
func (w *world) failing(fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ends := rapid.Bool().Draw(w.t, "context ends")
	at := rapid.IntRange(0, 12).Draw(w.t, "failure")
	late := rapid.Bool().Draw(w.t, "late")
	var n atomic.Int64
	hit := func() bool { return n.Add(1) == int64(at) }
	w.b.faults.set(func(string) error {
		if !hit() {
			return nil
		}
		if ends {
			cancel()
			return nil
		}
		return errInjected
	}, func(cmd fsm.Command) error {
		if !hit() {
			return nil
		}
		if ends {
			cancel()
			return nil
		}
		if late {
			group := w.b.control
			if cmd.Kind() >= 1000 {
				group = w.b.index
			}
			if err := group.Propose(context.Background(), cmd); err != nil {
				return err
			}
		}
		return errInjected
	})
	if ends && at == 0 {
		cancel()
	}
	err := fn(ctx)
	w.b.faults.set(nil, nil)
	if err != nil && !errors.Is(err, errInjected) && !errors.Is(err, context.Canceled) {
		w.t.Fatalf("failed by itself: %v", err)
	}
}

// crash loses power, at any time: each volume is then what it was after some prefix of the unflushed changes.
func (w *world) crash(*rapid.T) {
	takeover := rapid.Bool().Draw(w.t, "takeover")
	w.b.crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(w.t, "torn"), 1)))
	for _, k := range w.volumes {
		k.v = w.b.open(k.id, takeover)
		got := contentOf(w.t, k.v)
		state, found := k.durable.clone(), false
		for i := 0; ; i++ {
			if found = got.equal(state); found || i == len(k.unflushed) {
				break
			}
			state.apply(k.unflushed[i])
		}
		if !found {
			differ(w.t, fmt.Sprintf("%s after a crash, %d changes not flushed", k.id, len(k.unflushed)), got, k.durable)
		}
		k.now = got
		if err := k.v.sync(context.Background()); err != nil {
			w.t.Fatal(err)
		}
		w.flushed(k)
	}
}

func (w *world) freeze(*rapid.T) {
	k := w.pick()
	id := fsm.SnapshotID(w.b.newID("snap"))
	w.b.propose(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: id, Account: account, Volume: k.id}})
	if w.b.snapshotRecord(id).State == fsm.SnapshotPending {
		if err := k.v.freeze(context.Background(), id); err != nil {
			w.t.Fatalf("freeze: %v", err)
		}
		w.flushed(k)
	}
	w.snapshots = append(w.snapshots, &frozen{id: id, of: k, content: k.now.clone()})
}

// completed settles a snapshot's volume until the snapshot is complete.
func (w *world) completed(s *frozen) {
	for w.b.snapshotRecord(s.id).State == fsm.SnapshotPending {
		if _, err := s.of.v.checkpoint(context.Background()); err != nil {
			w.t.Fatalf("complete %s: %v", s.id, err)
		}
	}
}

func (w *world) clone(*rapid.T) {
	if len(w.snapshots) == 0 || len(w.volumes) > 3 {
		return
	}
	s := w.snapshots[rapid.IntRange(0, len(w.snapshots)-1).Draw(w.t, "snapshot")]
	w.completed(s)
	w.add(w.b.create(testGiB, s.id), s.content)
}

func (w *world) deleteSnapshot(*rapid.T) {
	if len(w.snapshots) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.snapshots)-1).Draw(w.t, "snapshot")
	w.b.propose(&fsm.DeleteSnapshot{ID: w.snapshots[i].id, Account: account})
	w.snapshots = append(w.snapshots[:i], w.snapshots[i+1:]...)
}

func (w *world) deleteVolume(*rapid.T) {
	if len(w.volumes) < 2 {
		return
	}
	i := rapid.IntRange(0, len(w.volumes)-1).Draw(w.t, "volume")
	k := w.volumes[i]
	for _, s := range w.snapshots {
		if s.of == k {
			w.completed(s)
		}
	}
	w.b.propose(&fsm.DeleteVolume{ID: k.id, Account: account})
	if err := k.v.close(); err != nil {
		w.t.Fatal(err)
	}
	w.volumes = append(w.volumes[:i], w.volumes[i+1:]...)
}

func (w *world) sweep(*rapid.T) {
	w.failing(func(ctx context.Context) error { _, err := w.b.manager().Sweep(ctx); return err })
	w.b.blobs.lose(w.t, w.b.index)
}

// check reads everything.
func (w *world) check() {
	for _, k := range w.volumes {
		differ(w.t, string(k.id), contentOf(w.t, k.v), k.now)
	}
	for _, s := range w.snapshots {
		if w.b.snapshotRecord(s.id).State == fsm.SnapshotCompleted {
			differ(w.t, string(s.id), snapshotContent(w.t, w.b, s.id), s.content)
		}
	}
}

// rowsLeft is how many chunks an index group has.
func rowsLeft(t fatal, index *fsmtest.Group) (n int) {
	if err := rows(context.Background(), index, "", func(fsm.Chunk) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Whatever happens, a volume is what was written to it, a snapshot what was frozen, a crash loses nothing that was flushed and
// leaves no gap before what it did not lose; the sweep never takes what somebody needs and in the end takes the rest.
func TestVolumesAreWhatWasWritten(t *testing.T) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		control, index := groups(t)
		w := &world{t: rt, b: newBench(rt, control, index, fmt.Sprintf("%08x", run)), random: rand.New(rand.NewPCG(uint64(run), 2))}
		w.add(w.b.create(testGiB, ""), newModel())
		rt.Repeat(map[string]func(*rapid.T){
			"write": w.write, "write again": w.write, "zero": w.zero, "read": w.read, "flush": w.flush, "checkpoint": w.checkpoint,
			"crash": w.crash, "freeze": w.freeze, "clone": w.clone, "delete snapshot": w.deleteSnapshot,
			"delete volume": w.deleteVolume, "sweep": w.sweep,
			"": func(*rapid.T) {},
		})
		w.check()
		for len(w.snapshots) > 0 {
			w.completed(w.snapshots[0])
			w.b.propose(&fsm.DeleteSnapshot{ID: w.snapshots[0].id, Account: account})
			w.snapshots = w.snapshots[1:]
		}
		for _, k := range w.volumes {
			if err := k.v.close(); err != nil {
				rt.Fatal(err)
			}
			w.b.propose(&fsm.DeleteVolume{ID: k.id, Account: account})
		}
		if _, err := w.b.manager().Sweep(context.Background()); err != nil {
			rt.Fatal(err)
		}
		if n := rowsLeft(rt, index); n > 0 {
			rt.Fatalf("%d chunks are left of nothing", n)
		}
		if err := w.b.logs.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}
