package test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/test/guest"
)

// Ids that are well formed, and nobody's.
const (
	noInstance = "i-0123456789abcdef0"
	noVolume   = "vol-0123456789abcdef0"
	noImage    = "ami-0123456789abcdef0"
	noSnapshot = "snap-0123456789abcdef0"
)

// badRequests are refused with the codes of AWS, and change nothing.
func badRequests(t *testing.T, l *lab) {
	noImages(t, l)
	l.attach(t, l.spare, l.a.id, "/dev/sdf")
	other := l.newVolume(t, &ec2.CreateVolumeInput{Size: aws.Int32(1)})
	client := l.via(3)
	elsewhere, err := client.CreateVolume(soon(t), &ec2.CreateVolumeInput{Size: aws.Int32(1), AvailabilityZone: aws.String(oneNodeZone)})
	must(t, err)
	before := awsCLI(t, l.Nodes[0], l.k, "ec2", "describe-volumes")

	attach := func(volume, instance, device string) func() error {
		return func() error {
			_, err := client.AttachVolume(soon(t), &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device})
			return err
		}
	}
	for _, bad := range []struct {
		what, code string
		do         func() error
	}{
		{"a volume that is attached to another instance", "VolumeInUse", attach(l.spare, l.b.id, "/dev/sdf")},
		{"a volume that is attached to this instance", "VolumeInUse", attach(l.spare, l.a.id, "/dev/sdg")},
		{"a device in use", "InvalidParameterValue", attach(other, l.a.id, "/dev/sdf")},
		{"the root's device", "InvalidParameterValue", attach(other, l.a.id, *l.describe(t, l.a.id).RootDeviceName)},
		{"no device's name", "InvalidParameterValue", attach(other, l.a.id, "/dev/../null")},
		{"a volume of another zone", "InvalidVolume.ZoneMismatch", attach(*elsewhere.VolumeId, l.a.id, "/dev/sdg")},
		{"attaching a volume that is none", "InvalidVolume.NotFound", attach(noVolume, l.a.id, "/dev/sdg")},
		{"attaching what is no volume's id", "InvalidParameterValue", attach("volume-1", l.a.id, "/dev/sdg")},
		{"attaching to an instance that is none", "InvalidInstanceID.NotFound", attach(other, noInstance, "/dev/sdg")},
		{"attaching to what is no instance's id", "InvalidInstanceID.Malformed", attach(other, "i-1", "/dev/sdg")},
		{"deleting an attached volume", "VolumeInUse", deleteVolume(t, client, l.spare)},
		{"deleting a volume that is none", "InvalidVolume.NotFound", deleteVolume(t, client, noVolume)},
		{"deleting what is no volume's id", "InvalidParameterValue", deleteVolume(t, client, "vol-xyz")},
		{"detaching what is not attached", "IncorrectState", func() error {
			_, err := client.DetachVolume(soon(t), &ec2.DetachVolumeInput{VolumeId: &other})
			return err
		}},
		{"describing a volume that is none", "InvalidVolume.NotFound", func() error {
			_, err := client.DescribeVolumes(soon(t), &ec2.DescribeVolumesInput{VolumeIds: []string{noVolume}})
			return err
		}},
		{"describing what is no volume's id", "InvalidParameterValue", func() error {
			_, err := client.DescribeVolumes(soon(t), &ec2.DescribeVolumesInput{VolumeIds: []string{"vol-1"}})
			return err
		}},
		{"a volume without a size", "MissingParameter", createVolume(t, client, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(twoNodeZone)})},
		{"a volume of no size", "InvalidParameterValue", createVolume(t, client, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(twoNodeZone), Size: aws.Int32(0)})},
		{"a volume of a snapshot that is none", "InvalidSnapshot.NotFound", createVolume(t, client, &ec2.CreateVolumeInput{AvailabilityZone: aws.String(twoNodeZone), SnapshotId: aws.String(noSnapshot)})},
		{"a volume in a zone that is none", "InvalidZone.NotFound", createVolume(t, client, &ec2.CreateVolumeInput{AvailabilityZone: aws.String("mars-1a"), Size: aws.Int32(1)})},
		{"a snapshot of a volume that is none", "InvalidVolume.NotFound", func() error {
			_, err := client.CreateSnapshot(soon(t), &ec2.CreateSnapshotInput{VolumeId: aws.String(noVolume)})
			return err
		}},
		{"deleting the snapshot of an image", "InvalidSnapshot.InUse", func() error {
			out, err := client.DescribeImages(soon(t), &ec2.DescribeImagesInput{ImageIds: []string{l.uefi}})
			must(t, err)
			_, err = client.DeleteSnapshot(soon(t), &ec2.DeleteSnapshotInput{SnapshotId: out.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId})
			return err
		}},
		{"describing an instance that is none", "InvalidInstanceID.NotFound", func() error {
			_, err := client.DescribeInstances(soon(t), one(noInstance))
			return err
		}},
		{"stopping an instance that is none", "InvalidInstanceID.NotFound", func() error {
			_, err := client.StopInstances(soon(t), &ec2.StopInstancesInput{InstanceIds: []string{l.a.id, noInstance}})
			return err
		}},
		{"a key pair of a name that is taken", "InvalidKeyPair.Duplicate", func() error {
			_, err := client.CreateKeyPair(soon(t), &ec2.CreateKeyPairInput{KeyName: aws.String("lab")})
			return err
		}},
		{"a public key that is none", "InvalidKey.Format", func() error {
			_, err := client.ImportKeyPair(soon(t), &ec2.ImportKeyPairInput{KeyName: aws.String("none"), PublicKeyMaterial: []byte("ssh-rsa mumble")})
			return err
		}},
	} {
		if err := bad.do(); code(err) != bad.code {
			t.Errorf("%s: got %v, want %s", bad.what, err, bad.code)
		}
	}
	badLaunches(t, l)
	if after := awsCLI(t, l.Nodes[0], l.k, "ec2", "describe-volumes"); after != before {
		t.Errorf("refused requests have changed the volumes from\n%s\nto\n%s", before, after)
	}
	must(t, deleteVolume(t, client, other)())
	must(t, deleteVolume(t, client, *elsewhere.VolumeId)())
	l.detach(t, l.spare, l.a.id)
}

