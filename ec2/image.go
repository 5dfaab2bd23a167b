package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// imageRow is an image, its tags (for its owner alone) and how its snapshots stand.
type imageRow struct {
	fsm.Image
	tags  []fsm.Tag
	state types.ImageState
}

// stateOfImage follows from the image's snapshots: one that is still being made makes it pending, one in error failed.
func stateOfImage(v *fsm.View, image fsm.Image) types.ImageState {
	state := types.ImageStateAvailable
	for _, m := range image.Mappings {
		switch x, _ := fsm.Snapshots.Get(v, m.Snapshot); {
		case m.Snapshot == "":
		case x.State == fsm.SnapshotError:
			return types.ImageStateFailed
		case x.State == fsm.SnapshotPending:
			state = types.ImageStatePending
		}
	}
	return state
}

// mayLaunch tells whether an account may start instances of an image.
func mayLaunch(image fsm.Image, who fsm.AccountID) bool {
	return image.Account == who || image.Public || slices.Contains(image.Users, who)
}

// visibleImage is an image that an account may launch.
func visibleImage(v *fsm.View, who fsm.AccountID, id fsm.ImageID) (fsm.Image, error) {
	x, ok := fsm.Images.Get(v, id)
	if !ok || !mayLaunch(x, who) {
		return x, notFound(string(id))
	}
	return x, nil
}

// ownImage is an account's own image.
func ownImage(v *fsm.View, owner fsm.AccountID, id fsm.ImageID) (fsm.Image, error) {
	x, err := visibleImage(v, owner, id)
	if err == nil && x.Account != owner {
		err = bad("AuthFailure", "Not authorized for image:%s", id)
	}
	return x, err
}

