package ec2

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
)

// volumeType is what a type of volume can have. Source: "Amazon EBS volume types", Amazon EBS User Guide. The limits are
// held so that what works here works there; Hive itself serves all types alike.
type volumeType struct {
	name             string
	least, most      int64 // GiB
	minIOPS, maxIOPS int32 // 0: the caller cannot choose
	defaultIOPS      int32 // 0: must be given, where it can be chosen
	perGiB           int32 // most IOPS for each GiB
	minRate, maxRate int32 // throughput in MiB/s; 0: the caller cannot choose
	defaultRate      int32
}

var volumeTypes = []volumeType{
	{name: "gp2", least: 1, most: 16384},
	{name: "gp3", least: 1, most: 65536, minIOPS: 3000, maxIOPS: 80000, defaultIOPS: 3000, perGiB: 500, minRate: 125, maxRate: 2000, defaultRate: 125},
	{name: "io1", least: 4, most: 16384, minIOPS: 100, maxIOPS: 64000, perGiB: 50},
	{name: "io2", least: 4, most: 65536, minIOPS: 100, maxIOPS: 256000, perGiB: 1000},
	{name: "st1", least: 125, most: 16384},
	{name: "sc1", least: 125, most: 16384},
	{name: "standard", least: 1, most: 1024},
}

// defaultVolumeType is what CreateVolume makes when no type is given.
const defaultVolumeType = "gp2"

func volumeTypeOf(name string) (volumeType, error) {
	if name == "" {
		name = defaultVolumeType
	}
	for _, t := range volumeTypes {
		if t.name == name {
			return t, nil
		}
	}
	return volumeType{}, bad("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", name)
}

// volumeShape is what a request asks of a new volume: CreateVolume itself, or a block device of an instance or image.
type volumeShape struct {
	kind             string
	size             *int32 // GiB
	iops, throughput *int32
}

// shapeOf is the shape that a block device asks for.
func shapeOf(d *types.EbsBlockDevice) volumeShape {
	return volumeShape{kind: string(d.VolumeType), size: d.VolumeSize, iops: d.Iops, throughput: d.Throughput}
}

// apply gives the volume the shape, and says what does not fit its type. least is the size in GiB of the snapshot that
// it is made from, and its size unless another is given; 0 without one.
func (w volumeShape) apply(x *fsm.Volume, least int64) error {
	t, err := volumeTypeOf(w.kind)
	if err != nil {
		return err
	}
	x.Type, x.Size = t.name, least
	if w.size != nil {
		x.Size = int64(*w.size)
	}
	switch {
	case x.Size < t.least:
		return invalid("Volume of %dGiB is too small for volume type %s; minimum is %dGiB.", x.Size, t.name, t.least)
	case x.Size > t.most:
		return invalid("Volume of %dGiB is too large for volume type %s; maximum is %dGiB.", x.Size, t.name, t.most)
	case x.Size < least:
		return bad("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", x.Size, x.Snapshot, least)
	}
	if err := w.applyIOPS(x, t); err != nil {
		return err
	}
	return w.applyThroughput(x, t)
}

func (w volumeShape) applyIOPS(x *fsm.Volume, t volumeType) error {
	switch {
	case w.iops == nil && t.name == "gp2":
		x.IOPS = int32(min(max(3*x.Size, 100), 16000))
		return nil
	case w.iops == nil && t.maxIOPS == 0:
		return nil
	case w.iops == nil && t.defaultIOPS == 0:
		return bad(codeMissing, "The parameter iops must be specified for %s volumes.", t.name)
	case w.iops == nil:
		x.IOPS = t.defaultIOPS
		return nil
	case t.maxIOPS == 0:
		return bad(codeCombination, "The parameter iops is not supported for %s volumes.", t.name)
	}
	x.IOPS = *w.iops
	switch {
	case x.IOPS < t.minIOPS:
		return invalid("Volume iops of %d is too low; minimum is %d.", x.IOPS, t.minIOPS)
	case x.IOPS > t.maxIOPS:
		return invalid("Volume iops of %d is too high; maximum is %d.", x.IOPS, t.maxIOPS)
	case int64(x.IOPS) > max(int64(t.perGiB)*x.Size, int64(t.defaultIOPS)):
		return invalid("Iops to volume size ratio of %.1f is too high; maximum is %d", float64(x.IOPS)/float64(x.Size), t.perGiB)
	}
	return nil
}

// ratePerIOPS is how many IOPS a MiB/s of throughput needs.
const ratePerIOPS = 4

func (w volumeShape) applyThroughput(x *fsm.Volume, t volumeType) error {
	switch {
	case w.throughput == nil:
		x.Throughput = t.defaultRate
		return nil
	case t.maxRate == 0:
		return bad(codeCombination, "The parameter throughput is not supported for %s volumes.", t.name)
	}
	x.Throughput = *w.throughput
	switch {
	case x.Throughput < t.minRate:
		return invalid("Volume throughput of %d MiB/s is too low; minimum is %d MiB/s.", x.Throughput, t.minRate)
	case x.Throughput > t.maxRate:
		return invalid("Volume throughput of %d MiB/s is too high; maximum is %d MiB/s.", x.Throughput, t.maxRate)
	case x.Throughput*ratePerIOPS > x.IOPS:
		return invalid("Throughput (MiBps) to iops ratio of %f is too high; maximum is %f MiBps per iops.",
			float64(x.Throughput)/float64(x.IOPS), 1.0/ratePerIOPS)
	}
	return nil
}

// fewNodes is how many copies of a log there are unless Config.Replicas says.
const fewNodes = 3

// placeVolume gives a new volume the nodes that keep copies of its log; first is one of them if it can.
func (s *Service) placeVolume(x *fsm.Volume, first fsm.NodeID) error {
	n := s.cfg.Replicas
	if n == 0 {
		n = fewNodes
	}
	nodes := s.cfg.Nodes()
	x.Replicas = logNodes(nodes, x.ID, first, n)
	alive := 0
	for _, node := range nodes {
		if node.Alive {
			for _, r := range x.Replicas {
				if r == node.ID {
					alive++
				}
			}
		}
	}
	if alive == 0 || 2*alive <= len(x.Replicas) {
		return protocol.Errorf(500, "InsufficientVolumeCapacity",
			"Too few of the cluster's nodes that keep volumes are reachable: %d of the %d that a volume needs. Try again; an operator sees more with hive status.",
			alive, len(x.Replicas)/2+1)
	}
	return nil
}

// newVolume is an empty volume of the caller's account with an id of its own, or a clone of a snapshot.
func (s *Service) newVolume(owner fsm.AccountID, zone string, from *fsm.Snapshot) (fsm.Volume, error) {
	id, err := s.newID("vol")
	if err != nil {
		return fsm.Volume{}, err
	}
	x := fsm.Volume{ID: fsm.VolumeID(id), Account: owner, Zone: zone, Created: s.now(), Lineage: id}
	if from != nil {
		x.Snapshot, x.Lineage = from.ID, from.Lineage
	}
	return x, nil
}

// ptr32 is a number that answers leave out when it is 0.
func ptr32(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return aws.Int32(n)
}
