package actions

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"hive/fsm"
)

// stateKeys are the condition keys that records give, in lower case. A key that ends in a slash stands for all that begin
// with it.
var stateKeys = []string{
	"aws:resourcetag/", "ec2:resourcetag/", "iam:resourcetag/", "aws:resourceaccount", "s3:resourceaccount", "s3:versionid",
	"ec2:availabilityzone", "ec2:encrypted", "ec2:imageid", "ec2:imagetype", "ec2:instanceid", "ec2:instanceprofile", "ec2:instancetype",
	"ec2:keypairname", "ec2:keypairtype", "ec2:metadatahttpendpoint", "ec2:metadatahttpputresponsehoplimit", "ec2:metadatahttptokens",
	"ec2:networkinterfaceid", "ec2:owner", "ec2:parentsnapshot", "ec2:parentvolume", "ec2:public", "ec2:rootdevicetype",
	"ec2:securitygroupid", "ec2:snapshotid", "ec2:snapshottime", "ec2:subnet", "ec2:subnetid", "ec2:tenancy", "ec2:volumeid",
	"ec2:volumeiops", "ec2:volumesize", "ec2:volumethroughput", "ec2:volumetype", "ec2:vpc", "ec2:vpcid",
}

// owned is a record of the account's own: its facts, and its tags.
func owned(v *fsm.View, id string, facts ...fact) (record, bool) {
	return record{tags: fsm.TagsOf(v, id), facts: facts}, true
}

// findTags finds a resource of which only the tags are looked up.
func findTags(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	if !fsm.ResourceExists(v, owner, id) {
		return record{}, false
	}
	return owned(v, id)
}

func findInstance(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	i, ok := fsm.Instances.Get(v, fsm.InstanceID(id))
	if !ok || i.Account != owner {
		return record{}, false
	}
	tokens, endpoint := "optional", "enabled"
	if i.Metadata.TokensRequired {
		tokens = "required"
	}
	if i.Metadata.Disabled {
		endpoint = "disabled"
	}
	r, _ := owned(v, id, fact{"ec2:instanceid", id}, fact{"ec2:instancetype", i.Type}, fact{"ec2:availabilityzone", i.Zone},
		fact{"ec2:tenancy", "default"}, fact{"ec2:rootdevicetype", "ebs"}, fact{"ec2:metadatahttptokens", tokens},
		fact{"ec2:metadatahttpendpoint", endpoint}, fact{"ec2:metadatahttpputresponsehoplimit", strconv.Itoa(int(i.Metadata.HopLimit))})
	if p, ok := fsm.InstanceProfileByID(v, owner, i.Profile); ok {
		r.facts = append(r.facts, fact{"ec2:instanceprofile", p.ARN()})
	}
	return r, true
}

func findVolume(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.Volumes.Get(v, fsm.VolumeID(id))
	if !ok || x.Account != owner || x.Builder != "" {
		return record{}, false
	}
	r, _ := owned(v, id, fact{"ec2:volumeid", id}, fact{"ec2:availabilityzone", x.Zone}, fact{"ec2:encrypted", "false"},
		fact{"ec2:volumesize", strconv.FormatInt(x.Size, 10)}, fact{"ec2:volumetype", x.Type})
	if x.IOPS > 0 {
		r.facts = append(r.facts, fact{"ec2:volumeiops", strconv.Itoa(int(x.IOPS))})
	}
	if x.Throughput > 0 {
		r.facts = append(r.facts, fact{"ec2:volumethroughput", strconv.Itoa(int(x.Throughput))})
	}
	if x.Snapshot != "" {
		r.facts = append(r.facts, fact{"ec2:parentsnapshot", snapshotPrefix + string(x.Snapshot)})
	}
	return r, true
}

// What ARNs in facts begin with; Needs puts its region, and the account of the caller, into them.
const (
	snapshotPrefix = "arn:aws:ec2:${Region}::snapshot/"
	ownPrefix      = "arn:aws:ec2:${Region}:${Account}:"
)

