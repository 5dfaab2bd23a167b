package dataplane

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"hive/fsm"
	"hive/net/nettest"
	"hive/net/vpc"
)

// ready plugs a guest in, gives it its address and starts its echo.
func ready(t *testing.T, n *node, g nettest.Guest) *guest {
	t.Helper()
	x := plug(t, n, g)
	x.configure()
	x.serveEcho()
	return x
}

func TestGuestsOfOneNodeReachEachOther(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	a := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	b := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2}  // same subnet
	c := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.16.7", Number: 3} // another
	w.Launch(a)
	w.Launch(b)
	w.Launch(c)
	n := alone(t, w)
	x, y, z := ready(t, n, a), ready(t, n, b), ready(t, n, c)
	x.reaches(y)
	y.reaches(x)
	x.reaches(z)
	z.reaches(y)
	w.Terminate(b)
	eventually(t, func() error {
		names, err := n.links(nettest.VPC(1))
		if err == nil && strings.Contains(names, vpc.TapName(b.Interface())) {
			err = fmt.Errorf("the tap of a terminated instance: %s", names)
		}
		return err
	})
	x.reaches(z)
}

// links are the names of the links in a VPC's namespace.
func (n *node) links(id fsm.VPCID) (string, error) {
	return n.in(id, "ip -o link")
}

// in runs a command line in a VPC's namespace.
func (n *node) in(id fsm.VPCID, line string) (string, error) {
	ns, err := netns.GetFromName(n.spaceName(id))
	if err != nil {
		return "", err
	}
	defer ns.Close()
	return run(ns, line)
}

func TestEqualRangesOfTwoVPCsDoNotMeet(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	w.Account(2)
	guests := []nettest.Guest{
		{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}, {Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2},
		{Account: 2, Node: "n1", Address: "172.31.0.5", Number: 3}, {Account: 2, Node: "n1", Address: "172.31.0.7", Number: 4},
	}
	for _, g := range guests {
		w.Launch(g)
	}
	n := alone(t, w)
	a, b, c, d := ready(t, n, guests[0]), ready(t, n, guests[1]), ready(t, n, guests[2]), ready(t, n, guests[3])
	a.reaches(b)
	c.reaches(d)
	if got, err := a.once("udp4", d.Address); err == nil {
		t.Errorf("%s of another VPC answered: %s", d.Address, got)
	}
	for _, x := range []*guest{a, c} {
		if _, id := x.get("GET", "http://169.254.169.254/latest/meta-data/instance-id"); id != string(x.ID()) {
			t.Errorf("the metadata of %s say %s", x.ID(), id)
		}
	}
}

// twoNodes are nodes n1 and n2, each in a namespace, joined by a link.
func twoNodes(t *testing.T, w *nettest.World) (*node, *node) {
	t.Helper()
	one, two := newNamespace(t), newNamespace(t)
	must(t, inside(one, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "under0"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "under0", PeerNamespace: netlink.NsFd(two)})
	}))
	for i, ns := range []netns.NsHandle{one, two} {
		for _, line := range []string{fmt.Sprintf("ip addr add 10.99.0.%d/24 dev under0", i+1), "ip link set under0 up"} {
			if out, err := run(ns, line); err != nil {
				t.Fatalf("%s: %v: %s", line, err, out)
			}
		}
	}
	return pair(t, w, one, two, map[fsm.NodeID]vpc.Underlay{
		"n1": {IP: netip.MustParseAddr("10.99.0.1"), Port: 4789, MTU: 1500}, "n2": {IP: netip.MustParseAddr("10.99.0.2"), Port: 4789, MTU: 1400},
	})
}

func pair(t *testing.T, w *nettest.World, one, two netns.NsHandle, underlay map[fsm.NodeID]vpc.Underlay) (*node, *node) {
	t.Helper()
	tags := []string{randomTag(t), randomTag(t)}
	clearAtEnd(t, tags[0], one)
	clearAtEnd(t, tags[1], two)
	return start(t, w, "n1", one, tags[0], underlay), start(t, w, "n2", two, tags[1], underlay)
}

func TestGuestsOfTwoNodesReachEachOther(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	w.Account(2)
	guests := []nettest.Guest{
		{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}, {Account: 1, Node: "n2", Address: "172.31.0.6", Number: 2},
		{Account: 2, Node: "n1", Address: "172.31.0.5", Number: 3}, {Account: 2, Node: "n2", Address: "172.31.0.6", Number: 4},
	}
	for _, g := range guests {
		w.Launch(g)
	}
	one, two := twoNodes(t, w)
	a, b, c, d := ready(t, one, guests[0]), ready(t, two, guests[1]), ready(t, one, guests[2]), ready(t, two, guests[3])
	if a.mtu != 1350 || b.mtu != 1350 {
		t.Errorf("MTU %d and %d, want the narrowest path's less 50", a.mtu, b.mtu)
	}
	a.reaches(b)
	b.reaches(a)
	c.reaches(d)
	large(t, a, b)
	settled(t, one)
	settled(t, two)
}

