package ec2

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Limits of a launch.
const (
	maxUserData = 16 << 10 // bytes, decoded
	maxLaunch   = 100      // instances of one request
	maxHops     = 64
)

// What an instance does when its guest powers off.
const (
	onShutdownStop      = "stop"
	onShutdownTerminate = "terminate"
)

// launch is a RunInstances request whose form was checked; what it names is looked up when it is planned.
type launch struct {
	caller     *principal.Caller
	min, max   int
	image      string
	typ        instanceType // none: the image's default
	key        string
	userData   []byte
	devices    []types.BlockDeviceMapping
	tags       map[types.ResourceType][]fsm.Tag
	zone       string
	subnet     string
	groups     []string // ids
	groupNames []string
	address    string
	metadata   *types.InstanceMetadataOptionsRequest
	onShutdown string
	protected  bool
	once       *fsm.ClientToken
	profile    *types.IamInstanceProfileSpecification
}

// RunInstances launches instances: as many as fit, up to MaxCount, or none when MinCount do not fit. Without a subnet or a
// zone they spread over the zones of the default VPC, each to the node with most memory free.
func (s *Service) RunInstances(ctx context.Context, c *principal.Caller, in *sdk.RunInstancesInput) (*sdk.RunInstancesOutput, error) {
	l, err := s.newLaunch(c, in)
	if err != nil {
		return nil, err
	}
	if err := s.ensureDefaultVPC(ctx, account(c)); err != nil {
		return nil, err
	}
	var ids []string
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if ids, err = made(v, l.once); err != nil || ids != nil {
			return nil, cmp.Or(err, dryRun(in.DryRun))
		}
		cmd, err := s.plan(v, l)
		if err != nil {
			return nil, err
		}
		for _, i := range cmd.Instances {
			ids = append(ids, string(i.ID))
		}
		if cmd.Once != nil {
			cmd.Once.IDs = ids
		}
		return cmd, dryRun(in.DryRun)
	}, fsm.ErrLimit)
	refused := (*fsm.Error)(nil)
	switch {
	case errors.As(err, &refused) && strings.HasPrefix(refused.Resource, "command of "): // the group's bound on its entries
		return nil, bad("InstanceLimitExceeded", "The request makes more records than one command can hold: launch fewer instances at once, or with fewer tags.")
	case errors.Is(err, fsm.ErrLimit):
		return nil, errCapacity(l.typ.Name, l.zone)
	case err != nil:
		return nil, err
	}
	s.changed(ctx, c, "instances launched", "instances", ids)
	return s.launched(ids)
}

// launched is the answer to a launch: the instances as they are now.
func (s *Service) launched(ids []string) (*sdk.RunInstancesOutput, error) {
	out := &sdk.RunInstancesOutput{Groups: []types.GroupIdentifier{}, Instances: []types.Instance{}}
	err := s.cfg.Control.View(func(v *fsm.View) error { // it has what was proposed or found
		for _, id := range ids {
			i, ok := fsm.Instances.Get(v, fsm.InstanceID(id))
			if !ok {
				continue // terminated and forgotten since
			}
			out.OwnerId, out.ReservationId = aws.String(string(i.Account)), aws.String(i.Reservation)
			out.Instances = append(out.Instances, s.instanceOut(newInstanceRow(v, i)))
		}
		return nil
	})
	return out, err
}

