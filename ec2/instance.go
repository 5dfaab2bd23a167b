package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// stateCodes are the numbers of an instance's states in EC2.
var stateCodes = map[string]int32{
	fsm.InstancePending: 0, fsm.InstanceRunning: 16, fsm.InstanceShuttingDown: 32, fsm.InstanceTerminated: 48,
	fsm.InstanceStopping: 64, fsm.InstanceStopped: 80,
}

func stateOut(state string) *types.InstanceState {
	return &types.InstanceState{Code: aws.Int32(stateCodes[state]), Name: types.InstanceStateName(state)}
}

// instanceRow is an instance with what is told of it from other records.
type instanceRow struct {
	fsm.Instance
	tags    []fsm.Tag
	volumes []fsm.Volume
	nic     *fsm.Interface // nil once it is terminated
	nicTags []fsm.Tag
	groups  []fsm.SecurityGroup
	profile *fsm.InstanceProfile // nil without one
}

func newInstanceRow(v *fsm.View, i fsm.Instance) instanceRow {
	r := instanceRow{Instance: i, tags: fsm.TagsOf(v, string(i.ID)), volumes: fsm.VolumesOf(v, i.ID)}
	if nic, ok := fsm.Interfaces.Get(v, i.Interface); ok {
		r.nic, r.nicTags = &nic, fsm.TagsOf(v, string(nic.ID))
		for _, id := range nic.Groups {
			if g, ok := fsm.SecurityGroups.Get(v, id); ok {
				r.groups = append(r.groups, g)
			}
		}
	}
	if p, ok := fsm.InstanceProfileByID(v, i.Account, i.Profile); ok {
		r.profile = &p
	}
	return r
}

// order is the row's place in listings: the instances of one launch stand together.
func (r instanceRow) order() string {
	return fsm.Key(r.Reservation, fmt.Sprintf("%06d", r.LaunchIndex), string(r.ID))
}

// instanceRows are the account's instances: those of ids, or all.
func instanceRows(v *fsm.View, owner fsm.AccountID, ids []string) ([]instanceRow, error) {
	var out []instanceRow
	if len(ids) == 0 {
		for _, i := range fsm.Instances.Scan(v, "") {
			if i.Account == owner {
				out = append(out, newInstanceRow(v, i))
			}
		}
	} else {
		instances, err := ownInstances(v, owner, ids)
		if err != nil {
			return nil, err
		}
		for _, i := range instances {
			out = append(out, newInstanceRow(v, i))
		}
	}
	return out, nil
}

// ownInstances are the account's instances of ids, each once, in the order of ids.
func ownInstances(v *fsm.View, owner fsm.AccountID, ids []string) ([]fsm.Instance, error) {
	var out []fsm.Instance
	var unknown []string
	for n, id := range ids {
		i, ok := fsm.Instances.Get(v, fsm.InstanceID(id))
		switch {
		case slices.Contains(ids[:n], id):
		case !ok || i.Account != owner:
			unknown = append(unknown, id)
		default:
			out = append(out, i)
		}
	}
	if unknown != nil {
		return nil, notFound(unknown...)
	}
	return out, nil
}

// DescribeInstances tells of instances, grouped by the launches that made them.
func (s *Service) DescribeInstances(ctx context.Context, c *principal.Caller, in *sdk.DescribeInstancesInput) (*sdk.DescribeInstancesOutput, error) {
	if err := checkIDs("i", in.InstanceIds); err != nil {
		return nil, err
	}
	if len(in.InstanceIds) > 0 && in.MaxResults != nil {
		return nil, bad(codeCombination, "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	rows, next, err := list(ctx, s, c, listing[instanceRow]{
		op: "DescribeInstances", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: s.instanceFilters(), order: instanceRow.order,
		rows: func(v *fsm.View) ([]instanceRow, error) { return instanceRows(v, account(c), in.InstanceIds) },
	})
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeInstancesOutput{NextToken: next, Reservations: s.reservations(rows)}, nil
}