// large sends 100 KiB over one connection, in full packets.
func large(t *testing.T, from, to *guest) {
	t.Helper()
	conn, err := from.dial("tcp4", to.Address+":7", deadline)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(deadline)))
	go func() { _, _ = conn.Write(make([]byte, 100<<10)) }() // the reader below finds out
	buf := make([]byte, 1<<16)
	for left := 100 << 10; left > 0; {
		n, err := conn.Read(buf)
		must(t, err)
		left -= n
	}
}

func TestNodesOfOneMachineShareItsNetwork(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	guests := []nettest.Guest{{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}, {Account: 1, Node: "n2", Address: "172.31.16.6", Number: 2}}
	w.Launch(guests[0])
	w.Launch(guests[1])
	ns := newNamespace(t)
	one, two := pair(t, w, ns, ns, map[fsm.NodeID]vpc.Underlay{
		"n1": {IP: netip.MustParseAddr("127.0.1.1"), Port: 14789}, "n2": {IP: netip.MustParseAddr("127.0.1.2"), Port: 24789},
	})
	a, b := ready(t, one, guests[0]), ready(t, two, guests[1])
	a.reaches(b)
	b.reaches(a)
	large(t, b, a)
}

func TestAGuestCannotSpeakForAnother(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	a := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	b := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2}
	c := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.7", Number: 3} // whose group lets it speak to b
	w.Launch(a)
	w.Launch(b)
	w.Launch(c)
	n := alone(t, w)
	x, y := ready(t, n, a), ready(t, n, b)
	x.reaches(y)
	heard := make(chan string, 100)
	var l net.PacketConn
	must(t, inside(y.ns, func() (err error) { l, err = net.ListenPacket("udp4", ":9"); return err }))
	t.Cleanup(func() { l.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			count, from, err := l.ReadFrom(buf)
			if err != nil {
				close(heard)
				return
			}
			heard <- from.String() + " " + string(buf[:count])
		}
	}()
	send := func(what string) {
		t.Helper()
		conn, err := x.dial("udp4", b.Address+":9", deadline)
		must(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte(what))
		must(t, err)
	}
	setup := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if out, err := run(x.ns, line); err != nil {
				t.Fatalf("%s: %v: %s", line, err, out)
			}
		}
	}
	router := "ip neigh replace 172.31.0.6 lladdr " + vpc.RouterMAC + " dev eth0" // it need not ask
	setup("ip addr add 172.31.0.7/32 dev eth0", "ip route add 172.31.0.6 dev eth0 src 172.31.0.7", router)
	send("another address")
	setup("ip route del 172.31.0.6", "ip addr del 172.31.0.7/32 dev eth0", "ip link set eth0 address 02:00:00:00:99:99", router)
	send("another MAC")
	setup("ip link set eth0 address "+a.MAC(), "ip route replace default via 172.31.0.1")
	for said := ""; said == ""; { // until what is true has come through: what came before it would have been heard
		send("the truth")
		select {
		case said = <-heard:
			if !strings.HasPrefix(said, "172.31.0.5:") || !strings.HasSuffix(said, " the truth") {
				t.Fatalf("heard %q", said)
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestWhatOthersBreakIsMended(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	a := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	b := nettest.Guest{Account: 1, Node: "n2", Address: "172.31.0.6", Number: 2}
	w.Launch(a)
	w.Launch(b)
	one, two := twoNodes(t, w)
	x, y := ready(t, one, a), ready(t, two, b)
	x.reaches(y)
	id := nettest.VPC(1)
	shape := func() (string, error) {
		var all string
		for _, line := range []string{"ip -o addr show dev lo", "ip route", "ip neigh", "bridge fdb show dev vxlan", "nft list table inet hive", "nft list table arp hive"} {
			out, err := one.in(id, line)
			if err != nil {
				return "", fmt.Errorf("%s: %w: %s", line, err, out)
			}
			lines := strings.Split(out, "\n")
			if strings.HasPrefix(line, "ip") { // a hash decides about the order
				slices.Sort(lines)
			}
			all += strings.Join(lines, "\n")
		}
		return all, nil
	}
	want, err := shape()
	must(t, err)
	for _, line := range []string{
		"ip route del 172.31.0.6/32", "ip route add 172.31.0.77/32 dev vxlan", "ip route del 172.31.0.5/32", "nft delete table inet hive",
		"nft flush chain inet hive guard", "nft add rule inet hive forward accept", "nft chain inet hive forward { policy accept ; }",
		"nft add element inet hive remotes { 172.31.0.200 }", "nft flush set inet hive guests",
		"nft delete element inet hive ingress { " + vpc.TapName(a.Interface()) + " }",
		"ip neigh del 172.31.0.6 dev vxlan", "ip neigh add 172.31.0.88 lladdr 02:00:00:00:00:01 dev vxlan",
		"ip addr del 169.254.169.254/32 dev lo", "ip addr add 10.1.1.1/32 dev lo", "ip link del vxlan", "ip link set vxlan down",
		"sysctl -qw net.ipv4.ip_forward=0", "ip link set vxlan mtu 1000", "bridge fdb add 02:00:00:00:00:02 dev vxlan dst 10.99.0.9",
		"nft delete table arp hive", "nft flush chain arp hive guard",
		"ip link set " + vpc.TapName(a.Interface()) + " down",
	} {
		if out, err := one.in(id, line); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
		eventually(t, func() error {
			now, err := shape()
			if err == nil && now != want {
				err = fmt.Errorf("after %s:\n%s\nwant\n%s", line, now, want)
			}
			return err
		})
		x.reaches(y)
	}
}

func TestATapThatIsDeletedComesBack(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	n := alone(t, w)
	plug(t, n, g).unplug()
	if out, err := n.in(nettest.VPC(1), "ip link del "+vpc.TapName(g.Interface())); err != nil {
		t.Fatal(err, out)
	}
	eventually(t, func() error {
		x, _, err := n.Plug(t.Context(), g.Interface())
		if err == nil {
			err = x.Close()
		}
		return err
	})
	ready(t, n, g)
}

func TestANameThatIsDeletedComesBackToTheSameNamespace(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	a := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	b := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2}
	w.Launch(a)
	w.Launch(b)
	n := alone(t, w)
	x, y := ready(t, n, a), ready(t, n, b)
	x.reaches(y)
	out, err := run(n.from, "ip netns del "+n.spaceName(nettest.VPC(1)))
	if err != nil && !strings.Contains(out, "busy") { // it was named again before its file was gone
		t.Fatal(err, out)
	}
	x.reaches(y)
	eventually(t, func() error {
		names, err := n.links(nettest.VPC(1))
		if err == nil && !strings.Contains(names, vpc.TapName(a.Interface())) {
			err = fmt.Errorf("another namespace: %s", names)
		}
		return err
	})
}

func TestGuestsGoOnWhileTheDaemonStartsAgain(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	guests := []nettest.Guest{
		{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}, {Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2},
		{Account: 1, Node: "n2", Address: "172.31.0.7", Number: 3},
	}
	for _, g := range guests {
		w.Launch(g)
	}
	one, two := twoNodes(t, w)
	a, b, c := ready(t, one, guests[0]), ready(t, one, guests[1]), ready(t, two, guests[2])
	near, err := a.dial("tcp4", b.Address+":7", deadline)
	must(t, err)
	defer near.Close()
	far, err := a.dial("tcp4", c.Address+":7", deadline)
	must(t, err)
	defer far.Close()
	talk := func() {
		t.Helper()
		for _, conn := range []net.Conn{near, far} {
			must(t, conn.SetDeadline(time.Now().Add(deadline)))
			_, err := conn.Write([]byte("hello"))
			must(t, err)
			_, err = conn.Read(make([]byte, 100))
			must(t, err)
		}
	}
	talk()
	before, err := one.in(nettest.VPC(1), "ip -o link")
	must(t, err)
	one.stop()
	talk()
	two.stop() // and nobody tells the one where the other is
	again := start(t, w, "n1", one.from, one.tag, nil)
	eventually(t, func() error {
		conn, err := again.Dial(t.Context(), b.ID(), 7)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	talk()
	eventually(t, func() error {
		conn, err := a.dial("tcp4", "169.254.169.254:80", deadline)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	if _, id := a.get("GET", "http://169.254.169.254/latest/meta-data/instance-id"); id != string(a.ID()) {
		t.Errorf("instance-id: %s", id)
	}
	a.reaches(b)
	talk()
	if after, err := again.in(nettest.VPC(1), "ip -o link"); err != nil || after != before {
		t.Errorf("links were\n%sand are\n%s%v", before, after, err)
	}
}

func TestANamespaceGoesWithItsLastInstance(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	n := alone(t, w)
	x := plug(t, n, g)
	x.unplug()
	must(t, n.Unplug(t.Context(), g.Interface()))
	must(t, n.Unplug(t.Context(), g.Interface()))
	w.Terminate(g)
	eventually(t, func() error {
		names, err := n.namespaces()
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("namespaces %v", names)
		}
		return err
	})
	if _, _, err := n.Plug(t.Context(), g.Interface()); err == nil {
		t.Error("a tap of a terminated instance was plugged")
	}
	if _, err := n.Dial(t.Context(), g.ID(), 22); err == nil {
		t.Error("a terminated instance was dialled")
	}
}

func TestAnInstanceThatIsNotHereIsRefused(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n2", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	n := alone(t, w)
	if _, _, err := n.Plug(t.Context(), g.Interface()); err == nil || !strings.Contains(err.Error(), ErrNotHere.Error()) {
		t.Errorf("Plug: %v", err)
	}
	if _, err := n.Dial(t.Context(), g.ID(), 22); err == nil || !strings.Contains(err.Error(), ErrNotHere.Error()) {
		t.Errorf("Dial: %v", err)
	}
	if names, err := n.namespaces(); err != nil || len(names) > 0 {
		t.Errorf("namespaces %v, %v", names, err)
	}
}
