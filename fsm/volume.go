package fsm

import "slices"

// Ids of volumes and of their frozen images: a prefix and 17 hex digits, unique in the cluster and never used again.
type (
	VolumeID   string // "vol-…"
	SnapshotID string // "snap-…"
)

// VolumeMap is where a volume's content lies as of a position in its log. The zero map is all zeroes.
type VolumeMap struct {
	Root *BlobRef `cbor:"1,keyasint,omitempty"` // of the map's root; nil while nothing was ever written
	Seq  uint64   `cbor:"2,keyasint,omitempty"` // last record of the volume's log that the map contains; 0 in a snapshot
}

// States of an attachment.
const (
	Attaching = "attaching"
	Attached  = "attached"
	Detaching = "detaching"
)

// Attachment ties a volume to an instance.
type Attachment struct {
	Instance            InstanceID `cbor:"1,keyasint"`
	Device              string     `cbor:"2,keyasint"` // "/dev/sdf"
	State               string     `cbor:"3,keyasint"` // Attaching, Attached, Detaching
	Time                int64      `cbor:"4,keyasint"` // Unix ms
	DeleteOnTermination bool       `cbor:"5,keyasint,omitempty"`
	Force               bool       `cbor:"6,keyasint,omitempty"` // detach without the guest's consent
}

// Volume is a block device. Its content is Map and, while Dirty, what the logs on Replicas have after Map.Seq.
type Volume struct {
	Meta
	ID         VolumeID    `cbor:"1,keyasint"`
	Account    AccountID   `cbor:"2,keyasint"`
	Zone       string      `cbor:"3,keyasint"`
	Size       int64       `cbor:"4,keyasint"` // GiB
	Type       string      `cbor:"5,keyasint"` // "gp3"
	IOPS       int32       `cbor:"6,keyasint,omitempty"`
	Throughput int32       `cbor:"7,keyasint,omitempty"` // MiB/s
	Snapshot   SnapshotID  `cbor:"8,keyasint,omitempty"` // that it was made from
	Created    int64       `cbor:"9,keyasint"`           // Unix ms
	Lineage    string      `cbor:"10,keyasint"`          // what shares chunks: the id of the first volume; inherited by snapshots and clones
	Map        VolumeMap   `cbor:"11,keyasint"`
	Replicas   []NodeID    `cbor:"12,keyasint"`           // nodes that keep copies of its log, 1 to 5
	Generation uint64      `cbor:"13,keyasint,omitempty"` // grows with each owner; an older one is fenced
	Owner      NodeID      `cbor:"14,keyasint,omitempty"` // node that may open it under Generation
	Dirty      bool        `cbor:"15,keyasint,omitempty"` // the log may have records after Map.Seq
	Attachment *Attachment `cbor:"16,keyasint,omitempty"`
	Builder    SnapshotID  `cbor:"17,keyasint,omitempty"` // a hidden volume that this pending snapshot is written through
}

// State is the volume's state as EC2 tells it.
func (x Volume) State() string {
	if x.Attachment != nil {
		return "in-use"
	}
	return "available"
}

// States of a snapshot.
const (
	SnapshotPending   = "pending"
	SnapshotCompleted = "completed"
	SnapshotError     = "error"
)

// Snapshot is a volume's content at one moment.
type Snapshot struct {
	Meta
	ID          SnapshotID `cbor:"1,keyasint"`
	Account     AccountID  `cbor:"2,keyasint"`
	Volume      VolumeID   `cbor:"3,keyasint,omitempty"` // that it is of; the builder's while blocks are put into it
	Size        int64      `cbor:"4,keyasint"`           // GiB
	State       string     `cbor:"5,keyasint"`
	Message     string     `cbor:"6,keyasint,omitempty"` // why it is in error
	Started     int64      `cbor:"7,keyasint"`           // Unix ms
	Completed   int64      `cbor:"8,keyasint,omitempty"` // Unix ms
	Description string     `cbor:"9,keyasint,omitempty"`
	Lineage     string     `cbor:"10,keyasint"`
	Map         VolumeMap  `cbor:"11,keyasint"`
	Direct      bool       `cbor:"12,keyasint,omitempty"` // written by PutSnapshotBlock through a builder
	Timeout     int32      `cbor:"13,keyasint,omitempty"` // of a Direct one: minutes without a write after which it is given up; 0: 60
}

