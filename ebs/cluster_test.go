package ebs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hive/fsm"
)

// A node that is lost takes nothing with it that was flushed; the next owner shuts the old one out.
func TestVolumeSurvivesTheLossOfItsNode(t *testing.T) {
	r := newRig(t, 3, nil)
	id := r.volume(1, "")
	e, _ := r.attach(id, "n-a")
	c := connect(t, e)
	data := pattern(1, 20<<20) // more than begins a checkpoint
	for off := 0; off < len(data); off += 1 << 20 {
		c.write(int64(off), data[off:off+1<<20])
	}
	c.flush()
	r.setDead("n-a", true)
	r.halt("n-a")
	e, _ = r.attach(id, "n-b")
	c = connect(t, e)
	for off := int64(0); off < int64(len(data)); off += 4 << 20 {
		wantBytes(t, "on the next node", c.read(off, 4<<20), data[off:off+4<<20])
	}
	c.write(0, pattern(2, 4096))
	c.flush()
	r.start("n-a")
	r.setDead("n-a", false)
	e, _ = r.attach(id, "n-a")
	copy(data, pattern(2, 4096))
	wantBytes(t, "back on the first", connect(t, e).read(0, 1<<20), data[:1<<20])
}

func TestOlderOwnerIsShutOut(t *testing.T) {
	r := newRig(t, 3, nil)
	ctx := context.Background()
	id := r.volume(1, "")
	e1, g1 := r.attach(id, "n-a")
	old := connect(t, e1)
	old.write(0, pattern(1, 4096))
	old.flush()
	e2, _ := r.attach(id, "n-b")
	c := connect(t, e2)
	wantBytes(t, "after takeover", c.read(0, 4096), pattern(1, 4096))
	for i := 0; ; i++ { // at the latest the flush fails; its connection ends
		_, err := old.do(0, nbdWrite, 0, 4096, pattern(9, 4096))
		if err == nil {
			_, err = old.do(0, nbdFlush, 0, 0, nil)
		}
		if err != nil {
			break
		}
		if i > 0 {
			t.Fatal("an older owner's flush was answered")
		}
	}
	wantBytes(t, "after the older owner's write", c.read(0, 4096), pattern(1, 4096))
	if _, err := r.node("n-a").Attach(ctx, id, g1); !errors.Is(err, ErrNotOwner) {
		t.Errorf("attach under an older generation: %v", err)
	}
	eventually(t, "the end of the older owner's export", func() bool {
		conn, err := net.Dial("unix", e1.Socket)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

func TestVolumeOfALostNodeIsSettledByAnother(t *testing.T) {
	r := newRig(t, 3, nil)
	ctx := context.Background()
	id := r.volume(1, "")
	e, _ := r.attach(id, "n-c")
	c := connect(t, e)
	c.write(1<<20, pattern(4, 8192))
	c.flush()
	snap := r.snapshot(id)
	r.setDead("n-c", true)
	r.halt("n-c")
	r.stopInstance(r.record(id).Attachment.Instance)
	r.completed(snap)
	r.released(id)
	got := make([]byte, 8192)
	if err := r.node("n-a").ReadSnapshot(ctx, snap, got, 1<<20); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "snapshot of a lost node's volume", got, pattern(4, 8192))
}

func TestBuilderOfALostNodeGoesOnElsewhere(t *testing.T) {
	r := newRig(t, 3, nil)
	ctx := context.Background()
	snap := fsm.SnapshotID("snap-00000000000000b01")
	builder := fsm.Volume{
		ID: "vol-00000000000000b01", Account: account, Size: 1, Lineage: "vol-00000000000000b01", Replicas: r.ids, Owner: "n-b", Builder: snap,
	}
	r.propose(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: snap, Account: account, Volume: builder.ID}, Builder: &builder})
	if err := r.node("n-a").WriteBuilder(ctx, snap, pattern(1, 8192), 0); err != nil {
		t.Fatal(err)
	}
	r.setDead("n-b", true)
	r.halt("n-b")
	if err := r.node("n-a").WriteBuilder(ctx, snap, pattern(2, 4096), 4096); err != nil {
		t.Fatal(err)
	}
	if err := r.node("n-c").FinishBuilder(ctx, snap); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8192)
	if err := r.node("n-c").ReadSnapshot(ctx, snap, got, 0); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "built on two nodes", got, append(pattern(1, 4096), pattern(2, 4096)...))
	if err := r.node("n-a").WriteBuilder(ctx, snap, pattern(2, 4096), 0); !errors.Is(err, ErrState) {
		t.Errorf("wrote into a completed snapshot: %v", err)
	}
}

