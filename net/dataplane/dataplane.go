// Package dataplane makes the network of one node what vpc computes: a network namespace for each VPC with taps, routes,
// a tunnel, a firewall and the servers that guests ask. It mends what others change, and leaves guests' traffic alone
// when it ends or starts again. It never decides anything, and never touches the machine's own links, routes or rules.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/net/dns"
	"hive/net/vpc"
)

// Causes that a caller can act on.
var (
	ErrNotHere = errors.New("not on this node")
	ErrConfig  = errors.New("configuration")

	errNotYet = errors.New("the cluster's records are not here yet")
)

// Group is where the records are read.
type Group interface {
	View(fn func(*fsm.View) error) error
	Changed() <-chan struct{}
}

// Metadata answers guests' HTTP at 169.254.169.254 on a listener inside a VPC's namespace, until ctx ends.
type Metadata interface {
	Serve(ctx context.Context, id fsm.VPCID, l net.Listener) error
}

// Config is what a Dataplane needs.
type Config struct {
	Node      fsm.NodeID
	Tag       string // 8 hex digits, of the cluster and the node: in the name of everything it makes
	Control   Group
	Underlay  func() map[fsm.NodeID]vpc.Underlay // where nodes' tunnels end, this one's too
	Metadata  Metadata
	Resolvers dns.Resolvers // that other names than instances' are asked of
	Every     time.Duration // between looks for drift; 0 means 5 s
	Log       *slog.Logger
}

// Dataplane is the network of one node.
type Dataplane struct {
	cfg   Config
	ns    netns.NsHandle  // that it was made in: the tunnels' sockets are there
	home  *netlink.Handle // in ns
	ready chan struct{}   // closed once Run runs
	wake  chan struct{}

	mu     sync.Mutex // guards what follows, and every change of the network
	spaces map[fsm.VPCID]*space
	known  map[fsm.NodeID]vpc.Underlay // where tunnels end, as last told
	run    context.Context             // Run's; servers end with it
}

// Between two passes Run rests restFactor times as long as the last took, at most maxRest.
const (
	restFactor = 10
	maxRest    = time.Second
)

// New is a data plane whose tunnels reach the other nodes through the calling thread's network namespace.
func New(cfg Config) (*Dataplane, error) {
	if ok := regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(cfg.Tag); !ok {
		return nil, fmt.Errorf("%w: tag %q is not 8 hex digits", ErrConfig, cfg.Tag)
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("this network namespace: %w", err)
	}
	home, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink: %w", err), ns.Close())
	}
	return &Dataplane{cfg: cfg, ns: ns, home: home, ready: make(chan struct{}), wake: make(chan struct{}, 1),
		spaces: map[fsm.VPCID]*space{}}, nil
}

// Run makes the network as wanted and keeps it so until ctx ends. The network stays when it returns. It is called once.
func (d *Dataplane) Run(ctx context.Context) error {
	d.mu.Lock()
	d.run = ctx
	d.mu.Unlock()
	close(d.ready)
	tick := time.NewTicker(d.cfg.Every)
	defer tick.Stop()
	said, look := "", true
	for ctx.Err() == nil {
		changed, began := d.cfg.Control.Changed(), time.Now()
		err := d.reconcile(look)
		if text := fmt.Sprint(err); err != nil && !errors.Is(err, errNotYet) && text != said {
			d.cfg.Log.Error("the network is not as wanted", "error", err)
			said = text
		} else if err == nil {
			said = ""
		}
		look = true
		select { // the group may change all the time: most of a core stays for others
		case <-ctx.Done():
		case <-time.After(min(maxRest, restFactor*time.Since(began))):
		}
		select {
		case <-ctx.Done():
		case <-changed:
			look = err != nil
		case <-tick.C:
		case <-d.wake:
		}
	}
	return d.close()
}

// close lets go of the namespaces, which stay.
func (d *Dataplane) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for id, s := range d.spaces {
		s.stopServers()
		errs = append(errs, s.close())
		delete(d.spaces, id)
	}
	d.home.Close()
	return errors.Join(append(errs, d.ns.Close())...)
}

func (d *Dataplane) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// wanted is the wanted network. d.mu is held.
func (d *Dataplane) wanted() (vpc.State, error) {
	var s vpc.State
	err := d.cfg.Control.View(func(v *fsm.View) error {
		if _, ok := fsm.TheCluster(v); !ok {
			return errNotYet
		}
		s = vpc.Wanted(v, d.cfg.Node, d.underlay(v))
		return nil
	})
	return s, err
}

