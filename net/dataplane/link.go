package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hive/net/vpc"
)

// sysctls of a namespace: it routes, answers ARP for what lies behind other links, and speaks no IPv6. The filter of
// source addresses is the firewall's, which knows more than the routes.
var sysctls = [][2]string{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/send_redirects", "0"}, {"net/ipv4/conf/default/send_redirects", "0"},
	{"net/ipv4/conf/all/accept_redirects", "0"}, {"net/ipv4/conf/default/accept_redirects", "0"},
	{"net/ipv4/conf/all/accept_source_route", "0"}, {"net/ipv4/conf/default/accept_source_route", "0"},
	{"net/ipv4/conf/all/arp_ignore", "0"}, {"net/ipv4/conf/all/arp_filter", "0"},
	{"net/ipv6/conf/all/disable_ipv6", "1"}, {"net/ipv6/conf/default/disable_ipv6", "1"},
}

// sysctlsOf are those of one link.
func sysctlsOf(link string, tap bool) [][2]string {
	conf := "net/ipv4/conf/" + link
	out := [][2]string{{conf + "/forwarding", "1"}, {conf + "/rp_filter", "0"}, {conf + "/send_redirects", "0"}}
	if tap {
		out = append(out, [2]string{conf + "/proxy_arp", "1"}, [2]string{"net/ipv4/neigh/" + link + "/proxy_delay", "0"})
	}
	return out
}

// setSysctls writes those that differ, in the calling thread's namespace. A kernel without IPv6 needs none of its.
func setSysctls(list [][2]string) error {
	for _, kv := range list {
		path := "/proc/sys/" + kv[0]
		have, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(kv[0], "net/ipv6/") {
			continue
		}
		if err == nil && strings.TrimSpace(string(have)) != kv[1] {
			err = os.WriteFile(path, []byte(kv[1]), 0o644)
		}
		if err != nil {
			return fmt.Errorf("sysctl %s: %w", kv[0], err)
		}
	}
	return nil
}

// applyLinks makes links, addresses, routes and neighbours as wanted and removes what is not.
func (s *space) applyLinks(want vpc.Space) error {
	if err := inside(s.ns, func() error { return setSysctls(sysctls) }); err != nil {
		return err
	}
	lo, err := s.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("link lo: %w", err)
	}
	if err := s.up(lo); err != nil {
		return err
	}
	if err := s.applyAddresses(lo, want.Addresses); err != nil {
		return err
	}
	if err := s.applyTaps(want); err != nil {
		return err
	}
	if err := s.applyTunnel(want); err != nil {
		return err
	}
	links, err := s.linksByName()
	if err != nil {
		return err
	}
	if err := s.applyNeighbours(want.Neighbours, links); err != nil {
		return err
	}
	return s.applyRoutes(want.Routes, links)
}

func (s *space) linksByName() (map[string]int, error) {
	list, err := s.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := map[string]int{}
	for _, l := range list {
		out[l.Attrs().Name] = l.Attrs().Index
	}
	return out, nil
}

func (s *space) up(l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := s.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("link %s up: %w", l.Attrs().Name, err)
	}
	return nil
}

// applyAddresses gives the loopback link exactly these addresses besides its own.
func (s *space) applyAddresses(lo netlink.Link, want []netip.Addr) error {
	have, err := s.nl.AddrList(lo, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	missing := map[netip.Addr]bool{}
	for _, a := range want {
		missing[a] = true
	}
	for i := range have {
		ones, _ := have[i].Mask.Size()
		a, _ := netip.AddrFromSlice(have[i].IP.To4())
		switch {
		case missing[a] && ones == 32:
			delete(missing, a)
		case !a.IsLoopback():
			if err := s.nl.AddrDel(lo, &have[i]); err != nil {
				return fmt.Errorf("remove address %s: %w", a, err)
			}
		}
	}
	for a := range missing {
		if err := s.nl.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, 32))}); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return nil
}

