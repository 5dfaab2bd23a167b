package fsm

import (
	"bytes"
	"slices"
)

// InstanceID is "i-" and 17 hex digits, unique in the cluster and never used again.
type InstanceID string

// States of an instance, as EC2 names them.
const (
	InstancePending      = "pending"
	InstanceRunning      = "running"
	InstanceStopping     = "stopping"
	InstanceStopped      = "stopped"
	InstanceShuttingDown = "shutting-down"
	InstanceTerminated   = "terminated"
)

// Reason is why an instance is in its state: a StateReason of EC2.
type Reason struct {
	Code    string `cbor:"1,keyasint,omitempty"` // "Client.UserInitiatedShutdown"
	Message string `cbor:"2,keyasint,omitempty"`
}

// MetadataOptions are an instance's options of the metadata service.
type MetadataOptions struct {
	TokensRequired bool  `cbor:"1,keyasint,omitempty"` // only IMDSv2
	HopLimit       int32 `cbor:"2,keyasint,omitempty"` // of the answer to a token's PUT; 1 to 64
	Disabled       bool  `cbor:"3,keyasint,omitempty"`
	Tags           bool  `cbor:"4,keyasint,omitempty"` // instance tags are in the metadata
}

// GuestEvent is something that the hypervisor reported: an I/O error or a guest's panic.
type GuestEvent struct {
	Code    string `cbor:"1,keyasint"` // QMP's name: BLOCK_IO_ERROR, GUEST_PANICKED
	Message string `cbor:"2,keyasint,omitempty"`
	Time    int64  `cbor:"3,keyasint"` // Unix ms
	Boot    uint64 `cbor:"4,keyasint"` // the instance's Boot when it happened
}

// Instance is a virtual machine. State is where it is; what its node is to do follows from it.
type Instance struct {
	Meta
	ID          InstanceID      `cbor:"1,keyasint"`
	Account     AccountID       `cbor:"2,keyasint"`
	Reservation string          `cbor:"3,keyasint"` // "r-…"
	LaunchIndex int             `cbor:"4,keyasint,omitempty"`
	Image       ImageID         `cbor:"5,keyasint"`
	Type        string          `cbor:"6,keyasint"` // "t3.micro"
	VCPUs       int             `cbor:"7,keyasint"`
	Memory      int64           `cbor:"8,keyasint"`            // MiB
	Arch        string          `cbor:"9,keyasint"`            // x86_64, arm64
	BootMode    string          `cbor:"10,keyasint,omitempty"` // uefi, legacy-bios
	RootDevice  string          `cbor:"11,keyasint"`           // "/dev/sda1"
	Zone        string          `cbor:"12,keyasint"`
	Node        NodeID          `cbor:"13,keyasint"` // that runs it, or ran it last
	VPC         VPCID           `cbor:"14,keyasint"`
	Subnet      SubnetID        `cbor:"15,keyasint"`
	Interface   InterfaceID     `cbor:"16,keyasint"`
	Address     string          `cbor:"17,keyasint"` // private IPv4
	KeyName     string          `cbor:"18,keyasint,omitempty"`
	PublicKey   string          `cbor:"19,keyasint,omitempty"` // OpenSSH line of that key at the launch
	UserData    []byte          `cbor:"20,keyasint,omitempty"` // at most 16 KiB
	Metadata    MetadataOptions `cbor:"21,keyasint"`
	OnShutdown  string          `cbor:"22,keyasint,omitempty"` // when the guest powers off: "stop", "terminate"
	Launched    int64           `cbor:"23,keyasint"`           // Unix ms: of the last start
	Created     int64           `cbor:"24,keyasint"`           // Unix ms
	Protected   bool            `cbor:"25,keyasint,omitempty"` // DisableApiTermination
	Token       string          `cbor:"26,keyasint,omitempty"` // client token of the launch

	State      string       `cbor:"30,keyasint"`
	Boot       uint64       `cbor:"31,keyasint"`           // counts the starts; what an agent observes names it
	Reboots    uint64       `cbor:"32,keyasint,omitempty"` // counts the reboots asked for
	Force      bool         `cbor:"33,keyasint,omitempty"` // stop by the plug
	Reason     Reason       `cbor:"34,keyasint"`
	Changed    int64        `cbor:"35,keyasint"`           // Unix ms: of the last change of State
	Transition string       `cbor:"36,keyasint,omitempty"` // EC2's StateTransitionReason
	Events     []GuestEvent `cbor:"37,keyasint,omitempty"` // the last ones, oldest first
	Accel      string       `cbor:"38,keyasint,omitempty"` // what it runs by: kvm, tcg
	Profile    EntityID     `cbor:"39,keyasint,omitempty"` // instance profile, AIPA…
	ProfileTie string       `cbor:"40,keyasint,omitempty"` // "iip-assoc-…" while it has one
	ProfileAt  int64        `cbor:"41,keyasint,omitempty"` // Unix ms: since when
}

