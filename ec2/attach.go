package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// AttachVolume gives a volume to an instance.
func (s *Service) AttachVolume(ctx context.Context, c *principal.Caller, in *ec2.AttachVolumeInput) (*ec2.AttachVolumeOutput, error) {
	id, err := requiredID("vol", "volumeId", in.VolumeId)
	if err != nil {
		return nil, err
	}
	instance, err := requiredID("i", "instanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	device := aws.ToString(in.Device)
	if device == "" {
		return nil, missing("device")
	}
	if !deviceName.MatchString(device) {
		return nil, invalid("Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device)
	}
	if err := supports(in, "VolumeId", "InstanceId", "Device"); err != nil {
		return nil, err
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		x, err := ownVolume(v, account(c), fsm.VolumeID(id))
		if err != nil {
			return nil, err
		}
		if err := attachable(v, x, fsm.InstanceID(instance), device); err != nil {
			return nil, err
		}
		return &fsm.AttachVolume{ID: x.ID, Account: account(c), Instance: fsm.InstanceID(instance), Device: device, Now: s.now()}, dryRun(in.DryRun)
	}, fsm.ErrExists, fsm.ErrInUse)
	if err != nil {
		return nil, err
	}
	x, err := s.volumeNow(ctx, fsm.VolumeID(id))
	if err != nil {
		return nil, err
	}
	s.changed(ctx, c, "volume attached", "volume", id, "instance", instance, "device", device)
	out := &ec2.AttachVolumeOutput{VolumeId: &id, InstanceId: &instance, Device: &device, State: types.VolumeAttachmentStateAttaching,
		DeleteOnTermination: aws.Bool(false), AttachTime: timeOf(s.now())}
	if a := x.Attachment; a != nil && string(a.Instance) == instance {
		out.AttachTime, out.State = timeOf(a.Time), types.VolumeAttachmentState(a.State)
	}
	return out, nil
}

// volumeNow is the record of a volume, empty when there is none any more.
func (s *Service) volumeNow(ctx context.Context, id fsm.VolumeID) (x fsm.Volume, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		x, _ = fsm.Volumes.Get(v, id)
		return nil
	})
	return x, err
}

// attachable says why a volume cannot be given to an instance under a device's name.
func attachable(v *fsm.View, x fsm.Volume, instance fsm.InstanceID, device string) error {
	i, ok := fsm.Instances.Get(v, instance)
	switch {
	case !ok || i.Account != x.Account || i.State == fsm.InstanceTerminated:
		return notFound(string(instance))
	case x.Attachment != nil:
		return bad("VolumeInUse", "%s is already attached to an instance", x.ID)
	case x.Zone != i.Zone:
		return bad("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", x.ID, instance)
	case i.State != fsm.InstanceRunning && i.State != fsm.InstanceStopped:
		return bad("IncorrectState", "Instance '%s' is not 'running'.", instance)
	}
	for _, other := range fsm.VolumesOf(v, instance) {
		if other.Attachment.Device == device {
			return invalid("Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
	}
	if len(fsm.VolumesOf(v, instance)) >= maxAttachments {
		return errAttachments()
	}
	return nil
}

// DetachVolume takes a volume from an instance.
func (s *Service) DetachVolume(ctx context.Context, c *principal.Caller, in *ec2.DetachVolumeInput) (*ec2.DetachVolumeOutput, error) {
	id, err := requiredID("vol", "volumeId", in.VolumeId)
	if err != nil {
		return nil, err
	}
	if instance := aws.ToString(in.InstanceId); instance != "" {
		if err := checkID("i", instance); err != nil {
			return nil, err
		}
	}
	if err := supports(in, "VolumeId", "InstanceId", "Device", "Force"); err != nil {
		return nil, err
	}
	var x fsm.Volume
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if x, err = ownVolume(v, account(c), fsm.VolumeID(id)); err != nil {
			return nil, err
		}
		if err := detachable(v, x, in); err != nil {
			return nil, err
		}
		if a := x.Attachment; a.State == fsm.Detaching && (a.Force || !aws.ToBool(in.Force)) {
			return nil, dryRun(in.DryRun) // it is asked for already
		}
		return &fsm.DetachVolume{ID: x.ID, Account: account(c), Force: aws.ToBool(in.Force), Rev: x.Rev}, dryRun(in.DryRun)
	})
	if err != nil {
		return nil, err
	}
	a := *x.Attachment
	s.changed(ctx, c, "volume detached", "volume", id, "instance", a.Instance, "force", aws.ToBool(in.Force))
	return &ec2.DetachVolumeOutput{
		VolumeId: &id, InstanceId: aws.String(string(a.Instance)), Device: aws.String(a.Device), State: types.VolumeAttachmentStateDetaching,
		AttachTime: timeOf(a.Time), DeleteOnTermination: aws.Bool(a.DeleteOnTermination),
	}, nil
}

// detachable says why a request to detach a volume does not fit.
func detachable(v *fsm.View, x fsm.Volume, in *ec2.DetachVolumeInput) error {
	a := x.Attachment
	if a == nil {
		return bad("IncorrectState", "Volume '%s' is in the 'available' state.", x.ID)
	}
	instance, device := aws.ToString(in.InstanceId), aws.ToString(in.Device)
	if instance != "" && instance != string(a.Instance) || device != "" && device != a.Device {
		if instance == "" {
			instance = string(a.Instance)
		}
		return bad("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'", x.ID, instance, orElse(device, a.Device))
	}
	i, ok := fsm.Instances.Get(v, a.Instance)
	if ok && i.Runs() && a.Device == i.RootDevice {
		return bad("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", x.ID, a.Instance)
	}
	return nil
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
