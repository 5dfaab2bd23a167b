package ec2

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// defaultDHCP is EC2's name of the DHCP options that a VPC has by itself.
const defaultDHCP = "default"

// vpcRow is a VPC and its tags.
type vpcRow struct {
	fsm.VPC
	tags []fsm.Tag
}

// association names the association of a VPC with its range: it has one for its whole life.
func (r vpcRow) association() string {
	return "vpc-cidr-assoc-" + strings.TrimPrefix(string(r.ID), "vpc-")
}

var vpcFilters = filterTable[vpcRow]{
	names: map[string]func(vpcRow) []string{
		"cidr":                                        func(r vpcRow) []string { return one(r.CIDR) },
		"cidr-block":                                  func(r vpcRow) []string { return one(r.CIDR) },
		"cidr-block-association.association-id":       func(r vpcRow) []string { return one(r.association()) },
		"cidr-block-association.cidr-block":           func(r vpcRow) []string { return one(r.CIDR) },
		"cidr-block-association.state":                func(vpcRow) []string { return one(types.VpcCidrBlockStateCodeAssociated) },
		"dhcp-options-id":                             func(vpcRow) []string { return one(defaultDHCP) },
		"ipv6-cidr-block-association.association-id":  none[vpcRow],
		"ipv6-cidr-block-association.ipv6-cidr-block": none[vpcRow],
		"ipv6-cidr-block-association.ipv6-pool":       none[vpcRow],
		"ipv6-cidr-block-association.state":           none[vpcRow],
		"is-default":                                  func(r vpcRow) []string { return yesNo(r.Default) },
		"isDefault":                                   func(r vpcRow) []string { return yesNo(r.Default) },
		"owner-id":                                    func(r vpcRow) []string { return one(r.Account) },
		"state":                                       func(vpcRow) []string { return one(types.VpcStateAvailable) },
		"vpc-id":                                      func(r vpcRow) []string { return one(r.ID) },
	},
	tags: func(r vpcRow) []fsm.Tag { return r.tags },
}

func vpcRows(v *fsm.View, owner fsm.AccountID) []vpcRow {
	var out []vpcRow
	for _, x := range fsm.VPCs.Scan(v, "") {
		if x.Account == owner {
			out = append(out, vpcRow{x, fsm.TagsOf(v, string(x.ID))})
		}
	}
	return out
}