func (r imageRow) each(values func(fsm.BlockMapping) string) []string {
	var out []string
	for _, m := range r.Mappings {
		if s := values(m); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (r imageRow) imds() string {
	if r.TokensOnly {
		return string(types.ImdsSupportValuesV20)
	}
	return ""
}

func (r imageRow) location() string { return string(r.Account) + "/" + r.Name }

var imageFilters = filterTable[imageRow]{
	names: map[string]func(imageRow) []string{
		"architecture": func(r imageRow) []string { return one(r.Arch) },
		"block-device-mapping.delete-on-termination": func(r imageRow) []string {
			return r.each(func(m fsm.BlockMapping) string { return yesNo(m.DeleteOnTermination)[0] })
		},
		"block-device-mapping.device-name": func(r imageRow) []string { return r.each(func(m fsm.BlockMapping) string { return m.Device }) },
		"block-device-mapping.encrypted":   func(imageRow) []string { return yesNo(false) },
		"block-device-mapping.snapshot-id": func(r imageRow) []string {
			return r.each(func(m fsm.BlockMapping) string { return string(m.Snapshot) })
		},
		"block-device-mapping.volume-size": func(r imageRow) []string { return r.each(func(m fsm.BlockMapping) string { return number(m.Size)[0] }) },
		"block-device-mapping.volume-type": func(r imageRow) []string { return r.each(func(m fsm.BlockMapping) string { return m.Type }) },
		"boot-mode":                        func(r imageRow) []string { return one(r.BootMode) },
		"creation-date":                    func(r imageRow) []string { return moment(r.Created) },
		"description":                      func(r imageRow) []string { return one(r.Description) },
		"ena-support":                      func(imageRow) []string { return yesNo(true) },
		"free-tier-eligible":               func(imageRow) []string { return yesNo(false) },
		"hypervisor":                       func(imageRow) []string { return one(types.HypervisorTypeXen) },
		"image-allowed":                    func(imageRow) []string { return yesNo(true) },
		"image-id":                         func(r imageRow) []string { return one(r.ID) },
		"image-type":                       func(imageRow) []string { return one(types.ImageTypeValuesMachine) },
		"imds-support":                     func(r imageRow) []string { return one(r.imds()) },
		"is-public":                        func(r imageRow) []string { return yesNo(r.Public) },
		"kernel-id":                        func(imageRow) []string { return nil },
		"manifest-location":                func(r imageRow) []string { return one(r.location()) },
		"name":                             func(r imageRow) []string { return one(r.Name) },
		"owner-alias":                      func(imageRow) []string { return nil },
		"owner-id":                         func(r imageRow) []string { return one(r.Account) },
		"platform":                         func(imageRow) []string { return nil },
		"product-code":                     func(imageRow) []string { return nil },
		"product-code.type":                func(imageRow) []string { return nil },
		"ramdisk-id":                       func(imageRow) []string { return nil },
		"root-device-name":                 func(r imageRow) []string { return one(r.RootDevice) },
		"root-device-type":                 func(imageRow) []string { return one(types.DeviceTypeEbs) },
		"source-image-id":                  none[imageRow],
		"source-image-region":              none[imageRow],
		"source-instance-id":               func(r imageRow) []string { return one(r.Source) },
		"state":                            func(r imageRow) []string { return one(r.state) },
		"state-reason-code":                func(imageRow) []string { return nil },
		"state-reason-message":             func(imageRow) []string { return nil },
		"sriov-net-support":                func(imageRow) []string { return one("simple") },
		"virtualization-type":              func(imageRow) []string { return one(types.VirtualizationTypeHvm) },
	},
	tags: func(r imageRow) []fsm.Tag { return r.tags },
}

// DescribeImages tells of the images that the caller may launch.
func (s *Service) DescribeImages(ctx context.Context, c *principal.Caller, in *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error) {
	if err := checkIDs("ami", in.ImageIds); err != nil {
		return nil, err
	}
	matches, err := imageFilters.compile(in.Filters)
	if err != nil {
		return nil, err
	}
	p, err := newPage(pageRequest{c.Account, "DescribeImages", in, in.MaxResults, in.NextToken}, limits{1, 1000})
	if err != nil {
		return nil, err
	}
	var rows []imageRow
	err = s.read(ctx, func(v *fsm.View) (err error) {
		rows, err = imageRows(v, account(c), in.ImageIds)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r imageRow) bool {
		return !ownedBy(c, r.Image, in.Owners) || !executableBy(c, r.Image, in.ExecutableUsers) || !matches(r)
	})
	rows, next := turn(p, rows, func(r imageRow) string { return string(r.ID) })
	out := &ec2.DescribeImagesOutput{Images: make([]types.Image, 0, len(rows)), NextToken: next}
	for _, r := range rows {
		out.Images = append(out.Images, imageOut(r))
	}
	return out, dryRun(in.DryRun)
}

// imageRows are the images that an account may launch in order of id: those of ids, or all.
func imageRows(v *fsm.View, who fsm.AccountID, ids []string) ([]imageRow, error) {
	var out []imageRow
	for _, x := range fsm.Images.Scan(v, "") {
		if !mayLaunch(x, who) || len(ids) > 0 && !slices.Contains(ids, string(x.ID)) {
			continue
		}
		r := imageRow{Image: x, state: stateOfImage(v, x)}
		if x.Account == who {
			r.tags = fsm.TagsOf(v, string(x.ID))
		}
		out = append(out, r)
	}
	var unknown []string
	for _, id := range ids {
		if !slices.ContainsFunc(out, func(r imageRow) bool { return string(r.ID) == id }) {
			unknown = append(unknown, id)
		}
	}
	if unknown != nil {
		return nil, notFound(unknown...)
	}
	return out, nil
}

// ownedBy tells whether the Owners of a request, ids of accounts, self or an alias of Amazon's, name an image's owner.
func ownedBy(c *principal.Caller, x fsm.Image, owners []string) bool {
	return len(owners) == 0 || slices.Contains(owners, string(x.Account)) || slices.Contains(owners, "self") && string(x.Account) == c.Account
}

// executableBy tells whether an image was shared with one of the ExecutableUsers of a request: ids of accounts, self, all.
func executableBy(c *principal.Caller, x fsm.Image, users []string) bool {
	return len(users) == 0 || slices.ContainsFunc(users, func(user string) bool {
		if user == "self" {
			user = c.Account
		}
		return user == "all" && x.Public || slices.Contains(x.Users, fsm.AccountID(user))
	})
}

// imageOut is an image as EC2 tells of it.
func imageOut(r imageRow) types.Image {
	out := types.Image{
		ImageId: aws.String(string(r.ID)), ImageLocation: aws.String(r.location()), Name: aws.String(r.Name), OwnerId: aws.String(string(r.Account)),
		State: r.state, Public: aws.Bool(r.Public), Architecture: types.ArchitectureValues(r.Arch), ImageType: types.ImageTypeValuesMachine,
		CreationDate: aws.String(timeOf(r.Created).Format("2006-01-02T15:04:05.000Z")), EnaSupport: aws.Bool(true), Hypervisor: types.HypervisorTypeXen, SriovNetSupport: aws.String("simple"),
		RootDeviceName: aws.String(r.RootDevice), RootDeviceType: types.DeviceTypeEbs, VirtualizationType: types.VirtualizationTypeHvm,
		BootMode: types.BootModeValues(r.BootMode), ImdsSupport: types.ImdsSupportValues(r.imds()), PlatformDetails: aws.String("Linux/UNIX"),
		UsageOperation: aws.String("RunInstances"), Tags: tagsOut(r.tags), BlockDeviceMappings: make([]types.BlockDeviceMapping, 0, len(r.Mappings)),
	}
	if r.Description != "" {
		out.Description = aws.String(r.Description)
	}
	if r.Source != "" {
		out.SourceInstanceId = aws.String(string(r.Source))
	}
	for _, m := range r.Mappings {
		out.BlockDeviceMappings = append(out.BlockDeviceMappings, mappingOut(m))
	}
	return out
}

func mappingOut(m fsm.BlockMapping) types.BlockDeviceMapping {
	d := &types.EbsBlockDevice{
		DeleteOnTermination: aws.Bool(m.DeleteOnTermination), Encrypted: aws.Bool(false), VolumeSize: aws.Int32(int32(m.Size)),
		VolumeType: types.VolumeType(m.Type), Iops: ptr32(m.IOPS), Throughput: ptr32(m.Throughput),
	}
	if m.Snapshot != "" {
		d.SnapshotId = aws.String(string(m.Snapshot))
	}
	return types.BlockDeviceMapping{DeviceName: aws.String(m.Device), Ebs: d}
}

// Limits of an image's name. Source: RegisterImage, Amazon EC2 API Reference.
const (
	minImageName = 3
	maxImageName = 128
)

func checkImageName(name *string) error {
	n := aws.ToString(name)
	switch {
	case n == "":
		return missing("Name")
	case len(n) < minImageName || len(n) > maxImageName || strings.ContainsFunc(n, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("()[] ./-'@_", r)
	}):
		return bad("InvalidAMIName.Malformed", "AMI names must be between %d and %d characters long, and may contain letters, numbers, '(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'",
			minImageName, maxImageName)
	}
	return nil
}

func errImageName(v *fsm.View, owner fsm.AccountID, name string) error {
	if x, ok := fsm.ImageNamed(v, owner, name); ok {
		return bad("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, x.ID)
	}
	return nil
}

// DeregisterImage removes an image. Its snapshots stay, unless they are to go with it; its instances stay in any case.
func (s *Service) DeregisterImage(ctx context.Context, c *principal.Caller, in *ec2.DeregisterImageInput) (*ec2.DeregisterImageOutput, error) {
	id, err := requiredID("ami", "imageId", in.ImageId)
	if err != nil {
		return nil, err
	}
	var image fsm.Image
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if image, err = ownImage(v, account(c), fsm.ImageID(id)); err != nil {
			return nil, err
		}
		return &fsm.DeregisterImage{ID: image.ID, Account: account(c)}, dryRun(in.DryRun)
	})
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "image deregistered", "image", id)
	out := &ec2.DeregisterImageOutput{Return: aws.Bool(true)}
	if aws.ToBool(in.DeleteAssociatedSnapshots) {
		for _, m := range image.Mappings {
			if m.Snapshot != "" {
				out.DeleteSnapshotResults = append(out.DeleteSnapshotResults, s.deleteWithImage(ctx, c, m.Snapshot))
			}
		}
	}
	return out, nil
}

func (s *Service) deleteWithImage(ctx context.Context, c *principal.Caller, id fsm.SnapshotID) types.DeleteSnapshotReturnCode {
	r := types.DeleteSnapshotReturnCode{SnapshotId: aws.String(string(id)), ReturnCode: types.SnapshotReturnCodesSuccess}
	_, err := s.DeleteSnapshot(ctx, c, &ec2.DeleteSnapshotInput{SnapshotId: r.SnapshotId})
	switch {
	case err == nil:
	case isCode(err, "InvalidSnapshot.InUse"):
		r.ReturnCode = types.SnapshotReturnCodesWarnSkipped
	default:
		r.ReturnCode = types.SnapshotReturnCodesErrorCodeInternalError
		s.cfg.Log.WarnContext(ctx, "a snapshot was not deleted with its image", "snapshot", id, "err", err)
	}
	return r
}
