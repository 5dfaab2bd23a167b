package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"hive/net/vpc"
)

// Attributes that the netlink package does not have (linux/if_link.h, linux/neighbour.h).
const (
	iflaVXLANLocalBypass = 31
	ndaPort              = 6
)

// applyTunnel makes the VXLAN, in the namespace, with its socket in the daemon's: the one reaches the VPC, the other
// the nodes.
func (s *space) applyTunnel(want vpc.Space) error {
	have, err := s.nl.LinkByName(vpc.TunnelName())
	var none netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &none) {
		return fmt.Errorf("link %s: %w", vpc.TunnelName(), err)
	}
	exists := err == nil
	if exists && (want.Tunnel == nil || !sameTunnel(have, want.Tunnel)) {
		if err := s.nl.LinkDel(have); err != nil {
			return fmt.Errorf("remove tunnel: %w", err)
		}
		exists = false
	}
	if want.Tunnel == nil {
		return nil
	}
	if !exists {
		if have, err = s.makeTunnel(want); err != nil {
			return err
		}
	}
	if err := inside(s.ns, func() error { return setSysctls(sysctlsOf(vpc.TunnelName(), false)) }); err != nil {
		return err
	}
	if err := s.applyAttributes(have, want.Tunnel.MAC, want.MTU); err != nil {
		return err
	}
	return inside(s.ns, func() error { return applyForwards(have.Attrs().Index, want.Tunnel) })
}

func sameTunnel(l netlink.Link, want *vpc.Tunnel) bool {
	x, ok := l.(*netlink.Vxlan)
	return ok && x.VxlanId == int(want.VNI) && x.Port == int(want.Local.Port) && !x.Learning &&
		x.SrcAddr.Equal(net.IP(want.Local.IP.AsSlice()))
}

func (s *space) makeTunnel(want vpc.Space) (netlink.Link, error) {
	t := want.Tunnel
	mac, err := net.ParseMAC(t.MAC)
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Namespace = vpc.TunnelName(), want.MTU, mac, netlink.NsFd(s.ns)
	err = s.home.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(t.VNI), SrcAddr: t.Local.IP.AsSlice(), Port: int(t.Local.Port), TTL: 64, Learning: false,
	})
	if err != nil {
		return nil, fmt.Errorf("make tunnel of VNI %d on port %d: %w", t.VNI, t.Local.Port, err)
	}
	made, err := s.nl.LinkByName(vpc.TunnelName())
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	return made, inside(s.ns, func() error { return noLocalBypass(made.Attrs().Index) })
}

// noLocalBypass sends also what is for a tunnel of the same machine through its UDP socket. The shortcut would carry
// the connection tracking of one namespace into the other. Kernels before 6.5 do not know the switch and ignore it.
func noLocalBypass(index int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(iflaVXLANLocalBypass, nl.Uint8Attr(0))
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("tunnel without local bypass: %w", err)
	}
	return nil
}

// applyForwards makes the tunnel's forwarding entries exactly these, in the calling thread's namespace.
func applyForwards(index int, want *vpc.Tunnel) error {
	have, err := forwards(index, want.Local.Port)
	if err != nil {
		return err
	}
	missing := map[vpc.Forward]bool{}
	for _, f := range want.Forwards {
		missing[f] = true
	}
	for _, f := range have {
		if missing[f] {
			delete(missing, f)
		} else if err := changeForward(unix.RTM_DELNEIGH, 0, index, f); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove forwarding of %s: %w", f.MAC, err)
		}
	}
	for f := range missing {
		if err := changeForward(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, f); err != nil {
			return fmt.Errorf("forward %s to %s: %w", f.MAC, f.IP, err)
		}
	}
	return nil
}

func changeForward(kind, flags, index int, f vpc.Forward) error {
	mac, err := net.ParseMAC(f.MAC)
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	req.AddData(&netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(index), State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF})
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, mac))
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, f.IP.AsSlice()))
	req.AddData(nl.NewRtAttr(ndaPort, []byte{byte(f.Port >> 8), byte(f.Port)}))
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// forwards are a tunnel's forwarding entries; own is the port of those that name none.
func forwards(index int, own uint16) ([]vpc.Forward, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	list, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, fmt.Errorf("list forwarding: %w", err)
	}
	var out []vpc.Forward
	for _, raw := range list {
		n, err := netlink.NeighDeserialize(raw)
		if err != nil {
			return nil, fmt.Errorf("forwarding: %w", err)
		}
		if n.LinkIndex != index {
			continue
		}
		f := vpc.Forward{MAC: n.HardwareAddr.String(), Port: own}
		f.IP, _ = netip.AddrFromSlice(n.IP)
		attrs, err := nl.ParseRouteAttr(raw[12:]) // after the ndmsg
		if err != nil {
			return nil, fmt.Errorf("forwarding: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == ndaPort && len(a.Value) == 2 {
				f.Port = uint16(a.Value[0])<<8 | uint16(a.Value[1])
			}
		}
		out = append(out, f)
	}
	return out, nil
}