// reservations groups rows, which are in their order.
func (s *Service) reservations(rows []instanceRow) []types.Reservation {
	out := []types.Reservation{}
	for _, r := range rows {
		if len(out) == 0 || *out[len(out)-1].ReservationId != r.Reservation {
			out = append(out, types.Reservation{
				Groups: []types.GroupIdentifier{}, OwnerId: aws.String(string(r.Account)), ReservationId: aws.String(r.Reservation),
			})
		}
		last := &out[len(out)-1]
		last.Instances = append(last.Instances, s.instanceOut(r))
	}
	return out
}

// instanceOut is an instance as EC2 tells of it.
func (s *Service) instanceOut(r instanceRow) types.Instance {
	t, _ := typeNamed(r.Type)
	out := types.Instance{
		AmiLaunchIndex: aws.Int32(int32(r.LaunchIndex)), Architecture: types.ArchitectureValues(r.Arch),
		BlockDeviceMappings: r.mappings(), BootMode: types.BootModeValues(r.BootMode), CurrentInstanceBootMode: types.InstanceBootModeValues(r.BootMode),
		CapacityReservationSpecification: &types.CapacityReservationSpecificationResponse{
			CapacityReservationPreference: types.CapacityReservationPreferenceOpen,
		},
		ClientToken:  aws.String(r.Token),
		CpuOptions:   &types.CpuOptions{CoreCount: aws.Int32(int32(r.VCPUs / max(t.Threads, 1))), ThreadsPerCore: aws.Int32(int32(max(t.Threads, 1)))},
		EbsOptimized: aws.Bool(false), EnaSupport: aws.Bool(false), EnclaveOptions: &types.EnclaveOptions{Enabled: aws.Bool(false)},
		HibernationOptions: &types.HibernationOptions{Configured: aws.Bool(false)}, Hypervisor: types.HypervisorTypeXen,
		ImageId: aws.String(string(r.Image)), InstanceId: aws.String(string(r.ID)), InstanceType: types.InstanceType(r.Type),
		LaunchTime: timeOf(r.Launched), MetadataOptions: metadataOut(r.Metadata), Monitoring: &types.Monitoring{State: types.MonitoringStateDisabled},
		MaintenanceOptions: &types.InstanceMaintenanceOptions{AutoRecovery: types.InstanceAutoRecoveryStateDefault},
		NetworkInterfaces:  []types.InstanceNetworkInterface{}, PlatformDetails: aws.String("Linux/UNIX"), UsageOperation: aws.String("RunInstances"),
		UsageOperationUpdateTime: timeOf(r.Created), Placement: &types.Placement{
			AvailabilityZone: aws.String(r.Zone), AvailabilityZoneId: aws.String(s.ZoneID(r.Zone)), GroupName: aws.String(""), Tenancy: types.TenancyDefault,
		},
		PrivateDnsName: aws.String(""), ProductCodes: []types.ProductCode{}, PublicDnsName: aws.String(""),
		RootDeviceName: aws.String(r.RootDevice), RootDeviceType: types.DeviceTypeEbs, SecurityGroups: groupsOut(r.groups),
		State: stateOut(r.State), StateReason: r.reason(), StateTransitionReason: aws.String(r.Transition), Tags: tagsOut(r.tags),
		VirtualizationType: types.VirtualizationTypeHvm,
	}
	if r.KeyName != "" {
		out.KeyName = aws.String(r.KeyName)
	}
	if r.nic != nil {
		s.addNetwork(&out, r)
	}
	out.IamInstanceProfile = profileOut(r.profile)
	return out
}

