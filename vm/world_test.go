package vm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/vm/qemu"
)

const (
	account  = fsm.AccountID("111122223333")
	node     = fsm.NodeID("n-1")
	instance = fsm.InstanceID("i-0123456789abcdef0")
	root     = fsm.VolumeID("vol-0123456789abcdef0")
	extra    = fsm.VolumeID("vol-0123456789abcdef1")
	eni      = fsm.InterfaceID("eni-0123456789abcdef0")
	patience = 2 * time.Minute // for what a test waits for: a failure, not a measure
)

// world is a control group, disks and taps around an agent.
type world struct {
	t      *testing.T
	group  *fsmtest.Group
	disks  *disks
	taps   *taps
	cfg    Config
	agent  *Agent
	cancel context.CancelFunc
	ended  chan error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	run, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &world{t: t, group: fsmtest.New(t, fsm.Control)}
	w.disks = &disks{t: t, dir: dir, run: run, open: map[fsm.VolumeID]uint64{}, servers: map[fsm.VolumeID]*exec.Cmd{}}
	w.taps = &taps{plugged: map[fsm.InterfaceID]bool{}}
	w.cfg = Config{
		Node: node, Dir: filepath.Join(dir, "vm"), RunDir: filepath.Join(run, "q"), Control: w.group, Volumes: w.disks,
		Network: w.taps, Clock: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Accel: qemu.TCG,
		StopTimeout: time.Second, TerminateTimeout: time.Millisecond,
	}
	t.Cleanup(func() {
		w.shutdown()
		w.killAll()
		w.disks.killAll()
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	w.found()
	return w
}

// found makes an account with a network, an image, and the node's membership.
func (w *world) found() {
	w.propose(&fsm.InitCluster{
		Cluster: fsm.Cluster{ID: "c-test", TargetSize: 1}, Member: fsm.Member{ID: node, Zone: "z1"}, Token: fsm.Token{ID: "t"},
	})
	w.propose(&fsm.CreateAccount{Account: fsm.Account{ID: account}})
	w.propose(&fsm.CreateDefaultVPC{
		VPC:     fsm.VPC{ID: "vpc-1", Account: account, CIDR: "172.31.0.0/16", VNI: 1, Default: true},
		Subnets: []fsm.Subnet{{ID: "subnet-1", Account: account, VPC: "vpc-1", Zone: "z1", CIDR: "172.31.0.0/20"}},
		Group:   fsm.SecurityGroup{ID: "sg-1", Account: account, VPC: "vpc-1", Name: "default"},
	})
	w.propose(&fsm.RegisterImage{Image: fsm.Image{ID: "ami-1", Account: account, Name: "empty"}})
}

// launch asks for the instance, on SeaBIOS unless changed.
func (w *world) launch(change func(*fsm.Instance)) {
	i := fsm.Instance{
		ID: instance, Account: account, Image: "ami-1", Type: "t3.nano", VCPUs: 1, Memory: 64, Arch: qemu.X86,
		BootMode: "legacy-bios", RootDevice: "/dev/sda1", Zone: "z1", Node: node, VPC: "vpc-1", Subnet: "subnet-1",
		Interface: eni, Address: "172.31.0.10",
	}
	if change != nil {
		change(&i)
	}
	w.propose(&fsm.LaunchInstances{
		Instances: []fsm.Instance{i},
		Volumes: []fsm.Volume{{ID: root, Account: account, Zone: "z1", Size: 1, Lineage: string(root), Replicas: []fsm.NodeID{node},
			Attachment: &fsm.Attachment{Instance: instance, Device: "/dev/sda1", State: fsm.Attaching, DeleteOnTermination: true}}},
		Interfaces: []fsm.Interface{{ID: eni, Account: account, VPC: "vpc-1", Subnet: "subnet-1", Address: "172.31.0.10",
			MAC: "02:00:00:00:00:01", Instance: instance}},
		Capacity: []fsm.NodeCapacity{{Node: node, VCPUs: 8, Memory: 1 << 40}},
	})
}

func (w *world) propose(cmd fsm.Command) {
	w.t.Helper()
	if err := w.group.Propose(w.t.Context(), cmd); err != nil {
		w.t.Fatalf("%T: %v", cmd, err)
	}
}

// start runs an agent, a new one each time, until shutdown.
func (w *world) start() {
	w.t.Helper()
	agent, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.agent, w.cancel, w.ended = agent, cancel, make(chan error, 1)
	go func() { w.ended <- agent.Run(ctx) }()
}

// shutdown ends the agent, as the daemon's end does.
func (w *world) shutdown() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	if err := <-w.ended; err != nil {
		w.t.Error(err)
	}
	w.cancel = nil
}

// killAll ends what guests the test has left.
func (w *world) killAll() {
	p := w.process()
	if p == nil {
		return
	}
	if err := errors.Join(p.Kill()); err != nil {
		w.t.Error(err)
	}
	<-p.Done()
	if err := p.Close(); err != nil {
		w.t.Error(err)
	}
}

// process is the instance's QEMU, nil if there is none.
func (w *world) process() *qemu.Process {
	w.t.Helper()
	p, err := qemu.FindByPIDFile(filepath.Join(w.cfg.Dir, string(instance), "pid"))
	if errors.Is(err, qemu.ErrGone) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) pid() int {
	w.t.Helper()
	p := w.process()
	if p == nil {
		return 0
	}
	defer p.Close() //nolint:errcheck // only looked at
	return p.Mark().PID
}

// until waits for a condition on the state.
func (w *world) until(what string, fn func(*fsm.View) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		changed, ok := w.group.Changed(), false
		if err := w.group.View(func(v *fsm.View) error { ok = fn(v); return nil }); err != nil {
			w.t.Fatal(err)
		}
		if ok {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("waited for %s in vain; busy: %v", what, w.agent.Busy())
		}
	}
}

