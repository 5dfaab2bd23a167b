package dataplane

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/net/dns"
	"hive/net/imds"
	"hive/net/nettest"
	"hive/net/vpc"
)

// deadline bounds what a test waits for; no test is judged by it.
const deadline = 30 * time.Second

// newNamespace is a network namespace without a name, with its loopback up, that ends with the test.
func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	made := make(chan error, 1)
	var ns netns.NsHandle
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Get()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	must(t, inside(ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	}))
	return ns
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a Dataplane that runs, in a network namespace of its own or one that it shares.
type node struct {
	*Dataplane
	tag  string
	from netns.NsHandle // that it was started in
	stop func()
}

func randomTag(t *testing.T) string {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// start starts the data plane of a node of w, whose tunnels are in ns. It stops and is cleared when the test ends.
func start(t *testing.T, w *nettest.World, id fsm.NodeID, ns netns.NsHandle, tag string, underlay map[fsm.NodeID]vpc.Underlay) *node {
	t.Helper()
	metadata, err := imds.New(imds.Config{
		Source: imds.Records{Control: w}, Key: []byte("0123456789abcdef"), Clock: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	var d *Dataplane
	must(t, inside(ns, func() error {
		d, err = New(Config{
			Node: id, Tag: tag, Control: w, Metadata: metadata, Every: 50 * time.Millisecond,
			Underlay:  func() map[fsm.NodeID]vpc.Underlay { return underlay },
			Resolvers: dns.Resolvers(func() []netip.AddrPort { return nil }),
			Log:       slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		})
		return err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	n := &node{Dataplane: d, tag: tag, from: ns}
	n.stop = func() {
		if cancel != nil {
			cancel()
			cancel = nil
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(n.stop)
	return n
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// clear removes what the tag left when the test ends, and proves that nothing is.
func clearAtEnd(t *testing.T, tag string, ns netns.NsHandle) {
	t.Helper()
	before := inventory(t, tag, ns)
	t.Cleanup(func() {
		var d *Dataplane
		err := inside(ns, func() (err error) {
			d, err = New(Config{Tag: tag})
			return err
		})
		if err == nil {
			err = errors.Join(d.Clear(context.Background()), d.close())
		}
		if err != nil {
			t.Errorf("Clear: %v", err)
		}
		if after := inventory(t, tag, ns); after != before {
			t.Errorf("left behind: %s, was %s", after, before)
		}
	})
}

// inventory lists namespaces of the tag, and the links and rules of ns.
func inventory(t *testing.T, tag string, ns netns.NsHandle) string {
	var out strings.Builder
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), tag) {
			fmt.Fprintln(&out, e.Name())
		}
	}
	for _, cmd := range []string{"ip -o link", "nft list ruleset"} {
		text, err := run(ns, cmd)
		if err != nil {
			t.Errorf("%s: %v: %s", cmd, err, text)
		}
		if strings.HasPrefix(cmd, "ip") { // names only: states change as the peers' ends do
			for line := range strings.Lines(text) {
				fmt.Fprintln(&out, strings.Fields(line)[1])
			}
			continue
		}
		out.WriteString(text)
	}
	return out.String()
}

// run runs a command line in ns.
func run(ns netns.NsHandle, line string) (out string, err error) {
	words := strings.Fields(line)
	err = inside(ns, func() error {
		b, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		out = string(b)
		return err
	})
	return out, err
}

// guest is what an instance is to its network: a link with its MAC, whose frames go through the tap that QEMU would be
// handed. The link is a tap too, in a namespace of its own; two goroutines carry frames from one to the other.
type guest struct {
	nettest.Guest
	t    *testing.T
	ns   netns.NsHandle
	ends []*os.File
	mtu  int
}

// plug is the guest's machine on its node, plugged in, with no address yet.
func plug(t *testing.T, n *node, g nettest.Guest) *guest {
	t.Helper()
	tap, mtu, err := n.Plug(t.Context(), g.Interface())
	must(t, err)
	x := &guest{Guest: g, t: t, ns: newNamespace(t), mtu: mtu}
	var own *os.File
	must(t, inside(x.ns, func() error {
		if own, err = openTap("eth0"); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		mac, err := net.ParseMAC(g.MAC())
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetHardwareAddr(l, mac), netlink.LinkSetUp(l))
	}))
	x.ends = []*os.File{tap, own}
	t.Cleanup(x.unplug)
	go carry(tap, own)
	go carry(own, tap)
	return x
}

func carry(from, to *os.File) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return // unplugged, or the tap is gone
		}
		if _, err := to.Write(buf[:n]); err != nil && errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

func (g *guest) unplug() {
	for _, f := range g.ends {
		_ = f.Close() // ends the reader; closing twice is harmless
	}
}

// ask sends a DHCP message by broadcast and returns the answer, nil when none has come by the time that one to a message
// sent later has.
func (g *guest) ask(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	g.t.Helper()
	req := g.message(mods...)
	var answer *dhcpv4.DHCPv4
	must(g.t, inside(g.ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		tv := unix.NsecToTimeval(int64(100 * time.Millisecond))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		buf := make([]byte, 4096)
		for end := time.Now().Add(deadline); time.Now().Before(end); {
			if err := broadcast(req.ToBytes()); err != nil {
				return err
			}
			for {
				n, err := unix.Read(fd, buf)
				if err != nil {
					break
				}
				if n > 28 && buf[9] == unix.IPPROTO_UDP && buf[22] == 0 && buf[23] == 68 {
					if m, err := dhcpv4.FromBytes(buf[28:n]); err == nil && m.TransactionID == req.TransactionID {
						answer = m
						return nil
					}
				}
			}
		}
		return errors.New("no answer by DHCP")
	}))
	return answer
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func broadcast(b []byte) error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = unix.BindToDevice(int(fd), "eth0") })
		return errors.Join(err, set)
	}}
	conn, err := lc.ListenPacket(context.Background(), "udp4", ":68")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.WriteTo(b, &net.UDPAddr{IP: net.IPv4bcast, Port: 67})
	return err
}

