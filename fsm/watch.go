package fsm

import "fmt"

// What the tables of resources count and tell: see Table.Watch. Sources, detail types and details are those of "Amazon EC2
// events", "EBS events" and "Amazon S3 events" in the EventBridge documentation where AWS has them; the others are ours,
// with "Hive" in the detail type.

const regionMark = "REGION" // stands for the region in Notice.Resources

func ec2ARN(account AccountID, resource string) string {
	return "arn:aws:ec2:" + regionMark + ":" + string(account) + ":" + resource
}

func watchInstance(w *Writer, id InstanceID, old, now *Instance) {
	account := either(old, now).Account
	there := func(i *Instance) (instances, vcpus int64) {
		if i == nil || i.State == InstanceTerminated {
			return 0, 0
		}
		if i.Runs() {
			return 1, int64(i.VCPUs)
		}
		return 1, 0
	}
	i0, c0 := there(old)
	i1, c1 := there(now)
	w.count(account, QuotaInstances, i1-i0)
	w.count(account, QuotaVCPUs, c1-c0)
	if now == nil || old != nil && old.State == now.State {
		return
	}
	w.tell(Notice{
		Source: "aws.ec2", DetailType: "EC2 Instance State-change Notification", Account: account,
		Resources: []string{ec2ARN(account, "instance/"+string(id))},
		Detail:    map[string]string{"instance-id": string(id), "state": now.State},
	})
}

// checkLaunchQuotas refuses instances that an account cannot have besides those it has.
func checkLaunchQuotas(v *View, instances []Instance) error {
	if len(instances) == 0 {
		return nil
	}
	var vcpus int64
	for _, i := range instances {
		vcpus += int64(i.VCPUs)
	}
	account := instances[0].Account
	if err := checkQuota(v, account, QuotaInstances, int64(len(instances))); err != nil {
		return err
	}
	if err := checkQuota(v, account, QuotaVCPUs, vcpus); err != nil {
		return err
	}
	return checkQuota(v, account, QuotaInterfaces, int64(len(instances)))
}

// checkVolumeQuotas refuses volumes that an account cannot have besides those it has.
func checkVolumeQuotas(v *View, volumes ...Volume) error {
	if len(volumes) == 0 {
		return nil
	}
	var size int64
	for _, x := range volumes {
		size += x.Size
	}
	if err := checkQuota(v, volumes[0].Account, QuotaVolumes, int64(len(volumes))); err != nil {
		return err
	}
	return checkQuota(v, volumes[0].Account, QuotaVolumeGiB, size)
}

func watchVolume(w *Writer, id VolumeID, old, now *Volume) {
	x := either(old, now)
	if x.Builder != "" {
		return // hidden
	}
	w.count(x.Account, QuotaVolumes, one(now)-one(old))
	var before, after int64
	if old != nil {
		before = old.Size
	}
	if now != nil {
		after = now.Size
	}
	w.count(x.Account, QuotaVolumeGiB, after-before)
	if event := volumeEvent(old, now); event != "" {
		w.tell(Notice{
			Source: "aws.ec2", DetailType: "EBS Volume Notification", Account: x.Account,
			Resources: []string{ec2ARN(x.Account, "volume/"+string(id))},
			Detail:    map[string]string{"event": event, "result": volumeResults[event], "cause": "", "request-id": ""},
		})
	}
}

var volumeResults = map[string]string{
	"createVolume": "available", "deleteVolume": "deleted", "attachVolume": "attached", "detachVolume": "detached",
}

// volumeEvent is what a change of a volume's record means to its user; "" when nothing.
func volumeEvent(old, now *Volume) string {
	state := func(x *Volume) string {
		if x == nil || x.Attachment == nil {
			return ""
		}
		return x.Attachment.State
	}
	switch {
	case old == nil:
		return "createVolume"
	case now == nil:
		return "deleteVolume"
	case state(now) == Attached && state(old) != Attached:
		return "attachVolume"
	case state(now) == "" && state(old) != "":
		return "detachVolume"
	}
	return ""
}

func watchSnapshot(w *Writer, id SnapshotID, old, now *Snapshot) {
	s := either(old, now)
	w.count(s.Account, QuotaSnapshots, one(now)-one(old))
	event, result := "createSnapshot", ""
	switch {
	case now == nil:
		event, result = "deleteSnapshot", "succeeded"
	case now.State == SnapshotPending || old != nil && old.State == now.State:
		return
	case now.State == SnapshotCompleted:
		result = "succeeded"
	default:
		result = "failed"
	}
	arn := "arn:aws:ec2:" + regionMark + "::snapshot/" + string(id)
	w.tell(Notice{
		Source: "aws.ec2", DetailType: "EBS Snapshot Notification", Account: s.Account, Resources: []string{arn},
		Detail: map[string]string{
			"event": event, "result": result, "cause": s.Message, "request-id": "", "snapshot_id": arn,
			"source": ec2ARN(s.Account, "volume/"+string(s.Volume)),
		},
	})
}