// newLaunch checks the form of a request.
func (s *Service) newLaunch(c *principal.Caller, in *sdk.RunInstancesInput) (*launch, error) {
	err := supports(in, "BlockDeviceMappings", "ClientToken", "DisableApiTermination", "IamInstanceProfile", "ImageId",
		"InstanceInitiatedShutdownBehavior", "InstanceType", "KeyName", "MaxCount", "MetadataOptions", "MinCount", "Monitoring",
		"NetworkInterfaces", "Placement", "PrivateIpAddress", "SecurityGroupIds", "SecurityGroups", "SubnetId",
		"TagSpecifications", "UserData")
	if err != nil {
		return nil, err
	}
	l := &launch{
		caller: c, min: int(aws.ToInt32(in.MinCount)), max: int(aws.ToInt32(in.MaxCount)), key: aws.ToString(in.KeyName),
		devices: in.BlockDeviceMappings, metadata: in.MetadataOptions, onShutdown: string(in.InstanceInitiatedShutdownBehavior),
		protected: aws.ToBool(in.DisableApiTermination), profile: in.IamInstanceProfile,
	}
	if l.onShutdown == "" {
		l.onShutdown = onShutdownStop
	}
	for _, check := range []func(*sdk.RunInstancesInput) error{
		l.checkCount, l.checkImage, l.checkPlacement, l.checkNetwork, l.checkUserData, l.checkMetadata, l.checkTags,
	} {
		if err := check(in); err != nil {
			return nil, err
		}
	}
	l.once, err = s.once(c, "RunInstances", in.ClientToken, in)
	return l, err
}

func (l *launch) checkCount(*sdk.RunInstancesInput) error {
	switch {
	case l.min < 1:
		return invalid("Value ( %d ) for parameter minCount is invalid. It must be at least 1.", l.min)
	case l.max < l.min:
		return invalid("Value ( %d ) for parameter maxCount is invalid. It must not be less than minCount.", l.max)
	case l.min > maxLaunch:
		return bad("InstanceLimitExceeded", "You have requested more instances (%d) than one request can launch: %d", l.min, maxLaunch)
	}
	l.max = min(l.max, maxLaunch)
	return nil
}

func (l *launch) checkImage(in *sdk.RunInstancesInput) (err error) {
	if l.image, err = requiredID("ami", "ImageId", in.ImageId); err != nil {
		return err
	}
	if in.InstanceType != "" {
		l.typ, err = checkType(string(in.InstanceType))
	}
	if err == nil && in.Monitoring != nil && aws.ToBool(in.Monitoring.Enabled) {
		return bad(codeUnsupported, "Detailed monitoring is not supported: leave Monitoring.Enabled out.")
	}
	return err
}

func (l *launch) checkPlacement(in *sdk.RunInstancesInput) error {
	if in.Placement == nil {
		return nil
	}
	p := *in.Placement
	if p.Tenancy == types.TenancyDefault {
		p.Tenancy = ""
	}
	l.zone = aws.ToString(p.AvailabilityZone)
	return supports(&p, "AvailabilityZone")
}

func (l *launch) checkNetwork(in *sdk.RunInstancesInput) error {
	l.subnet, l.address = aws.ToString(in.SubnetId), aws.ToString(in.PrivateIpAddress)
	l.groups, l.groupNames = in.SecurityGroupIds, in.SecurityGroups
	if err := l.checkInterface(in); err != nil {
		return err
	}
	if l.subnet != "" {
		if err := checkID("subnet", l.subnet); err != nil {
			return err
		}
	}
	switch {
	case len(l.groups) > 0 && len(l.groupNames) > 0:
		return bad(codeCombination, "The parameter groupName cannot be used with the parameter groupId")
	case len(l.groupNames) > 0 && l.subnet != "":
		return bad(codeCombination, "The parameter groupName cannot be used with the parameter subnet")
	case l.address != "" && l.max > 1:
		return bad(codeCombination, "Network interfaces cannot be shared: a private IP address can be given to one instance only")
	}
	return checkIDs("sg", l.groups)
}

