package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// interfaceRow is a network interface with what is told of it from other records.
type interfaceRow struct {
	fsm.Interface
	tags   []fsm.Tag
	groups []fsm.SecurityGroup
	zone   string
	zoneID string
	name   string // in DNS
}

func (s *Service) interfaceRows(v *fsm.View, owner fsm.AccountID) []interfaceRow {
	var out []interfaceRow
	for _, n := range fsm.Interfaces.Scan(v, "") {
		if n.Account != owner {
			continue
		}
		subnet, _ := fsm.Subnets.Get(v, n.Subnet)
		r := interfaceRow{Interface: n, tags: fsm.TagsOf(v, string(n.ID)), zone: subnet.Zone, zoneID: s.ZoneID(subnet.Zone), name: privateName(s.cfg.Region, n.Address)}
		for _, id := range n.Groups {
			if g, ok := fsm.SecurityGroups.Get(v, id); ok {
				r.groups = append(r.groups, g)
			}
		}
		out = append(out, r)
	}
	return out
}

var interfaceFilters = filterTable[interfaceRow]{
	names: map[string]func(interfaceRow) []string{
		"addresses.association.owner-id":   none[interfaceRow],
		"addresses.association.public-ip":  none[interfaceRow],
		"addresses.primary":                func(interfaceRow) []string { return yesNo(true) },
		"addresses.private-ip-address":     func(r interfaceRow) []string { return one(r.Address) },
		"association.allocation-id":        none[interfaceRow],
		"association.association-id":       none[interfaceRow],
		"association.ip-owner-id":          none[interfaceRow],
		"association.public-dns-name":      none[interfaceRow],
		"association.public-ip":            none[interfaceRow],
		"attachment.attach-time":           func(r interfaceRow) []string { return moment(r.Created) },
		"attachment.attachment-id":         func(r interfaceRow) []string { return one(attachmentID(r.ID)) },
		"attachment.delete-on-termination": func(interfaceRow) []string { return yesNo(true) },
		"attachment.device-index":          func(interfaceRow) []string { return one("0") },
		"attachment.instance-id":           func(r interfaceRow) []string { return one(r.Instance) },
		"attachment.instance-owner-id":     func(r interfaceRow) []string { return one(r.Account) },
		"attachment.status":                func(interfaceRow) []string { return one(types.AttachmentStatusAttached) },
		"availability-zone":                func(r interfaceRow) []string { return one(r.zone) },
		"availability-zone-id":             func(r interfaceRow) []string { return one(r.zoneID) },
		"description":                      none[interfaceRow],
		"group-id":                         func(r interfaceRow) []string { return instanceRow{groups: r.groups}.groupIDs() },
		"group-name":                       func(r interfaceRow) []string { return instanceRow{groups: r.groups}.groupNames() },
		"interface-type":                   func(interfaceRow) []string { return one(types.NetworkInterfaceTypeInterface) },
		"ipv6-addresses.ipv6-address":      none[interfaceRow],
		"mac-address":                      func(r interfaceRow) []string { return one(r.MAC) },
		"network-interface-id":             func(r interfaceRow) []string { return one(r.ID) },
		"operator.managed":                 func(interfaceRow) []string { return yesNo(false) },
		"operator.principal":               none[interfaceRow],
		"owner-id":                         func(r interfaceRow) []string { return one(r.Account) },
		"private-dns-name":                 func(r interfaceRow) []string { return one(r.name) },
		"private-ip-address":               func(r interfaceRow) []string { return one(r.Address) },
		"requester-id":                     none[interfaceRow],
		"requester-managed":                func(interfaceRow) []string { return yesNo(false) },
		"source-dest-check":                func(interfaceRow) []string { return yesNo(true) },
		"status":                           func(interfaceRow) []string { return one(types.NetworkInterfaceStatusInUse) },
		"subnet-id":                        func(r interfaceRow) []string { return one(r.Subnet) },
		"vpc-id":                           func(r interfaceRow) []string { return one(r.VPC) },
	},
	tags: func(r interfaceRow) []fsm.Tag { return r.tags },
}

// DescribeNetworkInterfaces tells of the interfaces that instances have.
func (s *Service) DescribeNetworkInterfaces(ctx context.Context, c *principal.Caller, in *sdk.DescribeNetworkInterfacesInput) (*sdk.DescribeNetworkInterfacesOutput, error) {
	if err := checkIDs("eni", in.NetworkInterfaceIds); err != nil {
		return nil, err
	}
	rows, next, err := list(ctx, s, c, listing[interfaceRow]{
		op: "DescribeNetworkInterfaces", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: interfaceFilters, order: func(r interfaceRow) string { return string(r.ID) },
		rows: func(v *fsm.View) ([]interfaceRow, error) {
			return chosen(s.interfaceRows(v, account(c)), in.NetworkInterfaceIds, func(r interfaceRow) string { return string(r.ID) })
		},
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeNetworkInterfacesOutput{NextToken: next, NetworkInterfaces: make([]types.NetworkInterface, 0, len(rows))}
	for _, r := range rows {
		out.NetworkInterfaces = append(out.NetworkInterfaces, r.out())
	}
	return out, nil
}

func (r interfaceRow) out() types.NetworkInterface {
	owner, address, name := aws.String(string(r.Account)), aws.String(r.Address), aws.String(r.name)
	return types.NetworkInterface{
		Attachment: &types.NetworkInterfaceAttachment{
			AttachTime: timeOf(r.Created), AttachmentId: aws.String(attachmentID(r.ID)), DeleteOnTermination: aws.Bool(true), DeviceIndex: aws.Int32(0),
			InstanceId: aws.String(string(r.Instance)), InstanceOwnerId: owner, NetworkCardIndex: aws.Int32(0), Status: types.AttachmentStatusAttached,
		},
		AvailabilityZone: aws.String(r.zone), AvailabilityZoneId: aws.String(r.zoneID), Description: aws.String(""), Groups: groupsOut(r.groups), InterfaceType: types.NetworkInterfaceTypeInterface,
		Ipv6Addresses: []types.NetworkInterfaceIpv6Address{}, MacAddress: aws.String(r.MAC), NetworkInterfaceId: aws.String(string(r.ID)), OwnerId: owner,
		PrivateDnsName: name, PrivateIpAddress: address, RequesterManaged: aws.Bool(false), SourceDestCheck: aws.Bool(true),
		PrivateIpAddresses: []types.NetworkInterfacePrivateIpAddress{{Primary: aws.Bool(true), PrivateDnsName: name, PrivateIpAddress: address}},
		Status:             types.NetworkInterfaceStatusInUse, SubnetId: aws.String(string(r.Subnet)), TagSet: tagsOut(r.tags), VpcId: aws.String(string(r.VPC)),
	}
}