// A snapshot that was frozen is what it was then, though its volume's node is lost before its map is written.
func TestFrozenSnapshotSurvivesTheLossOfItsNode(t *testing.T) {
	r := newRig(t, 3, nil)
	ctx := context.Background()
	id := r.volume(1, "")
	e, _ := r.attach(id, "n-a")
	c := connect(t, e)
	c.write(0, pattern(1, 64<<10))
	r.node("n-a").faults.set(func(op string) error { return errInjected }, nil) // its map can wait for ever
	snap := r.snapshot(id)
	if err := r.node("n-b").Freeze(ctx, snap); err != nil {
		t.Fatal(err)
	}
	c.write(0, pattern(2, 64<<10))
	c.flush()
	r.setDead("n-a", true)
	r.halt("n-a")
	e, _ = r.attach(id, "n-b")
	r.completed(snap)
	got := make([]byte, 64<<10)
	if err := r.node("n-c").ReadSnapshot(ctx, snap, got, 0); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "snapshot", got, pattern(1, 64<<10))
	wantBytes(t, "volume", connect(t, e).read(0, 64<<10), pattern(2, 64<<10))
}

// While the blob layer is away writes and flushes go on until the log is full, then they wait; nothing is lost.
func TestWritesWaitWhenTheLogIsFull(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.CheckpointAt, c.DirtyMax = 1<<20, 4<<20 })
	id := r.volume(1, "")
	e, _ := r.attach(id, "n-a")
	n := r.node("n-a")
	n.faults.set(func(op string) error {
		if op == "write" {
			return errInjected
		}
		return nil
	}, nil)
	var written atomic.Int64
	done := make(chan error, 1)
	go func() {
		c, err := dialNBD(e)
		for off := int64(0); err == nil && off < 16<<20; off += 256 << 10 {
			if _, err = c.do(nbdFUA, nbdWrite, off, 256<<10, pattern(byte(off>>18), 256<<10)); err == nil {
				written.Store(off + 256<<10)
			}
		}
		done <- err
	}()
	c := connect(t, e)
	for written.Load() < 4<<20-256<<10 {
		if err := ctxErr(done); err != nil {
			t.Fatal(err)
		}
		c.flush()
	}
	for range 200 {
		c.flush()
	}
	if w := written.Load(); w > 5<<20 {
		t.Fatalf("%d bytes are in a log of 4 MiB", w)
	}
	n.faults.set(nil, nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < 16<<20; off += 256 << 10 {
		wantBytes(t, fmt.Sprint("at ", off), c.read(off, 256<<10), pattern(byte(off>>18), 256<<10))
	}
}

// ctxErr is the error that has come, if one has.
func ctxErr(done chan error) error {
	select {
	case err := <-done:
		return errors.Join(err, errors.New("ended early"))
	default:
		return nil
	}
}