// applyTaps makes the taps and removes those that nobody wants.
func (s *space) applyTaps(want vpc.Space) error {
	list, err := s.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	have := map[string]netlink.Link{}
	for _, l := range list {
		if l.Type() == "tuntap" || l.Type() == "tun" {
			have[l.Attrs().Name] = l
		}
	}
	for _, t := range want.Taps {
		l := have[t.Name]
		delete(have, t.Name)
		if err := s.applyTap(t.Name, l, want.MTU); err != nil {
			return err
		}
	}
	for name, l := range have {
		if err := s.nl.LinkDel(l); err != nil {
			return fmt.Errorf("remove tap %s: %w", name, err)
		}
	}
	return nil
}

func (s *space) applyTap(name string, l netlink.Link, mtu int) error {
	if l == nil {
		if err := inside(s.ns, func() error { return makeTap(name) }); err != nil {
			return err
		}
		made, err := s.nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		l = made
	}
	if err := inside(s.ns, func() error { return setSysctls(sysctlsOf(name, true)) }); err != nil {
		return err
	}
	return s.applyAttributes(l, vpc.RouterMAC, mtu)
}

// applyAttributes gives a link its MAC and MTU and sets it up.
func (s *space) applyAttributes(l netlink.Link, mac string, mtu int) error {
	a := l.Attrs()
	if a.HardwareAddr.String() != mac {
		hw, err := net.ParseMAC(mac)
		if err == nil {
			err = s.nl.LinkSetHardwareAddr(l, hw)
		}
		if err != nil {
			return fmt.Errorf("MAC of %s: %w", a.Name, err)
		}
	}
	if a.MTU != mtu {
		if err := s.nl.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("MTU %d of %s: %w", mtu, a.Name, err)
		}
	}
	return s.up(l)
}

// routeKey is what makes two routes the same.
type routeKey struct {
	to, source string
	link       int
}

// applyRoutes makes the main table exactly this.
func (s *space) applyRoutes(want []vpc.Route, links map[string]int) error {
	have, err := s.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	missing := map[routeKey]netlink.Route{}
	for _, r := range want {
		add := netlink.Route{LinkIndex: links[r.Link], Dst: ipNet(r.To), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC}
		if r.Source.IsValid() {
			add.Src = r.Source.AsSlice()
		}
		missing[keyOf(add)] = add
	}
	for i := range have {
		if _, ok := missing[keyOf(have[i])]; ok && have[i].Scope == netlink.SCOPE_LINK {
			delete(missing, keyOf(have[i]))
		} else if err := s.nl.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", have[i], err)
		}
	}
	for _, r := range missing {
		if err := s.nl.RouteReplace(&r); err != nil {
			return fmt.Errorf("add route %s: %w", r, err)
		}
	}
	return nil
}

func keyOf(r netlink.Route) routeKey {
	k := routeKey{link: r.LinkIndex}
	if r.Dst != nil {
		k.to = r.Dst.String()
	}
	if r.Src != nil {
		k.source = r.Src.String()
	}
	return k
}

// applyNeighbours makes these, and only these, fixed.
func (s *space) applyNeighbours(want []vpc.Neighbour, links map[string]int) error {
	have, err := s.nl.NeighList(0, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	type key struct {
		link    int
		ip, mac string
	}
	missing := map[key]netlink.Neigh{}
	for _, n := range want {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil {
			return fmt.Errorf("neighbour %s: %w", n.Address, err)
		}
		missing[key{links[n.Link], n.Address.String(), n.MAC}] = netlink.Neigh{
			LinkIndex: links[n.Link], Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
			IP: n.Address.AsSlice(), HardwareAddr: mac,
		}
	}
	for i := range have {
		n := &have[i]
		k := key{n.LinkIndex, n.IP.String(), n.HardwareAddr.String()}
		if _, ok := missing[k]; ok && n.State&netlink.NUD_PERMANENT != 0 {
			delete(missing, k)
		} else if n.State&netlink.NUD_PERMANENT != 0 {
			if err := s.nl.NeighDel(n); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove neighbour %s: %w", n, err)
			}
		}
	}
	for _, n := range missing {
		if err := s.nl.NeighSet(&n); err != nil {
			return fmt.Errorf("set neighbour %s: %w", n.IP, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
