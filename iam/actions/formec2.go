package actions

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

// vpcOf is the VPC of a subnet: vpc.of(SubnetId).
func vpcOf(t *targets, e *env, dst []target) []target {
	id := t.arg(e, 0)
	if id == "" || e.view == nil {
		return dst
	}
	if s, ok := fsm.Subnets.Get(e.view, fsm.SubnetID(id)); ok && s.Account == e.account() {
		dst = append(dst, target{arn: t.kind.arnOf(e.caller.Account, string(s.VPC)), kind: t.kind})
	}
	return dst
}

// groupNamed is security groups by name, in the VPC of a subnet or in the default one: security-group.named(NAMES,SubnetId).
func groupNamed(t *targets, e *env, dst []target) []target {
	names := t.args[0].values(e, "")
	vpc := t.vpc(e, t.arg(e, 1))
	for _, name := range names {
		x := t.kind.any(e)
		if id, ok := groupOf(e, vpc, name); ok {
			x = t.kind.named(e, string(id))
		}
		dst = append(dst, x)
	}
	return dst
}

func (t *targets) vpc(e *env, subnet string) fsm.VPCID {
	if e.view == nil {
		return ""
	}
	if s, ok := fsm.Subnets.Get(e.view, fsm.SubnetID(subnet)); ok && s.Account == e.account() {
		return s.VPC
	}
	vpc, _ := fsm.DefaultVPC(e.view, e.account())
	return vpc.ID
}

func groupOf(e *env, vpc fsm.VPCID, name string) (fsm.SecurityGroupID, bool) {
	if e.view == nil || vpc == "" {
		return "", false
	}
	for id, g := range fsm.SecurityGroups.Scan(e.view, "") {
		if g.VPC == vpc && g.Name == name {
			return id, true
		}
	}
	return "", false
}

// byID is resources of whatever kind their ids tell: *.id(Resources).
func byID(t *targets, e *env, dst []target) []target {
	ids := t.args[0].values(e, "")
	for _, id := range ids {
		dst = append(dst, e.needs.ofID(e, t.kind, id))
	}
	return t.orAny(e, dst, len(ids))
}

// ofID is the resource of an id. One that is of no kind is refused for its form if the caller may do it to all.
func (n *Needs) ofID(e *env, k *kind, id string) target {
	if k == nil {
		if i := strings.LastIndexByte(id, '-'); i > 0 {
			k = n.ids[id[:i]]
		}
		if k == nil {
			return target{arn: "*"}
		}
	}
	if k.state != "key-pair" {
		return k.named(e, id)
	}
	if e.view != nil {
		for _, pair := range fsm.KeyPairsOf(e.view, e.account()) {
			if pair.ID == id {
				return target{arn: k.arnOf(e.caller.Account, pair.Name), kind: k, record: recordOfKeyPair(e.view, pair)}
			}
		}
	}
	return k.any(e)
}

// withTags is what a request makes with tags: *.made(TagSpecifications) needs ec2:CreateTags on all of a type.
func withTags(t *targets, e *env, dst []target) []target {
	p := t.args[0].alts[0][0].path
	specs := listAt(p.from(e), p.fields)
	if !specs.IsValid() {
		return dst
	}
	for i := range specs.Len() {
		spec, ok := specs.Index(i).Interface().(types.TagSpecification)
		if !ok || len(spec.Tags) == 0 {
			continue
		}
		x := e.needs.types[string(spec.ResourceType)].any(e)
		x.more = append(x.more, fact{"ec2:createaction", e.op})
		for _, tag := range spec.Tags {
			x.more = append(x.more, requestTag(aws.ToString(tag.Key), aws.ToString(tag.Value))...)
		}
		dst = append(dst, x)
	}
	return dst
}

// launched is the volumes that a launch makes: those of the image, as the request changes them, and those that it adds.
func launched(t *targets, e *env, dst []target) []target {
	in, ok := e.in.Addr().Interface().(*sdk.RunInstancesInput)
	if !ok {
		return append(dst, t.kind.any(e))
	}
	var zone string
	if in.Placement != nil {
		zone = aws.ToString(in.Placement.AvailabilityZone)
	}
	for _, v := range e.needs.volumesOf(e, in) {
		x := t.kind.any(e)
		x.more = append(v.facts(e.needs), fact{"ec2:encrypted", strconv.FormatBool(v.encrypted)})
		if zone != "" {
			x.more = append(x.more, fact{"ec2:availabilityzone", zone})
		}
		dst = append(dst, x)
	}
	if len(dst) == 0 {
		return append(dst, t.kind.any(e))
	}
	return dst
}

// disc is a volume that is to be.
type disc struct {
	device, kind, snapshot string
	size                   int64 // GiB; 0: it is not known
	iops, throughput       int32
	encrypted              bool
}

func (v disc) facts(n *Needs) []fact {
	out := []fact{{"ec2:volumetype", v.kind}}
	if v.size > 0 {
		out = append(out, fact{"ec2:volumesize", strconv.FormatInt(v.size, 10)})
	}
	if v.iops > 0 {
		out = append(out, fact{"ec2:volumeiops", strconv.Itoa(int(v.iops))})
	}
	if v.throughput > 0 {
		out = append(out, fact{"ec2:volumethroughput", strconv.Itoa(int(v.throughput))})
	}
	if v.snapshot != "" {
		out = append(out, fact{"ec2:parentsnapshot", n.types["snapshot"].arnOf("", v.snapshot)})
	}
	return out
}

