package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/net/nettest"
	"hive/net/vpc"
)

// TestALargeVPC has more instances than fit into one message to the kernel, on this node and on others.
func TestALargeVPC(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	var guests []nettest.Guest
	for i := range 3000 {
		g := nettest.Guest{Account: 1, Node: "n2", Address: fmt.Sprintf("172.31.%d.%d", 1+i/200, 5+i%200), Number: 1 + i}
		if i < 60 {
			g.Node = "n1"
		}
		guests = append(guests, g)
	}
	w.Launch(guests...)
	ns, tag := newNamespace(t), randomTag(t)
	clearAtEnd(t, tag, ns)
	n := start(t, w, "n1", ns, tag, map[fsm.NodeID]vpc.Underlay{
		"n1": {IP: netip.MustParseAddr("127.0.1.1"), Port: 14789}, "n2": {IP: netip.MustParseAddr("127.0.1.2"), Port: 24789},
	})
	x, y := ready(t, n, guests[0]), ready(t, n, guests[59])
	x.reaches(y)
	settled(t, n)
}

// settled proves that a namespace which is as wanted is left alone: the kernel tells of no change, and tables are seen to
// be right.
func settled(t *testing.T, n *node) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	want, err := n.wanted()
	must(t, err)
	for _, w := range want.Spaces {
		s := n.spaces[w.VPC]
		events, err := nl.SubscribeAt(s.ns, netns.None(), unix.NETLINK_ROUTE,
			unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
		must(t, err)
		defer events.Close()
		_, err = n.ensure(w)
		must(t, err)
		lo, err := s.nl.LinkByName("lo")
		must(t, err)
		must(t, s.nl.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("203.0.113.1/32"))})) // what is told after the rest
		for last := false; !last; {
			list, _, err := events.Receive()
			must(t, err)
			for _, m := range list {
				if last = m.Header.Type == unix.RTM_NEWADDR && bytes.Contains(m.Data, []byte{203, 0, 113, 1}); last {
					break
				}
				t.Errorf("%s changed: %v", w.VPC, m)
			}
		}
		for _, r := range w.Rules {
			if same, err := s.fw.matches(r); err != nil || !same {
				t.Errorf("table %s of %s is as wanted: %t, %v", r.Family, w.VPC, same, err)
			}
		}
	}
}