// Guests' requests that overlap give one of the results that an order of them gives, sector by sector, while checkpoints run.
func TestOverlappingRequestsNeverTearASector(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.CheckpointAt, c.DirtyMax, c.CacheBytes = 256<<10, 64<<20, 1 })
	id := r.volume(1, "")
	e, _ := r.attach(id, "n-a")
	const area = 256 << 10
	var all sync.WaitGroup
	for worker := range 6 {
		all.Go(func() {
			c, err := dialNBD(e)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.conn.Close()
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 300 {
				off := random.Int64N(area/sectorSize) * sectorSize
				n := min((random.Int64N(64)+1)*sectorSize, area-off)
				switch random.IntN(5) {
				case 0, 1:
					_, err = c.do(0, nbdWrite, off, n, bytes.Repeat([]byte{byte(random.IntN(255) + 1)}, int(n)))
				case 2:
					_, err = c.do(0, nbdTrim, off, n, nil)
				default:
					var b []byte
					b, err = c.do(0, nbdRead, off, n, nil)
					for s := 0; s+sectorSize <= len(b); s += sectorSize {
						if !bytes.Equal(b[s:s+sectorSize], bytes.Repeat(b[s:s+1], sectorSize)) {
							t.Errorf("sector %d is torn", (off+int64(s))/sectorSize)
						}
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Each client's own sectors are what it wrote last, whatever the others, checkpoints and the cache do.
func TestClientReadsItsOwnWrites(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.CheckpointAt, c.DirtyMax, c.CacheBytes = 256<<10, 64<<20, 1 })
	id := r.volume(2, "")
	e, _ := r.attach(id, "n-a")
	const workers, sectors = 6, 4000
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			c, err := dialNBD(e)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.conn.Close()
			random := rand.New(rand.NewPCG(uint64(worker), 2))
			mine := map[int64]byte{}
			for range 500 {
				sector := random.Int64N(sectors)*workers + int64(worker)
				if random.IntN(2) == 0 {
					fill := byte(random.IntN(255) + 1)
					_, err = c.do(0, nbdWrite, sector*sectorSize, sectorSize, bytes.Repeat([]byte{fill}, sectorSize))
					mine[sector] = fill
				} else {
					var b []byte
					if b, err = c.do(0, nbdRead, sector*sectorSize, sectorSize, nil); err == nil && !bytes.Equal(b, bytes.Repeat([]byte{mine[sector]}, sectorSize)) {
						t.Errorf("sector %d begins with %d, was written as %d", sector, b[0], mine[sector])
						return
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestZeroesOfAnySizeTakeNoMemory(t *testing.T) {
	r := newRig(t, 1, nil)
	id := r.volume(16384, "")
	e, _ := r.attach(id, "n-a")
	c := connect(t, e)
	const at = 15 << 40
	c.write(at, pattern(1, 8192))
	before := r.node("n-a").Volumes()[0].Memory
	for off := int64(0); off < 4<<40; off += 4<<30 - 4096 {
		c.zero(nbdZero, at-1<<40+off%(1<<40), 4<<30-4096)
	}
	s := r.node("n-a").Volumes()[0]
	if grown := s.Memory - before; grown > 1<<20 {
		t.Errorf("zeroes of 4 TiB took %d bytes", grown)
	}
	if _, err := r.node("n-a").find(id).v.checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if x := r.record(id); x.Map.Root != nil {
		t.Errorf("a volume of zeroes has a map: %+v", x.Map)
	}
}

func TestIdsThatAreNoneAreRefused(t *testing.T) {
	r := newRig(t, 1, nil)
	n, ctx := r.node("n-a"), context.Background()
	for _, id := range []string{"", "vol-", "../../etc", "vol-../x", "vol-A", "vol-" + string(bytes.Repeat([]byte("1"), 60))} {
		if _, err := n.Attach(ctx, fsm.VolumeID(id), 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("attach %q: %v", id, err)
		}
		if err := n.Freeze(ctx, fsm.SnapshotID(id)); !errors.Is(err, ErrInvalid) {
			t.Errorf("freeze %q: %v", id, err)
		}
	}
	if _, err := n.Attach(ctx, "vol-12345678901234567", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("attach a volume that is none: %v", err)
	}
	if err := n.Detach(ctx, "vol-12345678901234567", 1); err != nil {
		t.Errorf("detach a volume that is not open: %v", err)
	}
}

// A detach waits for the client, and what it had written last is durable.
func TestDetachWaitsForTheClient(t *testing.T) {
	r := newRig(t, 1, nil)
	id := r.volume(1, "")
	e, g := r.attach(id, "n-a")
	c := connect(t, e)
	c.write(0, pattern(1, 4096))
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.node("n-a").Detach(short, id, g); err == nil {
		t.Fatal("detached a volume that a client has")
	}
	c.write(4096, pattern(2, 4096))
	c.bye()
	if err := r.node("n-a").Detach(context.Background(), id, g); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", e.Socket); err == nil {
		t.Error("its socket is still served")
	}
	r.released(id)
	e, _ = r.attach(id, "n-a")
	wantBytes(t, "after detach", connect(t, e).read(0, 8192), append(pattern(1, 4096), pattern(2, 4096)...))
}

// A deleted volume's log and chunks go, and its export ends.
func TestDeletedVolumeLeavesNothing(t *testing.T) {
	r := newRig(t, 3, nil)
	ctx := context.Background()
	id := r.volume(1, "")
	e, g := r.attach(id, "n-a")
	c := connect(t, e)
	c.write(0, pattern(1, 1<<20))
	c.bye()
	if err := r.node("n-a").Detach(ctx, id, g); err != nil {
		t.Fatal(err)
	}
	r.released(id)
	if n := rowsLeft(t, r.index); n == 0 {
		t.Fatal("its map has no chunks")
	}
	r.stopInstance(r.record(id).Attachment.Instance)
	r.propose(&fsm.DetachVolume{ID: id, Account: account, Rev: r.record(id).Rev})
	r.propose(&fsm.DeleteVolume{ID: id, Account: account})
	for _, node := range r.ids {
		eventually(t, "the end of its log on "+string(node), func() bool {
			ids, err := r.node(node).logs.Volumes()
			if err != nil {
				t.Fatal(err)
			}
			return len(ids) == 0
		})
	}
	if _, err := r.node("n-a").Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := rowsLeft(t, r.index); n > 0 {
		t.Errorf("%d chunks are left", n)
	}
}
