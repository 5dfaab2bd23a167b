// Package vm is a node's agent for its instances: it makes guests what their records say, and proposes what it sees of
// them. It never chooses a node, an address or a volume, and guests outlive it: a daemon that ends leaves them running,
// the next one adopts them.
package vm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hive/fsm"
	"hive/vm/qemu"
)

// Group is the control group.
type Group interface {
	Propose(ctx context.Context, cmd fsm.Command) error
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
	Changed() <-chan struct{}
}

// Volumes opens and closes volumes on this node. Both are idempotent. A generation that is no longer the volume's is an
// error of Attach; Detach of what is not open is done.
type Volumes interface {
	Attach(ctx context.Context, id fsm.VolumeID, generation uint64) (socket, export string, err error)
	Detach(ctx context.Context, id fsm.VolumeID, generation uint64) error
}

// Network connects interfaces on this node. Both are idempotent. The tap is the caller's to close.
type Network interface {
	Plug(ctx context.Context, id fsm.InterfaceID) (tap *os.File, mtu int, err error)
	Unplug(ctx context.Context, id fsm.InterfaceID) error
}

// ErrNotHere means that this node has nothing of an instance.
var ErrNotHere = errors.New("instance is not on this node")

// Defaults of Config.
const (
	DefaultStopTimeout      = time.Minute
	DefaultTerminateTimeout = 3 * time.Second
	DefaultLaunchTimeout    = 2 * time.Minute
	DefaultLaunches         = 4
)

const (
	tick    = 5 * time.Second        // each guest is looked at at least so often
	sweep   = time.Minute            // and each directory
	atLeast = 100 * time.Millisecond // between two readings of the state, however often it changes
)

// Config is what an agent needs.
type Config struct {
	Node    fsm.NodeID
	Dir     string // states, firmware variables, consoles
	RunDir  string // sockets: at most 70 bytes long
	Control Group
	Volumes Volumes
	Network Network
	Wrap    []string // words that a guest's process is started through, which then must become QEMU: exec, no child
	Clock   func() time.Time
	Log     *slog.Logger

	StopTimeout      time.Duration // from the power button to the plug, of a stop or a reboot; 0: a minute
	TerminateTimeout time.Duration // the same of a termination; 0: 3 s
	LaunchTimeout    time.Duration // for how long a launch is tried again; 0: 2 minutes
	Launches         int           // at once; 0: 4
	Accel            string        // what guests run by: kvm, tcg; empty: a probe finds out
}

// Agent looks after the instances of a node.
type Agent struct {
	cfg      Config
	launches chan struct{} // has room for the launches at once
	probed   chan struct{} // closed when host is known
	workers  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	host    host
	guests  map[fsm.InstanceID]*guest
	failure string // last error of reading the state, so that it is logged once
}

// host is what guests of this machine can count on.
type host struct {
	accel   string // empty before the probe
	why     string
	sandbox bool
}

// New is an agent over the directories, which it makes.
func New(cfg Config) (*Agent, error) {
	if cfg.Control == nil || cfg.Volumes == nil || cfg.Network == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("vm: control, volumes, network, clock and log are needed")
	}
	if len(cfg.RunDir) > 70 {
		return nil, fmt.Errorf("vm: %s: too long for the names of sockets in it", cfg.RunDir)
	}
	for _, dir := range []string{cfg.Dir, cfg.RunDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&cfg.StopTimeout, DefaultStopTimeout)
	set(&cfg.TerminateTimeout, DefaultTerminateTimeout)
	set(&cfg.LaunchTimeout, DefaultLaunchTimeout)
	if cfg.Launches == 0 {
		cfg.Launches = DefaultLaunches
	}
	return &Agent{
		cfg: cfg, launches: make(chan struct{}, cfg.Launches), probed: make(chan struct{}), guests: map[fsm.InstanceID]*guest{},
	}, nil
}

// Run looks after the instances until ctx ends. Guests stay as they are then. It runs once.
func (a *Agent) Run(ctx context.Context) error {
	a.workers.Go(func() { a.probe(ctx) }) // guests that run already need not wait for it
	a.catchUp(ctx)
	clock := time.NewTicker(tick)
	defer clock.Stop()
	var swept time.Time
	for all := true; ctx.Err() == nil; {
		changed := a.cfg.Control.Changed()
		if now := a.cfg.Clock(); now.Sub(swept) >= sweep {
			a.sweep(ctx)
			swept = now
		}
		a.wakeAll(ctx, all)
		all = false
		pause(ctx, atLeast)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-clock.C:
			all = true
		}
	}
	a.workers.Wait()
	if left := a.left(); len(left) > 0 {
		a.cfg.Log.Info("guests go on without the daemon", "count", len(left), "instances", left)
	}
	return nil
}

