// Package dhcp tells guests the addresses that the cluster's records give them. It chooses nothing and remembers
// nothing: a lease is what the records say, for as long as they say it.
package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hive/net/vpc"
)

// Answer is the reply to a guest's message, nil when there is none to give: to a message of somebody else's, or one
// that asks nothing. RFC 2131, section 4.3.
func Answer(req *dhcpv4.DHCPv4, l vpc.Lease) (*dhcpv4.DHCPv4, error) {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return nil, fmt.Errorf("lease of %s: %w", l.Address, err)
	}
	if req.OpCode != dhcpv4.OpcodeBootRequest || !bytes.Equal(req.ClientHWAddr, mac) || relayed(req) {
		return nil, nil
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return reply(req, l, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		return answerRequest(req, l)
	case dhcpv4.MessageTypeInform:
		return reply(req, l, dhcpv4.MessageTypeAck)
	}
	return nil, nil
}

func relayed(req *dhcpv4.DHCPv4) bool {
	return len(req.GatewayIPAddr) > 0 && !req.GatewayIPAddr.IsUnspecified()
}

// answerRequest agrees when the guest asks for its own address, refuses when it asks for another, and is silent when it
// has chosen another server.
func answerRequest(req *dhcpv4.DHCPv4, l vpc.Lease) (*dhcpv4.DHCPv4, error) {
	if server := req.ServerIdentifier(); server != nil && !server.Equal(l.Router.AsSlice()) {
		return nil, nil
	}
	asked := req.RequestedIPAddress()
	if asked == nil {
		asked = req.ClientIPAddr
	}
	if asked.Equal(l.Address.AsSlice()) {
		return reply(req, l, dhcpv4.MessageTypeAck)
	}
	return dhcpv4.NewReplyFromRequest(req,
		dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.Router.AsSlice())),
		dhcpv4.WithBroadcast(true))
}

func reply(req *dhcpv4.DHCPv4, l vpc.Lease, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.Router.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(l.Bits, 32))),
		dhcpv4.WithOption(dhcpv4.OptRouter(l.Router.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptDNS(l.DNS.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptHostName(l.Hostname)),
		dhcpv4.WithOption(dhcpv4.OptDomainName(l.Domain)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, dhcpv4.Uint16(l.MTU).ToBytes())),
	}
	if req.MessageType() != dhcpv4.MessageTypeInform {
		mods = append(mods, dhcpv4.WithYourIP(l.Address.AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Duration(l.Seconds)*time.Second)))
	}
	if req.IsOptionRequested(dhcpv4.OptionClasslessStaticRoute) {
		mods = append(mods, dhcpv4.WithOption(routes(l)))
	}
	return dhcpv4.NewReplyFromRequest(req, mods...)
}

// routes is the option of RFC 3442. A client that takes it ignores the router option, so the default is in it too.
func routes(l vpc.Lease) dhcpv4.Option {
	to := func(p netip.Prefix) *dhcpv4.Route {
		return &dhcpv4.Route{
			Dest:   &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
			Router: l.Router.AsSlice(),
		}
	}
	return dhcpv4.OptClasslessStaticRoute(
		to(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), to(netip.PrefixFrom(l.Metadata, 32)))
}