// maxGuestEvents is how many events an instance's record keeps.
const maxGuestEvents = 16

// Runs tells whether the instance's node has, or is to have, a process for it.
func (i Instance) Runs() bool {
	switch i.State {
	case InstancePending, InstanceRunning, InstanceStopping, InstanceShuttingDown:
		return true
	}
	return false
}

// NodeUse is what the instances of a node have been promised.
type NodeUse struct {
	VCPUs  int   `cbor:"1,keyasint"`
	Memory int64 `cbor:"2,keyasint"` // MiB
}

// NodeCapacity is what a node can promise, as its proposer knew it.
type NodeCapacity struct {
	Node   NodeID `cbor:"1,keyasint"`
	VCPUs  int    `cbor:"2,keyasint"`
	Memory int64  `cbor:"3,keyasint"` // MiB
}

// Tables of the control group about instances.
var (
	Instances = Table[InstanceID, Instance]{Name: "instance", Watch: watchInstance}
	nodeUse   = Table[NodeID, NodeUse]{Name: "node-use"}
)

// UseOf is what the instances of a node have been promised.
func UseOf(v *View, node NodeID) NodeUse {
	u, _ := nodeUse.Get(v, node)
	return u
}

var instanceKinds = []KindEntry{
	{450, Control, func() Command { return new(LaunchInstances) }},
	{451, Control, func() Command { return new(StopInstance) }},
	{452, Control, func() Command { return new(StartInstance) }},
	{453, Control, func() Command { return new(RebootInstance) }},
	{454, Control, func() Command { return new(TerminateInstance) }},
	{455, Control, func() Command { return new(ObserveInstance) }},
	{456, Control, func() Command { return new(RecordGuestEvent) }},
	{457, Control, func() Command { return new(ForgetInstances) }},
	{458, Control, func() Command { return new(ModifyInstance) }},
	{459, Control, func() Command { return new(SetInstanceProfile) }},
}

func use(w *Writer, i Instance, sign int) {
	u := UseOf(&w.View, i.Node)
	u.VCPUs += sign * i.VCPUs
	u.Memory += int64(sign) * i.Memory
	nodeUse.Put(w, i.Node, u)
}

// checkCapacity refuses with ErrLimit what does not fit beside what a node has promised already.
func checkCapacity(v *View, capacity []NodeCapacity, instances ...Instance) error {
	need := map[NodeID]NodeUse{}
	for _, i := range instances {
		n := need[i.Node]
		need[i.Node] = NodeUse{n.VCPUs + i.VCPUs, n.Memory + i.Memory}
	}
	for _, c := range capacity {
		u, n := UseOf(v, c.Node), need[c.Node]
		if u.VCPUs+n.VCPUs > c.VCPUs || u.Memory+n.Memory > c.Memory {
			return Errorf(ErrLimit, string(c.Node))
		}
		delete(need, c.Node)
	}
	if len(need) > 0 {
		return Errorf(ErrInvalid, "capacity")
	}
	return nil
}

