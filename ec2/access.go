package ec2

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Access is what a request needs to be permitted. Source: "Actions, resources, and condition keys for Amazon EC2",
// Service Authorization Reference. Describes name no resource.
func (s *Service) Access(c *principal.Caller, op string, input any) []protocol.Access {
	n := needs{s: s, c: c, op: op}
	switch in := input.(type) {
	case *sdk.RunInstancesInput:
		n.launch(in)
	case *sdk.CreateKeyPairInput:
		n.on("key-pair/" + aws.ToString(in.KeyName))
		n.tagging(in.TagSpecifications)
	case *sdk.ImportKeyPairInput:
		n.on("key-pair/" + aws.ToString(in.KeyName))
		n.tagging(in.TagSpecifications)
	case *sdk.DeleteKeyPairInput:
		n.on("key-pair/" + s.keyNamed(c, in))
	case *sdk.CreateTagsInput:
		n.ids(in.Resources...)
		n.requested(in.Tags)
	case *sdk.DeleteTagsInput:
		n.ids(in.Resources...)
		n.requested(in.Tags)
	default:
		if !n.instances(input) && !n.storage(input) {
			n.any()
		}
	}
	return n.list
}

// needs collects what one request needs.
type needs struct {
	s    *Service
	c    *principal.Caller
	op   string
	list []protocol.Access
}

func (n *needs) add(action, arn string) {
	n.list = append(n.list, protocol.Access{Action: "ec2:" + action, Resource: arn, Context: map[string][]string{"ec2:region": {n.s.cfg.Region}}})
}

// on needs the operation's action on resources of the account.
func (n *needs) on(resources ...string) {
	for _, r := range resources {
		n.add(n.op, n.s.arn(n.c, r))
	}
}

// shared needs the operation's action on images or snapshots, whose ARNs have no account.
func (n *needs) shared(kind string, id *string) {
	n.add(n.op, "arn:aws:ec2:"+n.s.cfg.Region+"::"+kind+"/"+aws.ToString(id))
}

// any needs the operation's action, whatever the resource.
func (n *needs) any() { n.add(n.op, "*") }

// ids needs the operation's action on resources of any kind.
func (n *needs) ids(ids ...string) {
	for _, id := range ids {
		kind, ok := resourceOf(id)
		switch {
		case !ok:
			n.any() // it is refused for its form if the caller may do it to all
		case kind.prefix == "ami" || kind.prefix == "snap":
			n.shared(kind.tagType, &id)
		case kind.prefix == "key":
			n.on("key-pair/" + n.s.keyNamed(n.c, &sdk.DeleteKeyPairInput{KeyPairId: &id}))
		default:
			n.on(kind.tagType + "/" + id)
		}
	}
	if len(ids) == 0 {
		n.any()
	}
}

// with gives all needs so far a condition key.
func (n *needs) with(key string, values ...string) {
	for i := range n.list {
		n.list[i].Context[key] = values
	}
}

// requested gives all needs so far the condition keys of tags that the request carries.
func (n *needs) requested(tags []types.Tag) {
	if len(tags) == 0 {
		return
	}
	var keys []string
	for _, t := range tags {
		keys = append(keys, aws.ToString(t.Key))
		n.with("aws:requesttag/"+strings.ToLower(aws.ToString(t.Key)), aws.ToString(t.Value))
	}
	n.with("aws:tagkeys", keys...)
}

// tagging needs ec2:CreateTags on what is made with tags.
func (n *needs) tagging(specs []types.TagSpecification) {
	for _, spec := range specs {
		if len(spec.Tags) == 0 {
			continue
		}
		made := needs{s: n.s, c: n.c, op: "CreateTags"}
		switch spec.ResourceType {
		case types.ResourceTypeImage, types.ResourceTypeSnapshot:
			made.shared(string(spec.ResourceType), aws.String("*"))
		default:
			made.on(string(spec.ResourceType) + "/*")
		}
		made.with("ec2:createaction", n.op)
		made.requested(spec.Tags)
		n.list = append(n.list, made.list...)
	}
}

// launch needs what RunInstances does: its action on everything that it makes or uses.
func (n *needs) launch(in *sdk.RunInstancesInput) {
	n.on("instance/*")
	n.with("ec2:instancetype", string(in.InstanceType))
	n.shared("image", in.ImageId)
	n.on("network-interface/*", "volume/*")
	subnet, groups := aws.ToString(in.SubnetId), slices.Clone(in.SecurityGroupIds)
	for _, i := range in.NetworkInterfaces {
		subnet, groups = aws.ToString(i.SubnetId), append(groups, i.Groups...)
	}
	if subnet == "" {
		subnet = "*"
	}
	n.on("subnet/" + subnet)
	for _, g := range groups {
		n.on("security-group/" + g)
	}
	if len(groups) == 0 {
		n.on("security-group/*")
	}
	if key := aws.ToString(in.KeyName); key != "" {
		n.on("key-pair/" + key)
	}
	for _, m := range in.BlockDeviceMappings {
		if m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) != "" {
			n.shared("snapshot", m.Ebs.SnapshotId)
		}
	}
	n.tagging(in.TagSpecifications)
}

