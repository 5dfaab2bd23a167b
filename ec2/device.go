package ec2

import (
	"cmp"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
)

// device is a volume that a new instance is to have.
type device struct {
	name     string
	snapshot *fsm.Snapshot // that it is made from, if any
	shape    volumeShape
	deleted  bool // with the instance
}

// least is the smallest size in GiB that the device can have: its snapshot's.
func (d device) least() int64 {
	if d.snapshot == nil {
		return 0
	}
	return d.snapshot.Size
}

// deviceName is what a volume can be attached as. Source: "Device names for volumes on Amazon EC2 instances".
var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z]([1-9]|1[0-5])?|xvd[a-z]|xvd[b-d][a-z])$`)

func badMapping(format string, args ...any) *protocol.Error {
	return bad("InvalidBlockDeviceMapping", format, args...)
}

// devicesOf are the devices of a launch: the image's, as the request changes them, and those that it adds.
func devicesOf(v *fsm.View, l *launch, image fsm.Image) ([]device, error) {
	out := make([]device, 0, len(image.Mappings)+len(l.devices))
	for _, m := range image.Mappings {
		out = append(out, deviceOf(v, m))
	}
	seen := map[string]bool{}
	for _, m := range l.devices {
		name := aws.ToString(m.DeviceName)
		switch {
		case name == "":
			return nil, missing("BlockDeviceMapping.DeviceName")
		case !deviceName.MatchString(name):
			return nil, badMapping("Invalid device name %s", name)
		case seen[name]:
			return nil, badMapping("The device '%s' is used in more than one block-device mapping", name)
		}
		seen[name] = true
		var err error
		if out, err = changeDevice(v, l, image, out, m); err != nil {
			return nil, err
		}
	}
	if len(out) > maxAttachments {
		return nil, errAttachments()
	}
	return out, nil
}

func errAttachments() *protocol.Error {
	return bad("AttachmentLimitExceeded", "An instance can have %d volumes at most.", maxAttachments)
}

// deviceOf is a device as the image has it.
func deviceOf(v *fsm.View, m fsm.BlockMapping) device {
	d := device{name: m.Device, deleted: m.DeleteOnTermination, shape: volumeShape{kind: m.Type, iops: ptr32(m.IOPS), throughput: ptr32(m.Throughput)}}
	if snapshot, ok := fsm.Snapshots.Get(v, m.Snapshot); ok {
		d.snapshot = &snapshot
	}
	if m.Size > 0 {
		d.shape.size = aws.Int32(int32(m.Size))
	}
	return d
}

// changeDevice applies one mapping of a request.
func changeDevice(v *fsm.View, l *launch, image fsm.Image, have []device, m types.BlockDeviceMapping) ([]device, error) {
	name := *m.DeviceName
	at := slices.IndexFunc(have, func(d device) bool { return d.name == name })
	switch {
	case m.NoDevice != nil && name == image.RootDevice:
		return nil, badMapping("The root device '%s' cannot be left out", name)
	case m.NoDevice != nil && at >= 0:
		return slices.Delete(have, at, at+1), nil
	case m.NoDevice != nil, m.Ebs == nil && m.VirtualName != nil:
		return have, nil // instance store: no type has any, and EC2 leaves it out then
	case m.Ebs == nil:
		return nil, badMapping("The device '%s' has neither Ebs, NoDevice nor VirtualName", name)
	}
	d := device{name: name, deleted: true}
	if at >= 0 {
		d = have[at]
	}
	d, err := d.changed(v, l, m.Ebs)
	if err != nil {
		return nil, err
	}
	if at >= 0 {
		have[at] = d
		return have, nil
	}
	return append(have, d), nil
}

// changed is the device as the request wants it.
func (d device) changed(v *fsm.View, l *launch, ebs *types.EbsBlockDevice) (device, error) {
	if err := supports(ebs, "DeleteOnTermination", "Iops", "SnapshotId", "Throughput", "VolumeSize", "VolumeType"); err != nil {
		return d, err
	}
	if id := aws.ToString(ebs.SnapshotId); id != "" && (d.snapshot == nil || id != string(d.snapshot.ID)) {
		if err := checkID("snap", id); err != nil {
			return d, err
		}
		snapshot, err := completedSnapshot(v, account(l.caller), fsm.SnapshotID(id))
		if err != nil {
			return d, err
		}
		d.snapshot, d.shape.size = &snapshot, nil
	}
	if ebs.VolumeType != "" && string(ebs.VolumeType) != d.shape.kind {
		d.shape.kind, d.shape.iops, d.shape.throughput = string(ebs.VolumeType), nil, nil
	}
	d.shape.size = cmp.Or(ebs.VolumeSize, d.shape.size)
	d.shape.iops = cmp.Or(ebs.Iops, d.shape.iops)
	d.shape.throughput = cmp.Or(ebs.Throughput, d.shape.throughput)
	if ebs.DeleteOnTermination != nil {
		d.deleted = *ebs.DeleteOnTermination
	}
	if d.shape.size == nil && d.snapshot == nil {
		return d, bad(codeMissing, "The request must contain the parameter size or snapshotId")
	}
	// Tried on a volume that is dropped, so that a launch is refused before its nodes are chosen.
	return d, d.apply(&fsm.Volume{})
}

// apply gives a volume the device's snapshot and shape.
func (d device) apply(x *fsm.Volume) error {
	if d.snapshot != nil {
		x.Snapshot, x.Lineage = d.snapshot.ID, d.snapshot.Lineage
	}
	return d.shape.apply(x, d.least())
}