// LaunchInstances makes instances with their volumes and interfaces, in state pending, all or none.
type LaunchInstances struct {
	Instances  []Instance     `cbor:"1,keyasint"`
	Volumes    []Volume       `cbor:"2,keyasint"` // attached to them: Attachment.Instance and Device set, owner the instance's node
	Interfaces []Interface    `cbor:"3,keyasint"`
	Capacity   []NodeCapacity `cbor:"4,keyasint"` // of every node that is chosen
	Tags       []ResourceTags `cbor:"5,keyasint,omitempty"`
	Once       *ClientToken   `cbor:"6,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *LaunchInstances) Kind() Kind { return 450 }

// Check refuses a node that is full (ErrLimit with its id), an address, id or client token that is taken (ErrConflict),
// and an image, a snapshot or a subnet that is gone (ErrNotFound).
func (c *LaunchInstances) Check(v *View) error {
	if err := c.Once.check(v); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, n := range c.Interfaces {
		if err := checkInterface(v, n); err != nil {
			return err
		}
		if key := Key(string(n.Subnet), n.Address); seen[key] || seen[string(n.ID)] {
			return Errorf(ErrInvalid, n.Address)
		} else {
			seen[key], seen[string(n.ID)] = true, true
		}
	}
	for _, i := range c.Instances {
		if Instances.Has(v, i.ID) || seen[string(i.ID)] {
			return Errorf(ErrConflict, string(i.ID))
		}
		seen[string(i.ID)] = true
		if !Images.Has(v, i.Image) {
			return Errorf(ErrNotFound, string(i.Image))
		}
		if !Members.Has(v, i.Node) {
			return Errorf(ErrConflict, string(i.Node))
		}
	}
	if err := checkLaunchQuotas(v, c.Instances); err != nil {
		return err
	}
	if err := checkVolumeQuotas(v, c.Volumes...); err != nil {
		return err
	}
	for _, x := range c.Volumes {
		if err := checkNewVolume(v, x); err != nil {
			return err
		}
		if x.Attachment == nil || !seen[string(x.Attachment.Instance)] || seen[string(x.ID)] ||
			seen[Key(string(x.Attachment.Instance), x.Attachment.Device)] {
			return Errorf(ErrInvalid, string(x.ID))
		}
		seen[string(x.ID)], seen[Key(string(x.Attachment.Instance), x.Attachment.Device)] = true, true
	}
	return checkCapacity(v, c.Capacity, c.Instances...)
}

// Record writes all of them.
func (c *LaunchInstances) Record(w *Writer) {
	node := map[InstanceID]NodeID{}
	for _, i := range c.Instances {
		i.State, i.Boot = InstancePending, 1
		node[i.ID] = i.Node
		Instances.Put(w, i.ID, i)
		use(w, i, 1)
	}
	for _, n := range c.Interfaces {
		putInterface(w, n)
	}
	for _, x := range c.Volumes {
		x.own(node[x.Attachment.Instance])
		putNewVolume(w, x)
	}
	for _, t := range c.Tags {
		putTags(w, t.Account, t.Resource, t.Tags)
	}
	c.Once.put(w)
}

// instanceAt is the account's instance as of rev; any rev when it is 0.
func instanceAt(v *View, id InstanceID, account AccountID, rev uint64) (Instance, error) {
	i, ok := Instances.Get(v, id)
	switch {
	case !ok || i.Account != account:
		return i, Errorf(ErrNotFound, string(id))
	case rev != 0 && i.Rev != rev:
		return i, Errorf(ErrConflict, string(id))
	}
	return i, nil
}

func (i *Instance) enter(state string, reason Reason, transition string, now int64) {
	i.State, i.Reason, i.Transition, i.Changed = state, reason, transition, now
}

// StopInstance asks for a stop: pending or running become stopping; again with Force it becomes a stop by the plug.
type StopInstance struct {
	ID         InstanceID `cbor:"1,keyasint"`
	Account    AccountID  `cbor:"2,keyasint"`
	Force      bool       `cbor:"3,keyasint,omitempty"`
	Reason     Reason     `cbor:"4,keyasint"`
	Transition string     `cbor:"5,keyasint"`
	Now        int64      `cbor:"6,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *StopInstance) Kind() Kind { return 451 }

// Check refuses one that is none of the account's (ErrNotFound), and one that is ending (ErrInvalid).
func (c *StopInstance) Check(v *View) error {
	i, err := instanceAt(v, c.ID, c.Account, 0)
	if err == nil && (i.State == InstanceShuttingDown || i.State == InstanceTerminated) {
		return Errorf(ErrInvalid, i.State)
	}
	return err
}

// Record changes the state.
func (c *StopInstance) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	switch i.State {
	case InstancePending, InstanceRunning:
		i.enter(InstanceStopping, c.Reason, c.Transition, c.Now)
		i.Force = c.Force
	case InstanceStopping:
		i.Force = i.Force || c.Force
	default:
		return
	}
	Instances.Put(w, c.ID, i)
}

