package ec2

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// CreateImage makes an image of an instance: of snapshots of its volumes, each as after a loss of power at that moment.
// The instance runs on in any case: with or without NoReboot it is not rebooted. Stop it first for an image that was
// shut down cleanly.
func (s *Service) CreateImage(ctx context.Context, c *principal.Caller, in *ec2.CreateImageInput) (*ec2.CreateImageOutput, error) {
	instance, err := requiredID("i", "instanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	if err := checkImageName(in.Name); err != nil {
		return nil, err
	}
	if err := supports(in, "InstanceId", "Name", "Description", "NoReboot", "TagSpecifications"); err != nil {
		return nil, err
	}
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	tags, err := specified(in.TagSpecifications, types.ResourceTypeImage, types.ResourceTypeSnapshot)
	if err != nil {
		return nil, err
	}
	id, err := s.newID("ami")
	if err != nil {
		return nil, err
	}
	image, volumes, err := s.imageOfInstance(ctx, c, fsm.InstanceID(instance), *in.Name)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	image.ID, image.Description, image.Created = fsm.ImageID(id), aws.ToString(in.Description), s.now()
	for _, x := range volumes {
		row, err := s.freeze(ctx, fsm.Snapshot{
			Account: account(c), Volume: x.ID, Description: "Created by CreateImage(" + instance + ") for " + id,
		}, tags[types.ResourceTypeSnapshot], nil)
		if err != nil {
			return nil, errors.Join(err, s.dropMappings(ctx, image))
		}
		image.Mappings = append(image.Mappings, fsm.BlockMapping{
			Device: x.Attachment.Device, Snapshot: row.ID, Size: x.Size, Type: x.Type, DeleteOnTermination: x.Attachment.DeleteOnTermination,
			IOPS: chosenIOPS(x), Throughput: x.Throughput,
		})
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		return &fsm.RegisterImage{Image: image, Tags: tags[types.ResourceTypeImage]}, errImageName(v, image.Account, image.Name)
	}, fsm.ErrExists)
	if err != nil {
		return nil, errors.Join(err, s.dropMappings(ctx, image))
	}
	s.changed(ctx, c, "image created", "image", id, "instance", instance, "name", image.Name)
	return &ec2.CreateImageOutput{ImageId: &id}, nil
}

// chosenIOPS is what a volume's type lets choose: gp2's follow from the size.
func chosenIOPS(x fsm.Volume) int32 {
	if t, err := volumeTypeOf(x.Type); err != nil || t.maxIOPS == 0 {
		return 0
	}
	return x.IOPS
}

// imageOfInstance is the image that an instance makes, without its devices, and the volumes that it has.
func (s *Service) imageOfInstance(ctx context.Context, c *principal.Caller, id fsm.InstanceID, name string) (image fsm.Image, volumes []fsm.Volume, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		i, ok := fsm.Instances.Get(v, id)
		if !ok || i.Account != account(c) {
			return notFound(string(id))
		}
		if i.State != fsm.InstanceRunning && i.State != fsm.InstanceStopped {
			return bad("IncorrectInstanceState", "The instance '%s' is in state '%s': it must be running or stopped.", id, i.State)
		}
		volumes = fsm.VolumesOf(v, id)
		if !slices.ContainsFunc(volumes, func(x fsm.Volume) bool { return x.Attachment.Device == i.RootDevice }) {
			return bad("IncorrectInstanceState", "The instance '%s' has no root volume.", id)
		}
		from, _ := fsm.Images.Get(v, i.Image)
		image = fsm.Image{
			Account: account(c), Name: name, Arch: i.Arch, BootMode: i.BootMode, RootDevice: i.RootDevice, Source: id, TokensOnly: from.TokensOnly,
		}
		return errImageName(v, image.Account, name)
	})
	return image, volumes, err
}

// dropMappings deletes the snapshots of an image that did not come to be.
func (s *Service) dropMappings(ctx context.Context, image fsm.Image) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupDeadline)
	defer cancel()
	var errs []error
	for _, m := range image.Mappings {
		errs = append(errs, s.cfg.Control.Propose(ctx, &fsm.DeleteSnapshot{ID: m.Snapshot, Account: image.Account}))
	}
	return errors.Join(errs...)
}
