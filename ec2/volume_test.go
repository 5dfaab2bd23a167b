package ec2

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func TestAVolumeIsMadeAsAskedAndTold(t *testing.T) {
	r := newStorageRig(t)
	in := &sdk.CreateVolumeInput{
		AvailabilityZone: str(storageZone), Size: aws.Int32(20), VolumeType: types.VolumeTypeGp3, Iops: aws.Int32(4000), Throughput: aws.Int32(500),
		ClientToken: str("once"), TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: str("Name"), Value: str("data")}}}},
	}
	made, err := r.client.CreateVolume(r.ctx, in)
	r.ok(err)
	again, err := r.client.CreateVolume(r.ctx, in)
	r.ok(err)
	if *again.VolumeId != *made.VolumeId || len(made.Tags) != 1 || made.State != types.VolumeStateCreating {
		t.Errorf("%+v, then %+v", made, again)
	}
	in.Size = aws.Int32(21)
	_, err = r.client.CreateVolume(r.ctx, in)
	wantCode(t, err, "IdempotentParameterMismatch")
	other := r.volume(1)
	out, err := r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{Filters: []types.Filter{
		{Name: str("tag:Name"), Values: []string{"d?t*"}}, {Name: str("status"), Values: []string{"available"}}, {Name: str("size"), Values: []string{"20"}},
	}})
	r.ok(err)
	if len(out.Volumes) != 1 {
		t.Fatalf("%d volumes match", len(out.Volumes))
	}
	x := out.Volumes[0]
	if *x.VolumeId != *made.VolumeId || *x.Size != 20 || *x.Iops != 4000 || *x.Throughput != 500 || x.State != types.VolumeStateAvailable ||
		*x.AvailabilityZone != storageZone || x.VolumeType != types.VolumeTypeGp3 || *x.Encrypted || len(x.Attachments) != 0 || x.CreateTime == nil {
		t.Errorf("%+v", x)
	}
	if n := len(r.record(other).Replicas); n != 3 {
		t.Errorf("the log has %d copies", n)
	}
	status, err := r.client.DescribeVolumeStatus(r.ctx, &sdk.DescribeVolumeStatusInput{VolumeIds: []string{other}})
	r.ok(err)
	if len(status.VolumeStatuses) != 1 || status.VolumeStatuses[0].VolumeStatus.Status != types.VolumeStatusInfoStatusOk {
		t.Errorf("%+v", status)
	}
	attribute, err := r.client.DescribeVolumeAttribute(r.ctx, &sdk.DescribeVolumeAttributeInput{VolumeId: &other, Attribute: types.VolumeAttributeNameAutoEnableIO})
	r.ok(err)
	if *attribute.AutoEnableIO.Value {
		t.Error("AutoEnableIO is set")
	}
}

