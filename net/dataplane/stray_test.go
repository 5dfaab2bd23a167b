package dataplane

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"hive/fsm"
	"hive/net/nettest"
	"hive/net/vpc"
)

func TestWhatAnEarlierProcessLeftGoes(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	ns, tag, other := newNamespace(t), randomTag(t), randomTag(t)
	clearAtEnd(t, tag, ns)
	foreign := "hive-" + other + "-vpc-of-another"
	for _, line := range []string{"ip netns add hive-" + tag + "-vpc-gone", "ip netns add " + foreign} {
		if out, err := run(ns, line); err != nil {
			t.Fatal(err, out)
		}
	}
	t.Cleanup(func() {
		if err := unname(foreign); err != nil {
			t.Error(err)
		}
	})
	// names without a namespace, as a crash between two steps leaves them: of a VPC that is wanted, and of one that is not
	for _, id := range []fsm.VPCID{nettest.VPC(1), "vpc-half"} {
		must(t, os.WriteFile(filepath.Join(runDir, "hive-"+tag+"-"+string(id)), nil, 0o444))
	}
	n := start(t, w, "n1", ns, tag, map[fsm.NodeID]vpc.Underlay{"n1": {IP: netip.MustParseAddr("127.0.0.1"), Port: 4789}})
	ready(t, n, g)
	eventually(t, func() error {
		names, err := n.namespaces()
		if err == nil && len(names) != 1 {
			err = fmt.Errorf("namespaces %v", names)
		}
		return err
	})
	if _, err := os.Stat(filepath.Join(runDir, foreign)); err != nil {
		t.Errorf("a namespace of another tag: %v", err)
	}
}

func TestATunnelFollowsItsEnds(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	guests := []nettest.Guest{{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}, {Account: 1, Node: "n2", Address: "172.31.0.6", Number: 2}}
	w.Launch(guests...)
	ns := newNamespace(t)
	at := func(one, two uint16) map[fsm.NodeID]vpc.Underlay {
		return map[fsm.NodeID]vpc.Underlay{
			"n1": {IP: netip.MustParseAddr("127.0.1.1"), Port: one}, "n2": {IP: netip.MustParseAddr("127.0.1.2"), Port: two},
		}
	}
	one, two := pair(t, w, ns, ns, at(14789, 24789))
	a, b := ready(t, one, guests[0]), ready(t, two, guests[1])
	a.reaches(b)
	one.stop()
	two.stop()
	one, two = start(t, w, "n1", ns, one.tag, at(14790, 24790)), start(t, w, "n2", ns, two.tag, at(14790, 24790))
	a.reaches(b)
	b.reaches(a)
	for _, n := range []*node{one, two} {
		eventually(t, func() error {
			ends, err := tunnelEnds(n.spaceName(nettest.VPC(1)))
			for _, u := range ends {
				if u.Port != 14790 && u.Port != 24790 {
					err = fmt.Errorf("ends %v", ends)
				}
			}
			return err
		})
	}
}
