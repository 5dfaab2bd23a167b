package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/vfs"
)

// hedged makes writes give up soon on nodes that hang.
func hedged(r *rig) { r.tune = func(c *Config) { c.WriteHedge = 500 * time.Millisecond } }

// settled waits until nothing is owed.
func (r *rig) settled() {
	r.t.Helper()
	for {
		changed := r.index.Changed()
		var owed int
		err := r.index.View(func(v *fsm.View) error { owed = len(fsm.OwedNodes(v, 1)); return nil })
		if err != nil {
			r.t.Fatal(err)
		}
		if owed == 0 {
			return
		}
		select {
		case <-changed:
		case <-time.After(30 * time.Second):
			r.t.Fatal("shards are still owed after 30 s")
		}
	}
}

// run does the background work of all stores until the test ends.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, s := range r.stores {
		wg.Go(func() {
			if err := s.Run(ctx); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(func() { cancel(); wg.Wait() })
}

// complete checks that every live blob has each of its shards, whole, on its own node and nowhere
// else.
func (r *rig) complete() {
	r.t.Helper()
	table, err := r.stores[r.ids[0]].tables.get()
	if err != nil {
		r.t.Fatal(err)
	}
	want := map[fsm.NodeID]int{}
	err = r.live(context.Background(), func(ref Ref) bool {
		for shard, node := range table.Rows[ref.Partition].Nodes {
			h, whole := r.stores[node].ownShard(ref, uint8(shard))
			if !whole || h.Hint {
				r.t.Errorf("blob %v: shard %d on %s: %+v", ref.ID, shard, node, h)
			}
			want[node] += int(h.Records)
		}
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for id, s := range r.stores {
		if u := s.local.disk.usage(); u.records != want[id] || u.rotten > 0 {
			r.t.Errorf("%s: %+v, want %d records", id, u, want[id])
		}
	}
}

// objects are what a test has written.
type objects map[Ref][]byte

func (r *rig) checkAll(o objects, via ...fsm.NodeID) {
	r.t.Helper()
	for ref, data := range o {
		for _, id := range via {
			r.check(id, ref, data)
		}
	}
}

var sizes = []int{1, 4096, 100_000, 1 << 20, 3<<20 + 17}

func TestNodesThatAreDownAreDoneWithoutAndCaughtUp(t *testing.T) {
	for _, c := range []struct{ nodes, down int }{{3, 1}, {5, 1}, {5, 2}} {
		t.Run(fmt.Sprintf("%d of %d", c.down, c.nodes), func(t *testing.T) {
			transports(t, c.nodes, func(t *testing.T, r *rig) {
				o := objects{}
				for i, n := range sizes {
					data := random(uint64(i), n)
					o[r.put("n-a", fmt.Sprint("before", i), data)] = data
				}
				down := r.ids[c.nodes-c.down:]
				for _, id := range down {
					r.faults.set(r.faults.down, id, true)
				}
				up := r.ids[:c.nodes-c.down]
				during := objects{}
				for i, n := range append(sizes, sizes...) {
					data := random(uint64(100+i), n)
					ref := r.put(up[i%len(up)], fmt.Sprint("during", i), data)
					o[ref], during[ref] = data, data
				}
				r.checkAll(o, up...)
				// one more loss loses nothing that was written meanwhile
				for i, also := range up {
					via := up[(i+1)%len(up)]
					r.faults.set(r.faults.down, also, true)
					r.checkAll(during, via)
					r.faults.set(r.faults.down, also, false)
					r.stores[via].health.restore(also)
				}
				for _, id := range down {
					r.faults.set(r.faults.down, id, false)
				}
				r.run()
				r.settled()
				r.dropped()
				r.complete()
				r.checkAll(o, r.ids...)
			})
		})
	}
}

// dropped waits until no node keeps hints.
func (r *rig) dropped() {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for r.hints() > 0 {
		if time.Now().After(deadline) {
			r.t.Fatal("hints are left after 30 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *rig) hints() (n int) {
	for _, s := range r.stores {
		d := s.local.disk
		d.mu.RLock()
		for _, p := range d.index {
			if p.hint() {
				n++
			}
		}
		d.mu.RUnlock()
	}
	return n
}

func TestWritesAsManyLossesAsHintsAllow(t *testing.T) {
	r := newRig(t, 3)
	r.faults.set(r.faults.down, "n-b", true)
	r.faults.set(r.faults.down, "n-c", true)
	for _, n := range sizes {
		_, _, err := r.stores["n-a"].Write(t.Context(), "k", bytes.NewReader(random(1, n)), int64(n))
		if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("%d bytes with two of three nodes down: %v", n, err)
		}
	}
}

// Nodes that were too slow a moment ago are asked again before a write fails.
func TestAWriteAsksNodesOfWhichTooManyAreDoubted(t *testing.T) {
	r := newRig(t, 3)
	r.stores["n-a"].health.trip("n-b", errors.New("slow"))
	r.stores["n-a"].health.trip("n-c", errors.New("slow"))
	data := random(1, 5000)
	r.check("n-a", r.put("n-a", "k", data), data)
	r.complete()
}

func TestAHungNodeCostsOneRequestItsPatience(t *testing.T) {
	r := newRig(t, 3, hedged)
	o := objects{}
	for i, n := range sizes {
		data := random(uint64(i), n)
		o[r.put("n-a", fmt.Sprint(i), data)] = data
	}
	r.faults.set(r.faults.hung, "n-c", true)
	began := time.Now()
	data := random(9, 1<<20)
	o[r.put("n-a", "first", data)] = data
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("first write took %v: it did not wait for the node", took)
	}
	asked := r.faults.count("n-c")
	for i := range 20 {
		data := random(uint64(30+i), 5000)
		o[r.put("n-a", fmt.Sprint("then", i), data)] = data
	}
	if again := r.faults.count("n-c") - asked; again > 5 {
		t.Errorf("the hung node was asked %d times for 20 more writes", again)
	}
	r.checkAll(o, "n-a", "n-b")
	r.run()
	r.faults.set(r.faults.hung, "n-c", false)
	r.settled()
	r.dropped()
	r.complete()
}

func TestReadsGoAroundAHungNode(t *testing.T) {
	r := newRig(t, 3, hedged)
	o := objects{}
	for i, n := range append(sizes, sizes...) {
		data := random(uint64(i), n)
		o[r.put("n-a", fmt.Sprint(i), data)] = data
	}
	r.faults.set(r.faults.hung, "n-b", true)
	r.checkAll(o, "n-a", "n-c")
	asked := r.faults.count("n-b")
	r.checkAll(o, "n-a", "n-c")
	if again := r.faults.count("n-b"); again > asked+5 {
		t.Fatalf("the hung node was asked %d more times", again-asked)
	}
}

// A node that stops in the middle of a large blob, after some of its records were taken.
func TestANodeThatStopsInTheMiddleIsReplaced(t *testing.T) {
	for _, how := range []string{"refuses", "hangs"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, 3, hedged)
			puts := 0
			r.faults.before["n-b"] = func(op string, p *Put, _ Get) error {
				if op == "put" && p.seq == 2 {
					if puts++; how == "hangs" {
						r.faults.set(r.faults.hung, "n-b", true)
					} else {
						r.faults.set(r.faults.down, "n-b", true)
						return errors.New("connection reset")
					}
				}
				return nil
			}
			data := random(1, 7<<20+3)
			ref := r.put("n-a", "k", data)
			if puts == 0 {
				t.Fatal("the fault was never met")
			}
			r.check("n-a", ref, data)
			r.faults.set(r.faults.down, "n-a", true) // n-c alone is left, with what it keeps
			r.check("n-c", ref, data)
			r.faults.set(r.faults.down, "n-a", false)
			r.faults.set(r.faults.down, "n-b", false)
			r.faults.set(r.faults.hung, "n-b", false)
			r.faults.mu.Lock()
			delete(r.faults.before, "n-b")
			r.faults.mu.Unlock()
			r.run()
			r.settled()
			r.dropped()
			r.complete()
			r.check("n-b", ref, data)
		})
	}
}

// A node that loses power in the middle of a large blob has lost what was not synced, and says so.
func TestANodeThatLostPowerInTheMiddleIsReplaced(t *testing.T) {
	r := newRig(t, 3)
	var once sync.Once
	r.faults.before["n-b"] = func(op string, p *Put, _ Get) error {
		if op == "put" && p.seq == 3 {
			once.Do(func() {
				r.disks["n-b"] = r.disks["n-b"].CrashClone(nil)
				r.open("n-b")
			})
		}
		return nil
	}
	data := random(1, 5<<20)
	ref, owed, err := r.stores["n-a"].Write(t.Context(), "b/k", bytes.NewReader(data), int64(len(data)))
	if err != nil || len(owed) != 1 || owed[0].Node != "n-b" {
		t.Fatalf("%v %v", owed, err)
	}
	r.record("k", ref, owed)
	r.run()
	r.settled()
	r.dropped()
	r.complete()
	r.check("n-b", ref, data)
}

func TestAFullNodeRefusesWritesWithItsCause(t *testing.T) {
	transports(t, 3, func(t *testing.T, r *rig) {
		data := random(1, 100_000)
		ref := r.put("n-a", "k", data)
		r.disks["n-b"].SetTotal(0)
		r.clock.advance(time.Second)
		_, _, err := r.stores["n-a"].Write(t.Context(), "k", bytes.NewReader(data), int64(len(data)))
		if !errors.Is(err, ErrDiskFull) {
			t.Fatal(err)
		}
		if err := r.stores["n-b"].Trouble(); !errors.Is(err, ErrDiskFull) {
			t.Errorf("the full node's own opinion: %v", err)
		}
		if err := r.stores["n-a"].Trouble(); err != nil {
			t.Errorf("another node's: %v", err)
		}
		r.check("n-b", ref, data)
		r.disks["n-b"].SetTotal(1 << 20) // what deletes may use
		if done, err := r.stores["n-a"].Delete(t.Context(), ref); !done || err != nil {
			t.Fatal(done, err)
		}
	})
}

// rot flips a bit in the payload of every record of a node.
func (r *rig) rot(id fsm.NodeID) (n int) {
	r.t.Helper()
	d := r.stores[id].local.disk
	for _, p := range d.index {
		h := header{length: p.length()}
		off := int64(p.off) + int64(h.payloadAt()) + int64(p.length()/2)
		if err := r.disks[id].Flip("/shards/"+segmentName(p.segment), off, 3); err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

func TestRottenShardsAreReadAroundAndMended(t *testing.T) {
	for _, nodes := range []int{3, 5} {
		transports(t, nodes, func(t *testing.T, r *rig) {
			o := objects{}
			for i, n := range append(sizes, sizes...) {
				data := random(uint64(i), n)
				o[r.put("n-a", fmt.Sprint(i), data)] = data
			}
			r.rot("n-b")
			r.checkAll(o, r.ids...)
			for _, id := range r.ids {
				r.stores[id].mendQueued(t.Context())
			}
			report, err := r.stores["n-b"].Scrub(t.Context())
			if err != nil || report.Failed > 0 {
				t.Fatalf("%+v %v", report, err)
			}
			report, err = r.stores["n-b"].Scrub(t.Context())
			if err != nil || report.Rotten+report.Missing+report.Failed > 0 {
				t.Fatalf("%+v %v", report, err)
			}
			r.complete()
			r.checkAll(o, r.ids...)
		})
	}
}

func TestAScrubFindsAndMendsRot(t *testing.T) {
	r := newRig(t, 3)
	o := objects{}
	for i, n := range append(sizes, sizes...) {
		data := random(uint64(i), n)
		o[r.put("n-a", fmt.Sprint(i), data)] = data
	}
	n := r.rot("n-b")
	r.run()
	report, err := r.stores["n-b"].Scrub(t.Context())
	if err != nil || report.Rotten != int64(n) || report.Mended != int64(len(o)) || report.Missing+report.Failed != 0 {
		t.Fatalf("%d records of %d shards: %+v %v", n, len(o), report, err)
	}
	r.complete()
	r.checkAll(o, r.ids...)
}

func TestAHintThatIsRottenIsRebuiltAtHandOver(t *testing.T) {
	r := newRig(t, 3)
	r.faults.set(r.faults.down, "n-c", true)
	o := objects{}
	for i, n := range sizes {
		data := random(uint64(i), n)
		o[r.put("n-a", fmt.Sprint(i), data)] = data
	}
	r.rot("n-a")
	r.faults.set(r.faults.down, "n-c", false)
	r.run()
	r.settled()
	if _, err := r.stores["n-a"].Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.dropped()
	r.complete()
	r.checkAll(o, r.ids...)
}

func TestANodeThatLostItsDiskIsFilledAgain(t *testing.T) {
	transports(t, 3, func(t *testing.T, r *rig) {
		o := objects{}
		for i, n := range append(sizes, sizes...) {
			data := random(uint64(i), n)
			o[r.put("n-a", fmt.Sprint(i), data)] = data
		}
		r.close("n-b")
		r.disks["n-b"] = vfs.NewMem(1 << 40)
		s := r.open("n-b")
		if err := s.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := s.Progress(); p.What != "repair" || p.Running || p.Mended != int64(len(o)) || p.Bytes == 0 {
			t.Fatalf("%+v", p)
		}
		r.complete()
		r.checkAll(o, r.ids...)
	})
}

func TestAnEmptyStoreRepairsItself(t *testing.T) {
	r := newRig(t, 3)
	data := random(1, 5000)
	r.put("n-a", "k", data)
	r.close("n-c")
	r.disks["n-c"] = vfs.NewMem(1 << 40)
	s := r.open("n-c")
	r.run()
	deadline := time.Now().Add(20 * time.Second)
	for s.local.disk.wounded() {
		if time.Now().After(deadline) {
			t.Fatal("still empty")
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.complete()
}

func TestTooManyLossesAreToldApart(t *testing.T) {
	r := newRig(t, 3)
	ref := r.put("n-a", "k", random(1, 5000))
	r.faults.set(r.faults.down, "n-b", true)
	r.faults.set(r.faults.down, "n-c", true)
	if _, err := r.read("n-a", ref, 0, -1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("two nodes down: %v", err)
	}
	r.faults.set(r.faults.down, "n-b", false)
	r.faults.set(r.faults.down, "n-c", false)
	r.rot("n-b")
	r.rot("n-c")
	if _, err := r.read("n-a", ref, 0, -1); !errors.Is(err, ErrLost) {
		t.Errorf("two nodes rotten: %v", err)
	}
}

func TestGarbageIsDeletedEverywhereAndSwept(t *testing.T) {
	r := newRig(t, 3)
	o := objects{}
	for i, n := range sizes {
		data := random(uint64(i), n)
		ref := r.put("n-a", fmt.Sprint(i), data)
		if i%2 == 0 {
			o[ref] = data
		} else {
			r.remove(fmt.Sprint(i))
		}
	}
	r.faults.set(r.faults.down, "n-c", true)
	r.put("n-a", "x", random(1, 70_000))
	r.remove("x") // owed to n-c, kept by the others
	collect := func(partly map[ID]struct{}) (left int) {
		if err := r.stores["n-a"].collect(t.Context(), partly); err != nil {
			t.Fatal(err)
		}
		err := r.index.View(func(v *fsm.View) error {
			fsm.GarbageFrom(v, ID{}, func(fsm.Garbage) bool { left++; return true })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	partly := map[ID]struct{}{}
	if left := collect(partly); left != 3 {
		t.Fatalf("%d left, of 3 that are not due", left)
	}
	r.clock.advance(time.Minute)
	if left := collect(partly); left != 3 {
		t.Fatalf("%d left while a node is away", left)
	}
	asked := r.faults.count("n-b")
	if collect(partly); r.faults.count("n-b") != asked {
		t.Error("a node that had deleted everything was asked again")
	}
	r.faults.set(r.faults.down, "n-c", false)
	r.stores["n-a"].health.restore("n-c")
	if left := collect(partly); left != 0 || len(partly) != 0 {
		t.Fatalf("%d left, %d remembered", left, len(partly))
	}
	r.complete()
	r.checkAll(o, r.ids...)
}

func TestOrphansAreCollectedAfterTheirGrace(t *testing.T) {
	r := newRig(t, 3)
	data := random(1, 3<<20)
	ref := r.put("n-a", "k", data)
	if _, _, err := r.stores["n-a"].Write(t.Context(), "b/lost", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	orphans := func() (n int) {
		for _, s := range r.stores {
			found, err := s.CollectOrphans(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n += found
		}
		return n
	}
	if n := orphans(); n != 0 {
		t.Fatalf("%d young ones were deleted", n)
	}
	r.clock.advance(25 * time.Hour)
	if n := orphans(); n == 0 {
		t.Fatal("none found")
	}
	r.complete()
	r.check("n-b", ref, data)
}

func TestAReadGoesOnWhileItsBlobIsDeletedAndCompactedAway(t *testing.T) {
	r := newRig(t, 3)
	data := random(1, 9<<20)
	ref := r.put("n-a", "k", data)
	body, err := r.stores["n-a"].Read(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := r.stores["n-b"].Delete(t.Context(), ref); !done || err != nil {
		t.Fatal(done, err)
	}
	for _, s := range r.stores {
		s.local.disk.cfg.segmentSize = 1
	}
	r.put("n-a", "other", random(2, 100)) // closes the segments
	for _, s := range r.stores {
		compactAll(t, s.local.disk)
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestSlowDiskOfOneNodeDelaysNobody(t *testing.T) {
	var slow atomic.Bool
	release := make(chan struct{})
	var met atomic.Int32
	r := newRig(t, 3, hedged, func(r *rig) {
		r.fs = func(node fsm.NodeID, mem *vfs.Mem) vfs.FS {
			if node != "n-a" {
				return mem
			}
			return vfs.Hooked(mem, func(op vfs.Op) error {
				if slow.Load() && (op.Name == "read" || op.Name == "datasync") {
					met.Add(1)
					<-release
				}
				return nil
			})
		}
	})
	data := random(1, 1<<20)
	ref := r.put("n-a", "k", data)
	slow.Store(true)
	began := time.Now()
	r.check("n-a", ref, data) // its own disk hangs
	r.check("n-b", ref, data)
	_, owed, err := r.stores["n-a"].Write(t.Context(), "b/k2", bytes.NewReader(data), int64(len(data)))
	if took := time.Since(began); err != nil || len(owed) != 1 || owed[0].Node != "n-a" || took > 4*time.Second || met.Load() == 0 {
		t.Errorf("%v %v after %v, met %d", owed, err, took, met.Load())
	}
	slow.Store(false)
	close(release)
}

func TestMemoryOfRequestsIsBounded(t *testing.T) {
	r := newRig(t, 3, func(r *rig) { r.tune = func(c *Config) { c.Memory = 1; c.SegmentSize = 1 << 30 } })
	limit := int64(maxShards * 2 * groupSize)
	s := r.stores["n-a"]
	if !s.memory.TryAcquire(limit) {
		t.Fatal("not the least memory")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := s.Write(ctx, "k", strings.NewReader("x"), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("write without memory: %v", err)
	}
	s.memory.Release(limit)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			data := random(uint64(i), 2<<20)
			ref, _, err := s.Write(t.Context(), fmt.Sprint(i), bytes.NewReader(data), -1)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := r.read("n-a", ref, 0, -1); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if !s.memory.TryAcquire(limit) {
		t.Fatal("memory was not given back")
	}
}

func TestKeepersLeaveEnoughForOneMoreLoss(t *testing.T) {
	for _, c := range []struct {
		k, width int
		live     []int
		ok       bool
	}{
		{2, 3, []int{0, 1, 2}, true}, {2, 3, []int{0, 2}, true}, {2, 3, []int{1}, false},
		{3, 5, []int{0, 1, 2, 3}, true}, {3, 5, []int{0, 2, 4}, true}, {3, 5, []int{1, 4}, true}, {3, 5, []int{4}, false},
		{1, 1, nil, false}, {1, 2, []int{1}, false},
	} {
		plan := keepers(c.k, c.width, c.live)
		if (plan != nil) != c.ok {
			t.Errorf("RS(%d,%d) with %v: %v", c.k, c.width-c.k, c.live, plan)
		}
		for _, lost := range c.live {
			if plan != nil && left(plan, c.live, lost) < c.k {
				t.Errorf("RS(%d,%d) with %v less %d: %v", c.k, c.width-c.k, c.live, lost, plan)
			}
		}
	}
}

func TestARottenShardOfNoObjectIsNobodysLoss(t *testing.T) {
	r := newRig(t, 3)
	data := random(1, 5000)
	if _, _, err := r.stores["n-a"].Write(t.Context(), "k", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if r.rot("n-b") == 0 {
		t.Fatal("nothing was flipped")
	}
	report, err := r.stores["n-b"].Scrub(t.Context())
	if err != nil || report.Records == 0 || report.Rotten != 0 || report.Failed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// A keeper that was away when another one handed the shard over still has its hint.
func TestARottenHintThatWasHandedOverIsNobodysLoss(t *testing.T) {
	r := newRig(t, 3)
	r.faults.set(r.faults.down, "n-c", true)
	data := random(1, 5000)
	o := objects{r.put("n-a", "k", data): data}
	hints := r.hints()
	r.faults.set(r.faults.down, "n-c", false)
	var keepers []fsm.NodeID
	err := r.index.View(func(v *fsm.View) error {
		fsm.OwedTo(v, "n-c", ID{}, func(row fsm.OwedShards) bool { keepers = row.Owed[0].Keepers; return false })
		return nil
	})
	if err != nil || len(keepers) != 2 {
		t.Fatal(keepers, err)
	}
	keeper, away := keepers[0], keepers[1]
	for _, s := range r.stores {
		s.health.restore("n-c")
	}
	r.faults.set(r.faults.down, away, true)
	if err := r.stores[keeper].handOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.faults.set(r.faults.down, away, false)
	if left := r.hints(); left == 0 || left == hints {
		t.Fatalf("%d hints of %d are left", left, hints)
	}
	r.rot(away)
	report, err := r.stores[away].Scrub(t.Context())
	if err != nil || report.Failed != 0 || report.Mended != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	report, err = r.stores[away].Scrub(t.Context())
	if err != nil || report.Rotten+report.Failed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	r.checkAll(o, r.ids...)
}
