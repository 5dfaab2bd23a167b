package dataplane

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/net/nettest"
	"hive/net/vpc"
)

func TestThisMachineCanDoIt(t *testing.T) {
	must(t, Possible())
}

func TestAProcessThatMayNotIsTold(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread that may nothing ends
		var none [2]unix.CapUserData
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		if err == nil {
			err = probe()
		}
		done <- err
	}()
	if err := <-done; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
		t.Errorf("without capabilities: %v", err)
	}
}

// alone is a node by itself, in a namespace of its own.
func alone(t *testing.T, w *nettest.World) *node {
	ns, tag := newNamespace(t), randomTag(t)
	clearAtEnd(t, tag, ns)
	return start(t, w, "n1", ns, tag, map[fsm.NodeID]vpc.Underlay{"n1": {IP: netip.MustParseAddr("127.0.0.1"), Port: 4789}})
}

func TestAGuestGetsItsLeaseAndItsMetadata(t *testing.T) {
	w := nettest.New(t, "n1")
	w.Account(1)
	g := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1}
	w.Launch(g)
	n := alone(t, w)
	x := plug(t, n, g)
	ack := x.configure()
	if ack.YourIPAddr.String() != g.Address || ack.Router()[0].String() != "172.31.0.1" || ack.DNS()[0].String() != "172.31.0.2" ||
		ack.HostName() != "ip-172-31-0-5" || ack.DomainName() != nettest.Region+".compute.internal" || x.mtu != 1450 {
		t.Errorf("lease: %s", ack.Summary())
	}
	status, token := x.get("PUT", "http://169.254.169.254/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if status != 200 {
		t.Fatalf("token: %d %s", status, token)
	}
	if status, id := x.get("GET", "http://169.254.169.254/latest/meta-data/instance-id", "X-aws-ec2-metadata-token", token); status != 200 || id != string(g.ID()) {
		t.Errorf("instance-id: %d %s", status, id)
	}
	x.serveEcho()
	conn, err := n.Dial(t.Context(), g.ID(), 7)
	must(t, err)
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	count, err := conn.Read(buf)
	if got := string(buf[:count]); err != nil || got != "172.31.0.1 hello at 172.31.0.5" {
		t.Errorf("Dial: %q, %v", got, err)
	}
	renewed := x.ask(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(ack.YourIPAddr))
	if renewed.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("renewal: %s", renewed.Summary())
	}
	wrong := x.ask(dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ack.Router()[0])))
	if wrong.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("a request for the router's address: %s", wrong.Summary())
	}
}
