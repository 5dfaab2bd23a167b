package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

func truth(b bool) *types.AttributeBooleanValue { return &types.AttributeBooleanValue{Value: &b} }

func textValue(s string) *types.AttributeValue {
	if s == "" {
		return &types.AttributeValue{}
	}
	return &types.AttributeValue{Value: &s}
}

// attributes fill in the one attribute that DescribeInstanceAttribute is asked for.
var attributes = map[types.InstanceAttributeName]func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput){
	types.InstanceAttributeNameInstanceType: func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.InstanceType = textValue(r.Type) },
	types.InstanceAttributeNameKernel:       func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.KernelId = textValue("") },
	types.InstanceAttributeNameRamdisk:      func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.RamdiskId = textValue("") },
	types.InstanceAttributeNameUserData: func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) {
		out.UserData = textValue(base64.StdEncoding.EncodeToString(r.UserData))
	},
	types.InstanceAttributeNameDisableApiTermination: func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) {
		out.DisableApiTermination = truth(r.Protected)
	},
	types.InstanceAttributeNameInstanceInitiatedShutdownBehavior: func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) {
		out.InstanceInitiatedShutdownBehavior = textValue(r.OnShutdown)
	},
	types.InstanceAttributeNameRootDeviceName: func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) {
		out.RootDeviceName = textValue(r.RootDevice)
	},
	types.InstanceAttributeNameBlockDeviceMapping: func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.BlockDeviceMappings = r.mappings() },
	types.InstanceAttributeNameProductCodes: func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) {
		out.ProductCodes = []types.ProductCode{}
	},
	types.InstanceAttributeNameSourceDestCheck: func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.SourceDestCheck = truth(true) },
	types.InstanceAttributeNameGroupSet:        func(r instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.Groups = groupsOut(r.groups) },
	types.InstanceAttributeNameEbsOptimized:    func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.EbsOptimized = truth(false) },
	types.InstanceAttributeNameSriovNetSupport: func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.SriovNetSupport = textValue("") },
	types.InstanceAttributeNameEnaSupport:      func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.EnaSupport = truth(false) },
	types.InstanceAttributeNameEnclaveOptions: func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) {
		out.EnclaveOptions = &types.EnclaveOptions{Enabled: aws.Bool(false)}
	},
	types.InstanceAttributeNameDisableApiStop: func(_ instanceRow, out *sdk.DescribeInstanceAttributeOutput) { out.DisableApiStop = truth(false) },
}