// pause waits, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// probe finds out what guests can run by.
func (a *Agent) probe(ctx context.Context) {
	h := host{accel: a.cfg.Accel, why: "as configured"}
	binary, err := qemu.FindEmulator(qemu.HostArch())
	switch {
	case err != nil:
		h.accel, h.why = qemu.TCG, err.Error()
	case h.accel == "":
		h.accel, h.why = qemu.Probe(ctx, binary)
	}
	if err == nil {
		h.sandbox = qemu.SandboxWorks(ctx, binary)
	}
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	a.host = h
	a.mu.Unlock()
	close(a.probed)
	a.cfg.Log.Info("guests run by "+h.accel, "why", h.why, "sandbox", h.sandbox)
}

// Accel is what guests run by on this node, and why; empty before Run has found out.
func (a *Agent) Accel() (accel, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.host.accel, a.host.why
}

// catchUp waits until the local state is as new as the cluster's is now: on an older one, a guest that is wanted could
// be taken for one that is not.
func (a *Agent) catchUp(ctx context.Context) {
	for {
		err := a.cfg.Control.ReadIndex(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		a.complain("guests are not looked after yet: no answer from the control group", err)
		pause(ctx, retry)
	}
}

// complain logs an error of the loop, once while it stays the same.
func (a *Agent) complain(what string, err error) {
	a.mu.Lock()
	known := a.failure == err.Error()
	a.failure = err.Error()
	a.mu.Unlock()
	if !known {
		a.cfg.Log.Error(what, "err", err)
	}
}

// wakeAll has instances looked at: of those that are this node's and those that it has something of, the ones whose
// records have changed, or all.
func (a *Agent) wakeAll(ctx context.Context, all bool) {
	a.mu.Lock()
	marks := map[fsm.InstanceID]uint64{}
	for id := range a.guests {
		marks[id] = 0
	}
	a.mu.Unlock()
	err := a.cfg.Control.View(func(v *fsm.View) error {
		for id, i := range fsm.Instances.Scan(v, "") {
			if _, known := marks[id]; known || i.Node == a.cfg.Node && i.Runs() {
				marks[id] = markOf(v, i)
			}
		}
		return nil
	})
	if err != nil {
		a.complain("guests cannot be looked after", err)
		return
	}
	for id, mark := range marks {
		a.wake(ctx, id, mark, all)
	}
}

// markOf is another number when the record of the instance, or that of a volume of it, has changed. Should two states
// ever have the same, the agent's tick sees the change.
func markOf(v *fsm.View, i fsm.Instance) uint64 {
	mark := i.Rev
	for _, x := range fsm.VolumesOf(v, i.ID) {
		mark = mark*31 + x.Rev
	}
	return mark
}

// sweep has each instance looked at that the node keeps a directory of.
func (a *Agent) sweep(ctx context.Context) {
	here, err := os.ReadDir(a.cfg.Dir)
	if err != nil {
		a.complain("guests cannot be looked after", err)
		return
	}
	for _, e := range here {
		if strings.HasPrefix(e.Name(), "i-") {
			a.wake(ctx, fsm.InstanceID(e.Name()), 0, true)
		}
	}
}

// wake starts the instance's goroutine if it has none, and has it look again if the mark is another than the last.
func (a *Agent) wake(ctx context.Context, id fsm.InstanceID, mark uint64, always bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.guests[id]
	if !ok {
		g = &guest{
			a: a, id: id, dir: filepath.Join(a.cfg.Dir, string(id)), wake: make(chan struct{}, 1),
			log: a.cfg.Log.With("instance", string(id)),
		}
		a.guests[id] = g
		a.workers.Go(func() { g.run(ctx) })
	} else if !always && g.mark == mark {
		return
	}
	g.mark = mark
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// forget ends an instance's entry, unless it was woken meanwhile: then it is to look again.
func (a *Agent) forget(g *guest) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(g.wake) > 0 {
		return false
	}
	delete(a.guests, g.id)
	return true
}

// left are the instances whose guests ran when their goroutines ended.
func (a *Agent) left() []fsm.InstanceID {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []fsm.InstanceID
	for id, g := range a.guests {
		if g.left {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Busy says in plain words what is under way and must finish before the daemon ends: starts, stops, and volumes on their
// way to or from a guest. Empty: nothing.
func (a *Agent) Busy() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var words []string
	for id, g := range a.guests {
		if w := g.doing(); w != "" {
			words = append(words, "instance "+string(id)+" "+w)
		}
	}
	slices.Sort(words)
	return words
}

// now is Unix ms.
func (a *Agent) now() int64 { return a.cfg.Clock().UnixMilli() }