func (g *guest) message(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	mac, err := net.ParseMAC(g.MAC())
	must(g.t, err)
	req, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac), dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute)}, mods...)...)
	must(g.t, err)
	return req
}

// configure gets the guest's address by DHCP and sets its link up with what the lease says.
func (g *guest) configure() *dhcpv4.DHCPv4 {
	g.t.Helper()
	offer := g.ask(dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	ack := g.ask(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
	if ack.MessageType() != dhcpv4.MessageTypeAck {
		g.t.Fatalf("DHCP answered %s", ack.Summary())
	}
	ones, _ := ack.SubnetMask().Size()
	for _, line := range []string{
		fmt.Sprintf("ip addr add %s/%d dev eth0", ack.YourIPAddr, ones),
		fmt.Sprintf("ip link set eth0 mtu %d", g.mtu),
		fmt.Sprintf("ip route add default via %s", ack.Router()[0]),
	} {
		if out, err := run(g.ns, line); err != nil {
			g.t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	return ack
}

// serveEcho answers TCP and UDP on port 7: who it was that asked, and what.
func (g *guest) serveEcho() {
	g.t.Helper()
	var l net.Listener
	var p net.PacketConn
	must(g.t, inside(g.ns, func() (err error) {
		if l, err = net.Listen("tcp4", ":7"); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp4", ":7")
		return err
	}))
	g.t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1<<16)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					fmt.Fprintf(c, "%s %s at %s", host, buf[:n], g.Address)
				}
			}()
		}
	}()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			_, _ = p.WriteTo(fmt.Appendf(nil, "%s %s at %s", host, buf[:n], g.Address), from) // it asks again
		}
	}()
}

// dial connects from the guest.
func (g *guest) dial(network, address string, wait time.Duration) (conn net.Conn, err error) {
	err = inside(g.ns, func() error {
		conn, err = net.DialTimeout(network, address, wait)
		return err
	})
	return conn, err
}

// reaches proves that the guest reaches another, by TCP and UDP, with its own address as the source.
func (g *guest) reaches(other *guest) {
	g.t.Helper()
	for _, network := range []string{"tcp4", "udp4"} {
		g.echo(network, other)
	}
}

func (g *guest) echo(network string, other *guest) {
	g.t.Helper()
	want := fmt.Sprintf("%s hello at %s", g.Address, other.Address)
	last := errors.New("not tried")
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		got, err := g.once(network, other.Address)
		if err == nil && got == want {
			return
		}
		last = fmt.Errorf("%q, %w", got, err)
	}
	g.t.Fatalf("%s from %s to %s: %v", network, g.Address, other.Address, last)
}

func (g *guest) once(network, address string) (string, error) {
	conn, err := g.dial(network, address+":7", time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// get fetches a URL from inside the guest.
func (g *guest) get(method, url string, header ...string) (status int, body string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, url, nil)
	must(g.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: deadline, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return g.dial("tcp4", address, deadline)
		},
	}}
	resp, err := client.Do(req)
	must(g.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(g.t, err)
	return resp.StatusCode, string(b)
}

// eventually waits until fn gives no error.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		if err = fn(); err == nil {
			return
		}
		runtime.Gosched()
	}
	t.Fatal(err)
}
