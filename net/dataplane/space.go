package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/net/dhcp"
	"hive/net/dns"
	"hive/net/vpc"
)

// space is the namespace of a VPC.
type space struct {
	id   fsm.VPCID
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle // in ns
	home *netlink.Handle // in the daemon's
	fw   firewall
	want vpc.Space // as last applied

	stop context.CancelFunc // of the servers; nil while there are none
	done chan struct{}      // closed when they have ended

	mu     sync.Mutex        // guards what the servers read
	leases map[int]vpc.Lease // by index of the link
	zone   vpc.Zone
}

func (d *Dataplane) open(id fsm.VPCID) (*space, error) { return d.openNamed(id, d.spaceName(id)) }

func (d *Dataplane) openNamed(id fsm.VPCID, name string) (*space, error) {
	ns, err := openNamespace(name)
	if err != nil {
		return nil, err
	}
	s := &space{id: id, name: name, ns: ns, home: d.home}
	if s.nl, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink: %w", err), ns.Close())
	}
	if s.fw, err = openFirewall(ns); err != nil {
		return nil, errors.Join(fmt.Errorf("nftables: %w", err), s.close())
	}
	return s, nil
}

func (s *space) close() error {
	s.nl.Close()
	return s.ns.Close()
}

// apply makes the namespace as wanted. The firewall comes before the links' ends: no guest is ever without it.
func (s *space) apply(want vpc.Space) error {
	if !named(s.ns, s.name) {
		if err := errors.Join(unname(s.name), bindNamespace(s.ns, s.name)); err != nil {
			return err
		}
	}
	if err := s.fw.apply(want.Rules); err != nil {
		return err
	}
	if err := s.applyLinks(want); err != nil {
		return err
	}
	links, err := s.linksByName()
	if err != nil {
		return err
	}
	s.want = want
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone, s.leases = want.Zone, map[int]vpc.Lease{}
	for _, l := range want.Leases {
		s.leases[links[l.Link]] = l
	}
	return nil
}

func (s *space) leaseOn(link int) (vpc.Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leases[link]
	return l, ok
}

func (s *space) zoneNow() vpc.Zone {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zone
}

// remove ends a namespace. Its links go first and at once, for the kernel ends namespaces when it has the time: the
// tunnel's number and port are free when it returns. d.mu is held.
func (d *Dataplane) remove(s *space) error {
	s.stopServers()
	links, err := s.nl.LinkList()
	errs := []error{err}
	for _, l := range links {
		if name := l.Attrs().Name; name == vpc.TunnelName() || l.Type() == "tuntap" || l.Type() == "tun" {
			if err := s.nl.LinkDel(l); err != nil {
				errs = append(errs, fmt.Errorf("remove link %s: %w", name, err))
			}
		}
	}
	return errors.Join(append(errs, unname(s.name), s.close())...)
}

// startServers starts the servers that guests ask, if they do not run. d.mu is held.
func (d *Dataplane) startServers(s *space) error {
	if s.stop != nil {
		select {
		case <-s.done: // one failed, and the others with it
			s.stopServers()
		default:
			return nil
		}
	}
	l, err := listen(s)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(d.run)
	s.stop, s.done = stop, make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return dhcp.Serve(ctx, l.dhcp, s.leaseOn, d.cfg.Log) })
	group.Go(func() error { return d.cfg.Metadata.Serve(ctx, s.id, l.metadata) })
	server := dns.Server{Zone: s.zoneNow, Resolvers: d.cfg.Resolvers, Log: d.cfg.Log}
	group.Go(func() error { return server.Serve(ctx, l.packets, l.streams) })
	go func(done chan struct{}) {
		if err := group.Wait(); err != nil && d.run.Err() == nil {
			d.cfg.Log.Error("a server of a VPC ended", "vpc", s.id, "error", err)
		}
		close(done)
	}(s.done)
	return nil
}

func (s *space) stopServers() {
	if s.stop != nil {
		s.stop()
		<-s.done
		s.stop = nil
	}
}

// listeners are the sockets of the servers of one namespace.
type listeners struct {
	dhcp     *net.UDPConn
	metadata net.Listener
	packets  []net.PacketConn // of DNS
	streams  []net.Listener
}

// listen opens the sockets inside the namespace, all or none.
func listen(s *space) (listeners, error) {
	var l listeners
	err := inside(s.ns, func() error {
		var err error
		if l.dhcp, err = dhcp.Listen(); err != nil {
			return err
		}
		web, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(vpc.MetadataAddress(), 80)))
		if err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
		l.metadata = limit(web)
		for _, a := range s.want.Zone.Servers {
			packet, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 53)))
			if err != nil {
				return fmt.Errorf("dns: %w", err)
			}
			l.packets = append(l.packets, packet)
			stream, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 53)))
			if err != nil {
				return fmt.Errorf("dns: %w", err)
			}
			l.streams = append(l.streams, limit(stream))
		}
		return nil
	})
	if err != nil {
		return l, errors.Join(err, l.close())
	}
	return l, nil
}

func (l listeners) close() error {
	var errs []error
	if l.dhcp != nil {
		errs = append(errs, l.dhcp.Close())
	}
	if l.metadata != nil {
		errs = append(errs, l.metadata.Close())
	}
	for _, c := range l.packets {
		errs = append(errs, c.Close())
	}
	for _, c := range l.streams {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