func TestDescribeVolumesComesInPages(t *testing.T) {
	r := newStorageRig(t)
	var want, got []string
	for range 12 {
		want = append(want, r.volume(1))
	}
	slices.Sort(want)
	pages := sdk.NewDescribeVolumesPaginator(r.client, &sdk.DescribeVolumesInput{MaxResults: aws.Int32(5)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(r.ctx)
		r.ok(err)
		for _, x := range page.Volumes {
			got = append(got, *x.VolumeId)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	out, err := r.bob.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{})
	if err != nil || len(out.Volumes) != 0 {
		t.Errorf("another account sees %v, %v", out, err)
	}
	_, err = r.bob.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{VolumeIds: want[:1]})
	wantCode(t, err, "InvalidVolume.NotFound")
}

func TestAWrongVolumeIsRefusedInAWSsWords(t *testing.T) {
	r := newStorageRig(t)
	for name, c := range map[string]struct {
		in   sdk.CreateVolumeInput
		code string
	}{
		"no size":                {sdk.CreateVolumeInput{}, "MissingParameter"},
		"no zone":                {sdk.CreateVolumeInput{AvailabilityZone: str(""), Size: aws.Int32(1)}, "MissingParameter"},
		"no such zone":           {sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1z"), Size: aws.Int32(1)}, "InvalidZone.NotFound"},
		"zero":                   {sdk.CreateVolumeInput{Size: aws.Int32(0)}, "InvalidParameterValue"},
		"below zero":             {sdk.CreateVolumeInput{Size: aws.Int32(-1)}, "InvalidParameterValue"},
		"too large":              {sdk.CreateVolumeInput{Size: aws.Int32(16385)}, "InvalidParameterValue"},
		"too small for io1":      {sdk.CreateVolumeInput{Size: aws.Int32(3), VolumeType: "io1", Iops: aws.Int32(100)}, "InvalidParameterValue"},
		"io1 without iops":       {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "io1"}, "MissingParameter"},
		"too many iops a GiB":    {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "io1", Iops: aws.Int32(501)}, "InvalidParameterValue"},
		"iops of gp2":            {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "gp2", Iops: aws.Int32(300)}, "InvalidParameterCombination"},
		"iops too low":           {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "gp3", Iops: aws.Int32(2999)}, "InvalidParameterValue"},
		"throughput of gp2":      {sdk.CreateVolumeInput{Size: aws.Int32(10), Throughput: aws.Int32(125)}, "InvalidParameterCombination"},
		"throughput too high":    {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "gp3", Throughput: aws.Int32(2001)}, "InvalidParameterValue"},
		"throughput to iops":     {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "gp3", Throughput: aws.Int32(751)}, "InvalidParameterValue"},
		"no such type":           {sdk.CreateVolumeInput{Size: aws.Int32(10), VolumeType: "gp9"}, "InvalidParameterValue"},
		"encrypted":              {sdk.CreateVolumeInput{Size: aws.Int32(1), Encrypted: aws.Bool(true)}, "UnsupportedOperation"},
		"no such snapshot":       {sdk.CreateVolumeInput{SnapshotId: str("snap-00000000000000000")}, "InvalidSnapshot.NotFound"},
		"snapshot id malformed":  {sdk.CreateVolumeInput{SnapshotId: str("snap-x")}, "InvalidParameterValue"},
		"dry run":                {sdk.CreateVolumeInput{Size: aws.Int32(1), DryRun: aws.Bool(true)}, "DryRunOperation"},
		"token too long":         {sdk.CreateVolumeInput{Size: aws.Int32(1), ClientToken: str(strings.Repeat("x", 65))}, "InvalidParameterValue"},
		"tags of another thing":  {sdk.CreateVolumeInput{Size: aws.Int32(1), TagSpecifications: []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: str("a")}}}}}, "InvalidParameterValue"},
		"a reserved tag":         {sdk.CreateVolumeInput{Size: aws.Int32(1), TagSpecifications: []types.TagSpecification{{ResourceType: "volume", Tags: []types.Tag{{Key: str("aws:x")}}}}}, "InvalidParameterValue"},
		"several attachments":    {sdk.CreateVolumeInput{Size: aws.Int32(1), MultiAttachEnabled: aws.Bool(true)}, "UnsupportedOperation"},
		"a key of an encryption": {sdk.CreateVolumeInput{Size: aws.Int32(1), KmsKeyId: str("k")}, "UnsupportedOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.in.AvailabilityZone == nil {
				c.in.AvailabilityZone = str(storageZone)
			}
			_, err := r.client.CreateVolume(r.ctx, &c.in)
			wantCode(t, err, c.code)
		})
	}
	out, err := r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{})
	if err != nil || len(out.Volumes) != 0 {
		t.Errorf("refused requests made %d volumes, %v", len(out.Volumes), err)
	}
	for _, id := range []string{"vol-x", "v-00000000000000000", "snap-00000000000000000"} {
		_, err := r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{id}})
		wantCode(t, err, "InvalidParameterValue")
		_, err = r.client.DeleteVolume(r.ctx, &sdk.DeleteVolumeInput{VolumeId: &id})
		wantCode(t, err, "InvalidParameterValue")
	}
	_, err = r.client.DeleteVolume(r.ctx, &sdk.DeleteVolumeInput{VolumeId: str("vol-00000000000000000")})
	wantCode(t, err, "InvalidVolume.NotFound")
	_, err = r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{Filters: []types.Filter{{Name: str("colour"), Values: []string{"x"}}}})
	wantCode(t, err, "InvalidParameterValue")
}

func TestAVolumeNeedsNodesThatCanKeepIt(t *testing.T) {
	r := newStorageRig(t)
	r.kill(0)
	if n := len(r.record(r.volume(1)).Replicas); n != 3 {
		t.Errorf("with one node dead the log has %d copies", n)
	}
	r.kill(1)
	_, err := r.client.CreateVolume(r.ctx, &sdk.CreateVolumeInput{AvailabilityZone: str(storageZone), Size: aws.Int32(1)})
	wantCode(t, err, "InsufficientVolumeCapacity")
}

