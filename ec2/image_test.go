package ec2

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func TestAnImageIsRegisteredToldAndDeregistered(t *testing.T) {
	r := newStorageRig(t)
	snap := r.blocks(map[int64]byte{0: 1})
	in := registration(snap, "debian 12 (cloud)")
	in.Description, in.ImdsSupport = str("a system"), types.ImdsSupportValuesV20
	in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: str("a"), Value: str("b")}}}}
	in.BlockDeviceMappings = append(in.BlockDeviceMappings,
		types.BlockDeviceMapping{DeviceName: str("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(5), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(false)}},
		types.BlockDeviceMapping{DeviceName: str("/dev/sdc"), VirtualName: str("ephemeral0")})
	made, err := r.client.RegisterImage(r.ctx, in)
	r.ok(err)
	out, err := r.client.DescribeImages(r.ctx, &sdk.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{
		{Name: str("name"), Values: []string{"debian*"}}, {Name: str("boot-mode"), Values: []string{"uefi"}}, {Name: str("state"), Values: []string{"available"}},
		{Name: str("block-device-mapping.snapshot-id"), Values: []string{snap}}, {Name: str("is-public"), Values: []string{"false"}}, {Name: str("tag:a"), Values: []string{"b"}},
	}})
	r.ok(err)
	if len(out.Images) != 1 {
		t.Fatalf("%d images match", len(out.Images))
	}
	x := out.Images[0]
	if *x.ImageId != *made.ImageId || *x.Name != *in.Name || x.State != types.ImageStateAvailable || x.Architecture != types.ArchitectureValuesX8664 || *x.OwnerId != aliceID ||
		x.BootMode != types.BootModeValuesUefi || x.ImdsSupport != types.ImdsSupportValuesV20 || *x.RootDeviceName != "/dev/sda1" || len(x.BlockDeviceMappings) != 2 {
		t.Errorf("%+v", x)
	}
	if root, data := x.BlockDeviceMappings[0].Ebs, x.BlockDeviceMappings[1].Ebs; *root.VolumeSize != 1 || *root.SnapshotId != snap || !*root.DeleteOnTermination ||
		*data.VolumeSize != 5 || data.SnapshotId != nil || *data.DeleteOnTermination {
		t.Errorf("%+v, %+v", root, data)
	}
	_, err = r.client.DeleteSnapshot(r.ctx, &sdk.DeleteSnapshotInput{SnapshotId: &snap})
	wantCode(t, err, "InvalidSnapshot.InUse")
	if err == nil || !strings.Contains(err.Error(), *made.ImageId) {
		t.Errorf("the image is not named: %v", err)
	}
	_, err = r.client.RegisterImage(r.ctx, registration(snap, *in.Name))
	wantCode(t, err, "InvalidAMIName.Duplicate")
	gone, err := r.client.DeregisterImage(r.ctx, &sdk.DeregisterImageInput{ImageId: made.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
	r.ok(err)
	if len(gone.DeleteSnapshotResults) != 1 || gone.DeleteSnapshotResults[0].ReturnCode != types.SnapshotReturnCodesSuccess || r.snapshot(snap).ID != "" {
		t.Errorf("%+v", gone.DeleteSnapshotResults)
	}
	_, err = r.client.DeregisterImage(r.ctx, &sdk.DeregisterImageInput{ImageId: made.ImageId})
	wantCode(t, err, "InvalidAMIID.NotFound")
}

func TestAWrongRegistrationIsRefusedInAWSsWords(t *testing.T) {
	r := newStorageRig(t)
	snap := r.blocks(map[int64]byte{0: 1})
	pending, err := r.ebs.StartSnapshot(r.ctx, startOf(1))
	r.ok(err)
	for name, c := range map[string]struct {
		edit func(*sdk.RegisterImageInput)
		code string
	}{
		"no name":        {func(in *sdk.RegisterImageInput) { in.Name = str("") }, "MissingParameter"},
		"a short name":   {func(in *sdk.RegisterImageInput) { in.Name = str("ab") }, "InvalidAMIName.Malformed"},
		"a long name":    {func(in *sdk.RegisterImageInput) { in.Name = str(strings.Repeat("a", 129)) }, "InvalidAMIName.Malformed"},
		"a strange name": {func(in *sdk.RegisterImageInput) { in.Name = str("a\tb") }, "InvalidAMIName.Malformed"},
		"no devices":     {func(in *sdk.RegisterImageInput) { in.BlockDeviceMappings = nil }, "InvalidBlockDeviceMapping"},
		"root elsewhere": {func(in *sdk.RegisterImageInput) { in.RootDeviceName = str("/dev/xvda") }, "InvalidBlockDeviceMapping"},
		"root empty": {func(in *sdk.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.SnapshotId, in.BlockDeviceMappings[0].Ebs.VolumeSize = nil, aws.Int32(1)
		}, "InvalidBlockDeviceMapping"},
		"a strange device": {func(in *sdk.RegisterImageInput) { in.BlockDeviceMappings[0].DeviceName = str("/dev/null") }, "InvalidBlockDeviceMapping"},
		"a device twice": {func(in *sdk.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, in.BlockDeviceMappings[0])
		}, "InvalidBlockDeviceMapping"},
		"no such snapshot": {func(in *sdk.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.SnapshotId = str("snap-00000000000000000")
		}, "InvalidSnapshot.NotFound"},
		"a snapshot in work":  {func(in *sdk.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = pending.SnapshotId }, "IncorrectState"},
		"a snapshot of noise": {func(in *sdk.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = str("x") }, "InvalidParameterValue"},
		"paravirtual":         {func(in *sdk.RegisterImageInput) { in.VirtualizationType = str("paravirtual") }, "UnsupportedOperation"},
		"32 bits":             {func(in *sdk.RegisterImageInput) { in.Architecture = types.ArchitectureValuesI386 }, "UnsupportedOperation"},
		"bios on arm64": {func(in *sdk.RegisterImageInput) {
			in.Architecture, in.BootMode = types.ArchitectureValuesArm64, types.BootModeValuesLegacyBios
		}, "InvalidParameterCombination"},
		"a manifest of S3": {func(in *sdk.RegisterImageInput) { in.ImageLocation = str("b/k") }, "UnsupportedOperation"},
		"dry run":          {func(in *sdk.RegisterImageInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			in := registration(snap, "an image")
			c.edit(in)
			_, err := r.client.RegisterImage(r.ctx, in)
			wantCode(t, err, c.code)
		})
	}
	for _, c := range []struct{ id, code string }{{"ami-x", "InvalidAMIID.Malformed"}, {"ami-00000000000000000", "InvalidAMIID.NotFound"}} {
		_, err := r.client.DescribeImages(r.ctx, &sdk.DescribeImagesInput{ImageIds: []string{c.id}})
		wantCode(t, err, c.code)
		_, err = r.client.DeregisterImage(r.ctx, &sdk.DeregisterImageInput{ImageId: &c.id})
		wantCode(t, err, c.code)
	}
}

func TestAnImageIsSharedAndTakenBack(t *testing.T) {
	r := newStorageRig(t)
	made, err := r.client.RegisterImage(r.ctx, registration(r.blocks(map[int64]byte{0: 1}), "shared"))
	r.ok(err)
	id := made.ImageId
	bobSees := func() bool {
		t.Helper()
		out, err := r.bob.DescribeImages(r.ctx, &sdk.DescribeImagesInput{})
		r.ok(err)
		return slices.ContainsFunc(out.Images, func(x types.Image) bool { return *x.ImageId == *id })
	}
	change := func(in sdk.ModifyImageAttributeInput, code string) {
		t.Helper()
		in.ImageId = id
		_, err := r.client.ModifyImageAttribute(r.ctx, &in)
		wantCode(t, err, code)
	}
	if bobSees() {
		t.Error("bob sees a private image")
	}
	change(sdk.ModifyImageAttributeInput{LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: str(bobID)}}}}, "")
	attribute, err := r.client.DescribeImageAttribute(r.ctx, &sdk.DescribeImageAttributeInput{ImageId: id, Attribute: types.ImageAttributeNameLaunchPermission})
	r.ok(err)
	if !bobSees() || len(attribute.LaunchPermissions) != 1 || *attribute.LaunchPermissions[0].UserId != bobID {
		t.Errorf("%+v", attribute.LaunchPermissions)
	}
	_, err = r.bob.ModifyImageAttribute(r.ctx, &sdk.ModifyImageAttributeInput{ImageId: id, Description: &types.AttributeValue{Value: str("mine")}})
	wantCode(t, err, "AuthFailure")
	_, err = r.bob.DeregisterImage(r.ctx, &sdk.DeregisterImageInput{ImageId: id})
	wantCode(t, err, "AuthFailure")
	change(sdk.ModifyImageAttributeInput{Attribute: str("launchPermission"), OperationType: types.OperationTypeRemove, UserIds: []string{bobID}}, "")
	if bobSees() {
		t.Error("bob sees the image after it was taken back")
	}
	change(sdk.ModifyImageAttributeInput{Attribute: str("launchPermission"), OperationType: types.OperationTypeAdd, UserGroups: []string{"all"}}, "")
	public, err := r.bob.DescribeImages(r.ctx, &sdk.DescribeImagesInput{ExecutableUsers: []string{"all"}, Owners: []string{aliceID}})
	r.ok(err)
	if len(public.Images) != 1 || !*public.Images[0].Public || len(public.Images[0].Tags) != 0 {
		t.Errorf("%+v", public.Images)
	}
	change(sdk.ModifyImageAttributeInput{Description: &types.AttributeValue{Value: str("for all")}}, "")
	change(sdk.ModifyImageAttributeInput{}, "InvalidParameterCombination")
	change(sdk.ModifyImageAttributeInput{UserIds: []string{"bob"}}, "InvalidAMIAttributeItemValue")
	_, err = r.client.ResetImageAttribute(r.ctx, &sdk.ResetImageAttributeInput{ImageId: id, Attribute: types.ResetImageAttributeNameLaunchPermission})
	r.ok(err)
	if bobSees() {
		t.Error("bob sees the image after the reset")
	}
	text, err := r.client.DescribeImageAttribute(r.ctx, &sdk.DescribeImageAttributeInput{ImageId: id, Attribute: types.ImageAttributeNameDescription})
	if err != nil || *text.Description.Value != "for all" {
		t.Errorf("%+v, %v", text, err)
	}
}