func watchImage(w *Writer, id ImageID, old, now *Image) {
	i := either(old, now)
	w.count(i.Account, QuotaImages, one(now)-one(old))
	state := "available"
	switch {
	case now == nil:
		state = "deregistered"
	case old != nil:
		return
	}
	w.tell(Notice{
		Source: "aws.ec2", DetailType: "EC2 AMI State Change", Account: i.Account,
		Resources: []string{"arn:aws:ec2:" + regionMark + "::image/" + string(id)},
		Detail:    map[string]string{"ImageId": string(id), "State": state, "ErrorMessage": "", "RequestId": ""},
	})
}

// changeOf says what became of a record.
func changeOf[V any](old, now *V) string {
	switch {
	case old == nil:
		return "created"
	case now == nil:
		return "deleted"
	}
	return "changed"
}

// tellChange tells of a resource for which AWS has no event of its own.
func (w *Writer) tellChange(source, what string, account AccountID, arn, id, change string) {
	w.tell(Notice{
		Source: source, DetailType: "Hive " + what + " Change", Account: account, Resources: []string{arn},
		Detail: map[string]string{"id": id, "change": change},
	})
}

func watchKeyPair(w *Writer, _ string, old, now *KeyPair) {
	k := either(old, now)
	w.count(k.Account, QuotaKeyPairs, one(now)-one(old))
	w.tellChange("aws.ec2", "Key Pair", k.Account, ec2ARN(k.Account, "key-pair/"+k.ID), k.ID, changeOf(old, now))
}

func watchVPC(w *Writer, id VPCID, old, now *VPC) {
	x := either(old, now)
	w.count(x.Account, QuotaVPCs, one(now)-one(old))
	w.tellChange("aws.ec2", "VPC", x.Account, ec2ARN(x.Account, "vpc/"+string(id)), string(id), changeOf(old, now))
}

func watchSubnet(w *Writer, id SubnetID, old, now *Subnet) {
	x := either(old, now)
	w.count(x.Account, QuotaSubnets, one(now)-one(old))
	w.tellChange("aws.ec2", "Subnet", x.Account, ec2ARN(x.Account, "subnet/"+string(id)), string(id), changeOf(old, now))
}

func watchSecurityGroup(w *Writer, id SecurityGroupID, old, now *SecurityGroup) {
	x := either(old, now)
	w.count(x.Account, QuotaSecurityGroups, one(now)-one(old))
	w.tellChange("aws.ec2", "Security Group", x.Account, ec2ARN(x.Account, "security-group/"+string(id)), string(id), changeOf(old, now))
}

func watchInterface(w *Writer, id InterfaceID, old, now *Interface) {
	x := either(old, now)
	w.count(x.Account, QuotaInterfaces, one(now)-one(old))
	w.tellChange("aws.ec2", "Network Interface", x.Account, ec2ARN(x.Account, "network-interface/"+string(id)), string(id), changeOf(old, now))
}

func watchBucket(w *Writer, name BucketName, old, now *Bucket) {
	b := either(old, now)
	w.count(b.Owner, QuotaBuckets, one(now)-one(old))
	if old != nil && now != nil {
		return // the steps of a deletion
	}
	w.tellChange("aws.s3", "Bucket", b.Owner, "arn:aws:s3:::"+string(name), string(name), changeOf(old, now))
}

func watchObject(w *Writer, id ObjectID, old, now *Object) {
	bucket, key := id.Split()
	gate, ok := Gates.Get(&w.View, bucket)
	if !ok {
		return // the bucket is gone with its gate: nobody is left to be told
	}
	n := Notice{
		Source: "aws.s3", DetailType: "Object Created", Account: gate.Owner, Resources: []string{"arn:aws:s3:::" + string(bucket)},
		Detail: map[string]string{
			"version": "0", "bucket.name": string(bucket), "object.key": key, "object.sequencer": fmt.Sprintf("%016X", w.index),
		},
	}
	switch {
	case now == nil:
		n.DetailType = "Object Deleted"
		n.Detail["deletion-type"] = "Permanently Deleted"
	case old != nil && old.Modified == now.Modified && old.ETag() == now.ETag():
		n.DetailType = "Object Tags Added"
		if len(now.Tags) == 0 {
			n.DetailType = "Object Tags Deleted"
		}
		n.Detail["object.etag"] = now.ETag()
	default:
		n.Detail["object.size#"], n.Detail["object.etag"] = number(now.Size), now.ETag()
	}
	w.tell(n)
}

func watchMember(w *Writer, id NodeID, old, now *Member) {
	if old != nil && now != nil && old.Addr == now.Addr && old.Version == now.Version && old.Suffrage == now.Suffrage {
		return // it has acknowledged settings
	}
	m := either(old, now)
	w.tell(Notice{
		Source: "hive.cluster", DetailType: "Hive Node Change",
		Detail: map[string]string{
			"node_id": string(id), "change": changeOf(old, now), "addr": m.Addr, "zone": m.Zone, "version": m.Version, "suffrage": m.Suffrage,
		},
	})
}
