package fsm_test

import (
	"errors"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

const (
	ec2Account = fsm.AccountID("123456789012")
	ec2Other   = fsm.AccountID("210987654321")
)

// ec2State is a control group with two accounts, two nodes, a default VPC and an image of a snapshot of 8 GiB.
type ec2State struct {
	*fsmtest.Group
	t *testing.T
}

func newEC2State(t *testing.T) ec2State {
	s := ec2State{fsmtest.New(t, fsm.Control), t}
	for i, node := range []fsm.NodeID{"n-a", "n-b"} {
		settings := fsm.Settings{Epoch: uint64(i + 1), Bundle: []byte("{}")}
		member := fsm.Member{ID: node, Zone: "za"}
		if i == 0 {
			s.must(&fsm.InitCluster{
				Cluster: fsm.Cluster{ID: "c-1", TargetSize: 2, Settings: settings}, Member: member, Token: fsm.Token{ID: "t", UsesLeft: 9, Expires: 99},
			})
		} else {
			s.must(&fsm.AdmitMember{Member: member, TokenID: "t", Now: 1, Settings: settings})
		}
	}
	s.must(&fsm.CreateAccount{Account: fsm.Account{ID: ec2Account}})
	s.must(&fsm.CreateAccount{Account: fsm.Account{ID: ec2Other}})
	s.must(&fsm.CreateDefaultVPC{
		VPC:     fsm.VPC{ID: "vpc-1", Account: ec2Account, CIDR: "172.31.0.0/16", VNI: 7, Default: true},
		Subnets: []fsm.Subnet{{ID: "subnet-1", Account: ec2Account, VPC: "vpc-1", Zone: "za", CIDR: "172.31.0.0/20"}},
		Group:   fsm.SecurityGroup{ID: "sg-1", Account: ec2Account, VPC: "vpc-1", Name: "default"},
	})
	s.must(&fsm.CreateSnapshot{
		Snapshot: fsm.Snapshot{ID: "snap-1", Account: ec2Account, Volume: "vol-b"},
		Builder: &fsm.Volume{ID: "vol-b", Account: ec2Account, Zone: "za", Size: 8, Lineage: "vol-b", Replicas: []fsm.NodeID{"n-a"},
			Owner: "n-a", Builder: "snap-1"},
	})
	s.must(&fsm.CompleteSnapshot{ID: "snap-1", Generation: 1, Map: fsm.VolumeMap{Root: &fsm.BlobRef{ID: fsm.BlobID{1}, Size: 9}, Seq: 3}})
	s.must(&fsm.RegisterImage{Image: fsm.Image{
		ID: "ami-1", Account: ec2Account, Name: "one", Mappings: []fsm.BlockMapping{{Device: "/dev/sda1", Snapshot: "snap-1", Size: 8}},
	}})
	return s
}

func (s ec2State) must(cmd fsm.Command) {
	s.t.Helper()
	if err := s.Propose(s.t.Context(), cmd); err != nil {
		s.t.Fatalf("%T: %v", cmd, err)
	}
}

func (s ec2State) refused(cmd fsm.Command, why error) {
	s.t.Helper()
	if err := s.Propose(s.t.Context(), cmd); !errors.Is(err, why) {
		s.t.Errorf("%T %+v: %v, want %v", cmd, cmd, err, why)
	}
}

func (s ec2State) instance(id fsm.InstanceID) (i fsm.Instance) {
	s.t.Helper()
	s.view(func(v *fsm.View) { i, _ = fsm.Instances.Get(v, id) })
	return i
}

func (s ec2State) volume(id fsm.VolumeID) (x fsm.Volume, there bool) {
	s.t.Helper()
	s.view(func(v *fsm.View) { x, there = fsm.Volumes.Get(v, id) })
	return x, there
}

func (s ec2State) view(fn func(*fsm.View)) {
	s.t.Helper()
	if err := s.View(func(v *fsm.View) error { fn(v); return nil }); err != nil {
		s.t.Fatal(err)
	}
}

var ec2Capacity = []fsm.NodeCapacity{{Node: "n-a", VCPUs: 4, Memory: 1000}}

// launch is an instance with a root volume that goes with it and a data volume that stays.
func launch(id, address string) *fsm.LaunchInstances {
	i := fsm.InstanceID("i-" + id)
	volume := func(name, device string, gone bool) fsm.Volume {
		return fsm.Volume{
			ID: fsm.VolumeID("vol-" + name + id), Account: ec2Account, Zone: "za", Size: 8, Snapshot: "snap-1", Lineage: "vol-b",
			Replicas: []fsm.NodeID{"n-a"}, Attachment: &fsm.Attachment{Instance: i, Device: device, State: fsm.Attaching, DeleteOnTermination: gone},
		}
	}
	return &fsm.LaunchInstances{
		Instances: []fsm.Instance{{
			ID: i, Account: ec2Account, Image: "ami-1", VCPUs: 2, Memory: 400, Zone: "za", Node: "n-a", Interface: fsm.InterfaceID("eni-" + id),
		}},
		Volumes: []fsm.Volume{volume("r", "/dev/sda1", true), volume("d", "/dev/sdf", false)},
		Interfaces: []fsm.Interface{{
			ID: fsm.InterfaceID("eni-" + id), Account: ec2Account, VPC: "vpc-1", Subnet: "subnet-1", Address: address, Instance: i,
			Groups: []fsm.SecurityGroupID{"sg-1"},
		}},
		Capacity: ec2Capacity,
		Tags:     []fsm.ResourceTags{{Account: ec2Account, Resource: string(i), Tags: []fsm.Tag{{Key: "Name", Value: "x"}}}},
	}
}

func TestAnInstanceGoesThroughItsLife(t *testing.T) {
	s := newEC2State(t)
	s.must(launch("1", "172.31.0.4"))
	root, _ := s.volume("vol-r1")
	if root.Owner != "n-a" || root.Generation != 1 || !root.Dirty || root.Map.Root == nil || root.Map.Seq != 0 || root.State() != "in-use" {
		t.Fatalf("%+v", root)
	}
	s.refused(&fsm.ObserveInstance{ID: "i-1", Boot: 2, State: fsm.InstanceRunning}, fsm.ErrConflict)
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 1, State: fsm.InstanceRunning, Accel: "tcg"})
	s.must(&fsm.SetVolumeAttached{ID: "vol-r1", Generation: 1})
	s.refused(&fsm.SetVolumeAttached{ID: "vol-r1", Generation: 1}, fsm.ErrConflict)
	s.must(&fsm.RebootInstance{ID: "i-1", Account: ec2Account})
	s.must(&fsm.StopInstance{ID: "i-1", Account: ec2Account, Now: 5})
	if i := s.instance("i-1"); i.State != fsm.InstanceStopping || i.Reboots != 1 || i.Accel != "tcg" || i.Changed != 5 {
		t.Fatalf("%+v", i)
	}
	s.refused(&fsm.TakeVolume{ID: "vol-r1", Generation: 1, Node: "n-b"}, fsm.ErrInUse)
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 1, State: fsm.InstanceStopped})
	s.refused(&fsm.ObserveInstance{ID: "i-1", Boot: 1, State: fsm.InstanceRunning}, fsm.ErrInvalid)
	s.refused(&fsm.StartInstance{ID: "i-1", Account: ec2Account, Rev: 1, Node: "n-b"}, fsm.ErrConflict)
	i := s.instance("i-1")
	s.must(&fsm.StartInstance{ID: "i-1", Account: ec2Account, Rev: i.Rev, Node: "n-b", Capacity: []fsm.NodeCapacity{{Node: "n-b", VCPUs: 2, Memory: 400}}})
	root, _ = s.volume("vol-r1")
	if i = s.instance("i-1"); i.State != fsm.InstancePending || i.Boot != 2 || i.Node != "n-b" || root.Owner != "n-b" || root.Generation != 2 {
		t.Fatalf("%+v %+v", i, root)
	}
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 2, State: fsm.InstanceRunning})
	s.must(&fsm.TerminateInstance{ID: "i-1", Account: ec2Account})
	s.refused(&fsm.StopInstance{ID: "i-1", Account: ec2Account}, fsm.ErrInvalid)
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 2, State: fsm.InstanceTerminated})
	if _, there := s.volume("vol-r1"); there {
		t.Error("the root volume is still there")
	}
	if data, there := s.volume("vol-d1"); !there || data.Attachment != nil {
		t.Errorf("the data volume: %+v", data)
	}
	s.view(func(v *fsm.View) {
		if _, taken := fsm.AddressTaken(v, "subnet-1", "172.31.0.4"); taken || fsm.Interfaces.Has(v, "eni-1") {
			t.Error("the address is still taken")
		}
		if use := fsm.UseOf(v, "n-b"); use != (fsm.NodeUse{}) {
			t.Errorf("n-b has promised %+v", use)
		}
	})
	s.must(&fsm.ForgetInstances{IDs: []fsm.InstanceID{"i-1"}, Before: 1})
	if i := s.instance("i-1"); i.ID != "" {
		t.Errorf("not forgotten: %+v", i)
	}
}

