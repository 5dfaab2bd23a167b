package dhcp_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hive/net/dhcp"
	"hive/net/vpc"
)

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func lease() vpc.Lease {
	return vpc.Lease{
		Link: "tap0", MAC: mac.String(), Address: netip.MustParseAddr("172.31.0.5"), Bits: 20,
		Router: netip.MustParseAddr("172.31.0.1"), DNS: netip.MustParseAddr("172.31.0.2"), Metadata: netip.MustParseAddr("169.254.169.254"),
		Hostname: "ip-172-31-0-5", Domain: "eu-north-1.compute.internal", MTU: 1350, Seconds: 3600,
	}
}

func message(t *testing.T, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func answer(t *testing.T, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	t.Helper()
	a, err := dhcp.Answer(m, lease())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func requested(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func server(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip)))
}

func TestAnswersByKindOfMessage(t *testing.T) {
	for name, c := range map[string]struct {
		m    *dhcpv4.DHCPv4
		want dhcpv4.MessageType // none: silence
	}{
		"discover":                        {message(t, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer},
		"request of the offer":            {message(t, dhcpv4.MessageTypeRequest, requested("172.31.0.5"), server("172.31.0.1")), dhcpv4.MessageTypeAck},
		"request of another server's":     {message(t, dhcpv4.MessageTypeRequest, requested("172.31.0.5"), server("10.0.0.1")), dhcpv4.MessageTypeNone},
		"request after a reboot":          {message(t, dhcpv4.MessageTypeRequest, requested("172.31.0.5")), dhcpv4.MessageTypeAck},
		"request of an older life":        {message(t, dhcpv4.MessageTypeRequest, requested("172.31.0.6")), dhcpv4.MessageTypeNak},
		"renewal":                         {message(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.ParseIP("172.31.0.5"))), dhcpv4.MessageTypeAck},
		"renewal of another's":            {message(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.ParseIP("172.31.0.6"))), dhcpv4.MessageTypeNak},
		"request of nothing":              {message(t, dhcpv4.MessageTypeRequest), dhcpv4.MessageTypeNak},
		"inform":                          {message(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.ParseIP("172.31.0.5"))), dhcpv4.MessageTypeAck},
		"release":                         {message(t, dhcpv4.MessageTypeRelease), dhcpv4.MessageTypeNone},
		"decline":                         {message(t, dhcpv4.MessageTypeDecline), dhcpv4.MessageTypeNone},
		"another MAC":                     {message(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 2})), dhcpv4.MessageTypeNone},
		"through a relay":                 {message(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.ParseIP("10.0.0.1"))), dhcpv4.MessageTypeNone},
		"an answer, not a question":       {message(t, dhcpv4.MessageTypeOffer, func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }), dhcpv4.MessageTypeNone},
		"an offer that says it asks":      {message(t, dhcpv4.MessageTypeOffer), dhcpv4.MessageTypeNone},
		"a message without a kind at all": {message(t, dhcpv4.MessageTypeNone), dhcpv4.MessageTypeNone},
	} {
		got := dhcpv4.MessageTypeNone
		if a := answer(t, c.m); a != nil {
			got = a.MessageType()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestALeaseSaysAllThatAGuestNeeds(t *testing.T) {
	m := message(t, dhcpv4.MessageTypeRequest, requested("172.31.0.5"), dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute))
	sent, err := dhcpv4.FromBytes(answer(t, m).ToBytes()) // as it is on the wire
	if err != nil {
		t.Fatal(err)
	}
	ones, _ := sent.SubnetMask().Size()
	mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, sent.Options)
	if err != nil || mtu != 1350 || ones != 20 {
		t.Errorf("MTU %d, mask %d, %v", mtu, ones, err)
	}
	for what, pair := range map[string][2]string{
		"address": {sent.YourIPAddr.String(), "172.31.0.5"}, "router": {sent.Router()[0].String(), "172.31.0.1"},
		"dns": {sent.DNS()[0].String(), "172.31.0.2"}, "server": {sent.ServerIdentifier().String(), "172.31.0.1"},
		"host": {sent.HostName(), "ip-172-31-0-5"}, "domain": {sent.DomainName(), "eu-north-1.compute.internal"},
		"time": {sent.IPAddressLeaseTime(0).String(), time.Hour.String()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s, want %s", what, pair[0], pair[1])
		}
	}
	routes := sent.ClasslessStaticRoute()
	if len(routes) != 2 || routes[0].Dest.String() != "0.0.0.0/0" || routes[1].Dest.String() != "169.254.169.254/32" ||
		!routes[1].Router.Equal(net.ParseIP("172.31.0.1")) {
		t.Errorf("routes %v", routes)
	}
}

func TestRoutesAreForThoseThatAskForThem(t *testing.T) {
	if a := answer(t, message(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter))); a.ClasslessStaticRoute() != nil {
		t.Errorf("routes %v", a.ClasslessStaticRoute())
	}
}

func TestAnInformedGuestKeepsItsAddress(t *testing.T) {
	a := answer(t, message(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.ParseIP("172.31.0.5"))))
	if !a.YourIPAddr.IsUnspecified() || a.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
		t.Errorf("answer %s", a.Summary())
	}
}