// reconcile makes every namespace as wanted and removes those that nobody wants. What fails does not keep the rest.
// Without look, a namespace of which nothing else is wanted than before is believed to be so.
func (d *Dataplane) reconcile(look bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	want, err := d.wanted()
	if err != nil {
		return err
	}
	var errs []error
	names := map[string]bool{}
	for _, w := range want.Spaces {
		names[d.spaceName(w.VPC)] = true
		if s := d.spaces[w.VPC]; !look && s != nil && reflect.DeepEqual(s.want, w) {
			continue
		}
		if _, err := d.ensure(w); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.VPC, err))
		}
	}
	for id, s := range d.spaces {
		if !names[s.name] {
			errs = append(errs, d.remove(s))
			delete(d.spaces, id)
			d.cfg.Log.Info("a VPC is not on this node any more", "vpc", id, "namespace", s.name)
		}
	}
	return errors.Join(append(errs, d.removeStrays(names))...)
}

// ensure makes the namespace of a VPC as wanted. d.mu is held.
func (d *Dataplane) ensure(want vpc.Space) (*space, error) {
	s := d.spaces[want.VPC]
	if s == nil {
		var err error
		if s, err = d.open(want.VPC); err != nil {
			return nil, err
		}
		d.spaces[want.VPC] = s
		d.cfg.Log.Info("a VPC is on this node", "vpc", want.VPC, "namespace", s.name)
	}
	if err := s.apply(want); err != nil {
		return s, err
	}
	return s, d.startServers(s)
}

// removeStrays removes namespaces of the tag that are not in keep: an earlier process left them. d.mu is held.
func (d *Dataplane) removeStrays(keep map[string]bool) error {
	names, err := d.namespaces()
	errs := []error{err}
	for _, name := range names {
		if !keep[name] {
			s, err := d.openNamed("", name)
			if err == nil {
				err = d.remove(s)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Plug opens the tap of an interface for QEMU, and tells the guest's MTU. The descriptor is non-blocking, with the
// flags TAP, NO_PI and VNET_HDR. An interface whose instance is not to run on this node is ErrNotHere; unix.EBUSY in
// the chain says that another process has the tap.
func (d *Dataplane) Plug(ctx context.Context, id fsm.InterfaceID) (tap *os.File, mtu int, err error) {
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-d.ready:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.run.Err(); err != nil {
		return nil, 0, err
	}
	want, err := d.wanted()
	if err != nil {
		return nil, 0, err
	}
	for _, w := range want.Spaces {
		i := slices.IndexFunc(w.Taps, func(t vpc.Tap) bool { return t.Interface == id })
		if i < 0 {
			continue
		}
		s, err := d.ensure(w)
		if err == nil {
			err = inside(s.ns, func() error { tap, err = openTap(w.Taps[i].Name); return err })
		}
		return tap, w.MTU, err
	}
	return nil, 0, fmt.Errorf("%w: %s", ErrNotHere, id)
}

// Unplug says that nobody holds the tap any more. The tap itself goes when the records no longer have the instance
// running here.
func (d *Dataplane) Unplug(ctx context.Context, _ fsm.InterfaceID) error {
	d.kick()
	return ctx.Err()
}

// Dial connects to a TCP port of an instance on this node, from inside its VPC. An instance that is not here is ErrNotHere.
func (d *Dataplane) Dial(ctx context.Context, id fsm.InstanceID, port int) (net.Conn, error) {
	ns, address, err := d.find(id)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var conn net.Conn
	err = inside(ns, func() error {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, "tcp4", net.JoinHostPort(address.String(), strconv.Itoa(port)))
		return err
	})
	return conn, err
}

// find is a handle of the namespace that an instance is in, to be closed, and its address.
func (d *Dataplane) find(id fsm.InstanceID) (netns.NsHandle, netip.Addr, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.spaces {
		for _, t := range s.want.Taps {
			if t.Instance == id {
				fd, err := unix.FcntlInt(uintptr(s.ns), unix.F_DUPFD_CLOEXEC, 0)
				return netns.NsHandle(fd), t.Address, err
			}
		}
	}
	return netns.None(), netip.Addr{}, fmt.Errorf("%w: %s", ErrNotHere, id)
}

// Clear removes all that carries the tag, whoever made it. It is for a node that is deleted, when Run has returned.
func (d *Dataplane) Clear(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.removeStrays(nil)
}