func TestAVolumeGoesFromInstanceToInstance(t *testing.T) {
	r := newStorageRig(t)
	running, stopped := r.instance(fsm.InstanceRunning), r.instance(fsm.InstanceStopped)
	id := r.volume(1)
	attach := func(instance, device string) error {
		_, err := r.client.AttachVolume(r.ctx, &sdk.AttachVolumeInput{VolumeId: &id, InstanceId: &instance, Device: &device})
		return err
	}
	wantCode(t, attach(running, "/dev/sda1"), "InvalidParameterValue") // the root volume has it
	wantCode(t, attach(running, "/dev/null"), "InvalidParameterValue")
	wantCode(t, attach("i-00000000000000000", "/dev/sdf"), "InvalidInstanceID.NotFound")
	wantCode(t, attach("i-x", "/dev/sdf"), "InvalidInstanceID.Malformed")
	out, err := r.client.AttachVolume(r.ctx, &sdk.AttachVolumeInput{VolumeId: &id, InstanceId: &running, Device: str("/dev/sdf")})
	r.ok(err)
	if out.State != types.VolumeAttachmentStateAttaching || *out.InstanceId != running || *out.Device != "/dev/sdf" || *out.DeleteOnTermination {
		t.Errorf("%+v", out)
	}
	wantCode(t, attach(stopped, "/dev/sdf"), "VolumeInUse")
	_, err = r.client.DeleteVolume(r.ctx, &sdk.DeleteVolumeInput{VolumeId: &id})
	wantCode(t, err, "VolumeInUse")
	r.must(&fsm.SetVolumeAttached{ID: fsm.VolumeID(id), Generation: r.record(id).Generation})
	list, err := r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{Filters: []types.Filter{
		{Name: str("attachment.instance-id"), Values: []string{running}}, {Name: str("attachment.device"), Values: []string{"/dev/sdf"}},
		{Name: str("attachment.status"), Values: []string{"attached"}}, {Name: str("attachment.delete-on-termination"), Values: []string{"false"}},
	}})
	r.ok(err)
	if len(list.Volumes) != 1 || list.Volumes[0].State != types.VolumeStateInUse || list.Volumes[0].Attachments[0].State != types.VolumeAttachmentStateAttached {
		t.Errorf("%+v", list.Volumes)
	}
	detach := func(in sdk.DetachVolumeInput) error {
		in.VolumeId = &id
		_, err := r.client.DetachVolume(r.ctx, &in)
		return err
	}
	wantCode(t, detach(sdk.DetachVolumeInput{InstanceId: &stopped}), "InvalidAttachment.NotFound")
	wantCode(t, detach(sdk.DetachVolumeInput{Device: str("/dev/sdg")}), "InvalidAttachment.NotFound")
	wantCode(t, detach(sdk.DetachVolumeInput{DryRun: aws.Bool(true)}), "DryRunOperation")
	wantCode(t, detach(sdk.DetachVolumeInput{InstanceId: &running, Device: str("/dev/sdf")}), "")
	wantCode(t, detach(sdk.DetachVolumeInput{}), "") // again
	if a := r.record(id).Attachment; a.State != fsm.Detaching || a.Force {
		t.Errorf("%+v", a)
	}
	wantCode(t, detach(sdk.DetachVolumeInput{Force: aws.Bool(true)}), "")
	if a := r.record(id).Attachment; !a.Force {
		t.Errorf("%+v", a)
	}
	r.must(&fsm.SetVolumeDetached{ID: fsm.VolumeID(id), Generation: r.record(id).Generation})
	wantCode(t, detach(sdk.DetachVolumeInput{}), "IncorrectState")
	wantCode(t, attach(stopped, "/dev/sdf"), "")
	wantCode(t, detach(sdk.DetachVolumeInput{}), "")
	if r.record(id).Attachment != nil {
		t.Error("a stopped instance did not let go at once")
	}
	_, err = r.client.DeleteVolume(r.ctx, &sdk.DeleteVolumeInput{VolumeId: &id})
	wantCode(t, err, "")
	_, err = r.client.DeleteVolume(r.ctx, &sdk.DeleteVolumeInput{VolumeId: &id})
	wantCode(t, err, "InvalidVolume.NotFound")
}

func TestARootVolumeIsNotDetachedFromAGuestThatRuns(t *testing.T) {
	r := newStorageRig(t)
	id := r.instance(fsm.InstanceRunning)
	list, err := r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{Filters: []types.Filter{{Name: str("attachment.instance-id"), Values: []string{id}}}})
	r.ok(err)
	root := list.Volumes[0].VolumeId
	_, err = r.client.DetachVolume(r.ctx, &sdk.DetachVolumeInput{VolumeId: root})
	wantCode(t, err, "OperationNotPermitted")
	r.observe(id, fsm.InstanceStopped)
	_, err = r.client.DetachVolume(r.ctx, &sdk.DetachVolumeInput{VolumeId: root})
	wantCode(t, err, "")
}