func findSnapshot(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.Snapshots.Get(v, fsm.SnapshotID(id))
	if !ok || x.Account != owner {
		return record{}, false
	}
	r, _ := owned(v, id, fact{"ec2:snapshotid", id}, fact{"ec2:owner", string(owner)}, fact{"ec2:encrypted", "false"},
		fact{"ec2:volumesize", strconv.FormatInt(x.Size, 10)},
		fact{"ec2:snapshottime", time.UnixMilli(x.Started).UTC().Format(time.RFC3339)})
	if x.Volume != "" {
		r.facts = append(r.facts, fact{"ec2:parentvolume", ownPrefix + "volume/" + string(x.Volume)})
	}
	return r, true
}

// findImage finds an image that the account may launch. The tags of another's are not its to see.
func findImage(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.Images.Get(v, fsm.ImageID(id))
	mine := x.Account == owner
	if !ok || !mine && !x.Public && !slices.Contains(x.Users, owner) {
		return record{}, false
	}
	r := record{facts: []fact{{"ec2:imageid", id}, {"ec2:imagetype", "machine"}, {"ec2:owner", string(x.Account)},
		{"ec2:public", strconv.FormatBool(x.Public)}, {"ec2:rootdevicetype", "ebs"}}}
	if mine {
		r.tags = fsm.TagsOf(v, id)
	}
	return r, true
}

func findKeyPair(v *fsm.View, owner fsm.AccountID, name string) (record, bool) {
	k, ok := fsm.KeyPairNamed(v, owner, name)
	if !ok {
		return record{}, false
	}
	return recordOfKeyPair(v, k), true
}

func recordOfKeyPair(v *fsm.View, k fsm.KeyPair) record {
	return record{name: k.Name, tags: fsm.TagsOf(v, k.ID), facts: []fact{{"ec2:keypairname", k.Name}, {"ec2:keypairtype", k.Type}}}
}

func findVPC(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.VPCs.Get(v, fsm.VPCID(id))
	if !ok || x.Account != owner {
		return record{}, false
	}
	return owned(v, id, fact{"ec2:vpcid", id}, fact{"ec2:tenancy", "default"})
}

func vpcFact(id fsm.VPCID) fact { return fact{"ec2:vpc", ownPrefix + "vpc/" + string(id)} }

func findSubnet(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.Subnets.Get(v, fsm.SubnetID(id))
	if !ok || x.Account != owner {
		return record{}, false
	}
	return owned(v, id, fact{"ec2:subnetid", id}, fact{"ec2:availabilityzone", x.Zone}, vpcFact(x.VPC))
}

func findGroupOfVPC(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.SecurityGroups.Get(v, fsm.SecurityGroupID(id))
	if !ok || x.Account != owner {
		return record{}, false
	}
	return owned(v, id, fact{"ec2:securitygroupid", id}, vpcFact(x.VPC))
}

func findInterface(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.Interfaces.Get(v, fsm.InterfaceID(id))
	if !ok || x.Account != owner {
		return record{}, false
	}
	return owned(v, id, fact{"ec2:networkinterfaceid", id}, fact{"ec2:subnet", ownPrefix + "subnet/" + string(x.Subnet)}, vpcFact(x.VPC))
}

func findImport(v *fsm.View, owner fsm.AccountID, id string) (record, bool) {
	x, ok := fsm.ImportTasks.Get(v, id)
	if !ok || x.Account != owner {
		return record{}, false
	}
	return record{tags: x.Tags}, true
}

// inPlace puts the region and the caller's account into a fact's ARN.
func (n *Needs) inPlace(owner, value string) string {
	if rest, ok := strings.CutPrefix(value, snapshotPrefix); ok {
		return n.types["snapshot"].arnOf("", rest)
	}
	if rest, ok := strings.CutPrefix(value, ownPrefix); ok {
		return "arn:aws:ec2:" + n.region + ":" + owner + ":" + rest
	}
	return value
}