func TestAnInstanceBecomesAnImage(t *testing.T) {
	r := newStorageRig(t)
	id, data := r.instance(fsm.InstanceRunning), r.volume(3)
	_, err := r.client.AttachVolume(r.ctx, &sdk.AttachVolumeInput{VolumeId: &data, InstanceId: &id, Device: str("/dev/sdf")})
	r.ok(err)
	made, err := r.client.CreateImage(r.ctx, &sdk.CreateImageInput{InstanceId: &id, Name: str("copy of it"), NoReboot: aws.Bool(true)})
	r.ok(err)
	out, err := r.client.DescribeImages(r.ctx, &sdk.DescribeImagesInput{ImageIds: []string{*made.ImageId}})
	r.ok(err)
	x := out.Images[0]
	if x.State != types.ImageStateAvailable || *x.SourceInstanceId != id || x.BootMode != types.BootModeValuesUefi || len(x.BlockDeviceMappings) != 2 || r.storage.freezes != 2 {
		t.Errorf("%d freezes, %+v", r.storage.freezes, x)
	}
	_, err = r.client.CreateImage(r.ctx, &sdk.CreateImageInput{InstanceId: &id, Name: str("copy of it")})
	wantCode(t, err, "InvalidAMIName.Duplicate")
	r.storage.broken = errBroken
	_, err = r.client.CreateImage(r.ctx, &sdk.CreateImageInput{InstanceId: &id, Name: str("another copy")})
	wantCode(t, err, "Unavailable")
	r.view(func(v *fsm.View) {
		for _, s := range fsm.Snapshots.Scan(v, "") {
			if s.State == fsm.SnapshotPending {
				t.Errorf("%s is left of an image that did not come to be", s.ID)
			}
		}
	})
	_, err = r.client.CreateImage(r.ctx, &sdk.CreateImageInput{InstanceId: str("i-00000000000000000"), Name: str("none")})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestAnImageIsPendingWhileItsSnapshotIs(t *testing.T) {
	r := newStorageRig(t)
	pending, err := r.ebs.StartSnapshot(r.ctx, startOf(1))
	r.ok(err)
	image := fsm.Image{ID: "ami-00000000000000001", Account: aliceID, Name: "pending", RootDevice: "/dev/sda1", Mappings: []fsm.BlockMapping{{Device: "/dev/sda1", Snapshot: fsm.SnapshotID(*pending.SnapshotId)}}}
	r.must(&fsm.RegisterImage{Image: image})
	state := func() types.ImageState {
		t.Helper()
		out, err := r.client.DescribeImages(r.ctx, &sdk.DescribeImagesInput{ImageIds: []string{string(image.ID)}})
		r.ok(err)
		return out.Images[0].State
	}
	if got := state(); got != types.ImageStatePending {
		t.Errorf("%s", got)
	}
	r.must(&fsm.CompleteSnapshot{ID: fsm.SnapshotID(*pending.SnapshotId), Error: "its node was lost"})
	if got := state(); got != types.ImageStateFailed {
		t.Errorf("%s", got)
	}
}
