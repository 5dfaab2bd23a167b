package vpc

import (
	"crypto/sha256"
	"net"
	"net/netip"
	"strings"

	"hive/fsm"
)

// TapName is the name of an interface's tap: unique in its namespace, at most 15 bytes.
func TapName(id fsm.InterfaceID) string {
	name := strings.TrimPrefix(string(id), "eni-")
	return "tap" + name[max(0, len(name)-12):]
}

// TunnelName is the name of a VPC's tunnel inside its namespace.
func TunnelName() string { return tunnelLink }

// MetadataAddress is where the metadata service answers in every VPC.
func MetadataAddress() netip.Addr { return metadataAddress }

// HostName is the name that an address of a VPC gives its instance, without the domain: ip-172-31-0-5.
func HostName(address netip.Addr) string {
	return "ip-" + strings.ReplaceAll(address.String(), ".", "-")
}

// Domain is the domain of the instances' private names. As in AWS, the oldest region has a name of its own.
func Domain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// router is the first address of a subnet, its instances' gateway.
func router(subnet netip.Prefix) netip.Addr {
	if !subnet.IsValid() {
		return netip.Addr{}
	}
	return subnet.Masked().Addr().Next()
}

// resolver is the VPC's name server: the second address of its range.
func resolver(vpc netip.Prefix) netip.Addr { return router(vpc).Next() }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// NodeMAC is the MAC of every tunnel's end on a node: all nodes compute the same.
func NodeMAC(node fsm.NodeID) string {
	sum := sha256.Sum256([]byte("hive tunnel " + node))
	return net.HardwareAddr{0x0e, sum[0], sum[1], sum[2], sum[3], sum[4]}.String()
}
