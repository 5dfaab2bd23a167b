package ec2

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"hive/fsm"
)

// The default VPC, as AWS makes it: 172.31.0.0/16 with a /20 for each zone.
const (
	defaultVPCRange   = "172.31.0.0/16"
	defaultSubnetBits = 20
	defaultGroupName  = "default"
	defaultGroupWords = "default VPC security group"
)

// zonesOf are the zones that have members, in order.
func zonesOf(v *fsm.View) []string {
	var out []string
	for _, m := range fsm.Members.Scan(v, "") {
		if !slices.Contains(out, m.Zone) {
			out = append(out, m.Zone)
		}
	}
	slices.Sort(out)
	return out
}

// subnetsOf are the subnets of a VPC in order of id.
func subnetsOf(v *fsm.View, vpc fsm.VPCID) []fsm.Subnet {
	var out []fsm.Subnet
	for _, x := range fsm.Subnets.Scan(v, "") {
		if x.VPC == vpc {
			out = append(out, x)
		}
	}
	return out
}

// defaultSubnets are the default subnets of a VPC by zone.
func defaultSubnets(v *fsm.View, vpc fsm.VPCID) map[string]fsm.Subnet {
	out := map[string]fsm.Subnet{}
	for _, x := range subnetsOf(v, vpc) {
		if x.Default {
			out[x.Zone] = x
		}
	}
	return out
}

// defaultGroup is the default security group of a VPC.
func defaultGroup(v *fsm.View, vpc fsm.VPCID) (fsm.SecurityGroup, bool) {
	for _, g := range fsm.SecurityGroups.Scan(v, "") {
		if g.VPC == vpc && g.Name == defaultGroupName {
			return g, true
		}
	}
	return fsm.SecurityGroup{}, false
}

// freeRange is the first range of that size within whole that overlaps none in use.
func freeRange(whole netip.Prefix, bits int, used []fsm.Subnet) (netip.Prefix, bool) {
	base := binary.BigEndian.Uint32(whole.Addr().AsSlice())
	for i := range uint32(1) << (bits - whole.Bits()) {
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], base+i<<(32-bits))
		part := netip.PrefixFrom(netip.AddrFrom4(raw), bits)
		if !slices.ContainsFunc(used, func(s fsm.Subnet) bool {
			other, err := netip.ParsePrefix(s.CIDR)
			return err != nil || other.Overlaps(part)
		}) {
			return part, true
		}
	}
	return netip.Prefix{}, false
}

// ensureDefaultVPC gives an account its default VPC, and that a default subnet in each zone that has members.
func (s *Service) ensureDefaultVPC(ctx context.Context, owner fsm.AccountID) error {
	for {
		more := false
		err := s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
			cmd, err := s.nextDefault(v, owner)
			more = cmd != nil
			return cmd, err
		})
		if err != nil && !errors.Is(err, fsm.ErrExists) { // another node was quicker
			return err
		}
		if !more {
			return nil
		}
		s.cfg.Log.InfoContext(ctx, "default network extended", "account", owner)
	}
}

// nextDefault is what the account's default network lacks next; nil when it is whole.
func (s *Service) nextDefault(v *fsm.View, owner fsm.AccountID) (fsm.Command, error) {
	if _, ok := fsm.AccountOf(v, owner); !ok {
		return nil, nil
	}
	vpc, ok := fsm.DefaultVPC(v, owner)
	if !ok {
		return s.newDefaultVPC(v, owner)
	}
	have := defaultSubnets(v, vpc.ID)
	for _, zone := range zonesOf(v) {
		if _, ok := have[zone]; ok {
			continue
		}
		subnet, ok, err := s.newDefaultSubnet(vpc, zone, subnetsOf(v, vpc.ID))
		if err != nil || !ok {
			return nil, err // a range that is used up is not ours to mend: its owner has cut it otherwise
		}
		return &fsm.CreateSubnet{Subnet: subnet}, nil
	}
	return nil, nil
}

func (s *Service) newDefaultVPC(v *fsm.View, owner fsm.AccountID) (fsm.Command, error) {
	vpcID, err := s.newID("vpc")
	if err != nil {
		return nil, err
	}
	groupID, err := s.newID("sg")
	if err != nil {
		return nil, err
	}
	vni, err := s.newVNI()
	if err != nil {
		return nil, err
	}
	cmd := &fsm.CreateDefaultVPC{
		VPC: fsm.VPC{
			ID: fsm.VPCID(vpcID), Account: owner, CIDR: defaultVPCRange, VNI: vni, Default: true, Created: s.now(), DNSNames: true,
		},
		Group: fsm.SecurityGroup{
			ID: fsm.SecurityGroupID(groupID), Account: owner, VPC: fsm.VPCID(vpcID), Name: defaultGroupName, Description: defaultGroupWords,
		},
	}
	for _, zone := range zonesOf(v) {
		subnet, ok, err := s.newDefaultSubnet(cmd.VPC, zone, cmd.Subnets)
		if err != nil {
			return nil, err
		}
		if ok {
			cmd.Subnets = append(cmd.Subnets, subnet)
		}
	}
	return cmd, nil
}

func (s *Service) newDefaultSubnet(vpc fsm.VPC, zone string, used []fsm.Subnet) (fsm.Subnet, bool, error) {
	whole, err := netip.ParsePrefix(vpc.CIDR)
	if err != nil {
		return fsm.Subnet{}, false, err
	}
	part, ok := freeRange(whole, defaultSubnetBits, used)
	if !ok {
		return fsm.Subnet{}, false, nil
	}
	id, err := s.newID("subnet")
	return fsm.Subnet{
		ID: fsm.SubnetID(id), Account: vpc.Account, VPC: vpc.ID, Zone: zone, CIDR: part.String(), Default: true,
	}, true, err
}

// newVNI draws the number of a VXLAN, 1 to 1<<24-1; one that is taken is drawn again.
func (s *Service) newVNI() (uint32, error) {
	for {
		raw, err := s.draw(3)
		if err != nil {
			return 0, err
		}
		if vni := uint32(raw[0])<<16 | uint32(raw[1])<<8 | uint32(raw[2]); vni != 0 {
			return vni, nil
		}
	}
}

// newMAC draws a locally administered unicast address.
func (s *Service) newMAC() (string, error) {
	raw, err := s.draw(5)
	if err != nil {
		return "", err
	}
	out := "02"
	for _, b := range raw {
		out += ":" + hex.EncodeToString([]byte{b})
	}
	return out, nil
}

// privateName is the DNS name of an address, as AWS names it.
func privateName(region, address string) string {
	if address == "" {
		return ""
	}
	domain := region + ".compute.internal"
	if region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(address, ".", "-") + "." + domain
}
