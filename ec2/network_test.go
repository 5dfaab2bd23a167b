package ec2

import (
	"net/netip"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func TestEveryAccountHasADefaultNetworkInEachZone(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	for _, owner := range []fsm.AccountID{aliceID, bobID} {
		if err := r.service.ensureDefaultVPC(ctx, owner); err != nil {
			t.Fatal(err)
		}
	}
	vpcs, err := r.client.DescribeVpcs(ctx, &sdk.DescribeVpcsInput{Filters: []types.Filter{{Name: str("is-default"), Values: []string{"true"}}}})
	if err != nil || len(vpcs.Vpcs) != 1 || *vpcs.Vpcs[0].CidrBlock != "172.31.0.0/16" {
		t.Fatalf("%v, %v", vpcs, err)
	}
	vpc := *vpcs.Vpcs[0].VpcId
	r.must(&fsm.AdmitMember{ // a zone that joins later
		Member: fsm.Member{ID: "n-node4", Zone: "us-test-1c"}, TokenID: "t", Now: 1, Settings: fsm.Settings{Epoch: 3, Bundle: []byte("x")},
	})
	if err := r.service.ensureDefaultVPC(ctx, aliceID); err != nil {
		t.Fatal(err)
	}
	subnets, err := r.client.DescribeSubnets(ctx, &sdk.DescribeSubnetsInput{Filters: []types.Filter{{Name: str("vpc-id"), Values: []string{vpc}}}})
	if err != nil {
		t.Fatal(err)
	}
	zones, ranges := map[string]bool{}, map[string]bool{}
	for _, s := range subnets.Subnets {
		zones[*s.AvailabilityZone], ranges[*s.CidrBlock] = true, true
		if p, err := netip.ParsePrefix(*s.CidrBlock); err != nil || p.Bits() != 20 || !*s.DefaultForAz || *s.AvailableIpAddressCount != 4091 {
			t.Errorf("subnet %+v, %v", s, err)
		}
	}
	if len(zones) != 3 || len(ranges) != 3 {
		t.Errorf("zones %v, ranges %v", zones, ranges)
	}
	groups, err := r.client.DescribeSecurityGroups(ctx, &sdk.DescribeSecurityGroupsInput{GroupNames: []string{"default"}})
	if err != nil || len(groups.SecurityGroups) != 1 || *groups.SecurityGroups[0].IpPermissions[0].UserIdGroupPairs[0].GroupId != *groups.SecurityGroups[0].GroupId {
		t.Errorf("groups %v, %v", groups, err)
	}
	for name, want := range map[types.VpcAttributeName]bool{types.VpcAttributeNameEnableDnsHostnames: true, types.VpcAttributeNameEnableDnsSupport: true} {
		out, err := r.client.DescribeVpcAttribute(ctx, &sdk.DescribeVpcAttributeInput{VpcId: &vpc, Attribute: name})
		if err != nil || (name == types.VpcAttributeNameEnableDnsHostnames && *out.EnableDnsHostnames.Value != want) ||
			(name == types.VpcAttributeNameEnableDnsSupport && *out.EnableDnsSupport.Value != want) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	attributes, err := r.client.DescribeAccountAttributes(ctx, &sdk.DescribeAccountAttributesInput{AttributeNames: []types.AccountAttributeName{"default-vpc"}})
	if err != nil || len(attributes.AccountAttributes) != 1 || *attributes.AccountAttributes[0].AttributeValues[0].AttributeValue != vpc {
		t.Errorf("%v, %v", attributes, err)
	}
	_, err = r.bob.DescribeVpcs(ctx, &sdk.DescribeVpcsInput{VpcIds: []string{vpc}})
	wantCode(t, err, "InvalidVpcID.NotFound")
	_, err = r.client.DescribeVpcs(ctx, &sdk.DescribeVpcsInput{VpcIds: []string{"vpc"}})
	wantCode(t, err, "InvalidVpcID.Malformed")
}

func TestAnInstanceHasTheAddressThatWasAskedFor(t *testing.T) {
	r := newRig(t)
	ctx, ami := t.Context(), r.image()
	r.run(ami, "t3.nano", 1)
	subnets, err := r.client.DescribeSubnets(ctx, &sdk.DescribeSubnetsInput{Filters: []types.Filter{{Name: str("availability-zone"), Values: []string{"us-test-1b"}}}})
	if err != nil {
		t.Fatal(err)
	}
	subnet := subnets.Subnets[0]
	base := netip.MustParsePrefix(*subnet.CidrBlock).Addr()
	for range 9 {
		base = base.Next()
	}
	in := launchOf(ami, "t3.nano", 1, 1)
	in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: new(int32), SubnetId: subnet.SubnetId, PrivateIpAddress: str(base.String())}}
	out, err := r.client.RunInstances(ctx, in)
	if err != nil || *out.Instances[0].PrivateIpAddress != base.String() || *out.Instances[0].SubnetId != *subnet.SubnetId {
		t.Fatalf("%v, %v", out, err)
	}
	in.ClientToken = nil // the SDK has filled in one of its own
	_, err = r.client.RunInstances(ctx, in)
	wantCode(t, err, "InvalidIPAddress.InUse")
	in.ClientToken = nil
	in.NetworkInterfaces[0].PrivateIpAddress = str(netip.MustParsePrefix(*subnet.CidrBlock).Addr().Next().String())
	_, err = r.client.RunInstances(ctx, in)
	wantCode(t, err, "InvalidParameterValue")
	id := *out.Instances[0].InstanceId
	nics, err := r.client.DescribeNetworkInterfaces(ctx, &sdk.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: str("attachment.instance-id"), Values: []string{id}}},
	})
	if err != nil || len(nics.NetworkInterfaces) != 1 || *nics.NetworkInterfaces[0].PrivateIpAddress != base.String() ||
		*nics.NetworkInterfaces[0].AvailabilityZone != "us-test-1b" {
		t.Errorf("%v, %v", nics, err)
	}
}