// Tables of the control group about volumes.
var (
	Volumes   = Table[VolumeID, Volume]{Name: "volume", Watch: watchVolume}
	Snapshots = Table[SnapshotID, Snapshot]{Name: "ebs-snapshot", Watch: watchSnapshot}
	// devices has the volume of each device of an instance: the instance, a zero byte, the device.
	devices = Table[string, VolumeID]{Name: "device"}
)

// VolumesOf are the volumes attached to an instance, in order of device.
func VolumesOf(v *View, instance InstanceID) []Volume {
	var out []Volume
	for _, id := range devices.Scan(v, Key(string(instance), "")) {
		if x, ok := Volumes.Get(v, id); ok {
			out = append(out, x)
		}
	}
	return out
}

// VolumeInService tells whether a volume is to be open: an instance that runs has it, or a snapshot is being written
// through it.
func VolumeInService(v *View, x Volume) bool {
	if x.Builder != "" {
		return true
	}
	if x.Attachment == nil {
		return false
	}
	i, ok := Instances.Get(v, x.Attachment.Instance)
	return ok && i.Runs()
}

var volumeKinds = []KindEntry{
	{500, Control, func() Command { return new(CreateVolume) }},
	{501, Control, func() Command { return new(DeleteVolume) }},
	{502, Control, func() Command { return new(AttachVolume) }},
	{503, Control, func() Command { return new(DetachVolume) }},
	{504, Control, func() Command { return new(SetVolumeAttached) }},
	{505, Control, func() Command { return new(SetVolumeDetached) }},
	{506, Control, func() Command { return new(TakeVolume) }},
	{507, Control, func() Command { return new(CheckpointVolume) }},
	{508, Control, func() Command { return new(CreateSnapshot) }},
	{509, Control, func() Command { return new(CompleteSnapshot) }},
	{510, Control, func() Command { return new(DeleteSnapshot) }},
}

func checkNewVolume(v *View, x Volume) error {
	switch {
	case Volumes.Has(v, x.ID):
		return Errorf(ErrConflict, string(x.ID))
	case x.Size <= 0 || len(x.Replicas) == 0 || x.Lineage == "":
		return Errorf(ErrInvalid, string(x.ID))
	case x.Snapshot == "":
		return nil
	}
	s, ok := Snapshots.Get(v, x.Snapshot)
	switch {
	case !ok:
		return Errorf(ErrNotFound, string(x.Snapshot))
	case s.State != SnapshotCompleted:
		return Errorf(ErrConflict, string(x.Snapshot))
	case x.Size < s.Size || x.Lineage != s.Lineage:
		return Errorf(ErrInvalid, string(x.ID))
	}
	return nil
}

// putNewVolume writes a volume; a clone starts with its snapshot's map, as it is when the entry is applied.
func putNewVolume(w *Writer, x Volume) {
	x.Map = VolumeMap{}
	if s, ok := Snapshots.Get(&w.View, x.Snapshot); ok {
		x.Map.Root = s.Map.Root
	}
	Volumes.Put(w, x.ID, x)
	if a := x.Attachment; a != nil {
		devices.Put(w, Key(string(a.Instance), a.Device), x.ID)
	}
}

func dropVolume(w *Writer, x Volume) {
	Volumes.Delete(w, x.ID)
	resourceTags.Delete(w, string(x.ID))
	if a := x.Attachment; a != nil {
		devices.Delete(w, Key(string(a.Instance), a.Device))
	}
}

// CreateVolume makes a volume that is not attached. A volume of a snapshot has its Lineage.
type CreateVolume struct {
	Volume Volume       `cbor:"1,keyasint"`
	Tags   []Tag        `cbor:"2,keyasint,omitempty"`
	Once   *ClientToken `cbor:"3,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *CreateVolume) Kind() Kind { return 500 }

// Check refuses a taken id or client token and a snapshot that is not completed (ErrConflict), a snapshot that is
// none (ErrNotFound) and a size below the snapshot's (ErrInvalid).
func (c *CreateVolume) Check(v *View) error {
	if err := c.Once.check(v); err != nil {
		return err
	}
	if c.Volume.Attachment != nil || c.Volume.Builder != "" {
		return Errorf(ErrInvalid, string(c.Volume.ID))
	}
	if err := checkVolumeQuotas(v, c.Volume); err != nil {
		return err
	}
	return checkNewVolume(v, c.Volume)
}

// Record writes the volume.
func (c *CreateVolume) Record(w *Writer) {
	putNewVolume(w, c.Volume)
	putTags(w, c.Volume.Account, string(c.Volume.ID), c.Tags)
	c.Once.put(w)
}

// DeleteVolume removes a volume. Its chunks and logs are garbage from then on.
type DeleteVolume struct {
	ID      VolumeID  `cbor:"1,keyasint"`
	Account AccountID `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteVolume) Kind() Kind { return 501 }

