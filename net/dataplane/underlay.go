package dataplane

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"hive/fsm"
	"hive/net/vpc"
)

// underlay is where the members' tunnels end. A member of whom nobody knows now, for its daemon is down or this one has
// just started, is where it was: its guests go on. d.mu is held.
func (d *Dataplane) underlay(v *fsm.View) map[fsm.NodeID]vpc.Underlay {
	if d.known == nil {
		d.known = d.recall(v)
	}
	now := d.cfg.Underlay()
	for node := range d.known {
		if _, ok := now[node]; !ok && !fsm.Members.Has(v, node) {
			delete(d.known, node)
		}
	}
	for node, u := range now {
		if node == d.cfg.Node && u.MTU == 0 {
			u.MTU = d.mtuTo(u.IP)
		}
		d.known[node] = u
	}
	return d.known
}

// recall is what the tunnels that an earlier process left say of the members.
func (d *Dataplane) recall(v *fsm.View) map[fsm.NodeID]vpc.Underlay {
	out := map[fsm.NodeID]vpc.Underlay{}
	macs := map[string]fsm.NodeID{}
	for node := range fsm.Members.Scan(v, "") {
		macs[vpc.NodeMAC(node)] = node
	}
	names, err := d.namespaces()
	if err != nil {
		d.cfg.Log.Warn("earlier networks cannot be listed", "error", err)
	}
	for _, name := range names {
		list, err := tunnelEnds(name)
		if err != nil {
			d.cfg.Log.Warn("an earlier network's tunnel cannot be read", "namespace", name, "error", err)
		}
		for mac, u := range list {
			if node, ok := macs[mac]; ok {
				out[node] = u
			}
		}
	}
	return out
}

// tunnelEnds are the ends that the tunnel of a namespace knows, its own too, by MAC.
func tunnelEnds(name string) (map[string]vpc.Underlay, error) {
	ns, err := netns.GetFromPath(filepath.Join(runDir, name))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	out := map[string]vpc.Underlay{}
	return out, inside(ns, func() error {
		l, err := netlink.LinkByName(vpc.TunnelName())
		if err != nil {
			return err
		}
		x, ok := l.(*netlink.Vxlan)
		if !ok {
			return fmt.Errorf("%s is a %s", vpc.TunnelName(), l.Type())
		}
		mtu := vpc.UnderlayMTU(x.Attrs().MTU)
		own, _ := netip.AddrFromSlice(x.SrcAddr.To4())
		out[x.Attrs().HardwareAddr.String()] = vpc.Underlay{IP: own, Port: uint16(x.Port), MTU: mtu}
		list, err := forwards(x.Attrs().Index, uint16(x.Port))
		for _, f := range list {
			out[f.MAC] = vpc.Underlay{IP: f.IP, Port: f.Port, MTU: mtu}
		}
		return err
	})
}

// mtuTo is the MTU of the link that has an address, 0 when none has it.
func (d *Dataplane) mtuTo(ip netip.Addr) int {
	addrs, err := d.home.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0
	}
	for _, a := range addrs {
		if a.IP.Equal(ip.AsSlice()) {
			if l, err := d.home.LinkByIndex(a.LinkIndex); err == nil {
				return l.Attrs().MTU
			}
		}
	}
	return 0
}