// volumesOf are the volumes of a launch, which the handler works out in the same way.
func (n *Needs) volumesOf(e *env, in *sdk.RunInstancesInput) []disc {
	var out []disc
	if e.view != nil {
		image, _ := fsm.Images.Get(e.view, fsm.ImageID(aws.ToString(in.ImageId)))
		for _, m := range image.Mappings {
			out = append(out, disc{device: m.Device, kind: m.Type, snapshot: string(m.Snapshot), size: m.Size, iops: m.IOPS, throughput: m.Throughput})
		}
	}
	for _, m := range in.BlockDeviceMappings {
		at := slices.IndexFunc(out, func(d disc) bool { return d.device == aws.ToString(m.DeviceName) })
		switch {
		case m.NoDevice != nil && at >= 0:
			out = slices.Delete(out, at, at+1)
		case m.NoDevice != nil || m.Ebs == nil:
		case at >= 0:
			out[at] = out[at].changed(e, m.Ebs)
		default:
			out = append(out, disc{device: aws.ToString(m.DeviceName)}.changed(e, m.Ebs))
		}
	}
	for i, v := range out {
		if v.kind == "" {
			out[i].kind = string(types.VolumeTypeGp2)
		}
	}
	return out
}

// changed is the volume as a mapping of the request wants it.
func (v disc) changed(e *env, m *types.EbsBlockDevice) disc {
	if id := aws.ToString(m.SnapshotId); id != "" && id != v.snapshot {
		v.snapshot, v.size = id, 0
	}
	if v.size == 0 && v.snapshot != "" && e.view != nil {
		s, _ := fsm.Snapshots.Get(e.view, fsm.SnapshotID(v.snapshot))
		v.size = s.Size
	}
	if m.VolumeType != "" && string(m.VolumeType) != v.kind {
		v.kind, v.iops, v.throughput = string(m.VolumeType), 0, 0
	}
	if m.VolumeSize != nil {
		v.size = int64(*m.VolumeSize)
	}
	if m.Iops != nil {
		v.iops = *m.Iops
	}
	if m.Throughput != nil {
		v.throughput = *m.Throughput
	}
	v.encrypted = v.encrypted || aws.ToBool(m.Encrypted)
	return v
}

// attached is the volumes of an instance but those that are left out: volume.attached(InstanceId,ExcludeDataVolumeIds).
func attached(t *targets, e *env, dst []target) []target {
	out := t.args[1].values(e, "")
	had := len(dst)
	if i, ok := e.instance(t.arg(e, 0)); ok {
		for _, v := range fsm.VolumesOf(e.view, i.ID) {
			if !slices.Contains(out, string(v.ID)) {
				dst = append(dst, t.kind.named(e, string(v.ID)))
			}
		}
	}
	if len(dst) == had {
		return append(dst, t.kind.any(e))
	}
	return dst
}

// associated is the instance of an instance profile association: instance.association(AssociationId).
func associated(t *targets, e *env, dst []target) []target {
	id := t.arg(e, 0)
	if e.view == nil || id == "" {
		return append(dst, t.kind.any(e))
	}
	for name, i := range fsm.Instances.Scan(e.view, "") {
		if i.ProfileTie == id && i.Account == e.account() {
			return append(dst, t.kind.named(e, string(name)))
		}
	}
	return append(dst, t.kind.any(e))
}

func (e *env) instance(id string) (i fsm.Instance, ok bool) {
	if e.view != nil {
		i, ok = fsm.Instances.Get(e.view, fsm.InstanceID(id))
	}
	return i, ok && i.Account == e.account()
}

// taggedARNs is the resources that the tagging API is to change, each with the action of its own service:
// *.tagged(ResourceARNList), *.untagged(ResourceARNList).
func taggedARNs(tag bool) form {
	return func(t *targets, e *env, dst []target) []target {
		for _, arn := range t.args[0].values(e, "") {
			dst = append(dst, e.needs.toTag(e, arn, tag))
		}
		return dst
	}
}

func (n *Needs) toTag(e *env, arn string, tag bool) target {
	verb, x := "Tag", target{arn: arn}
	if !tag {
		verb = "Untag"
	}
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 {
		return target{arn: "*", action: "tag:" + verb + "Resources"}
	}
	name, id, _ := strings.Cut(parts[5], "/")
	switch parts[2] {
	case "ec2":
		x.action = "ec2:CreateTags"
		if !tag {
			x.action = "ec2:DeleteTags"
		}
		if k := n.types[name]; k != nil && k.state == "key-pair" {
			x.record, x.kind = n.ofID(e, k, id).record, k
		} else if k != nil {
			x.record, x.kind = k.named(e, id).record, k
		}
	case "s3":
		x.action = "s3:PutBucketTagging"
	case "iam":
		if k := n.entities[name]; k != nil {
			x = k.exactly(e, arn)
		}
		x.action = "iam:" + verb + entityVerbs[name]
	default:
		x.action = parts[2] + ":" + verb + "Resource"
	}
	return x
}

// entityVerbs are IAM's types as its tagging actions call them.
var entityVerbs = map[string]string{
	"user": "User", "role": "Role", "policy": "Policy", "instance-profile": "InstanceProfile", "mfa": "MFADevice",
	"oidc-provider": "OpenIDConnectProvider", "saml-provider": "SAMLProvider", "server-certificate": "ServerCertificate",
}

// listAt is the list that the fields lead to; the zero Value when there is none.
func listAt(v reflect.Value, fields []int) reflect.Value {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return reflect.Value{}
		}
		v = v.Elem()
	}
	if len(fields) == 0 {
		return v
	}
	return listAt(v.Field(fields[0]), fields[1:])
}