func deleteVolume(t *testing.T, client *ec2.Client, id string) func() error {
	return func() error {
		_, err := client.DeleteVolume(soon(t), &ec2.DeleteVolumeInput{VolumeId: &id})
		return err
	}
}

func createVolume(t *testing.T, client *ec2.Client, in *ec2.CreateVolumeInput) func() error {
	return func() error {
		_, err := client.CreateVolume(soon(t), in)
		return err
	}
}

// badLaunches start nothing.
func badLaunches(t *testing.T, l *lab) {
	client := l.via(2)
	before, err := client.DescribeInstances(soon(t), &ec2.DescribeInstancesInput{})
	must(t, err)
	for _, bad := range []struct {
		what, code string
		change     func(*ec2.RunInstancesInput)
	}{
		{"a dry run", "DryRunOperation", func(in *ec2.RunInstancesInput) { in.DryRun = aws.Bool(true) }},
		{"a type that is none", "InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.InstanceType = "t9.huge" }},
		{"a type that is too big for every node", "InsufficientInstanceCapacity", func(in *ec2.RunInstancesInput) { in.InstanceType = types.InstanceTypeR54xlarge }},
		{"more than fit", "InsufficientInstanceCapacity", func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(99), aws.Int32(99) }},
		{"none", "InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.MinCount = aws.Int32(0) }},
		{"an image that is none", "InvalidAMIID.NotFound", func(in *ec2.RunInstancesInput) { in.ImageId = aws.String(noImage) }},
		{"what is no image's id", "InvalidAMIID.Malformed", func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("debian") }},
		{"a key that is none", "InvalidKeyPair.NotFound", func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("nobody's") }},
		{"user-data over 16 KiB", "InvalidParameterValue", func(in *ec2.RunInstancesInput) {
			in.UserData = aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16<<10+1)))
		}},
		{"user-data that is not base64", "InvalidUserData.Malformed", func(in *ec2.RunInstancesInput) { in.UserData = aws.String("#!/bin/sh") }},
		{"a zone that is none", "InvalidParameterValue", func(in *ec2.RunInstancesInput) {
			in.Placement = &types.Placement{AvailabilityZone: aws.String("mars-1a")}
		}},
		{"a subnet that is none", "InvalidSubnetID.NotFound", func(in *ec2.RunInstancesInput) { in.SubnetId = aws.String("subnet-0123456789abcdef0") }},
		{"a root of no size", "InvalidParameterValue", func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: l.describe(t, l.a.id).RootDeviceName, Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(0)}}}
		}},
	} {
		in := &ec2.RunInstancesInput{ImageId: &l.uefi, InstanceType: types.InstanceTypeT2Nano, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
		bad.change(in)
		if in.MaxCount != nil && *in.MinCount > *in.MaxCount {
			in.MaxCount = in.MinCount
		}
		_, err := client.RunInstances(soon(t), in)
		if code(err) != bad.code {
			t.Errorf("launching %s: got %v, want %s", bad.what, err, bad.code)
		}
	}
	after, err := client.DescribeInstances(soon(t), &ec2.DescribeInstancesInput{})
	must(t, err)
	if len(after.Reservations) != len(before.Reservations) {
		t.Errorf("refused launches have made %d reservations of %d", len(after.Reservations), len(before.Reservations))
	}
}

// noImages: files that are no images are refused by name and reason, and leave nothing.
func noImages(t *testing.T, l *lab) {
	client := l.via(1)
	before, err := client.DescribeSnapshots(soon(t), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	must(t, err)
	text := filepath.Join(l.dir, "text.txt")
	must(t, os.WriteFile(text, []byte(strings.Repeat("no image\n", 1000)), 0o600))
	empty := filepath.Join(l.dir, "empty")
	must(t, os.WriteFile(empty, nil, 0o600))
	whole, err := os.ReadFile(guest.Tiny(t))
	must(t, err)
	half := filepath.Join(l.dir, "half.qcow2")
	must(t, os.WriteFile(half, whole[:len(whole)/2], 0o600))
	backed := filepath.Join(l.dir, "backed.qcow2")
	_, err = command(t, nil, "qemu-img", "create", "-q", "-f", "qcow2", "-b", guest.Tiny(t), "-F", "qcow2", backed)
	must(t, err)
	for _, file := range []string{text, empty, half, backed, filepath.Join(l.dir, "missing"), l.dir} {
		out, err := hive(t, "image", "import", file, "--name", "none", "--hive-dir", l.Nodes[0].Dir)
		refused(t, out, err, file)
	}
	after, err := client.DescribeSnapshots(soon(t), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	must(t, err)
	if len(after.Snapshots) != len(before.Snapshots) {
		t.Errorf("refused imports have made %d snapshots of %d", len(after.Snapshots), len(before.Snapshots))
	}
	images, err := client.DescribeImages(soon(t), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	must(t, err)
	if len(images.Images) != 2 {
		t.Errorf("refused imports have made images: %d, want 2", len(images.Images))
	}
}