func (w *world) untilState(state string) fsm.Instance {
	w.t.Helper()
	var i fsm.Instance
	w.until("state "+state, func(v *fsm.View) bool {
		i, _ = fsm.Instances.Get(v, instance)
		return i.State == state
	})
	return i
}

// untilTrue waits for what no record tells.
func (w *world) untilTrue(what string, fn func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !fn() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited for %s in vain", what)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

// disks serves volumes by qemu-nbd.
type disks struct {
	t        *testing.T
	dir, run string
	hold     chan struct{} // not nil: told of each Attach, which takes until its context ends

	mu      sync.Mutex // guards what follows
	open    map[fsm.VolumeID]uint64
	servers map[fsm.VolumeID]*exec.Cmd
	closed  []string // "vol-…/generation", in order
	refuse  error    // of Attach
}

func (d *disks) Attach(ctx context.Context, id fsm.VolumeID, generation uint64) (socket, export string, err error) {
	if d.hold != nil {
		select {
		case d.hold <- struct{}{}:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return "", "", ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return "", "", d.refuse
	}
	socket = filepath.Join(d.run, string(id))
	if d.servers[id] != nil {
		d.open[id] = generation
		return socket, string(id), nil
	}
	file := filepath.Join(d.dir, string(id))
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", "", err
	}
	if st, statErr := f.Stat(); statErr == nil && st.Size() == 0 {
		err = errors.Join(f.Truncate(8<<20), writeGuest(f))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", "", err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", "", err
	}
	cmd := exec.Command("qemu-nbd", "-k", socket, "-x", string(id), "-f", "raw", "--persistent", file)
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	d.servers[id], d.open[id] = cmd, generation
	for { // it has no other way to say that it listens
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return socket, string(id), conn.Close()
		}
		if ctx.Err() != nil {
			return "", "", err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// tell gives the guest an order: 'o' to power off, 'p' to panic, 0 for none.
func (d *disks) tell(order byte) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, string(root)), os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{order}, 512)
	if err := errors.Join(err, f.Close()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disks) Detach(_ context.Context, id fsm.VolumeID, generation uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = append(d.closed, fmt.Sprintf("%s/%d", id, generation))
	delete(d.open, id)
	return d.kill(id)
}

func (d *disks) kill(id fsm.VolumeID) error {
	cmd := d.servers[id]
	if cmd == nil {
		return nil
	}
	delete(d.servers, id)
	err := cmd.Process.Kill()
	_ = cmd.Wait() // killed, as it says
	return err
}

func (d *disks) killAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.servers {
		if err := d.kill(id); err != nil {
			d.t.Error(err)
		}
	}
}

func (d *disks) isOpen(id fsm.VolumeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.open[id]
	return ok
}

// taps plugs interfaces into taps that nothing is behind.
type taps struct {
	mu      sync.Mutex // guards plugged
	plugged map[fsm.InterfaceID]bool
}

func (n *taps) Plug(_ context.Context, id fsm.InterfaceID) (*os.File, int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	request, err := unix.NewIfreq("vmtest%d")
	if err != nil {
		return nil, 0, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, 0, errors.Join(err, unix.Close(fd))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plugged[id] = true
	return os.NewFile(uintptr(fd), "tap"), 1450, nil
}

func (n *taps) Unplug(_ context.Context, id fsm.InterfaceID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.plugged, id)
	return nil
}

func (n *taps) has(id fsm.InterfaceID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.plugged[id]
}
