package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"hive/fsm"
	"hive/vm/qemu"
	"hive/vm/qmp"
)

// guest is one instance on this node. All but what mu guards belongs to its goroutine.
type guest struct {
	a    *Agent
	id   fsm.InstanceID
	dir  string
	wake chan struct{}
	mark uint64 // of the records when it was woken last; the agent's mu guards it
	log  *slog.Logger

	st      *state        // nil: the node has nothing of it
	proc    *qemu.Process // nil: no process is known
	ending  ending
	unplugs map[fsm.VolumeID]*unplug
	seen    map[string]time.Time // last time that an event was recorded
	drained time.Time            // when the console was last read
	failure string               // last error, so that it is logged once
	open    bool                 // this daemon has opened the volumes that the guest had when it was found
	left    bool                 // ran when the goroutine ended; read after that

	mu   sync.Mutex // guards what follows
	mon  *qmp.Conn  // nil: not connected
	busy string     // for Busy

	console sync.Mutex // guards the console's file
}

// record is what the cluster wants of an instance, read in one View.
type record struct {
	fsm.Instance
	exists bool
	mine   bool // this node's, and to have a process
	nic    fsm.Interface
	disks  []fsm.Volume // the root device first
}

func (g *guest) look() (record, error) {
	var r record
	err := g.a.cfg.Control.View(func(v *fsm.View) error {
		r.Instance, r.exists = fsm.Instances.Get(v, g.id)
		r.mine = r.exists && r.Node == g.a.cfg.Node && r.Runs()
		if r.mine {
			r.nic, _ = fsm.Interfaces.Get(v, r.Interface)
			r.disks = fsm.VolumesOf(v, g.id)
		}
		return nil
	})
	slices.SortStableFunc(r.disks, func(x, y fsm.Volume) int { return r.rank(x) - r.rank(y) })
	return r, err
}

func (r record) rank(x fsm.Volume) int {
	if x.Attachment.Device == r.RootDevice {
		return 0
	}
	return 1
}

const (
	retry = time.Second     // after a step that failed
	soon  = time.Nanosecond // after a step that changed what there is to see
)

// run looks after the guest until ctx ends or the node has nothing of it any more.
func (g *guest) run(ctx context.Context) {
	defer g.release()
	for {
		wait, done, err := g.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.complain(err)
			wait = retry
		} else {
			g.failure = ""
		}
		if done && g.a.forget(g) {
			return
		}
		if g.monitor() != nil && g.since(g.drained) >= consoleEvery {
			g.keepConsole(ctx)
			g.boundLog()
		}
		g.await(ctx, wait)
		if ctx.Err() != nil {
			return
		}
	}
}

// complain logs an error once while it stays the same.
func (g *guest) complain(err error) {
	if err.Error() != g.failure {
		g.log.Warn("instance needs another try", "err", err)
		g.failure = err.Error()
	}
}

// await returns when there is a reason to look again.
func (g *guest) await(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		wait = consoleEvery
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var events <-chan qmp.Event
	var ended <-chan struct{}
	if mon := g.monitor(); mon != nil {
		events = mon.Events()
	}
	if g.proc != nil && !g.proc.Gone() {
		ended = g.proc.Done()
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-g.wake:
	case <-ended:
	case e, ok := <-events:
		if ok {
			g.heard(ctx, e)
		} else {
			g.hangUp()
		}
	}
}

// release lets go of the process and its monitor, and leaves them as they are.
func (g *guest) release() {
	g.hangUp()
	g.left = g.proc != nil && !g.proc.Gone()
	if g.proc != nil {
		if err := g.proc.Close(); err != nil {
			g.log.Warn("letting go of the process", "err", err)
		}
	}
}

// step brings the guest one step nearer to its record. wait is when to look again if nothing happens; 0 leaves it to
// the agent's tick. done: the node has nothing of the instance, and is to have nothing.
func (g *guest) step(ctx context.Context) (wait time.Duration, done bool, err error) {
	if g.st == nil {
		if err := g.adopt(); err != nil {
			return 0, false, err
		}
	}
	r, err := g.look()
	switch {
	case err != nil:
		return 0, false, err
	case g.st != nil && (!r.mine || r.Boot != g.st.Boot):
		return soon, false, g.fence(ctx)
	case !r.mine:
		g.set("")
		return 0, true, g.tidy(r)
	case g.st == nil && r.State != fsm.InstancePending:
		g.st = stateOf(r) // the process is gone, and what it had was never closed
		return soon, false, g.settle(ctx, r)
	case g.st == nil || g.st.Process == nil && g.st.Failure == "" && r.State == fsm.InstancePending:
		return soon, false, g.launch(ctx, r)
	case g.proc == nil || g.proc.Gone():
		return soon, false, g.settle(ctx, r)
	}
	openErr := g.reopen(ctx)
	wait, err = g.tend(ctx, r)
	if openErr != nil {
		wait = sooner(wait, retry)
	}
	return wait, false, errors.Join(openErr, err)
}

