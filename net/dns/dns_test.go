package dns_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	mdns "github.com/miekg/dns"

	"hive/net/dns"
	"hive/net/vpc"
)

func zone() vpc.Zone {
	return vpc.Zone{
		Domain: "eu-north-1.compute.internal", CIDR: netip.MustParsePrefix("172.31.0.0/16"),
		Names: []vpc.Name{
			{Name: "i-1.eu-north-1.compute.internal", Address: netip.MustParseAddr("172.31.0.5")},
			{Name: "ip-172-31-0-5.eu-north-1.compute.internal", Address: netip.MustParseAddr("172.31.0.5"), Reverse: true},
		},
	}
}

// serve starts a server on the loopback link and returns its address.
func serve(t *testing.T, s dns.Server) string {
	t.Helper()
	s.Log = slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, []net.PacketConn{p}, []net.Listener{l}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func ask(t *testing.T, server, network, name string, kind uint16) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(name, kind)
	client := mdns.Client{Net: network}
	resp, _, err := client.ExchangeContext(t.Context(), m, server)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestInstancesHaveNames(t *testing.T) {
	server := serve(t, dns.Server{Zone: zone})
	for name, c := range map[string]struct {
		kind  uint16
		rcode int
		want  string
	}{
		"ip-172-31-0-5.eu-north-1.compute.internal.": {mdns.TypeA, mdns.RcodeSuccess, "172.31.0.5"},
		"IP-172-31-0-5.eu-north-1.Compute.internal.": {mdns.TypeA, mdns.RcodeSuccess, "172.31.0.5"},
		"i-1.eu-north-1.compute.internal.":           {mdns.TypeA, mdns.RcodeSuccess, "172.31.0.5"},
		"5.0.31.172.in-addr.arpa.":                   {mdns.TypePTR, mdns.RcodeSuccess, "ip-172-31-0-5.eu-north-1.compute.internal."},
		"ip-172-31-0-6.eu-north-1.compute.internal.": {mdns.TypeA, mdns.RcodeNameError, ""},
		"i-1.eu-north-1.compute.internal":            {mdns.TypeAAAA, mdns.RcodeSuccess, ""},
		"eu-north-1.compute.internal.":               {mdns.TypeA, mdns.RcodeSuccess, ""},
		"6.0.31.172.in-addr.arpa.":                   {mdns.TypePTR, mdns.RcodeNameError, ""},
		"example.com.":                               {mdns.TypeA, mdns.RcodeRefused, ""}, // no resolvers
		"1.0.0.10.in-addr.arpa.":                     {mdns.TypePTR, mdns.RcodeRefused, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			resp := ask(t, server, network, mdns.Fqdn(name), c.kind)
			got := ""
			for _, rr := range resp.Answer {
				switch rr := rr.(type) {
				case *mdns.A:
					got = rr.A.String()
				case *mdns.PTR:
					got = rr.Ptr
				}
			}
			if resp.Rcode != c.rcode || got != c.want {
				t.Errorf("%s by %s: %s %q, want %s %q", name, network, mdns.RcodeToString[resp.Rcode], got, mdns.RcodeToString[c.rcode], c.want)
			}
		}
	}
}

func TestOtherNamesAreAskedOfTheHostsResolvers(t *testing.T) {
	other := func() vpc.Zone {
		return vpc.Zone{Domain: "example.com", Names: []vpc.Name{{Name: "www.example.com", Address: netip.MustParseAddr("192.0.2.1")}}}
	}
	dead, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := netip.MustParseAddrPort(dead.LocalAddr().String())
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	upstream := netip.MustParseAddrPort(serve(t, dns.Server{Zone: other}))
	server := serve(t, dns.Server{Zone: zone, Resolvers: func() []netip.AddrPort { return []netip.AddrPort{gone, upstream} }})
	for _, network := range []string{"udp", "tcp"} {
		resp := ask(t, server, network, "www.example.com.", mdns.TypeA)
		if len(resp.Answer) != 1 || resp.Answer[0].(*mdns.A).A.String() != "192.0.2.1" {
			t.Errorf("%s: %v", network, resp)
		}
	}
	alone := serve(t, dns.Server{Zone: zone, Resolvers: func() []netip.AddrPort { return []netip.AddrPort{gone} }})
	if resp := ask(t, alone, "udp", "www.example.com.", mdns.TypeA); resp.Rcode != mdns.RcodeServerFailure {
		t.Errorf("with no resolver that answers: %v", resp)
	}
}

func TestTheSystemsResolversAreReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	resolvers := dns.System(file)
	if got := resolvers(); got != nil {
		t.Errorf("of no file: %v", got)
	}
	if err := os.WriteFile(file, []byte("# nameserver 1.1.1.1\nsearch x\nnameserver 192.0.2.53\nnameserver nonsense\n nameserver 2001:db8::1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(resolvers()); got != "[192.0.2.53:53 [2001:db8::1]:53]" {
		t.Errorf("resolvers %s", got)
	}
}
