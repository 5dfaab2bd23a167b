// Package dns is the name server inside a VPC: it knows the private names of the VPC's instances and asks the host's
// resolvers for all others. It caches nothing and never answers a name of another VPC.
package dns

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"hive/net/vpc"
)

const (
	ttl            = 60 // seconds
	forwardTimeout = 2 * time.Second
	maxForwards    = 128 // questions of one VPC that wait for the host's resolvers at once
)

// Resolvers are the servers that are asked for names of no instance, in order. None: such names are refused.
type Resolvers func() []netip.AddrPort

// System are the resolvers of a file like /etc/resolv.conf, read at every question: it changes when the host moves.
func System(file string) Resolvers {
	return func() []netip.AddrPort {
		f, err := os.Open(file)
		if err != nil {
			return nil // a host without one has no resolvers
		}
		defer f.Close()
		var out []netip.AddrPort
		for lines := bufio.NewScanner(f); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) > 1 && words[0] == "nameserver" {
				if a, err := netip.ParseAddr(words[1]); err == nil {
					out = append(out, netip.AddrPortFrom(a, 53))
				}
			}
		}
		return out
	}
}

// Server answers the questions of one VPC's instances.
type Server struct {
	Zone      func() vpc.Zone
	Resolvers Resolvers // may be nil
	Log       *slog.Logger
}

// Serve answers on the sockets until ctx ends, and closes them.
func (s *Server) Serve(ctx context.Context, packets []net.PacketConn, streams []net.Listener) error {
	slots := make(chan struct{}, maxForwards)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		network := w.LocalAddr().Network()
		resp := s.answer(ctx, req, network, slots)
		if network == "udp" {
			resp.Truncate(udpSize(req))
		}
		if err := w.WriteMsg(resp); err != nil {
			s.Log.Debug("a DNS answer was not sent", "to", w.RemoteAddr(), "error", err)
		}
	})
	var group errgroup.Group
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	run := func(server *dns.Server, close func() error) {
		group.Go(func() error {
			defer stop() // one that fails ends the others
			defer context.AfterFunc(ctx, func() { _ = close() })()
			err := server.ActivateAndServe()
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, close())
		})
	}
	for _, c := range packets {
		run(&dns.Server{PacketConn: c, Handler: handler}, c.Close)
	}
	for _, l := range streams {
		run(&dns.Server{Listener: l, Handler: handler}, l.Close)
	}
	return group.Wait()
}

func udpSize(req *dns.Msg) int {
	if opt := req.IsEdns0(); opt != nil {
		return max(int(opt.UDPSize()), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}

func (s *Server) answer(ctx context.Context, req *dns.Msg, network string, slots chan struct{}) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.RecursionAvailable = true
	if len(req.Question) != 1 || req.Opcode != dns.OpcodeQuery || req.Question[0].Qclass != dns.ClassINET {
		resp.Rcode = dns.RcodeNotImplemented
		return resp
	}
	q, zone := req.Question[0], s.Zone()
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	switch address, ok := reverse(name); {
	case name == zone.Domain || strings.HasSuffix(name, "."+zone.Domain):
		answerName(resp, zone, q, name)
	case ok && zone.CIDR.Contains(address):
		answerReverse(resp, zone, q, address)
	default:
		return s.forward(ctx, req, resp, network, slots)
	}
	return resp
}

func answerName(resp *dns.Msg, zone vpc.Zone, q dns.Question, name string) {
	resp.Authoritative = true
	i, found := slices.BinarySearchFunc(zone.Names, name, func(n vpc.Name, name string) int { return strings.Compare(n.Name, name) })
	if found && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY) {
		resp.Answer = append(resp.Answer, &dns.A{Hdr: header(q.Name, dns.TypeA), A: zone.Names[i].Address.AsSlice()})
		return
	}
	if !found && name != zone.Domain {
		resp.Rcode = dns.RcodeNameError
	}
	resp.Ns = append(resp.Ns, soa(zone.Domain))
}

func answerReverse(resp *dns.Msg, zone vpc.Zone, q dns.Question, address netip.Addr) {
	resp.Authoritative = true
	i := slices.IndexFunc(zone.Names, func(n vpc.Name) bool { return n.Reverse && n.Address == address })
	if i >= 0 && (q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY) {
		resp.Answer = append(resp.Answer, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: zone.Names[i].Name + "."})
		return
	}
	if i < 0 {
		resp.Rcode = dns.RcodeNameError
	}
	resp.Ns = append(resp.Ns, soa(zone.Domain))
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// soa goes with an answer that a name or a type does not exist: how long that may be believed.
func soa(domain string) dns.RR {
	return &dns.SOA{Hdr: header(domain+".", dns.TypeSOA), Ns: "ns." + domain + ".", Mbox: "hostmaster." + domain + ".",
		Serial: 1, Refresh: 3600, Retry: 900, Expire: 86400, Minttl: ttl}
}

// reverse is the address that a name of in-addr.arpa stands for.
func reverse(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(digits, ".")
	slices.Reverse(parts)
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a, err == nil && a.Is4()
}

// forward asks the host's resolvers, one after the other.
func (s *Server) forward(ctx context.Context, req, resp *dns.Msg, network string, slots chan struct{}) *dns.Msg {
	var servers []netip.AddrPort
	if s.Resolvers != nil {
		servers = s.Resolvers()
	}
	if len(servers) == 0 || !req.RecursionDesired {
		resp.Rcode = dns.RcodeRefused
		return resp
	}
	resp.Rcode = dns.RcodeServerFailure
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		return resp
	}
	client := dns.Client{Net: network, Timeout: forwardTimeout}
	for _, server := range servers {
		answer, _, err := client.ExchangeContext(ctx, req, server.String())
		if err == nil {
			return answer
		}
		s.Log.Debug("a resolver did not answer", "resolver", server, "error", err)
	}
	return resp
}