// Check refuses one that is none of the account's (ErrNotFound) and one that is attached (ErrInUse).
func (c *DeleteVolume) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	switch {
	case !ok || x.Account != c.Account:
		return Errorf(ErrNotFound, string(c.ID))
	case x.Attachment != nil || x.Builder != "":
		return Errorf(ErrInUse, string(c.ID))
	}
	for _, s := range Snapshots.Scan(v, "") {
		if s.Volume == c.ID && s.State == SnapshotPending {
			return Errorf(ErrInUse, string(s.ID))
		}
	}
	return nil
}

// Record removes the volume.
func (c *DeleteVolume) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	dropVolume(w, x)
}

// AttachVolume gives a volume to an instance. While the instance runs its node becomes the owner under a new generation
// and the attachment is attaching until the guest has it; a stopped instance has it at once.
type AttachVolume struct {
	ID                  VolumeID   `cbor:"1,keyasint"`
	Account             AccountID  `cbor:"2,keyasint"`
	Instance            InstanceID `cbor:"3,keyasint"`
	Device              string     `cbor:"4,keyasint"`
	Now                 int64      `cbor:"5,keyasint"` // Unix ms
	DeleteOnTermination bool       `cbor:"6,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *AttachVolume) Kind() Kind { return 502 }

// Check refuses what is none of the account's (ErrNotFound), a volume that is attached (ErrInUse with its id), a device
// in use (ErrExists with its name), another zone (ErrInvalid) and an instance that is neither running nor stopped (ErrConflict).
func (c *AttachVolume) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	i, there := Instances.Get(v, c.Instance)
	switch {
	case !ok || x.Account != c.Account || x.Builder != "":
		return Errorf(ErrNotFound, string(c.ID))
	case !there || i.Account != c.Account:
		return Errorf(ErrNotFound, string(c.Instance))
	case x.Attachment != nil:
		return Errorf(ErrInUse, string(c.ID))
	case devices.Has(v, Key(string(c.Instance), c.Device)):
		return Errorf(ErrExists, c.Device)
	case x.Zone != i.Zone:
		return Errorf(ErrInvalid, string(c.ID))
	case i.State != InstanceRunning && i.State != InstanceStopped:
		return Errorf(ErrConflict, string(c.Instance))
	}
	return nil
}

// Record writes the attachment.
func (c *AttachVolume) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	i, _ := Instances.Get(&w.View, c.Instance)
	x.Attachment = &Attachment{
		Instance: c.Instance, Device: c.Device, State: Attached, Time: c.Now, DeleteOnTermination: c.DeleteOnTermination,
	}
	if i.Runs() {
		x.Attachment.State = Attaching
		x.own(i.Node)
	}
	Volumes.Put(w, c.ID, x)
	devices.Put(w, Key(string(c.Instance), c.Device), c.ID)
}

// own makes node the owner under a new generation.
func (x *Volume) own(node NodeID) {
	x.Generation++
	x.Owner, x.Dirty = node, true
}

// DetachVolume takes a volume from an instance: at once from one that does not run, else when the node has done it.
type DetachVolume struct {
	ID      VolumeID  `cbor:"1,keyasint"`
	Account AccountID `cbor:"2,keyasint"`
	Force   bool      `cbor:"3,keyasint,omitempty"`
	Rev     uint64    `cbor:"4,keyasint"` // of the record that the decision was made on
}

// Kind is the command's number in the log.
func (c *DetachVolume) Kind() Kind { return 503 }

// Check refuses one that is none of the account's (ErrNotFound), is not attached (ErrInvalid), or has changed (ErrConflict).
func (c *DetachVolume) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	switch {
	case !ok || x.Account != c.Account:
		return Errorf(ErrNotFound, string(c.ID))
	case x.Attachment == nil:
		return Errorf(ErrInvalid, string(c.ID))
	case x.Rev != c.Rev:
		return Errorf(ErrConflict, string(c.ID))
	}
	return nil
}

// Record marks or removes the attachment.
func (c *DetachVolume) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	if i, ok := Instances.Get(&w.View, x.Attachment.Instance); !ok || !i.Runs() {
		unattach(w, x)
		return
	}
	a := *x.Attachment
	a.State, a.Force = Detaching, c.Force
	x.Attachment = &a
	Volumes.Put(w, c.ID, x)
}

func unattach(w *Writer, x Volume) {
	devices.Delete(w, Key(string(x.Attachment.Instance), x.Attachment.Device))
	x.Attachment = nil
	Volumes.Put(w, x.ID, x)
}

// SetVolumeAttached says that the guest has the volume.
type SetVolumeAttached struct {
	ID         VolumeID `cbor:"1,keyasint"`
	Generation uint64   `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *SetVolumeAttached) Kind() Kind { return 504 }