func TestTwoLaunchesCannotOvercommitANode(t *testing.T) {
	s := newEC2State(t)
	s.must(launch("1", "172.31.0.4"))
	s.must(launch("2", "172.31.0.5"))
	s.refused(launch("3", "172.31.0.6"), fsm.ErrLimit)
	s.must(&fsm.TerminateInstance{ID: "i-1", Account: ec2Account})
	s.refused(launch("3", "172.31.0.6"), fsm.ErrLimit) // it still runs
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 1, State: fsm.InstanceTerminated})
	s.must(launch("3", "172.31.0.6"))
	s.must(&fsm.ObserveInstance{ID: "i-3", Boot: 1, State: fsm.InstanceRunning})
	s.must(&fsm.StopInstance{ID: "i-3", Account: ec2Account})
	s.must(&fsm.ObserveInstance{ID: "i-3", Boot: 1, State: fsm.InstanceStopped})
	s.must(launch("4", "172.31.0.7"))
	s.refused(&fsm.StartInstance{ID: "i-3", Account: ec2Account, Rev: s.instance("i-3").Rev, Node: "n-a", Capacity: ec2Capacity}, fsm.ErrLimit)
}

func TestALaunchIsWholeOrNotAtAll(t *testing.T) {
	s := newEC2State(t)
	s.must(launch("1", "172.31.0.4"))
	for name, change := range map[string]struct {
		cmd  func(*fsm.LaunchInstances)
		want error
	}{
		"an address in use":      {func(c *fsm.LaunchInstances) { c.Interfaces[0].Address = "172.31.0.4" }, fsm.ErrConflict},
		"an address outside":     {func(c *fsm.LaunchInstances) { c.Interfaces[0].Address = "10.0.0.4" }, fsm.ErrInvalid},
		"no such image":          {func(c *fsm.LaunchInstances) { c.Instances[0].Image = "ami-2" }, fsm.ErrNotFound},
		"no such snapshot":       {func(c *fsm.LaunchInstances) { c.Volumes[0].Snapshot = "snap-2" }, fsm.ErrNotFound},
		"smaller than its image": {func(c *fsm.LaunchInstances) { c.Volumes[0].Size = 7 }, fsm.ErrInvalid},
		"one device twice":       {func(c *fsm.LaunchInstances) { c.Volumes[0].Attachment.Device = "/dev/sdf" }, fsm.ErrInvalid},
		"a node that is gone":    {func(c *fsm.LaunchInstances) { c.Instances[0].Node = "n-c" }, fsm.ErrConflict},
		"capacity not told":      {func(c *fsm.LaunchInstances) { c.Capacity = nil }, fsm.ErrInvalid},
		"another's subnet":       {func(c *fsm.LaunchInstances) { c.Interfaces[0].Account = ec2Other }, fsm.ErrNotFound},
		"no such group":          {func(c *fsm.LaunchInstances) { c.Interfaces[0].Groups = []fsm.SecurityGroupID{"sg-2"} }, fsm.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := launch("2", "172.31.0.5")
			change.cmd(cmd)
			ec2State{s.Group, t}.refused(cmd, change.want)
			if i := s.instance("i-2"); i.ID != "" {
				t.Errorf("launched: %+v", i)
			}
			if x, there := s.volume("vol-d2"); there {
				t.Errorf("made: %+v", x)
			}
		})
	}
}

