package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// volumeMoves writes a volume in one guest and reads it in the other, directly and by a snapshot.
func volumeMoves(t *testing.T, l *lab) {
	l.spare = l.newVolume(t, &ec2.CreateVolumeInput{Size: aws.Int32(1)})
	dev := l.attach(t, l.spare, l.a.id, "/dev/sdf")
	if size := l.on(t, l.a.id, "blockdev --getsize64 "+dev); size != "1073741824\n" {
		t.Errorf("the guest sees %s bytes", size)
	}
	// At the start, over the border of two chunks, and at the end.
	l.on(t, l.a.id, fmt.Sprintf(`for at in 0 7 1020; do dd if=/dev/urandom of=%s bs=1M seek=$at count=4 oflag=direct conv=notrunc,fsync 2>/dev/null || exit 1; done`, dev))
	want := l.content(t, l.a.id, dev)

	snap, err := l.via(2).CreateSnapshot(soon(t), &ec2.CreateSnapshotInput{VolumeId: &l.spare})
	must(t, err)
	l.on(t, l.a.id, fmt.Sprintf("dd if=/dev/zero of=%s bs=1M count=1 seek=8 oflag=direct conv=notrunc,fsync 2>/dev/null", dev))
	changed := l.content(t, l.a.id, dev)
	if changed == want {
		t.Error("a write changes nothing")
	}
	l.detach(t, l.spare, l.a.id)
	l.waitSh(t, l.a.id, "the device gone", "[ ! -e "+dev+" ]")

	dev = l.attach(t, l.spare, l.b.id, "/dev/sdg")
	if got := l.content(t, l.b.id, dev); got != changed {
		t.Errorf("the other guest reads\n%s\nof what was written as\n%s", got, changed)
	}
	must(t, ec2.NewSnapshotCompletedWaiter(l.via(1), quickly[ec2.SnapshotCompletedWaiterOptions]).Wait(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*snap.SnapshotId}}, bootPatience))
	clone := l.newVolume(t, &ec2.CreateVolumeInput{SnapshotId: snap.SnapshotId})
	dev = l.attach(t, clone, l.a.id, "/dev/sdf")
	if got := l.content(t, l.a.id, dev); got != want {
		t.Errorf("a volume of the snapshot reads\n%s\nof what was\n%s", got, want)
	}
	l.detach(t, clone, l.a.id)
	l.detach(t, l.spare, l.b.id)
	awsCLI(t, l.Nodes[2], l.k, "ec2", "delete-volume", "--volume-id", clone)
	awsCLI(t, l.Nodes[2], l.k, "ec2", "delete-snapshot", "--snapshot-id", *snap.SnapshotId)
}

// newVolume is a volume in the guests' zone, available.
func (l *lab) newVolume(t *testing.T, in *ec2.CreateVolumeInput) string {
	t.Helper()
	client, _ := l.alive()
	in.AvailabilityZone, in.VolumeType = aws.String(twoNodeZone), types.VolumeTypeGp3
	out, err := client.CreateVolume(soon(t), in)
	must(t, err)
	l.available(t, *out.VolumeId)
	return *out.VolumeId
}

func (l *lab) available(t *testing.T, volume string) {
	t.Helper()
	client, _ := l.alive()
	must(t, ec2.NewVolumeAvailableWaiter(client, quickly[ec2.VolumeAvailableWaiterOptions]).Wait(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{volume}}, bootPatience))
}

// attach gives a volume to a running instance and is its device in the guest.
func (l *lab) attach(t *testing.T, volume, instance, device string) string {
	t.Helper()
	client, _ := l.alive()
	out, err := client.AttachVolume(soon(t), &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device})
	must(t, err)
	if out.State != types.VolumeAttachmentStateAttaching {
		t.Errorf("the attachment begins %s", out.State)
	}
	waitFor(t, volume+" attached", func() error {
		out, err := client.DescribeVolumes(soon(t), &ec2.DescribeVolumesInput{VolumeIds: []string{volume}})
		if err != nil {
			return err
		}
		if v := out.Volumes[0]; v.State != types.VolumeStateInUse || len(v.Attachments) != 1 || v.Attachments[0].State != types.VolumeAttachmentStateAttached {
			return fmt.Errorf("%s: %+v", v.State, v.Attachments)
		}
		return nil
	})
	find := fmt.Sprintf(`for s in /sys/block/vd*/serial; do [ "$(cat $s)" = %s ] && d=${s%%/serial} && echo /dev/${d##*/} && exit; done; exit 1`, strings.ReplaceAll(volume, "-", ""))
	l.waitSh(t, instance, "the device of "+volume, find)
	return strings.TrimSpace(l.on(t, instance, find))
}

func (l *lab) detach(t *testing.T, volume, instance string) {
	t.Helper()
	client, _ := l.alive()
	_, err := client.DetachVolume(soon(t), &ec2.DetachVolumeInput{VolumeId: &volume, InstanceId: &instance})
	must(t, err)
	l.available(t, volume)
}

// content is a digest of the parts of a device that volumeMoves writes, and some around them.
func (l *lab) content(t *testing.T, instance, dev string) string {
	t.Helper()
	return l.on(t, instance, fmt.Sprintf("for at in 0 4 8 512 1020; do dd if=%s bs=1M skip=$at count=4 iflag=direct 2>/dev/null | sha256sum; done", dev))
}