// Check refuses what is no longer so (ErrConflict).
func (c *SetVolumeAttached) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	if !ok || x.Generation != c.Generation || x.Attachment == nil || x.Attachment.State != Attaching {
		return Errorf(ErrConflict, string(c.ID))
	}
	return nil
}

// Record ends the attaching.
func (c *SetVolumeAttached) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	a := *x.Attachment
	a.State = Attached
	x.Attachment = &a
	Volumes.Put(w, c.ID, x)
}

// SetVolumeDetached says that the instance no longer has the volume: the guest has let go of it, or it never got it.
// The volume stays Dirty until its owner or another node has checkpointed it.
type SetVolumeDetached struct {
	ID         VolumeID `cbor:"1,keyasint"`
	Generation uint64   `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *SetVolumeDetached) Kind() Kind { return 505 }

// Check refuses what is no longer so (ErrConflict).
func (c *SetVolumeDetached) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	if !ok || x.Generation != c.Generation || x.Attachment == nil || x.Attachment.State == Attached {
		return Errorf(ErrConflict, string(c.ID))
	}
	return nil
}

// Record removes the attachment.
func (c *SetVolumeDetached) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	unattach(w, x)
}

// TakeVolume makes a node the owner of a volume that no running instance has: to bring its log into its map, or to go
// on building a snapshot whose builder's node is lost.
type TakeVolume struct {
	ID         VolumeID `cbor:"1,keyasint"`
	Generation uint64   `cbor:"2,keyasint"` // that it has now
	Node       NodeID   `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *TakeVolume) Kind() Kind { return 506 }

// Check refuses a stale decision (ErrConflict) and a volume that a running instance has (ErrInUse).
func (c *TakeVolume) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	switch {
	case !ok || x.Generation != c.Generation:
		return Errorf(ErrConflict, string(c.ID))
	case x.Builder == "" && VolumeInService(v, x):
		return Errorf(ErrInUse, string(c.ID))
	}
	return nil
}

// Record changes the owner.
func (c *TakeVolume) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	x.own(c.Node)
	Volumes.Put(w, c.ID, x)
}