func TestAClientTokenMakesOnce(t *testing.T) {
	s := newEC2State(t)
	once := &fsm.ClientToken{Account: ec2Account, Op: "RunInstances", Token: "t", Hash: []byte{1}, IDs: []string{"i-1"}, Created: 5}
	cmd := launch("1", "172.31.0.4")
	cmd.Once = once
	s.must(cmd)
	again := launch("2", "172.31.0.5")
	again.Once = once
	s.refused(again, fsm.ErrConflict)
	s.view(func(v *fsm.View) {
		used, ok := fsm.TokenUsed(v, ec2Account, "RunInstances", "t")
		if !ok || !used.Same([]byte{1}) || used.Same([]byte{2}) || used.IDs[0] != "i-1" {
			t.Errorf("%+v", used)
		}
		for key := range fsm.ClientTokens(v) {
			cmd := &fsm.PruneClientTokens{Keys: []string{key}, Before: 5}
			defer func() { s.must(cmd); cmd.Before = 6; s.must(cmd) }()
		}
	})
	s.view(func(v *fsm.View) {
		if _, ok := fsm.TokenUsed(v, ec2Account, "RunInstances", "t"); ok {
			t.Error("an old token is still there")
		}
	})
}

func TestAVolumeIsAttachedOnceAndFencedByItsGeneration(t *testing.T) {
	s := newEC2State(t)
	s.must(launch("1", "172.31.0.4"))
	s.must(&fsm.CreateVolume{Volume: fsm.Volume{
		ID: "vol-x", Account: ec2Account, Zone: "za", Size: 1, Lineage: "vol-x", Replicas: []fsm.NodeID{"n-a"},
	}})
	attach := func(device string) *fsm.AttachVolume {
		return &fsm.AttachVolume{ID: "vol-x", Account: ec2Account, Instance: "i-1", Device: device}
	}
	s.refused(attach("/dev/sdg"), fsm.ErrConflict) // it is pending
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 1, State: fsm.InstanceRunning})
	s.refused(attach("/dev/sdf"), fsm.ErrExists)
	other := attach("/dev/sdg")
	other.Account = ec2Other
	s.refused(other, fsm.ErrNotFound)
	s.must(attach("/dev/sdg"))
	s.refused(attach("/dev/sdh"), fsm.ErrInUse)
	s.refused(&fsm.DeleteVolume{ID: "vol-x", Account: ec2Account}, fsm.ErrInUse)
	s.must(&fsm.CheckpointVolume{ID: "vol-x", Generation: 1, Map: fsm.VolumeMap{Seq: 4}})
	s.refused(&fsm.CheckpointVolume{ID: "vol-x", Generation: 1, Map: fsm.VolumeMap{Seq: 3}}, fsm.ErrInvalid)
	x, _ := s.volume("vol-x")
	s.must(&fsm.DetachVolume{ID: "vol-x", Account: ec2Account, Rev: x.Rev})
	s.refused(&fsm.SetVolumeAttached{ID: "vol-x", Generation: 1}, fsm.ErrConflict)
	s.must(&fsm.SetVolumeDetached{ID: "vol-x", Generation: 1})
	if x, _ := s.volume("vol-x"); x.Attachment != nil || !x.Dirty || x.Owner != "n-a" {
		t.Fatalf("%+v", x)
	}
	s.must(&fsm.TakeVolume{ID: "vol-x", Generation: 1, Node: "n-b"})
	s.refused(&fsm.CheckpointVolume{ID: "vol-x", Generation: 1, Map: fsm.VolumeMap{Seq: 9}, Release: true}, fsm.ErrConflict)
	s.must(&fsm.CheckpointVolume{ID: "vol-x", Generation: 2, Map: fsm.VolumeMap{Seq: 9}, Release: true})
	if x, _ := s.volume("vol-x"); x.Dirty || x.Owner != "" {
		t.Fatalf("%+v", x)
	}
	s.must(&fsm.DeleteVolume{ID: "vol-x", Account: ec2Account})
}