// StartInstance starts a stopped instance on a node; its volumes get that owner under new generations.
type StartInstance struct {
	ID       InstanceID     `cbor:"1,keyasint"`
	Account  AccountID      `cbor:"2,keyasint"`
	Rev      uint64         `cbor:"3,keyasint"`
	Node     NodeID         `cbor:"4,keyasint"`
	Capacity []NodeCapacity `cbor:"5,keyasint"`
	Now      int64          `cbor:"6,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *StartInstance) Kind() Kind { return 452 }

// Check refuses one that is none of the account's (ErrNotFound), has changed (ErrConflict), is not stopped (ErrInvalid with
// its state), or a node that is full (ErrLimit).
func (c *StartInstance) Check(v *View) error {
	i, err := instanceAt(v, c.ID, c.Account, c.Rev)
	if err != nil {
		return err
	}
	if i.State != InstanceStopped {
		return Errorf(ErrInvalid, i.State)
	}
	if !Members.Has(v, c.Node) {
		return Errorf(ErrConflict, string(c.Node))
	}
	i.Node = c.Node
	if err := checkQuota(v, i.Account, QuotaVCPUs, int64(i.VCPUs)); err != nil {
		return err
	}
	return checkCapacity(v, c.Capacity, i)
}

// Record changes the state and the owners.
func (c *StartInstance) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	i.Node, i.Launched, i.Force = c.Node, c.Now, false
	i.Boot++
	i.enter(InstancePending, Reason{}, "", c.Now)
	Instances.Put(w, c.ID, i)
	use(w, i, 1)
	for _, x := range VolumesOf(&w.View, c.ID) {
		a := *x.Attachment
		a.State = Attaching
		x.Attachment = &a
		x.own(c.Node)
		Volumes.Put(w, x.ID, x)
	}
}

// RebootInstance counts one more reboot that the node is to carry out.
type RebootInstance struct {
	ID      InstanceID `cbor:"1,keyasint"`
	Account AccountID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *RebootInstance) Kind() Kind { return 453 }

// Check refuses one that is none of the account's (ErrNotFound), and one that does not run (ErrInvalid with its state).
func (c *RebootInstance) Check(v *View) error {
	i, err := instanceAt(v, c.ID, c.Account, 0)
	if err == nil && i.State != InstanceRunning && i.State != InstancePending {
		return Errorf(ErrInvalid, i.State)
	}
	return err
}

// Record counts. What was wrong with the guest is over with it.
func (c *RebootInstance) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	i.Reboots++
	i.Events = nil
	Instances.Put(w, c.ID, i)
}

// TerminateInstance begins an instance's end, from any state.
type TerminateInstance struct {
	ID         InstanceID `cbor:"1,keyasint"`
	Account    AccountID  `cbor:"2,keyasint"`
	Reason     Reason     `cbor:"3,keyasint"`
	Transition string     `cbor:"4,keyasint"`
	Now        int64      `cbor:"5,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *TerminateInstance) Kind() Kind { return 454 }

// Check refuses one that is none of the account's (ErrNotFound), and one that is protected (ErrDenied).
func (c *TerminateInstance) Check(v *View) error {
	i, err := instanceAt(v, c.ID, c.Account, 0)
	if err == nil && i.Protected && i.State != InstanceShuttingDown && i.State != InstanceTerminated {
		return Errorf(ErrDenied, string(c.ID))
	}
	return err
}

// Record begins the end. An instance that does not run has nothing to wait for, and is terminated at once.
func (c *TerminateInstance) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	switch i.State {
	case InstanceTerminated, InstanceShuttingDown:
		return
	case InstanceStopped:
		i.enter(InstanceTerminated, c.Reason, c.Transition, c.Now)
		end(w, i)
	default:
		i.enter(InstanceShuttingDown, c.Reason, c.Transition, c.Now)
	}
	Instances.Put(w, c.ID, i)
}

