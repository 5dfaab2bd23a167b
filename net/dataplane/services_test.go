package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/net/nettest"
)

// resolve asks one of the VPC's name servers from inside a guest.
func (g *guest) resolve(server, name string) ([]string, error) {
	resolver := net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		return g.dial(network+"4", server+":53", deadline)
	}}
	return resolver.LookupHost(g.t.Context(), name)
}

func TestGuestsResolveEachOther(t *testing.T) {
	w := nettest.New(t, "n1", "n2")
	w.Account(1)
	a := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	b := nettest.Guest{Account: 1, Node: "n2", Address: "172.31.16.6", Number: 2}
	w.Launch(a)
	w.Launch(b)
	x := ready(t, alone(t, w), a)
	domain := "." + nettest.Region + ".compute.internal"
	for _, server := range []string{"172.31.0.2", "169.254.169.253"} {
		for _, name := range []string{"ip-172-31-16-6" + domain, string(b.ID()) + domain} {
			if got, err := x.resolve(server, name); err != nil || len(got) != 1 || got[0] != b.Address {
				t.Errorf("%s at %s: %v, %v", name, server, got, err)
			}
		}
	}
	if got, err := x.resolve("172.31.0.2", "ip-172-31-0-99"+domain); err == nil {
		t.Errorf("a name of nobody: %v", got)
	}
}

// TestATokenDoesNotCrossMoreHopsThanItMay has a container in the guest, behind the guest's own address translation: the
// answer to its PUT lives for as many hops as the instance's options say, and one is not enough for it.
func TestATokenDoesNotCrossMoreHopsThanItMay(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	guests := make([]nettest.Guest, 2)
	for i := range guests {
		guests[i] = nettest.Guest{Account: 1, Node: "n1", Address: fmt.Sprintf("172.31.0.%d", 5+i), Number: 1 + i,
			Change: func(x *fsm.Instance) { x.Metadata.HopLimit = int32(i + 1) }}
		w.Launch(guests[i])
	}
	n := alone(t, w)
	for i, g := range guests {
		x := ready(t, n, g)
		if status, _ := x.get("PUT", "http://169.254.169.254/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60"); status != 200 {
			t.Fatalf("the guest itself: %d", status)
		}
		c := container(t, x)
		if status, id := c.get("GET", "http://169.254.169.254/latest/meta-data/instance-id"); status != 200 || id != string(g.ID()) {
			t.Fatalf("the container: %d %s", status, id)
		}
		err := c.token()
		if reached := err == nil; reached != (i == 1) {
			t.Errorf("hop limit %d: the container's token: %v", i+1, err)
		}
	}
}

// container is a namespace behind the guest.
func container(t *testing.T, g *guest) *guest {
	t.Helper()
	c := &guest{Guest: g.Guest, t: t, ns: newNamespace(t)}
	must(t, inside(g.ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "docker0"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(c.ns)})
	}))
	for _, line := range []string{
		"ip addr add 10.88.0.1/24 dev docker0", "ip link set docker0 up", "sysctl -qw net.ipv4.ip_forward=1",
		"nft add table ip nat", "nft add chain ip nat post { type nat hook postrouting priority 100 ; }",
		"nft add rule ip nat post oifname eth0 masquerade",
	} {
		if out, err := run(g.ns, line); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	for _, line := range []string{"ip addr add 10.88.0.2/24 dev eth0", "ip link set eth0 up", "ip route add default via 10.88.0.1"} {
		if out, err := run(c.ns, line); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	return c
}

// token asks for a token by hand, and waits a second for it.
func (g *guest) token() error {
	conn, err := g.dial("tcp4", "169.254.169.254:80", deadline)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n")); err != nil {
		return err
	}
	buf := make([]byte, 1000)
	n, err := conn.Read(buf)
	if err == nil && !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
		err = fmt.Errorf("%q", buf[:n])
	}
	return err
}

func TestAGuestIsRememberedByItsOwnNameOnly(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	n := alone(t, w)
	x := ready(t, n, g)
	for i := range 20 { // each is a name that ARP would be asked with
		for _, line := range []string{
			fmt.Sprintf("ip addr add 172.31.1.%d/20 dev eth0", i+1), "ip neigh flush dev eth0",
			fmt.Sprintf("ip route replace 172.31.0.2/32 dev eth0 src 172.31.1.%d", i+1),
		} {
			if out, err := run(x.ns, line); err != nil {
				t.Fatalf("%s: %v: %s", line, err, out)
			}
		}
		conn, err := x.dial("udp4", "172.31.0.2:53", deadline)
		must(t, err)
		_, err = conn.Write([]byte("x"))
		must(t, errors.Join(err, conn.Close()))
	}
	for _, line := range []string{"ip route del 172.31.0.2/32", "ip addr flush dev eth0", "ip addr add 172.31.0.5/20 dev eth0", "ip route add default via 172.31.0.1"} {
		if out, err := run(x.ns, line); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	if _, err := x.resolve("172.31.0.2", string(g.ID())+"."+nettest.Region+".compute.internal"); err != nil { // after all of them
		t.Error(err)
	}
	out, err := n.in(nettest.VPC(1), "ip neigh")
	must(t, err)
	if strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "172.31.0.5 ") {
		t.Errorf("neighbours:\n%s", out)
	}
}

func TestATapIsForOneProcess(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	n := alone(t, w)
	x := plug(t, n, g)
	if _, _, err := n.Plug(t.Context(), g.Interface()); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second time: %v", err)
	}
	x.configure()
}

func TestAWrongTagIsRefused(t *testing.T) {
	for _, tag := range []string{"", "short", "UPPER123", "../../..", "123456789"} {
		if _, err := New(Config{Tag: tag}); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", tag, err)
		}
	}
}

func TestAGuestCannotTakeAllConnections(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	a := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	b := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2}
	w.Launch(a)
	w.Launch(b)
	n := alone(t, w)
	greedy, other := ready(t, n, a), ready(t, n, b)
	var held []net.Conn
	for range maxConns {
		conn, err := greedy.dial("tcp4", "169.254.169.254:80", deadline)
		must(t, err)
		defer conn.Close()
		held = append(held, conn)
	}
	more, err := greedy.dial("tcp4", "169.254.169.254:80", deadline)
	must(t, err)
	defer more.Close()
	must(t, more.SetDeadline(time.Now().Add(deadline)))
	if _, err := more.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more than %d connections: %v", maxConns, err)
	}
	if status, _ := other.get("GET", "http://169.254.169.254/latest/meta-data/instance-id"); status != 200 {
		t.Errorf("another guest: %d", status)
	}
	must(t, held[0].Close())
	eventually(t, greedy.token)
}