// reopen opens the volumes of a guest that a daemon before this one left running: until then it waits for its disks, also
// when it is to shut itself down. A volume that is to be taken from it may not open any more, and is taken by tend.
func (g *guest) reopen(ctx context.Context) error {
	if g.open {
		return nil
	}
	var errs []error
	for id, generation := range g.st.Volumes {
		if _, _, err := g.a.cfg.Volumes.Attach(ctx, id, generation); err != nil {
			errs = append(errs, fmt.Errorf("open volume %s again: %w", id, err))
		}
	}
	g.open = len(errs) == 0
	return errors.Join(errs...)
}

// tend does what a guest with a process needs.
func (g *guest) tend(ctx context.Context, r record) (time.Duration, error) {
	switch r.State {
	case fsm.InstanceStopping, fsm.InstanceShuttingDown:
		return g.stop(ctx, r)
	}
	if !g.ending.quit.IsZero() { // the guest has powered itself off
		return g.pull(ctx)
	}
	if err := g.connect(ctx); err != nil {
		return 0, err
	}
	off, err := g.poweredOff(ctx)
	if err != nil {
		return 0, err
	}
	if off && r.Reboots == g.st.Reboots {
		g.log.Info("the guest has powered itself off")
		return g.pull(ctx)
	}
	if r.State == fsm.InstancePending {
		return soon, g.running(ctx)
	}
	if r.Reboots != g.st.Reboots {
		return g.reboot(ctx, r, off)
	}
	return g.plugVolumes(ctx, r)
}

// running tells the cluster that the guest runs.
func (g *guest) running(ctx context.Context) error {
	err := g.a.cfg.Control.Propose(ctx, &fsm.ObserveInstance{
		ID: g.id, Boot: g.st.Boot, State: fsm.InstanceRunning, Accel: g.st.Accel, Now: g.a.now(),
	})
	if stale(err) {
		return g.a.cfg.Control.ReadIndex(ctx) // and looked at again
	}
	if err == nil {
		g.set("")
		g.log.Info("instance runs", "pid", g.st.Process.PID, "accel", g.st.Accel)
	}
	return err
}

// stale is a refusal because the record has changed: to be looked at again, no error.
func stale(err error) bool {
	return errors.Is(err, fsm.ErrConflict) || errors.Is(err, fsm.ErrInvalid) || errors.Is(err, fsm.ErrNotFound)
}

// adopt finds what a daemon before this one left of the guest.
func (g *guest) adopt() error {
	st, err := g.load()
	if err != nil || st == nil {
		return err
	}
	var proc *qemu.Process
	if st.Process != nil {
		proc, err = qemu.Open(*st.Process)
	} else {
		proc, err = qemu.FindByPIDFile(g.file(pidFile)) // the daemon was killed between the start and the mark
	}
	if err != nil && !errors.Is(err, qemu.ErrGone) {
		return err
	}
	if proc == nil {
		g.st = st
		return nil
	}
	mark := proc.Mark()
	st.Process, g.st, g.proc = &mark, st, proc
	g.log.Info("adopted a running guest", "pid", mark.PID)
	return g.save()
}

// stateOf is what a guest of this record has, as far as the record tells.
func stateOf(r record) *state {
	st := &state{Boot: r.Boot, Interface: r.Interface, Reboots: r.Reboots, Volumes: map[fsm.VolumeID]uint64{}}
	for _, x := range r.disks {
		st.Volumes[x.ID] = x.Generation
	}
	return st
}

// fence ends a guest that this node is not to have, at once.
func (g *guest) fence(ctx context.Context) error {
	if g.proc != nil && !g.proc.Gone() {
		g.log.Warn("this guest is not this node's to run any more: killed", "boot", g.st.Boot)
		g.set("is being ended: it is not this node's any more")
		return g.kill(ctx)
	}
	if err := g.close(ctx); err != nil {
		return err
	}
	return g.drop()
}

// kill ends the process and waits for its end.
func (g *guest) kill(ctx context.Context) error {
	if err := g.proc.Kill(); err != nil {
		return err
	}
	select {
	case <-g.proc.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close gives back what the guest had, now that its process is gone.
func (g *guest) close(ctx context.Context) error {
	g.hangUp()
	if g.proc != nil {
		if err := g.proc.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			return err
		}
		g.proc = nil
	}
	for id, generation := range g.st.Volumes {
		g.set("waits for volume " + string(id) + " to be closed")
		if err := g.a.cfg.Volumes.Detach(ctx, id, generation); err != nil {
			return err
		}
	}
	if g.st.Interface != "" {
		if err := g.a.cfg.Network.Unplug(ctx, g.st.Interface); err != nil {
			return err
		}
	}
	g.ending, g.unplugs = ending{}, nil
	g.set("")
	return nil
}

// tidy removes what the node keeps of an instance that is another node's or no more. A console stays as long as the
// record does.
func (g *guest) tidy(r record) error {
	if r.exists && r.Node == g.a.cfg.Node {
		return nil
	}
	return os.RemoveAll(g.dir)
}

// set says what is under way, for Busy.
func (g *guest) set(words string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = words
}

func (g *guest) doing() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy
}