// end lets go of all that a terminated instance had.
func end(w *Writer, i Instance) {
	for _, x := range VolumesOf(&w.View, i.ID) {
		if x.Attachment.DeleteOnTermination {
			dropVolume(w, x)
		} else {
			unattach(w, x)
		}
	}
	dropInterface(w, i.Interface)
}

// ObserveInstance is what an instance's node saw, or, when that node is lost and fenced, what the cluster concludes.
type ObserveInstance struct {
	ID     InstanceID `cbor:"1,keyasint"`
	Boot   uint64     `cbor:"2,keyasint"`           // of the record that the observation is about
	State  string     `cbor:"3,keyasint"`           // running, stopped, terminated
	Reason *Reason    `cbor:"4,keyasint,omitempty"` // nil keeps what stands
	Accel  string     `cbor:"5,keyasint,omitempty"` // with running: kvm, tcg
	Now    int64      `cbor:"6,keyasint"`           // Unix ms
}

// Kind is the command's number in the log.
func (c *ObserveInstance) Kind() Kind { return 455 }

// Check refuses what is not about the instance as it is now (ErrConflict), and a state that does not follow on its own (ErrInvalid).
func (c *ObserveInstance) Check(v *View) error {
	i, ok := Instances.Get(v, c.ID)
	if !ok || i.Boot != c.Boot {
		return Errorf(ErrConflict, string(c.ID))
	}
	follows := map[string][]string{
		InstancePending:      {InstanceRunning, InstanceStopped, InstanceTerminated},
		InstanceRunning:      {InstanceStopped, InstanceTerminated},
		InstanceStopping:     {InstanceStopped},
		InstanceShuttingDown: {InstanceTerminated},
	}
	if !slices.Contains(follows[i.State], c.State) {
		return Errorf(ErrInvalid, i.State)
	}
	return nil
}

// Record changes the state.
func (c *ObserveInstance) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	reason := i.Reason
	if c.Reason != nil {
		reason = *c.Reason
	}
	i.enter(c.State, reason, i.Transition, c.Now)
	if c.State == InstanceRunning {
		i.Accel = c.Accel
	} else {
		use(w, i, -1)
		i.Accel = ""
		settleVolumes(w, i)
	}
	if c.State == InstanceTerminated {
		end(w, i)
	}
	Instances.Put(w, c.ID, i)
}

// settleVolumes: a detachment that was under way is done when the guest is gone, and what was being attached is.
func settleVolumes(w *Writer, i Instance) {
	for _, x := range VolumesOf(&w.View, i.ID) {
		switch x.Attachment.State {
		case Detaching:
			unattach(w, x)
		case Attaching:
			a := *x.Attachment
			a.State = Attached
			x.Attachment = &a
			Volumes.Put(w, x.ID, x)
		}
	}
}

