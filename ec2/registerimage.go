package ec2

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Ways to start a guest.
const (
	bootUEFI = string(types.BootModeValuesUefi)
	bootBIOS = string(types.BootModeValuesLegacyBios)
)

// Devices of the root volume that a request does not name.
const defaultRootDevice = "/dev/sda1"

// isCode tells whether err is the answer of a code.
func isCode(err error, code string) bool {
	var refused *protocol.Error
	return errors.As(err, &refused) && refused.Code == code
}

// RegisterImage makes an image of snapshots. The architecture is x86_64 unless it is told, and the boot mode legacy-bios
// (on arm64 uefi).
func (s *Service) RegisterImage(ctx context.Context, c *principal.Caller, in *ec2.RegisterImageInput) (*ec2.RegisterImageOutput, error) {
	image, err := imageAsked(c, in)
	if err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecifications, types.ResourceTypeImage)
	if err != nil {
		return nil, err
	}
	id, err := s.newID("ami")
	if err != nil {
		return nil, err
	}
	image.ID, image.Created = fsm.ImageID(id), s.now()
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if err := errImageName(v, image.Account, image.Name); err != nil {
			return nil, err
		}
		filled := image
		if filled.Mappings, err = mappingsAsked(v, image.Account, in.BlockDeviceMappings); err != nil {
			return nil, err
		}
		root := slices.IndexFunc(filled.Mappings, func(m fsm.BlockMapping) bool { return m.Device == image.RootDevice })
		if root < 0 || filled.Mappings[root].Snapshot == "" {
			return nil, badMapping("The block device mapping needs a snapshot for the root device '%s'", image.RootDevice)
		}
		return &fsm.RegisterImage{Image: filled, Tags: tags[types.ResourceTypeImage]}, dryRun(in.DryRun)
	}, fsm.ErrExists)
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "image registered", "image", id, "name", image.Name)
	return &ec2.RegisterImageOutput{ImageId: &id}, nil
}

// imageAsked is what a registration says of the image besides its devices.
func imageAsked(c *principal.Caller, in *ec2.RegisterImageInput) (fsm.Image, error) {
	var image fsm.Image
	if err := checkImageName(in.Name); err != nil {
		return image, err
	}
	if err := supports(in, "Name", "Description", "Architecture", "BootMode", "BlockDeviceMappings", "RootDeviceName", "VirtualizationType",
		"ImdsSupport", "EnaSupport", "SriovNetSupport", "TagSpecifications"); err != nil {
		return image, err
	}
	if err := checkDescription(in.Description); err != nil {
		return image, err
	}
	if kind := aws.ToString(in.VirtualizationType); kind != "" && kind != string(types.VirtualizationTypeHvm) {
		return image, bad(codeUnsupported, "The virtualization type '%s' is not supported: images are hvm.", kind)
	}
	image = fsm.Image{
		Account: account(c), Name: *in.Name, Description: aws.ToString(in.Description), Arch: orElse(string(in.Architecture), archX86),
		BootMode: string(in.BootMode), RootDevice: orElse(aws.ToString(in.RootDeviceName), defaultRootDevice),
		TokensOnly: in.ImdsSupport == types.ImdsSupportValuesV20,
	}
	return image, checkBoot(&image)
}

// checkBoot settles how an image boots on its architecture.
func checkBoot(image *fsm.Image) error {
	if image.Arch != archX86 && image.Arch != archARM {
		return bad(codeUnsupported, "The architecture '%s' is not supported: give %s or %s.", image.Arch, archX86, archARM)
	}
	if !deviceName.MatchString(image.RootDevice) {
		return badMapping("Invalid device name %s", image.RootDevice)
	}
	switch {
	case image.BootMode == "" && image.Arch == archARM, image.BootMode == string(types.BootModeValuesUefiPreferred):
		image.BootMode = bootUEFI
	case image.BootMode == "":
		image.BootMode = bootBIOS
	case image.BootMode == bootBIOS && image.Arch == archARM:
		return bad(codeCombination, "The boot mode legacy-bios is not supported for the architecture arm64.")
	}
	return nil
}