func TestASnapshotIsTakenOfACleanVolumeAtOnceAndOfADirtyOneByItsOwner(t *testing.T) {
	s := newEC2State(t)
	s.must(&fsm.CreateVolume{Volume: fsm.Volume{
		ID: "vol-x", Account: ec2Account, Zone: "za", Size: 9, Snapshot: "snap-1", Lineage: "vol-b", Replicas: []fsm.NodeID{"n-a"},
	}})
	s.must(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: "snap-2", Account: ec2Account, Volume: "vol-x", Started: 4}})
	s.must(&fsm.TakeVolume{ID: "vol-x", Node: "n-a"})
	s.must(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: "snap-3", Account: ec2Account, Volume: "vol-x"}})
	s.refused(&fsm.DeleteVolume{ID: "vol-x", Account: ec2Account}, fsm.ErrInUse)
	s.refused(&fsm.CompleteSnapshot{ID: "snap-3", Generation: 2}, fsm.ErrConflict)
	s.must(&fsm.CompleteSnapshot{ID: "snap-3", Generation: 1, Map: fsm.VolumeMap{Root: &fsm.BlobRef{ID: fsm.BlobID{2}}, Seq: 7}, Now: 8})
	s.view(func(v *fsm.View) {
		clean, _ := fsm.Snapshots.Get(v, "snap-2")
		dirty, _ := fsm.Snapshots.Get(v, "snap-3")
		if clean.State != fsm.SnapshotCompleted || clean.Map.Root == nil || clean.Map.Root.ID != (fsm.BlobID{1}) || clean.Size != 9 {
			t.Errorf("%+v", clean)
		}
		if dirty.State != fsm.SnapshotCompleted || dirty.Map.Root.ID != (fsm.BlobID{2}) || dirty.Map.Seq != 0 || dirty.Lineage != "vol-b" {
			t.Errorf("%+v", dirty)
		}
	})
	s.refused(&fsm.DeleteSnapshot{ID: "snap-1", Account: ec2Account}, fsm.ErrInUse)
	s.must(&fsm.DeregisterImage{ID: "ami-1", Account: ec2Account})
	s.must(&fsm.DeleteSnapshot{ID: "snap-1", Account: ec2Account})
}

