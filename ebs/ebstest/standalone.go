// Package ebstest serves one volume of a cluster of one node out of a directory, with the real log, the real blob layer and
// groups without Raft: for benchmarks, and for tests that kill a process. It is never in the program.
package ebstest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hive/ebs"
	"hive/fsm"
	"hive/internal/vfs"
	"hive/shard"
)

// node is the only one there is, volume its only volume.
const (
	node   fsm.NodeID   = "n-only"
	volume fsm.VolumeID = "vol-0123456789abcdef0"
)

// Socket is where the volume is served, in Config.Run. It is the socket's default export too.
const Socket = string(volume) + ".nbd"

// group is a state machine whose log is what it has applied.
type group struct {
	*fsm.Machine
	mu sync.Mutex // orders proposals
}

func openGroup(dir string, class fsm.Class, log *slog.Logger) (*group, error) {
	m, err := fsm.Open(fsm.Config{Path: filepath.Join(dir, fmt.Sprintf("group-%d.db", class)), Class: class, BootID: "standalone", Log: log})
	if err != nil {
		return nil, err
	}
	return &group{Machine: m}, nil
}

// Propose applies cmd at once.
func (g *group) Propose(ctx context.Context, cmd fsm.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entry, err := fsm.EncodeCommand(cmd)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	err, _ = g.Apply(&raft.Log{Index: g.Applied() + 1, Type: raft.LogCommand, Data: entry}).(error)
	return err
}

// ReadIndex has nothing to wait for.
func (g *group) ReadIndex(ctx context.Context) error { return ctx.Err() }

// Leader says that this node leads: there is no other.
func (g *group) Leader() bool { return true }

// Volume is a volume that is served.
type Volume struct {
	ebs.Export
	Manager *ebs.Manager

	control, index *group
	store          *shard.Store
	stop           context.CancelFunc
	work           sync.WaitGroup
	errs           chan error
}

// Config is what Open needs.
type Config struct {
	Dir  string // of everything durable
	Run  string // of the socket, short
	GiB  int64
	Log  *slog.Logger
	Tune func(*ebs.Config) // may be nil
}

// Open serves the volume in a directory, which it makes where there is none. After a crash it serves what was flushed.
func Open(ctx context.Context, cfg Config) (*Volume, error) {
	v := &Volume{errs: make(chan error, 1)}
	var err error
	if v.control, err = openGroup(cfg.Dir, fsm.Control, cfg.Log); err != nil {
		return nil, err
	}
	if v.index, err = openGroup(cfg.Dir, fsm.Index, cfg.Log); err != nil {
		return nil, errors.Join(err, v.control.Close())
	}
	generation, err := v.records(ctx, cfg.GiB)
	if err == nil {
		err = v.open(ctx, cfg)
	}
	if err == nil {
		v.Export, err = v.Manager.Attach(ctx, volume, generation)
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// records makes the partition table and the volume, and takes the volume under a new generation.
func (v *Volume) records(ctx context.Context, gib int64) (generation uint64, err error) {
	table, err := shard.PlanTable([]shard.Node{{ID: node}}, shard.ProfileFor(1), 64)
	if err != nil {
		return 0, err
	}
	x := fsm.Volume{ID: volume, Account: "123456789012", Zone: "z", Size: gib, Type: "gp3", Lineage: string(volume), Replicas: []fsm.NodeID{node}}
	for _, cmd := range []fsm.Command{table, &fsm.CreateVolume{Volume: x}} {
		if err := v.control.Propose(ctx, cmd); err != nil && !errors.Is(err, fsm.ErrExists) && !errors.Is(err, fsm.ErrConflict) {
			return 0, err
		}
	}
	err = v.control.View(func(view *fsm.View) error {
		x, _ := fsm.Volumes.Get(view, volume)
		generation = x.Generation
		return nil
	})
	if err != nil {
		return 0, err
	}
	return generation + 1, v.control.Propose(ctx, &fsm.TakeVolume{ID: volume, Generation: generation, Node: node})
}

func (v *Volume) open(ctx context.Context, cfg Config) (err error) {
	v.store, err = shard.Open(ctx, shard.Config{
		Node: node, FS: vfs.OS{}, Dir: filepath.Join(cfg.Dir, "shard"), Control: v.control, Index: []shard.Index{v.index},
		Peers: shard.Direct{}, Now: time.Now, Rand: rand.Reader, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	c := ebs.Config{
		Node: node, Dir: filepath.Join(cfg.Dir, "log"), RunDir: cfg.Run, FS: vfs.OS{}, Control: v.control,
		Index: []ebs.IndexGroup{v.index}, Blobs: v.store, Client: http.DefaultClient, Leader: func() bool { return true },
		Dial: func(context.Context, fsm.NodeID, string) (net.Conn, error) {
			return nil, errors.New("there is no other node")
		},
		Clock: time.Now, Log: cfg.Log,
	}
	if cfg.Tune != nil {
		cfg.Tune(&c)
	}
	if v.Manager, err = ebs.New(c); err != nil {
		return err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	v.work.Go(func() { v.errs <- v.Manager.Run(run) })
	return nil
}

// Close flushes and ends it all.
func (v *Volume) Close() error {
	var errs []error
	if v.stop != nil {
		v.stop()
		v.work.Wait()
		errs = append(errs, <-v.errs)
	}
	if v.store != nil {
		errs = append(errs, v.store.Close())
	}
	return errors.Join(append(errs, v.index.Close(), v.control.Close())...)
}