// mappingsAsked are the devices of a registration.
func mappingsAsked(v *fsm.View, owner fsm.AccountID, asked []types.BlockDeviceMapping) ([]fsm.BlockMapping, error) {
	var out []fsm.BlockMapping
	for _, m := range asked {
		name := aws.ToString(m.DeviceName)
		switch {
		case name == "":
			return nil, missing("BlockDeviceMapping.DeviceName")
		case !deviceName.MatchString(name):
			return nil, badMapping("Invalid device name %s", name)
		case slices.ContainsFunc(out, func(o fsm.BlockMapping) bool { return o.Device == name }):
			return nil, badMapping("The device '%s' is used in more than one block-device mapping", name)
		case m.NoDevice != nil, m.Ebs == nil && m.VirtualName != nil:
			continue // nothing, or instance store, which no type has
		case m.Ebs == nil:
			return nil, badMapping("The device '%s' has neither Ebs, NoDevice nor VirtualName", name)
		}
		one, err := mappingAsked(v, owner, name, m.Ebs)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func mappingAsked(v *fsm.View, owner fsm.AccountID, name string, ebs *types.EbsBlockDevice) (fsm.BlockMapping, error) {
	out := fsm.BlockMapping{Device: name, DeleteOnTermination: ebs.DeleteOnTermination == nil || *ebs.DeleteOnTermination}
	if err := supports(ebs, "DeleteOnTermination", "Iops", "SnapshotId", "Throughput", "VolumeSize", "VolumeType"); err != nil {
		return out, err
	}
	d := device{name: name, shape: shapeOf(ebs)}
	if id := aws.ToString(ebs.SnapshotId); id != "" {
		if err := checkID("snap", id); err != nil {
			return out, err
		}
		snapshot, err := completedSnapshot(v, owner, fsm.SnapshotID(id))
		if err != nil {
			return out, err
		}
		out.Snapshot, d.snapshot = snapshot.ID, &snapshot
	} else if ebs.VolumeSize == nil {
		return out, bad(codeMissing, "The request must contain the parameter size or snapshotId")
	}
	var x fsm.Volume
	if err := d.apply(&x); err != nil {
		return out, err
	}
	out.Size, out.Type = x.Size, x.Type
	if ebs.Iops != nil || ebs.Throughput != nil {
		out.IOPS, out.Throughput = aws.ToInt32(ebs.Iops), aws.ToInt32(ebs.Throughput)
	}
	return out, nil
}

// DescribeImageAttribute tells one attribute of an image to its owner.
func (s *Service) DescribeImageAttribute(ctx context.Context, c *principal.Caller, in *ec2.DescribeImageAttributeInput) (*ec2.DescribeImageAttributeOutput, error) {
	id, err := requiredID("ami", "imageId", in.ImageId)
	if err != nil {
		return nil, err
	}
	var image fsm.Image
	err = s.read(ctx, func(v *fsm.View) (err error) {
		image, err = ownImage(v, account(c), fsm.ImageID(id))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeImageAttributeOutput{ImageId: &id}
	value := func(s string) *types.AttributeValue { return &types.AttributeValue{Value: &s} }
	switch in.Attribute {
	case types.ImageAttributeNameDescription:
		out.Description = value(image.Description)
	case types.ImageAttributeNameLaunchPermission:
		out.LaunchPermissions = permissionsOf(image)
	case types.ImageAttributeNameBootMode:
		out.BootMode = value(image.BootMode)
	case types.ImageAttributeNameImdsSupport:
		out.ImdsSupport = value(imageRow{Image: image}.imds())
	case types.ImageAttributeNameSriovNetSupport:
		out.SriovNetSupport = value("simple")
	case types.ImageAttributeNameProductCodes:
		out.ProductCodes = []types.ProductCode{}
	case types.ImageAttributeNameBlockDeviceMapping:
		out.BlockDeviceMappings = imageOut(imageRow{Image: image}).BlockDeviceMappings
	case "":
		return nil, missing("attribute")
	default:
		return nil, bad(codeUnsupported, "The attribute %s is not supported.", in.Attribute)
	}
	return out, dryRun(in.DryRun)
}

func permissionsOf(image fsm.Image) []types.LaunchPermission {
	out := []types.LaunchPermission{}
	if image.Public {
		out = append(out, types.LaunchPermission{Group: types.PermissionGroupAll})
	}
	for _, user := range image.Users {
		out = append(out, types.LaunchPermission{UserId: aws.String(string(user))})
	}
	return out
}

// ModifyImageAttribute changes an image's description, or who may launch it: everybody, or accounts.
func (s *Service) ModifyImageAttribute(ctx context.Context, c *principal.Caller, in *ec2.ModifyImageAttributeInput) (*ec2.ModifyImageAttributeOutput, error) {
	id, err := requiredID("ami", "imageId", in.ImageId)
	if err != nil {
		return nil, err
	}
	if err := supports(in, "ImageId", "Attribute", "Description", "LaunchPermission", "OperationType", "UserGroups", "UserIds", "Value"); err != nil {
		return nil, err
	}
	change, err := imageChange(in)
	if err != nil {
		return nil, err
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		image, err := ownImage(v, account(c), fsm.ImageID(id))
		if err != nil {
			return nil, err
		}
		image.Users = slices.Clone(image.Users)
		change(&image)
		return &fsm.ModifyImage{ID: image.ID, Account: account(c), Rev: image.Rev, Description: image.Description,
			Public: image.Public, Users: image.Users}, dryRun(in.DryRun)
	})
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "image modified", "image", id)
	return &ec2.ModifyImageAttributeOutput{}, nil
}

// imageChange is what a modification does to an image.
func imageChange(in *ec2.ModifyImageAttributeInput) (func(*fsm.Image), error) {
	attribute := aws.ToString(in.Attribute)
	if in.Description != nil || attribute == string(types.ImageAttributeNameDescription) {
		text := in.Value
		if in.Description != nil {
			text = in.Description.Value
		}
		return func(x *fsm.Image) { x.Description = aws.ToString(text) }, checkDescription(text)
	}
	add, remove := permissionsAsked(in)
	if len(add)+len(remove) == 0 {
		return nil, bad("InvalidParameterCombination", "No attributes specified.")
	}
	for _, p := range slices.Concat(add, remove) {
		user := aws.ToString(p.UserId)
		switch {
		case p.Group == types.PermissionGroupAll && user == "":
		case p.Group != "" || p.OrganizationArn != nil || p.OrganizationalUnitArn != nil:
			return nil, bad(codeUnsupported, "Launch permissions are for the group all or for accounts.")
		case !isAccountID(user):
			return nil, bad("InvalidAMIAttributeItemValue", "Invalid attribute item value %q for userId item type.", user)
		}
	}
	return func(x *fsm.Image) {
		for _, p := range add {
			user := fsm.AccountID(aws.ToString(p.UserId))
			x.Public = x.Public || p.Group != ""
			if user != "" && !slices.Contains(x.Users, user) {
				x.Users = append(x.Users, user)
			}
		}
		for _, p := range remove {
			x.Public = x.Public && p.Group == ""
			x.Users = slices.DeleteFunc(x.Users, func(u fsm.AccountID) bool { return string(u) == aws.ToString(p.UserId) })
		}
	}, nil
}

// permissionsAsked reads launch permissions in both of their forms.
func permissionsAsked(in *ec2.ModifyImageAttributeInput) (add, remove []types.LaunchPermission) {
	if in.LaunchPermission != nil {
		return in.LaunchPermission.Add, in.LaunchPermission.Remove
	}
	var list []types.LaunchPermission
	for _, group := range in.UserGroups {
		list = append(list, types.LaunchPermission{Group: types.PermissionGroup(group)})
	}
	for _, user := range in.UserIds {
		list = append(list, types.LaunchPermission{UserId: aws.String(user)})
	}
	if in.OperationType == types.OperationTypeRemove {
		return nil, list
	}
	return list, nil
}

func isAccountID(s string) bool {
	return len(s) == 12 && !slices.ContainsFunc([]byte(s), func(b byte) bool { return b < '0' || b > '9' })
}

// ResetImageAttribute takes back all launch permissions.
func (s *Service) ResetImageAttribute(ctx context.Context, c *principal.Caller, in *ec2.ResetImageAttributeInput) (*ec2.ResetImageAttributeOutput, error) {
	id, err := requiredID("ami", "imageId", in.ImageId)
	if err != nil {
		return nil, err
	}
	if in.Attribute != types.ResetImageAttributeNameLaunchPermission {
		return nil, missing("attribute")
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		image, err := ownImage(v, account(c), fsm.ImageID(id))
		if err != nil {
			return nil, err
		}
		return &fsm.ModifyImage{ID: image.ID, Account: account(c), Rev: image.Rev, Description: image.Description}, dryRun(in.DryRun)
	})
	return &ec2.ResetImageAttributeOutput{}, err
}