// addNetwork adds what an instance has while it has an interface.
func (s *Service) addNetwork(out *types.Instance, r instanceRow) {
	name := aws.String(privateName(s.cfg.Region, r.Address))
	address, vpc, subnet := aws.String(r.Address), aws.String(string(r.VPC)), aws.String(string(r.Subnet))
	out.PrivateDnsName, out.PrivateIpAddress, out.VpcId, out.SubnetId, out.SourceDestCheck = name, address, vpc, subnet, aws.Bool(true)
	out.PrivateDnsNameOptions = &types.PrivateDnsNameOptionsResponse{
		HostnameType: types.HostnameTypeIpName, EnableResourceNameDnsARecord: aws.Bool(false), EnableResourceNameDnsAAAARecord: aws.Bool(false),
	}
	out.NetworkInterfaces = []types.InstanceNetworkInterface{{
		Attachment: &types.InstanceNetworkInterfaceAttachment{
			AttachTime: timeOf(r.nic.Created), AttachmentId: aws.String(attachmentID(r.nic.ID)), DeleteOnTermination: aws.Bool(true),
			DeviceIndex: aws.Int32(0), NetworkCardIndex: aws.Int32(0), Status: types.AttachmentStatusAttached,
		},
		Description: aws.String(""), Groups: groupsOut(r.groups), InterfaceType: aws.String("interface"), Ipv6Addresses: []types.InstanceIpv6Address{},
		MacAddress: aws.String(r.nic.MAC), NetworkInterfaceId: aws.String(string(r.nic.ID)), OwnerId: aws.String(string(r.Account)),
		PrivateDnsName: name, PrivateIpAddress: address, SourceDestCheck: aws.Bool(true), Status: types.NetworkInterfaceStatusInUse,
		PrivateIpAddresses: []types.InstancePrivateIpAddress{{Primary: aws.Bool(true), PrivateDnsName: name, PrivateIpAddress: address}},
		SubnetId:           subnet, VpcId: vpc,
	}}
}

// attachmentID names the attachment of an interface: it has one for its whole life.
func attachmentID(id fsm.InterfaceID) string {
	return "eni-attach-" + strings.TrimPrefix(string(id), "eni-")
}

func groupsOut(groups []fsm.SecurityGroup) []types.GroupIdentifier {
	out := make([]types.GroupIdentifier, 0, len(groups))
	for _, g := range groups {
		out = append(out, types.GroupIdentifier{GroupId: aws.String(string(g.ID)), GroupName: aws.String(g.Name)})
	}
	return out
}

// mappings are the devices as the instance has them.
func (r instanceRow) mappings() []types.InstanceBlockDeviceMapping {
	out := make([]types.InstanceBlockDeviceMapping, 0, len(r.volumes))
	for _, x := range r.volumes {
		a := x.Attachment
		out = append(out, types.InstanceBlockDeviceMapping{DeviceName: aws.String(a.Device), Ebs: &types.EbsInstanceBlockDevice{
			AttachTime: timeOf(a.Time), DeleteOnTermination: aws.Bool(a.DeleteOnTermination), Status: types.AttachmentStatus(a.State),
			VolumeId: aws.String(string(x.ID)),
		}})
	}
	return out
}

// reason is why the instance is in its state; a running one has none.
func (r instanceRow) reason() *types.StateReason {
	switch {
	case r.State == fsm.InstancePending:
		return &types.StateReason{Code: aws.String(fsm.InstancePending), Message: aws.String(fsm.InstancePending)}
	case r.State == fsm.InstanceRunning || r.Reason.Code == "":
		return nil
	}
	return &types.StateReason{Code: aws.String(r.Reason.Code), Message: aws.String(r.Reason.Message)}
}

func metadataOut(o fsm.MetadataOptions) *types.InstanceMetadataOptionsResponse {
	out := &types.InstanceMetadataOptionsResponse{
		HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpProtocolIpv6: types.InstanceMetadataProtocolStateDisabled,
		HttpPutResponseHopLimit: aws.Int32(o.HopLimit), HttpTokens: types.HttpTokensStateOptional,
		InstanceMetadataTags: types.InstanceMetadataTagsStateDisabled, State: types.InstanceMetadataOptionsStateApplied,
	}
	if o.Disabled {
		out.HttpEndpoint = types.InstanceMetadataEndpointStateDisabled
	}
	if o.TokensRequired {
		out.HttpTokens = types.HttpTokensStateRequired
	}
	if o.Tags {
		out.InstanceMetadataTags = types.InstanceMetadataTagsStateEnabled
	}
	return out
}