// CheckpointVolume replaces a volume's map by one that contains more of its log. With Release the owner has closed the
// volume: the map contains all of the log.
type CheckpointVolume struct {
	ID         VolumeID  `cbor:"1,keyasint"`
	Generation uint64    `cbor:"2,keyasint"`
	Map        VolumeMap `cbor:"3,keyasint"`
	Release    bool      `cbor:"4,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *CheckpointVolume) Kind() Kind { return 507 }

// Check refuses an owner that no longer is (ErrConflict), and a map that is older than the volume's (ErrInvalid).
func (c *CheckpointVolume) Check(v *View) error {
	x, ok := Volumes.Get(v, c.ID)
	switch {
	case !ok || x.Generation != c.Generation:
		return Errorf(ErrConflict, string(c.ID))
	case c.Map.Seq < x.Map.Seq:
		return Errorf(ErrInvalid, string(c.ID))
	}
	return nil
}

// Record replaces the map.
func (c *CheckpointVolume) Record(w *Writer) {
	x, _ := Volumes.Get(&w.View, c.ID)
	x.Map = c.Map
	if c.Release {
		x.Owner, x.Dirty = "", false
	}
	Volumes.Put(w, c.ID, x)
}

// CreateSnapshot begins a snapshot of Snapshot.Volume, or, with Builder, one that blocks are put into through that hidden
// volume. A volume that is not Dirty is frozen at once: its map is the snapshot's.
type CreateSnapshot struct {
	Snapshot Snapshot     `cbor:"1,keyasint"`
	Builder  *Volume      `cbor:"2,keyasint,omitempty"`
	Tags     []Tag        `cbor:"3,keyasint,omitempty"`
	Once     *ClientToken `cbor:"4,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *CreateSnapshot) Kind() Kind { return 508 }

// Check refuses a taken id or client token (ErrConflict) and a volume that is none of the account's (ErrNotFound).
func (c *CreateSnapshot) Check(v *View) error {
	if err := c.Once.check(v); err != nil {
		return err
	}
	s := c.Snapshot
	if Snapshots.Has(v, s.ID) {
		return Errorf(ErrConflict, string(s.ID))
	}
	if err := checkQuota(v, s.Account, QuotaSnapshots, 1); err != nil {
		return err
	}
	if c.Builder != nil {
		if c.Builder.Builder != s.ID || c.Builder.ID != s.Volume || c.Builder.Owner == "" || c.Builder.Attachment != nil {
			return Errorf(ErrInvalid, string(s.ID))
		}
		return checkNewVolume(v, *c.Builder)
	}
	if x, ok := Volumes.Get(v, s.Volume); !ok || x.Account != s.Account || x.Builder != "" {
		return Errorf(ErrNotFound, string(s.Volume))
	}
	return nil
}

// Record writes the snapshot, and the builder.
func (c *CreateSnapshot) Record(w *Writer) {
	s := c.Snapshot
	s.State, s.Map = SnapshotPending, VolumeMap{}
	if c.Builder != nil {
		c.Builder.Generation, c.Builder.Dirty = 1, true
		putNewVolume(w, *c.Builder)
		s.Lineage, s.Size, s.Direct = c.Builder.Lineage, c.Builder.Size, true
	} else {
		x, _ := Volumes.Get(&w.View, s.Volume)
		s.Lineage, s.Size = x.Lineage, x.Size
		if !x.Dirty {
			s.State, s.Completed = SnapshotCompleted, s.Started
			s.Map = VolumeMap{Root: x.Map.Root}
		}
	}
	Snapshots.Put(w, s.ID, s)
	putTags(w, s.Account, string(s.ID), c.Tags)
	c.Once.put(w)
}

// CompleteSnapshot ends a pending snapshot: completed with its map, or in error with a message. Its builder goes.
type CompleteSnapshot struct {
	ID         SnapshotID `cbor:"1,keyasint"`
	Map        VolumeMap  `cbor:"2,keyasint"`
	Generation uint64     `cbor:"3,keyasint"` // of the volume that was frozen
	Error      string     `cbor:"4,keyasint,omitempty"`
	Now        int64      `cbor:"5,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *CompleteSnapshot) Kind() Kind { return 509 }

// Check refuses one that is none (ErrNotFound) and one that is not pending, or whose volume has another owner (ErrConflict).
func (c *CompleteSnapshot) Check(v *View) error {
	s, ok := Snapshots.Get(v, c.ID)
	if !ok {
		return Errorf(ErrNotFound, string(c.ID))
	}
	x, there := Volumes.Get(v, s.Volume)
	if s.State != SnapshotPending || c.Error == "" && (!there || x.Generation != c.Generation) {
		return Errorf(ErrConflict, string(c.ID))
	}
	return nil
}

// Record ends the snapshot.
func (c *CompleteSnapshot) Record(w *Writer) {
	s, _ := Snapshots.Get(&w.View, c.ID)
	s.State, s.Message, s.Completed = SnapshotCompleted, c.Error, c.Now
	s.Map = VolumeMap{Root: c.Map.Root}
	if c.Error != "" {
		s.State, s.Map = SnapshotError, VolumeMap{}
	}
	Snapshots.Put(w, c.ID, s)
	if x, ok := Volumes.Get(&w.View, s.Volume); ok && x.Builder == c.ID {
		dropVolume(w, x)
	}
}

// DeleteSnapshot removes a snapshot. What no other map of its lineage has is garbage from then on.
type DeleteSnapshot struct {
	ID      SnapshotID `cbor:"1,keyasint"`
	Account AccountID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteSnapshot) Kind() Kind { return 510 }

// Check refuses one that is none of the account's (ErrNotFound) and one that an image is made of (ErrInUse with the image's id).
func (c *DeleteSnapshot) Check(v *View) error {
	s, ok := Snapshots.Get(v, c.ID)
	if !ok || s.Account != c.Account {
		return Errorf(ErrNotFound, string(c.ID))
	}
	for _, image := range Images.Scan(v, "") {
		if slices.ContainsFunc(image.Mappings, func(m BlockMapping) bool { return m.Snapshot == c.ID }) {
			return Errorf(ErrInUse, string(image.ID))
		}
	}
	return nil
}

// Record removes the snapshot and the builder that it may have.
func (c *DeleteSnapshot) Record(w *Writer) {
	s, _ := Snapshots.Get(&w.View, c.ID)
	if x, ok := Volumes.Get(&w.View, s.Volume); ok && x.Builder == c.ID {
		dropVolume(w, x)
	}
	Snapshots.Delete(w, c.ID)
	resourceTags.Delete(w, string(c.ID))
}
