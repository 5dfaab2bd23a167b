package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// ListVirtualMFADevices lists the account's virtual devices in order of path and name, without seeds and, as in AWS, without
// tags.
func (s *Service) ListVirtualMFADevices(ctx context.Context, c *principal.Caller, in *awsiam.ListVirtualMFADevicesInput) (*awsiam.ListVirtualMFADevicesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	if in.AssignmentStatus != "" && !slices.Contains(in.AssignmentStatus.Values(), in.AssignmentStatus) {
		return nil, constraint(quoted(string(in.AssignmentStatus)), "assignmentStatus", "Member must satisfy enum value set: [Any, Assigned, Unassigned]")
	}
	out := &awsiam.ListVirtualMFADevicesOutput{VirtualMFADevices: []types.VirtualMFADevice{}}
	err = s.read(ctx, func(v *fsm.View) error {
		last := ""
		fsm.MFADevicesFrom(v, fsm.AccountID(c.Account), p.after, func(d fsm.MFADevice) bool {
			key := strings.ToLower(d.Path + d.Name)
			assigned := d.User != ""
			if key == p.after || assigned && in.AssignmentStatus == types.AssignmentStatusTypeUnassigned ||
				!assigned && in.AssignmentStatus == types.AssignmentStatusTypeAssigned {
				return true
			}
			if len(out.VirtualMFADevices) == p.max {
				out.IsTruncated, out.Marker = true, marker(last)
				return false
			}
			last = key
			out.VirtualMFADevices = append(out.VirtualMFADevices, virtualDevice(v, d))
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func virtualDevice(v *fsm.View, d fsm.MFADevice) types.VirtualMFADevice {
	out := types.VirtualMFADevice{SerialNumber: aws.String(d.Serial())}
	if user, ok := fsm.UserByID(v, d.Account, d.User); ok {
		out.User, out.EnableDate = userOut(user, false), date(d.Enabled)
	}
	return out
}

// TagMFADevice adds tags to a device, over those of the same key.
func (s *Service) TagMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.TagMFADeviceInput) (*awsiam.TagMFADeviceOutput, error) {
	err := s.changeDevice(ctx, c, in.SerialNumber, func(_ *fsm.View, d *fsm.MFADevice) (err error) {
		d.Tags, err = inCase.put(d.Tags, in.Tags, "TagsPerMFADevice")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.TagMFADeviceOutput{}, nil
}

// UntagMFADevice removes tags from a device.
func (s *Service) UntagMFADevice(ctx context.Context, c *principal.Caller, in *awsiam.UntagMFADeviceInput) (*awsiam.UntagMFADeviceOutput, error) {
	err := s.changeDevice(ctx, c, in.SerialNumber, func(_ *fsm.View, d *fsm.MFADevice) (err error) {
		d.Tags, err = inCase.take(d.Tags, in.TagKeys)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UntagMFADeviceOutput{}, nil
}

// ListMFADeviceTags lists a device's tags in order of key.
func (s *Service) ListMFADeviceTags(ctx context.Context, c *principal.Caller, in *awsiam.ListMFADeviceTagsInput) (*awsiam.ListMFADeviceTagsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	serial, err := validSerial(in.SerialNumber)
	if err != nil {
		return nil, err
	}
	var d fsm.MFADevice
	err = s.read(ctx, func(v *fsm.View) error {
		d, err = deviceIn(v, c, serial)
		return err
	})
	if err != nil {
		return nil, err
	}
	tags, next := pageOfTags(p, d.Tags)
	return &awsiam.ListMFADeviceTagsOutput{Tags: tags, IsTruncated: next != nil, Marker: next}, nil
}