// instances needs what an operation on instances does; false when it is none of those.
func (n *needs) instances(input any) bool {
	var ids []string
	switch in := input.(type) {
	case *sdk.StartInstancesInput:
		ids = in.InstanceIds
	case *sdk.StopInstancesInput:
		ids = in.InstanceIds
	case *sdk.RebootInstancesInput:
		ids = in.InstanceIds
	case *sdk.TerminateInstancesInput:
		ids = in.InstanceIds
	case *sdk.GetConsoleOutputInput:
		ids = []string{aws.ToString(in.InstanceId)}
	case *sdk.DescribeInstanceAttributeInput:
		ids = []string{aws.ToString(in.InstanceId)}
	case *sdk.ModifyInstanceAttributeInput:
		ids = []string{aws.ToString(in.InstanceId)}
	case *sdk.ModifyInstanceMetadataOptionsInput:
		ids = []string{aws.ToString(in.InstanceId)}
	default:
		return false
	}
	n.each("instance/", ids...)
	return true
}

func (n *needs) each(kind string, ids ...string) {
	for _, id := range ids {
		n.on(kind + id)
	}
	if len(ids) == 0 {
		n.any()
	}
}

// storage needs what an operation on volumes, snapshots and images does; false when it is none of those.
func (n *needs) storage(input any) bool {
	switch in := input.(type) {
	case *sdk.CreateVolumeInput:
		n.on("volume/*")
		if aws.ToString(in.SnapshotId) != "" {
			n.shared("snapshot", in.SnapshotId)
		}
		n.tagging(in.TagSpecifications)
	case *sdk.DeleteVolumeInput:
		n.on("volume/" + aws.ToString(in.VolumeId))
	case *sdk.AttachVolumeInput:
		n.on("instance/"+aws.ToString(in.InstanceId), "volume/"+aws.ToString(in.VolumeId))
	case *sdk.DetachVolumeInput:
		n.on("volume/" + aws.ToString(in.VolumeId))
		if in.InstanceId != nil {
			n.on("instance/" + *in.InstanceId)
		}
	case *sdk.CreateSnapshotInput:
		n.on("volume/" + aws.ToString(in.VolumeId))
		n.shared("snapshot", aws.String("*"))
		n.tagging(in.TagSpecifications)
	case *sdk.DeleteSnapshotInput:
		n.shared("snapshot", in.SnapshotId)
	case *sdk.RegisterImageInput:
		n.shared("image", aws.String("*"))
		n.tagging(in.TagSpecifications)
	case *sdk.CreateImageInput:
		n.on("instance/" + aws.ToString(in.InstanceId))
		n.shared("image", aws.String("*"))
		n.shared("snapshot", aws.String("*"))
		n.tagging(in.TagSpecifications)
	case *sdk.ImportImageInput:
		n.shared("image", aws.String("*"))
		for _, d := range in.DiskContainers {
			n.object(diskSource{d.Format, d.Url, d.UserBucket})
		}
	case *sdk.ImportSnapshotInput:
		n.shared("snapshot", aws.String("*"))
		if d := in.DiskContainer; d != nil {
			n.object(diskSource{d.Format, d.Url, d.UserBucket})
		}
	case *sdk.DeregisterImageInput:
		n.shared("image", in.ImageId)
	case *sdk.ModifyImageAttributeInput:
		n.shared("image", in.ImageId)
	case *sdk.ResetImageAttributeInput:
		n.shared("image", in.ImageId)
	default:
		return false
	}
	return true
}

// object needs the reading of an import's object. A source that names none is refused by the handler.
func (n *needs) object(d diskSource) {
	if bucket, key, err := d.location(); err == nil {
		n.list = append(n.list, protocol.Access{Action: "s3:GetObject", Resource: "arn:aws:s3:::" + bucket + "/" + key})
	}
}

// keyNamed is the name of the key pair that a request means, looked up in this node's state when it gives the id alone. A
// key pair that is not there has no name, and the operation finds none either.
func (s *Service) keyNamed(c *principal.Caller, in *sdk.DeleteKeyPairInput) string {
	if name := aws.ToString(in.KeyName); name != "" {
		return name
	}
	name := ""
	err := s.cfg.Control.View(func(v *fsm.View) error {
		for _, k := range fsm.KeyPairsOf(v, account(c)) {
			if k.ID == aws.ToString(in.KeyPairId) {
				name = k.Name
			}
		}
		return nil
	})
	if err != nil {
		return "" // the handler reads it again and reports why it cannot
	}
	return name
}