// DescribeInstanceAttribute tells one attribute of an instance.
func (s *Service) DescribeInstanceAttribute(ctx context.Context, c *principal.Caller, in *sdk.DescribeInstanceAttributeInput) (*sdk.DescribeInstanceAttributeOutput, error) {
	id, err := requiredID("i", "InstanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	fill, ok := attributes[in.Attribute]
	if !ok {
		return nil, missing("Attribute")
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &sdk.DescribeInstanceAttributeOutput{InstanceId: aws.String(id)}
	err = s.read(ctx, func(v *fsm.View) error {
		rows, err := instanceRows(v, account(c), []string{id})
		if err == nil {
			fill(rows[0], out)
		}
		return err
	})
	return out, err
}

// ModifyInstanceAttribute changes one attribute: the type or the user data of a stopped instance, its protection from
// termination, or what it does when its guest powers off.
func (s *Service) ModifyInstanceAttribute(ctx context.Context, c *principal.Caller, in *sdk.ModifyInstanceAttributeInput) (*sdk.ModifyInstanceAttributeOutput, error) {
	id, err := requiredID("i", "InstanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	change, err := attributeChange(in)
	if err != nil {
		return nil, err
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		own, err := ownInstances(v, account(c), []string{id})
		if err != nil {
			return nil, err
		}
		i := own[0]
		cmd := modificationOf(i)
		if err := change(i, cmd); err != nil {
			return nil, err
		}
		return cmd, dryRun(in.DryRun)
	})
	switch {
	case errors.Is(err, fsm.ErrInvalid):
		return nil, bad("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", id)
	case err != nil:
		return nil, err
	}
	s.changed(ctx, c, "instance attribute changed", "instance", id)
	return &sdk.ModifyInstanceAttributeOutput{}, nil
}

// attributeChange is the one change that a request asks for.
func attributeChange(in *sdk.ModifyInstanceAttributeInput) (func(fsm.Instance, *fsm.ModifyInstance) error, error) {
	spread, err := namedAttribute(in)
	if err != nil {
		return nil, err
	}
	if err := supports(spread, "InstanceId", "InstanceType", "UserData", "DisableApiTermination", "InstanceInitiatedShutdownBehavior",
		"SourceDestCheck", "DisableApiStop", "EbsOptimized"); err != nil {
		return nil, err
	}
	var changes []func(fsm.Instance, *fsm.ModifyInstance) error
	if v := spread.InstanceType; v != nil {
		changes = append(changes, changeType(aws.ToString(v.Value)))
	}
	if v := spread.UserData; v != nil {
		changes = append(changes, func(_ fsm.Instance, cmd *fsm.ModifyInstance) error {
			if cmd.UserData = v.Value; len(v.Value) > maxUserData {
				return invalid("User data is limited to %d bytes", maxUserData)
			}
			return nil
		})
	}
	if v := spread.DisableApiTermination; v != nil {
		changes = append(changes, func(_ fsm.Instance, cmd *fsm.ModifyInstance) error {
			cmd.Protected = aws.ToBool(v.Value)
			return nil
		})
	}
	if v := spread.InstanceInitiatedShutdownBehavior; v != nil {
		changes = append(changes, changeOnShutdown(aws.ToString(v.Value)))
	}
	changes = append(changes, fixedAttributes(spread)...)
	switch len(changes) {
	case 0:
		return nil, bad(codeMissing, "No attributes specified.")
	case 1:
		return changes[0], nil
	}
	return nil, bad(codeCombination, "Fields for multiple attribute types specified: change one attribute at a time.")
}

// fixedAttributes are the changes of attributes that can have one value only.
func fixedAttributes(in *sdk.ModifyInstanceAttributeInput) (out []func(fsm.Instance, *fsm.ModifyInstance) error) {
	for _, fixed := range []struct {
		value *types.AttributeBooleanValue
		is    bool
		name  string
	}{{in.SourceDestCheck, true, "SourceDestCheck"}, {in.DisableApiStop, false, "DisableApiStop"}, {in.EbsOptimized, false, "EbsOptimized"}} {
		if fixed.value != nil {
			out = append(out, func(fsm.Instance, *fsm.ModifyInstance) error { return fixedAt(fixed.name, fixed.is, fixed.value) })
		}
	}
	return out
}

// fixedAt refuses any value but the one that Hive has.
func fixedAt(name string, is bool, want *types.AttributeBooleanValue) error {
	if aws.ToBool(want.Value) != is {
		return bad(codeUnsupported, "%s is always %t here.", name, is)
	}
	return nil
}

func changeType(name string) func(fsm.Instance, *fsm.ModifyInstance) error {
	return func(i fsm.Instance, cmd *fsm.ModifyInstance) error {
		t, err := checkType(name)
		if err != nil {
			return err
		}
		if t.Arch != i.Arch {
			return invalid("The architecture '%s' of the specified instance type does not match the architecture '%s' of the instance.", t.Arch, i.Arch)
		}
		cmd.Type, cmd.VCPUs, cmd.Memory = t.Name, t.VCPUs, t.Memory
		return nil
	}
}

func changeOnShutdown(behaviour string) func(fsm.Instance, *fsm.ModifyInstance) error {
	return func(_ fsm.Instance, cmd *fsm.ModifyInstance) error {
		if behaviour != onShutdownStop && behaviour != onShutdownTerminate {
			return invalid("Invalid value '%s' for instanceInitiatedShutdownBehavior. It is stop or terminate.", behaviour)
		}
		cmd.OnShutdown = behaviour
		return nil
	}
}

// namedAttribute is the request with what Attribute and Value say put where the other form of the request has it.
func namedAttribute(in *sdk.ModifyInstanceAttributeInput) (*sdk.ModifyInstanceAttributeInput, error) {
	if in.Attribute == "" {
		return in, nil
	}
	out, value := *in, aws.ToString(in.Value)
	out.Attribute, out.Value = "", nil
	boolean := func() (*types.AttributeBooleanValue, error) {
		b, err := strconv.ParseBool(strings.ToLower(value))
		if err != nil {
			return nil, invalid("Invalid value '%s' for %s. It is true or false.", value, in.Attribute)
		}
		return truth(b), nil
	}
	var err error
	switch in.Attribute {
	case types.InstanceAttributeNameInstanceType:
		out.InstanceType = textValue(value)
	case types.InstanceAttributeNameInstanceInitiatedShutdownBehavior:
		out.InstanceInitiatedShutdownBehavior = textValue(value)
	case types.InstanceAttributeNameUserData:
		raw, e := base64.StdEncoding.DecodeString(value)
		if e != nil {
			return nil, bad("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
		}
		out.UserData = &types.SecureBlobAttributeValue{Value: raw}
	case types.InstanceAttributeNameDisableApiTermination:
		out.DisableApiTermination, err = boolean()
	case types.InstanceAttributeNameSourceDestCheck:
		out.SourceDestCheck, err = boolean()
	case types.InstanceAttributeNameDisableApiStop:
		out.DisableApiStop, err = boolean()
	case types.InstanceAttributeNameEbsOptimized:
		out.EbsOptimized, err = boolean()
	default:
		return nil, bad(codeUnsupported, "The attribute %s cannot be changed.", in.Attribute)
	}
	return &out, err
}

// ModifyInstanceMetadataOptions changes how an instance reaches the metadata service, from now on.
func (s *Service) ModifyInstanceMetadataOptions(ctx context.Context, c *principal.Caller, in *sdk.ModifyInstanceMetadataOptionsInput) (*sdk.ModifyInstanceMetadataOptionsOutput, error) {
	id, err := requiredID("i", "InstanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	wanted := &types.InstanceMetadataOptionsRequest{
		HttpEndpoint: in.HttpEndpoint, HttpProtocolIpv6: in.HttpProtocolIpv6, HttpPutResponseHopLimit: in.HttpPutResponseHopLimit,
		HttpTokens: in.HttpTokens, InstanceMetadataTags: in.InstanceMetadataTags,
	}
	if err := checkMetadata(wanted); err != nil {
		return nil, err
	}
	var options fsm.MetadataOptions
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		own, err := ownInstances(v, account(c), []string{id})
		if err != nil {
			return nil, err
		}
		cmd := modificationOf(own[0])
		cmd.Metadata = changedMetadata(cmd.Metadata, wanted)
		options = cmd.Metadata
		return cmd, dryRun(in.DryRun)
	})
	switch {
	case errors.Is(err, fsm.ErrInvalid):
		return nil, wrongState(id, "modified")
	case err != nil:
		return nil, err
	}
	s.changed(ctx, c, "instance metadata options changed", "instance", id)
	return &sdk.ModifyInstanceMetadataOptionsOutput{InstanceId: aws.String(id), InstanceMetadataOptions: metadataOut(options)}, nil
}

// modificationOf is a modification that changes nothing yet.
func modificationOf(i fsm.Instance) *fsm.ModifyInstance {
	return &fsm.ModifyInstance{
		ID: i.ID, Account: i.Account, Rev: i.Rev, Type: i.Type, VCPUs: i.VCPUs, Memory: i.Memory, UserData: i.UserData,
		OnShutdown: i.OnShutdown, Protected: i.Protected, Metadata: i.Metadata,
	}
}