func TestTagsAreTheAccountsOwn(t *testing.T) {
	s := newEC2State(t)
	s.must(launch("1", "172.31.0.4"))
	add := &fsm.AddTags{Account: ec2Account, Resources: []string{"i-1", "vol-r1", "ami-1", "snap-1", "vpc-1", "subnet-1", "sg-1", "eni-1"}, Tags: []fsm.Tag{{Key: "a", Value: "1"}, {Key: "b"}}}
	s.must(add)
	foreign := *add
	foreign.Account = ec2Other
	s.refused(&foreign, fsm.ErrNotFound)
	one := "1"
	two := "2"
	s.must(&fsm.RemoveTags{Account: ec2Account, Resources: []string{"i-1"}, Tags: []fsm.TagMatch{{Key: "a", Value: &two}, {Key: "b"}}})
	s.view(func(v *fsm.View) {
		if tags := fsm.TagsOf(v, "i-1"); len(tags) != 2 || tags[0].Key != "Name" || tags[1] != (fsm.Tag{Key: "a", Value: "1"}) {
			t.Errorf("%+v", tags)
		}
	})
	s.must(&fsm.RemoveTags{Account: ec2Account, Resources: []string{"vol-r1"}, Tags: []fsm.TagMatch{{Key: "a", Value: &one}, {Key: "b"}}})
	s.view(func(v *fsm.View) {
		for id := range fsm.TaggedResources(v) {
			if id == "vol-r1" {
				t.Error("a resource without tags has a row")
			}
		}
	})
	many := &fsm.AddTags{Account: ec2Account, Resources: []string{"i-1"}}
	for i := range fsm.MaxResourceTags {
		many.Tags = append(many.Tags, fsm.Tag{Key: string(rune('A' + i))})
	}
	s.refused(many, fsm.ErrLimit)
}

func TestChunksLiveUntilTheyAreDropped(t *testing.T) {
	g := fsmtest.New(t, fsm.Index)
	ref := func(i byte) fsm.BlobRef { return fsm.BlobRef{ID: fsm.BlobID{i}, Size: 1} }
	rows := []fsm.Chunk{{Ref: ref(1), Volume: "vol-a"}, {Ref: ref(2), Volume: "vol-a"}}
	owed := [][]fsm.Owed{nil, {{Shard: 1, Node: "n-c", Keepers: []fsm.NodeID{"n-a", "n-b"}}}}
	for lineage, cmd := range map[string]*fsm.RecordChunks{"a": {Chunks: rows[:1]}, "ab": {Chunks: rows[1:], Owed: owed[1:]}} {
		cmd.Lineage = lineage
		if err := g.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	count := func(lineage string) (n int) {
		err := g.View(func(v *fsm.View) error {
			fsm.ChunksFrom(v, lineage, "", func(key string, _ fsm.Chunk) bool {
				if lineage != "" && fsm.LineageOf(key) != lineage {
					t.Errorf("%q is of %q", key, fsm.LineageOf(key))
				}
				n++
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if count("a") != 1 || count("ab") != 1 || count("") != 2 || count("b") != 0 {
		t.Fatalf("%d %d %d", count("a"), count("ab"), count(""))
	}
	for range 2 { // what is not there is passed over
		if err := g.Propose(t.Context(), &fsm.DropChunks{Lineage: "ab", IDs: []fsm.BlobID{{2}}, Now: 1}); err != nil {
			t.Fatal(err)
		}
	}
	err := g.View(func(v *fsm.View) error {
		var garbage []fsm.Garbage
		fsm.GarbageFrom(v, fsm.BlobID{}, func(row fsm.Garbage) bool { garbage = append(garbage, row); return true })
		if len(garbage) != 1 || len(garbage[0].Owed) != 1 || count("") != 1 {
			t.Errorf("%+v", garbage)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