// RecordGuestEvent keeps what the hypervisor reported.
type RecordGuestEvent struct {
	ID    InstanceID `cbor:"1,keyasint"`
	Event GuestEvent `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *RecordGuestEvent) Kind() Kind { return 456 }

// Check refuses an event of an earlier start (ErrConflict).
func (c *RecordGuestEvent) Check(v *View) error {
	if i, ok := Instances.Get(v, c.ID); !ok || i.Boot != c.Event.Boot {
		return Errorf(ErrConflict, string(c.ID))
	}
	return nil
}

// Record keeps the event, and the last ones before it.
func (c *RecordGuestEvent) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	i.Events = append(i.Events, c.Event)
	if n := len(i.Events); n > maxGuestEvents {
		i.Events = i.Events[n-maxGuestEvents:]
	}
	Instances.Put(w, c.ID, i)
}

// ForgetInstances removes records of instances that terminated before a time.
type ForgetInstances struct {
	IDs    []InstanceID `cbor:"1,keyasint"`
	Before int64        `cbor:"2,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *ForgetInstances) Kind() Kind { return 457 }

// Check accepts all.
func (c *ForgetInstances) Check(*View) error { return nil }

// Record removes those that are terminated for long enough.
func (c *ForgetInstances) Record(w *Writer) {
	for _, id := range c.IDs {
		if i, ok := Instances.Get(&w.View, id); ok && i.State == InstanceTerminated && i.Changed < c.Before {
			Instances.Delete(w, id)
			resourceTags.Delete(w, string(id))
		}
	}
}

// ModifyInstance changes what an instance is to be from now on, or from its next start on.
type ModifyInstance struct {
	ID         InstanceID      `cbor:"1,keyasint"`
	Account    AccountID       `cbor:"2,keyasint"`
	Rev        uint64          `cbor:"3,keyasint"` // of the record that the decision was made on
	Type       string          `cbor:"4,keyasint"`
	VCPUs      int             `cbor:"5,keyasint"`
	Memory     int64           `cbor:"6,keyasint"` // MiB
	UserData   []byte          `cbor:"7,keyasint,omitempty"`
	OnShutdown string          `cbor:"8,keyasint,omitempty"`
	Protected  bool            `cbor:"9,keyasint,omitempty"`
	Metadata   MetadataOptions `cbor:"10,keyasint"`
}

// Kind is the command's number in the log.
func (c *ModifyInstance) Kind() Kind { return 458 }

// Check refuses one that is none of the account's (ErrNotFound), has changed (ErrConflict), or has ended (ErrInvalid with
// its state); its type and user data change only while it is stopped (ErrInvalid with its state).
func (c *ModifyInstance) Check(v *View) error {
	i, err := instanceAt(v, c.ID, c.Account, c.Rev)
	if err != nil {
		return err
	}
	resting := c.Type == i.Type && c.VCPUs == i.VCPUs && c.Memory == i.Memory && bytes.Equal(c.UserData, i.UserData)
	if i.State == InstanceShuttingDown || i.State == InstanceTerminated || !resting && i.State != InstanceStopped {
		return Errorf(ErrInvalid, i.State)
	}
	return nil
}

// Record changes the instance.
func (c *ModifyInstance) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	i.Type, i.VCPUs, i.Memory, i.UserData = c.Type, c.VCPUs, c.Memory, c.UserData
	i.OnShutdown, i.Protected, i.Metadata = c.OnShutdown, c.Protected, c.Metadata
	Instances.Put(w, c.ID, i)
}

// SetInstanceProfile gives an instance another instance profile, or none.
type SetInstanceProfile struct {
	ID      InstanceID `cbor:"1,keyasint"`
	Account AccountID  `cbor:"2,keyasint"`
	Rev     uint64     `cbor:"3,keyasint"`           // of the record that the decision was made on
	Profile EntityID   `cbor:"4,keyasint,omitempty"` // "" for none
	Tie     string     `cbor:"5,keyasint,omitempty"` // of the association; "" for none
	Now     int64      `cbor:"6,keyasint"`           // Unix ms
}

// Kind is the command's number in the log.
func (c *SetInstanceProfile) Kind() Kind { return 459 }

// Check refuses an instance that is none of the account's or a profile that is none (ErrNotFound), and one that has changed
// (ErrConflict) or has ended (ErrInvalid with its state).
func (c *SetInstanceProfile) Check(v *View) error {
	i, err := instanceAt(v, c.ID, c.Account, c.Rev)
	switch {
	case err != nil:
		return err
	case i.State == InstanceShuttingDown || i.State == InstanceTerminated:
		return Errorf(ErrInvalid, i.State)
	case (c.Profile == "") != (c.Tie == ""):
		return Errorf(ErrInvalid, string(c.Profile))
	}
	if _, ok := InstanceProfileByID(v, c.Account, c.Profile); !ok && c.Profile != "" {
		return Errorf(ErrNotFound, "instance-profile/"+string(c.Profile))
	}
	return nil
}

// Record writes the profile.
func (c *SetInstanceProfile) Record(w *Writer) {
	i, _ := Instances.Get(&w.View, c.ID)
	i.Profile, i.ProfileTie, i.ProfileAt = c.Profile, c.Tie, c.Now
	Instances.Put(w, c.ID, i)
}
