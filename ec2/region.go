package ec2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

const optInNotRequired = "opt-in-not-required"

// zoneID is AWS's other name of a zone, which is the region and a letter: "us-east-1-az2" of "us-east-1b".
func zoneID(region, zone string) string {
	letter := strings.TrimPrefix(zone, region)
	if len(letter) != 1 || letter[0] < 'a' || letter[0] > 'z' {
		return zone
	}
	return region + "-az" + strconv.Itoa(int(letter[0]-'a')+1)
}

// ZoneID is AWS's other name of a zone of the cluster.
func (s *Service) ZoneID(zone string) string { return zoneID(s.cfg.Region, zone) }

// endpoint is the name under which AWS has the service of a region.
func (s *Service) endpoint() string { return "ec2." + s.cfg.Region + ".amazonaws.com" }

func (s *Service) regionFilters() filterTable[string] {
	return filterTable[string]{names: map[string]func(string) []string{
		"endpoint":      func(string) []string { return one(s.endpoint()) },
		"opt-in-status": func(string) []string { return one(optInNotRequired) },
		"region-name":   func(name string) []string { return one(name) },
	}}
}

// DescribeRegions tells of the one region that the cluster is.
func (s *Service) DescribeRegions(ctx context.Context, c *principal.Caller, in *sdk.DescribeRegionsInput) (*sdk.DescribeRegionsOutput, error) {
	for _, name := range in.RegionNames {
		if name != s.cfg.Region {
			return nil, invalid("Invalid region names: [%s]", name)
		}
	}
	rows, _, err := list(ctx, s, c, listing[string]{
		op: "DescribeRegions", in: in, filters: in.Filters, dry: in.DryRun, order: func(name string) string { return name },
		table: s.regionFilters(),
		rows:  func(*fsm.View) ([]string, error) { return []string{s.cfg.Region}, nil },
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeRegionsOutput{Regions: make([]types.Region, 0, len(rows))}
	for _, name := range rows {
		out.Regions = append(out.Regions, types.Region{
			Endpoint: aws.String(s.endpoint()), OptInStatus: aws.String(optInNotRequired), RegionName: aws.String(name),
		})
	}
	return out, nil
}

// zoneRow is a zone and whether instances can be started in it.
type zoneRow struct {
	name, id string
	state    types.AvailabilityZoneState
}

func (s *Service) zoneRows(v *fsm.View) []zoneRow {
	nodes := s.cfg.Nodes()
	var out []zoneRow
	for _, zone := range zonesOf(v) {
		row := zoneRow{zone, zoneID(s.cfg.Region, zone), types.AvailabilityZoneStateUnavailable}
		if slices.ContainsFunc(nodes, func(n NodeInfo) bool { return n.Zone == zone && n.Alive }) {
			row.state = types.AvailabilityZoneStateAvailable
		}
		out = append(out, row)
	}
	return out
}

func (s *Service) zoneFilters() filterTable[zoneRow] {
	return filterTable[zoneRow]{names: map[string]func(zoneRow) []string{
		"group-long-name":  func(zoneRow) []string { return one(s.cfg.Region) },
		"group-name":       func(zoneRow) []string { return one(s.cfg.Region) },
		"message":          none[zoneRow],
		"opt-in-status":    func(zoneRow) []string { return one(optInNotRequired) },
		"parent-zone-id":   none[zoneRow],
		"parent-zone-name": none[zoneRow],
		"region-name":      func(zoneRow) []string { return one(s.cfg.Region) },
		"state":            func(z zoneRow) []string { return one(z.state) },
		"zone-id":          func(z zoneRow) []string { return one(z.id) },
		"zone-name":        func(z zoneRow) []string { return one(z.name) },
		"zone-type":        func(zoneRow) []string { return one("availability-zone") },
	}}
}

// DescribeAvailabilityZones tells of the zones that members are in.
func (s *Service) DescribeAvailabilityZones(ctx context.Context, c *principal.Caller, in *sdk.DescribeAvailabilityZonesInput) (*sdk.DescribeAvailabilityZonesOutput, error) {
	rows, _, err := list(ctx, s, c, listing[zoneRow]{
		op: "DescribeAvailabilityZones", in: in, filters: in.Filters, dry: in.DryRun,
		table: s.zoneFilters(), order: func(z zoneRow) string { return z.name },
		rows: func(v *fsm.View) ([]zoneRow, error) { return zonesAsked(s.zoneRows(v), in) },
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeAvailabilityZonesOutput{AvailabilityZones: make([]types.AvailabilityZone, 0, len(rows))}
	for _, z := range rows {
		out.AvailabilityZones = append(out.AvailabilityZones, types.AvailabilityZone{
			GroupLongName: aws.String(s.cfg.Region), GroupName: aws.String(s.cfg.Region), Messages: []types.AvailabilityZoneMessage{},
			NetworkBorderGroup: aws.String(s.cfg.Region), OptInStatus: types.AvailabilityZoneOptInStatusOptInNotRequired,
			RegionName: aws.String(s.cfg.Region), State: z.state, ZoneId: aws.String(z.id), ZoneName: aws.String(z.name),
			ZoneType: aws.String("availability-zone"),
		})
	}
	return out, nil
}

func zonesAsked(all []zoneRow, in *sdk.DescribeAvailabilityZonesInput) ([]zoneRow, error) {
	for _, name := range in.ZoneNames {
		if !slices.ContainsFunc(all, func(z zoneRow) bool { return z.name == name }) {
			return nil, invalid("Invalid availability zone: [%s]", name)
		}
	}
	for _, id := range in.ZoneIds {
		if !slices.ContainsFunc(all, func(z zoneRow) bool { return z.id == id }) {
			return nil, invalid("Invalid availability zone-id: [%s]", id)
		}
	}
	return slices.DeleteFunc(all, func(z zoneRow) bool { return !asked(in.ZoneNames, z.name) || !asked(in.ZoneIds, z.id) }), nil
}

// DescribeAccountAttributes tells the attributes that mean something here: the platform and the default VPC.
func (s *Service) DescribeAccountAttributes(ctx context.Context, c *principal.Caller, in *sdk.DescribeAccountAttributesInput) (*sdk.DescribeAccountAttributesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	vpc := "none"
	err := s.read(ctx, func(v *fsm.View) error {
		if x, ok := fsm.DefaultVPC(v, account(c)); ok {
			vpc = string(x.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeAccountAttributesOutput{AccountAttributes: []types.AccountAttribute{}}
	for _, a := range []struct {
		name  types.AccountAttributeName
		value string
	}{{types.AccountAttributeNameSupportedPlatforms, "VPC"}, {types.AccountAttributeNameDefaultVpc, vpc}} {
		if len(in.AttributeNames) == 0 || slices.Contains(in.AttributeNames, a.name) {
			out.AccountAttributes = append(out.AccountAttributes, types.AccountAttribute{
				AttributeName: aws.String(string(a.name)), AttributeValues: []types.AccountAttributeValue{{AttributeValue: aws.String(a.value)}},
			})
		}
	}
	return out, nil
}