func TestZonesAndRegionsAreTheClusters(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.kill(2)
	zones, err := r.client.DescribeAvailabilityZones(ctx, &sdk.DescribeAvailabilityZonesInput{})
	if err != nil || len(zones.AvailabilityZones) != 2 {
		t.Fatalf("%v, %v", zones, err)
	}
	a, b := zones.AvailabilityZones[0], zones.AvailabilityZones[1]
	if *a.ZoneName != "us-test-1a" || *a.ZoneId != "us-test-1-az1" || a.State != "available" || *b.ZoneId != "us-test-1-az2" || b.State != "unavailable" {
		t.Errorf("zones %+v %+v", a, b)
	}
	_, err = r.client.DescribeAvailabilityZones(ctx, &sdk.DescribeAvailabilityZonesInput{ZoneNames: []string{"us-test-1x"}})
	wantCode(t, err, "InvalidParameterValue")
	regions, err := r.client.DescribeRegions(ctx, &sdk.DescribeRegionsInput{})
	if err != nil || len(regions.Regions) != 1 || *regions.Regions[0].RegionName != testRegion {
		t.Errorf("%v, %v", regions, err)
	}
}

func TestTypesAreOnOfferWhereANodeCanRunThem(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	all, err := r.client.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all.InstanceTypes {
		if x.ProcessorInfo.SupportedArchitectures[0] != archX86 {
			t.Errorf("%s of %v on nodes that run x86_64 alone", x.InstanceType, x.ProcessorInfo.SupportedArchitectures)
		}
	}
	one, err := r.client.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.4xlarge"}})
	if err != nil || *one.InstanceTypes[0].VCpuInfo.DefaultVCpus != 16 || *one.InstanceTypes[0].MemoryInfo.SizeInMiB != 65536 {
		t.Errorf("%v, %v", one, err)
	}
	_, err = r.client.DescribeInstanceTypes(ctx, &sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"t3.micro", "t9.x"}})
	wantCode(t, err, "InvalidInstanceType")
	offers, err := r.client.DescribeInstanceTypeOfferings(ctx, &sdk.DescribeInstanceTypeOfferingsInput{
		LocationType: types.LocationTypeAvailabilityZone, Filters: []types.Filter{{Name: str("instance-type"), Values: []string{"t3.*"}}},
	})
	if err != nil || len(offers.InstanceTypeOfferings) != 10 { // nano to large in two zones
		t.Errorf("%d offerings, %v", len(offers.InstanceTypeOfferings), err)
	}
}