// DescribeVpcs tells of VPCs.
func (s *Service) DescribeVpcs(ctx context.Context, c *principal.Caller, in *sdk.DescribeVpcsInput) (*sdk.DescribeVpcsOutput, error) {
	if err := checkIDs("vpc", in.VpcIds); err != nil {
		return nil, err
	}
	rows, next, err := list(ctx, s, c, listing[vpcRow]{
		op: "DescribeVpcs", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: vpcFilters, order: func(r vpcRow) string { return string(r.ID) },
		rows: func(v *fsm.View) ([]vpcRow, error) {
			return chosen(vpcRows(v, account(c)), in.VpcIds, func(r vpcRow) string { return string(r.ID) })
		},
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeVpcsOutput{NextToken: next, Vpcs: make([]types.Vpc, 0, len(rows))}
	for _, r := range rows {
		out.Vpcs = append(out.Vpcs, types.Vpc{
			CidrBlock: aws.String(r.CIDR), DhcpOptionsId: aws.String(defaultDHCP), InstanceTenancy: types.TenancyDefault,
			CidrBlockAssociationSet: []types.VpcCidrBlockAssociation{{
				AssociationId: aws.String(r.association()), CidrBlock: aws.String(r.CIDR),
				CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated},
			}},
			IsDefault: aws.Bool(r.Default), OwnerId: aws.String(string(r.Account)), State: types.VpcStateAvailable, Tags: tagsOut(r.tags),
			VpcId: aws.String(string(r.ID)),
		})
	}
	return out, nil
}

// DescribeVpcAttribute tells one attribute of a VPC.
func (s *Service) DescribeVpcAttribute(ctx context.Context, c *principal.Caller, in *sdk.DescribeVpcAttributeInput) (*sdk.DescribeVpcAttributeOutput, error) {
	id, err := requiredID("vpc", "VpcId", in.VpcId)
	if err != nil {
		return nil, err
	}
	if in.Attribute == "" {
		return nil, missing("Attribute")
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	var vpc fsm.VPC
	err = s.read(ctx, func(v *fsm.View) error {
		x, ok := fsm.VPCs.Get(v, fsm.VPCID(id))
		if vpc = x; !ok || x.Account != account(c) {
			return notFound(id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeVpcAttributeOutput{VpcId: aws.String(id)}
	switch in.Attribute {
	case types.VpcAttributeNameEnableDnsHostnames:
		out.EnableDnsHostnames = truth(vpc.DNSNames)
	case types.VpcAttributeNameEnableDnsSupport:
		out.EnableDnsSupport = truth(true)
	default:
		out.EnableNetworkAddressUsageMetrics = truth(false)
	}
	return out, nil
}

// subnetRow is a subnet, its tags and how many addresses of it are free.
type subnetRow struct {
	fsm.Subnet
	tags []fsm.Tag
	free int32
	arn  string
	zone string // its id
}

func (s *Service) subnetFilters() filterTable[subnetRow] {
	never := func(subnetRow) []string { return yesNo(false) }
	return filterTable[subnetRow]{
		names: map[string]func(subnetRow) []string{
			"availability-zone":          func(r subnetRow) []string { return one(r.Zone) },
			"availabilityZone":           func(r subnetRow) []string { return one(r.Zone) },
			"availability-zone-id":       func(r subnetRow) []string { return one(r.zone) },
			"availabilityZoneId":         func(r subnetRow) []string { return one(r.zone) },
			"available-ip-address-count": func(r subnetRow) []string { return number(r.free) },
			"cidr":                       func(r subnetRow) []string { return one(r.CIDR) },
			"cidr-block":                 func(r subnetRow) []string { return one(r.CIDR) },
			"cidrBlock":                  func(r subnetRow) []string { return one(r.CIDR) },
			"customer-owned-ipv4-pool":   none[subnetRow],
			"default-for-az":             func(r subnetRow) []string { return yesNo(r.Default) },
			"defaultForAz":               func(r subnetRow) []string { return yesNo(r.Default) },
			"enable-dns64":               never,
			"enable-lni-at-device-index": none[subnetRow],
			"ipv6-cidr-block-association.association-id":  none[subnetRow],
			"ipv6-cidr-block-association.ipv6-cidr-block": none[subnetRow],
			"ipv6-cidr-block-association.state":           none[subnetRow],
			"ipv6-native":                                 never,
			"map-customer-owned-ip-on-launch":             never,
			"map-public-ip-on-launch":                     never,
			"outpost-arn":                                 none[subnetRow],
			"owner-id":                                    func(r subnetRow) []string { return one(r.Account) },
			"private-dns-name-options-on-launch.enable-resource-name-dns-a-record":    never,
			"private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": never,
			"private-dns-name-options-on-launch.hostname-type":                        func(subnetRow) []string { return one(types.HostnameTypeIpName) },
			"state":      func(subnetRow) []string { return one(types.SubnetStateAvailable) },
			"subnet-arn": func(r subnetRow) []string { return one(r.arn) },
			"subnet-id":  func(r subnetRow) []string { return one(r.ID) },
			"vpc-id":     func(r subnetRow) []string { return one(r.VPC) },
		},
		tags: func(r subnetRow) []fsm.Tag { return r.tags },
	}
}

func (s *Service) subnetRows(v *fsm.View, c *principal.Caller) ([]subnetRow, error) {
	used := map[fsm.SubnetID]uint32{}
	for _, n := range fsm.Interfaces.Scan(v, "") {
		used[n.Subnet]++
	}
	var out []subnetRow
	for _, x := range fsm.Subnets.Scan(v, "") {
		if x.Account != account(c) {
			continue
		}
		cidr, err := netip.ParsePrefix(x.CIDR)
		if err != nil {
			return nil, err
		}
		_, count := addressRange(cidr)
		out = append(out, subnetRow{
			x, fsm.TagsOf(v, string(x.ID)), int32(count - used[x.ID]), s.arn(c, "subnet/"+string(x.ID)), zoneID(s.cfg.Region, x.Zone),
		})
	}
	return out, nil
}

// DescribeSubnets tells of subnets.
func (s *Service) DescribeSubnets(ctx context.Context, c *principal.Caller, in *sdk.DescribeSubnetsInput) (*sdk.DescribeSubnetsOutput, error) {
	if err := checkIDs("subnet", in.SubnetIds); err != nil {
		return nil, err
	}
	rows, next, err := list(ctx, s, c, listing[subnetRow]{
		op: "DescribeSubnets", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: s.subnetFilters(), order: func(r subnetRow) string { return string(r.ID) },
		rows: func(v *fsm.View) ([]subnetRow, error) {
			all, err := s.subnetRows(v, c)
			if err != nil {
				return nil, err
			}
			return chosen(all, in.SubnetIds, func(r subnetRow) string { return string(r.ID) })
		},
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeSubnetsOutput{NextToken: next, Subnets: make([]types.Subnet, 0, len(rows))}
	for _, r := range rows {
		out.Subnets = append(out.Subnets, types.Subnet{
			AssignIpv6AddressOnCreation: aws.Bool(false), AvailabilityZone: aws.String(r.Zone), AvailabilityZoneId: aws.String(r.zone),
			AvailableIpAddressCount: aws.Int32(r.free), CidrBlock: aws.String(r.CIDR), DefaultForAz: aws.Bool(r.Default),
			EnableDns64: aws.Bool(false), Ipv6CidrBlockAssociationSet: []types.SubnetIpv6CidrBlockAssociation{}, Ipv6Native: aws.Bool(false),
			MapCustomerOwnedIpOnLaunch: aws.Bool(false), MapPublicIpOnLaunch: aws.Bool(false), OwnerId: aws.String(string(r.Account)),
			PrivateDnsNameOptionsOnLaunch: &types.PrivateDnsNameOptionsOnLaunch{
				HostnameType: types.HostnameTypeIpName, EnableResourceNameDnsARecord: aws.Bool(false), EnableResourceNameDnsAAAARecord: aws.Bool(false),
			},
			State: types.SubnetStateAvailable, SubnetArn: aws.String(r.arn), SubnetId: aws.String(string(r.ID)), Tags: tagsOut(r.tags),
			VpcId: aws.String(string(r.VPC)),
		})
	}
	return out, nil
}

// groupRow is a security group and its tags.
type groupRow struct {
	fsm.SecurityGroup
	tags []fsm.Tag
}

// The default group lets its members reach each other and everything outside: these are its rules.
var groupFilters = filterTable[groupRow]{
	names: map[string]func(groupRow) []string{
		"description":                         func(r groupRow) []string { return one(r.Description) },
		"egress.ip-permission.cidr":           func(groupRow) []string { return one(anywhere) },
		"egress.ip-permission.from-port":      none[groupRow],
		"egress.ip-permission.group-id":       none[groupRow],
		"egress.ip-permission.group-name":     none[groupRow],
		"egress.ip-permission.ipv6-cidr":      none[groupRow],
		"egress.ip-permission.prefix-list-id": none[groupRow],
		"egress.ip-permission.protocol":       func(groupRow) []string { return one(allProtocols) },
		"egress.ip-permission.to-port":        none[groupRow],
		"egress.ip-permission.user-id":        none[groupRow],
		"group-id":                            func(r groupRow) []string { return one(r.ID) },
		"group-name":                          func(r groupRow) []string { return one(r.Name) },
		"ip-permission.cidr":                  none[groupRow],
		"ip-permission.from-port":             none[groupRow],
		"ip-permission.group-id":              func(r groupRow) []string { return one(r.ID) },
		"ip-permission.group-name":            func(r groupRow) []string { return one(r.Name) },
		"ip-permission.ipv6-cidr":             none[groupRow],
		"ip-permission.prefix-list-id":        none[groupRow],
		"ip-permission.protocol":              func(groupRow) []string { return one(allProtocols) },
		"ip-permission.to-port":               none[groupRow],
		"ip-permission.user-id":               func(r groupRow) []string { return one(r.Account) },
		"owner-id":                            func(r groupRow) []string { return one(r.Account) },
		"vpc-id":                              func(r groupRow) []string { return one(r.VPC) },
	},
	tags: func(r groupRow) []fsm.Tag { return r.tags },
}

const (
	anywhere     = "0.0.0.0/0"
	allProtocols = "-1"
)

func groupRows(v *fsm.View, owner fsm.AccountID, in *sdk.DescribeSecurityGroupsInput) ([]groupRow, error) {
	var out []groupRow
	for _, g := range fsm.SecurityGroups.Scan(v, "") {
		if g.Account == owner {
			out = append(out, groupRow{g, fsm.TagsOf(v, string(g.ID))})
		}
	}
	for _, name := range in.GroupNames {
		if !slices.ContainsFunc(out, func(r groupRow) bool { return r.Name == name }) {
			return nil, bad("InvalidGroup.NotFound", "The security group '%s' does not exist", name)
		}
	}
	out = slices.DeleteFunc(out, func(r groupRow) bool { return !asked(in.GroupNames, r.Name) })
	return chosen(out, in.GroupIds, func(r groupRow) string { return string(r.ID) })
}

// DescribeSecurityGroups tells of security groups.
func (s *Service) DescribeSecurityGroups(ctx context.Context, c *principal.Caller, in *sdk.DescribeSecurityGroupsInput) (*sdk.DescribeSecurityGroupsOutput, error) {
	if err := checkIDs("sg", in.GroupIds); err != nil {
		return nil, err
	}
	rows, next, err := list(ctx, s, c, listing[groupRow]{
		op: "DescribeSecurityGroups", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: groupFilters, order: func(r groupRow) string { return string(r.ID) },
		rows: func(v *fsm.View) ([]groupRow, error) { return groupRows(v, account(c), in) },
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeSecurityGroupsOutput{NextToken: next, SecurityGroups: make([]types.SecurityGroup, 0, len(rows))}
	for _, r := range rows {
		id, owner := aws.String(string(r.ID)), aws.String(string(r.Account))
		permission := func(ranges []types.IpRange, pairs []types.UserIdGroupPair) []types.IpPermission {
			return []types.IpPermission{{
				IpProtocol: aws.String(allProtocols), IpRanges: ranges, UserIdGroupPairs: pairs,
				Ipv6Ranges: []types.Ipv6Range{}, PrefixListIds: []types.PrefixListId{},
			}}
		}
		out.SecurityGroups = append(out.SecurityGroups, types.SecurityGroup{
			Description: aws.String(r.Description), GroupId: id, GroupName: aws.String(r.Name), OwnerId: owner,
			IpPermissions:       permission([]types.IpRange{}, []types.UserIdGroupPair{{GroupId: id, UserId: owner}}),
			IpPermissionsEgress: permission([]types.IpRange{{CidrIp: aws.String(anywhere)}}, []types.UserIdGroupPair{}),
			SecurityGroupArn:    aws.String(s.arn(c, "security-group/"+string(r.ID))), Tags: tagsOut(r.tags), VpcId: aws.String(string(r.VPC)),
		})
	}
	return out, nil
}