// checkInterface reads the form of a request that describes its one network interface by itself.
func (l *launch) checkInterface(in *sdk.RunInstancesInput) error {
	if len(in.NetworkInterfaces) == 0 {
		return nil
	}
	if len(in.NetworkInterfaces) > 1 || aws.ToInt32(in.NetworkInterfaces[0].DeviceIndex) != 0 {
		return bad(codeUnsupported, "An instance has one network interface, with device index 0.")
	}
	if l.subnet != "" || l.address != "" || len(l.groups)+len(l.groupNames) > 0 {
		return bad(codeCombination, "Network interfaces and an instance-level subnet ID, security groups or private IP address may not be specified on the same request")
	}
	n := in.NetworkInterfaces[0]
	if err := supports(&n, "SubnetId", "Groups", "PrivateIpAddress", "DeviceIndex", "DeleteOnTermination"); err != nil {
		return err
	}
	if n.DeleteOnTermination != nil && !*n.DeleteOnTermination {
		return bad(codeUnsupported, "A network interface is deleted with its instance: leave DeleteOnTermination out.")
	}
	l.subnet, l.address, l.groups = aws.ToString(n.SubnetId), aws.ToString(n.PrivateIpAddress), n.Groups
	return nil
}

func (l *launch) checkUserData(in *sdk.RunInstancesInput) (err error) {
	l.userData, err = userData(in.UserData)
	return err
}

// userData decodes user data of a request.
func userData(encoded *string) ([]byte, error) {
	if encoded == nil || *encoded == "" {
		return nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(*encoded)
	if err != nil {
		return nil, bad("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if len(raw) > maxUserData {
		return nil, invalid("User data is limited to %d bytes", maxUserData)
	}
	return raw, nil
}

func (l *launch) checkMetadata(in *sdk.RunInstancesInput) error {
	return checkMetadata(in.MetadataOptions)
}

func checkMetadata(o *types.InstanceMetadataOptionsRequest) error {
	if o == nil {
		return nil
	}
	if n := o.HttpPutResponseHopLimit; n != nil && (*n < 1 || *n > maxHops) {
		return invalid("Value (%d) for parameter HttpPutResponseHopLimit is invalid. It must be between 1 and %d.", *n, maxHops)
	}
	if o.HttpProtocolIpv6 == types.InstanceMetadataProtocolStateEnabled {
		return bad(codeUnsupported, "The metadata service is not reached by IPv6: leave HttpProtocolIpv6 out.")
	}
	return nil
}

func (l *launch) checkTags(in *sdk.RunInstancesInput) (err error) {
	l.tags, err = specified(in.TagSpecifications,
		types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface)
	return err
}

// metadataOptions are an instance's options: the image's, and what the request says.
func metadataOptions(image fsm.Image, in *types.InstanceMetadataOptionsRequest) fsm.MetadataOptions {
	o := fsm.MetadataOptions{HopLimit: 1}
	if image.TokensOnly {
		o = fsm.MetadataOptions{TokensRequired: true, HopLimit: 2}
	}
	return changedMetadata(o, in)
}

// changedMetadata are options as a request changes them.
func changedMetadata(o fsm.MetadataOptions, in *types.InstanceMetadataOptionsRequest) fsm.MetadataOptions {
	if in == nil {
		return o
	}
	if in.HttpTokens != "" {
		o.TokensRequired = in.HttpTokens == types.HttpTokensStateRequired
	}
	if in.HttpPutResponseHopLimit != nil {
		o.HopLimit = *in.HttpPutResponseHopLimit
	}
	if in.HttpEndpoint != "" {
		o.Disabled = in.HttpEndpoint == types.InstanceMetadataEndpointStateDisabled
	}
	if in.InstanceMetadataTags != "" {
		o.Tags = in.InstanceMetadataTags == types.InstanceMetadataTagsStateEnabled
	}
	return o
}

func errCapacity(typ, zone string) error {
	where := "in any Availability Zone of this region"
	if zone != "" {
		where = "in the Availability Zone you requested (" + zone + ")"
	}
	return protocol.Errorf(http.StatusInternalServerError, "InsufficientInstanceCapacity",
		"We currently do not have sufficient %s capacity %s. Terminate or stop instances, choose a smaller type, or add a node.", typ, where)
}