func TestAVolumeOfAnotherZoneIsNotAttached(t *testing.T) {
	r := newStorageRig(t)
	instance := r.instance(fsm.InstanceRunning)
	out, err := r.client.CreateVolume(r.ctx, &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1b"), Size: aws.Int32(1)})
	r.ok(err)
	_, err = r.client.AttachVolume(r.ctx, &sdk.AttachVolumeInput{VolumeId: out.VolumeId, InstanceId: &instance, Device: str("/dev/sdf")})
	wantCode(t, err, "InvalidVolume.ZoneMismatch")
}

func TestASnapshotIsDecidedAtItsAnswerAndVolumesAreMadeOfIt(t *testing.T) {
	r := newStorageRig(t)
	id := r.volume(3)
	instance := r.instance(fsm.InstanceRunning)
	_, err := r.client.AttachVolume(r.ctx, &sdk.AttachVolumeInput{VolumeId: &id, InstanceId: &instance, Device: str("/dev/sdf")})
	r.ok(err)
	snap, err := r.client.CreateSnapshot(r.ctx, &sdk.CreateSnapshotInput{VolumeId: &id, Description: str("of data"),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: str("a"), Value: str("b")}}}}})
	r.ok(err)
	if r.storage.freezes != 1 || *snap.VolumeSize != 3 || *snap.VolumeId != id || *snap.Description != "of data" || len(snap.Tags) != 1 {
		t.Errorf("%d freezes, %+v", r.storage.freezes, snap)
	}
	list, err := r.client.DescribeSnapshots(r.ctx, &sdk.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{
		{Name: str("volume-id"), Values: []string{id}}, {Name: str("status"), Values: []string{"completed"}}, {Name: str("progress"), Values: []string{"100%"}}, {Name: str("tag:a"), Values: []string{"b"}},
	}})
	r.ok(err)
	if len(list.Snapshots) != 1 || *list.Snapshots[0].OwnerId != aliceID || list.Snapshots[0].CompletionTime == nil {
		t.Fatalf("%+v", list.Snapshots)
	}
	for _, owners := range [][]string{{"amazon"}, {bobID}} {
		list, err := r.client.DescribeSnapshots(r.ctx, &sdk.DescribeSnapshotsInput{OwnerIds: owners})
		if err != nil || len(list.Snapshots) != 0 {
			t.Errorf("of %v: %v, %v", owners, list, err)
		}
	}
	clone, err := r.client.CreateVolume(r.ctx, &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1b"), SnapshotId: snap.SnapshotId})
	r.ok(err)
	if x := r.record(*clone.VolumeId); x.Size != 3 || x.Lineage != r.record(id).Lineage || x.Type != "gp2" || x.IOPS != 100 {
		t.Errorf("%+v", x)
	}
	_, err = r.client.CreateVolume(r.ctx, &sdk.CreateVolumeInput{AvailabilityZone: str(storageZone), SnapshotId: snap.SnapshotId, Size: aws.Int32(2)})
	wantCode(t, err, "InvalidBlockDeviceMapping")
	_, err = r.bob.CreateVolume(r.ctx, &sdk.CreateVolumeInput{AvailabilityZone: str(storageZone), SnapshotId: snap.SnapshotId})
	wantCode(t, err, "InvalidSnapshot.NotFound")
	_, err = r.client.DescribeSnapshotAttribute(r.ctx, &sdk.DescribeSnapshotAttributeInput{SnapshotId: snap.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	wantCode(t, err, "")
	_, err = r.client.DeleteSnapshot(r.ctx, &sdk.DeleteSnapshotInput{SnapshotId: snap.SnapshotId})
	wantCode(t, err, "")
	_, err = r.client.DeleteSnapshot(r.ctx, &sdk.DeleteSnapshotInput{SnapshotId: snap.SnapshotId})
	wantCode(t, err, "InvalidSnapshot.NotFound")
}

func TestASnapshotThatCannotBeFrozenLeavesNothing(t *testing.T) {
	r := newStorageRig(t)
	id, instance := r.volume(1), r.instance(fsm.InstanceRunning)
	_, err := r.client.AttachVolume(r.ctx, &sdk.AttachVolumeInput{VolumeId: &id, InstanceId: &instance, Device: str("/dev/sdf")})
	r.ok(err)
	r.storage.broken = errors.New("its node is away")
	_, err = r.client.CreateSnapshot(r.ctx, &sdk.CreateSnapshotInput{VolumeId: &id})
	wantCode(t, err, "Unavailable")
	list, err := r.client.DescribeSnapshots(r.ctx, &sdk.DescribeSnapshotsInput{Filters: []types.Filter{{Name: str("volume-id"), Values: []string{id}}}})
	if err != nil || len(list.Snapshots) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	_, err = r.client.CreateSnapshot(r.ctx, &sdk.CreateSnapshotInput{VolumeId: str("vol-00000000000000000")})
	wantCode(t, err, "InvalidVolume.NotFound")
}
