// Package nettest makes records of networks and instances for tests, through the commands that make them in a cluster.
// It is never in the binary.
package nettest

import (
	"fmt"
	"strings"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

// Region of the worlds.
const Region = "eu-north-1"

// World is a cluster's records.
type World struct {
	*fsmtest.Group
	t testing.TB
}

// New is a world with these nodes. Every account that is added gets a default VPC 172.31.0.0/16 with two subnets.
func New(t testing.TB, nodes ...fsm.NodeID) *World {
	t.Helper()
	w := &World{Group: fsmtest.New(t, fsm.Control), t: t}
	w.must(&fsm.InitCluster{
		Cluster: fsm.Cluster{ID: "c-test", Region: Region, TargetSize: len(nodes)},
		Member:  fsm.Member{ID: nodes[0], Zone: Zone(0)},
		Token:   fsm.Token{ID: "token", Expires: 1 << 40, UsesLeft: len(nodes)},
	})
	for i, n := range nodes[1:] {
		w.must(&fsm.AdmitMember{Member: fsm.Member{ID: n, Zone: Zone(i + 1)}, TokenID: "token", Now: 1, Settings: fsm.Settings{Epoch: uint64(i + 1)}})
	}
	return w
}

// Zone is the name of the nth zone.
func Zone(n int) string { return Region + string(rune('a'+n)) }

func (w *World) must(cmd fsm.Command) {
	w.t.Helper()
	if err := w.Propose(w.t.Context(), cmd); err != nil {
		w.t.Fatalf("%T: %v", cmd, err)
	}
}

// Account adds the nth account (from 1) with its VPC and image. Their ids end in the account's number.
func (w *World) Account(n int) fsm.AccountID {
	w.t.Helper()
	id := fsm.AccountID(fmt.Sprintf("%012d", n))
	w.must(&fsm.CreateAccount{Account: fsm.Account{ID: id, Name: fmt.Sprintf("account%d", n)}})
	w.must(&fsm.CreateDefaultVPC{
		VPC: fsm.VPC{ID: VPC(n), Account: id, CIDR: "172.31.0.0/16", VNI: uint32(100 + n), Default: true},
		Subnets: []fsm.Subnet{
			{ID: Subnet(n, 0), Account: id, VPC: VPC(n), Zone: Zone(0), CIDR: "172.31.0.0/20", Default: true},
			{ID: Subnet(n, 1), Account: id, VPC: VPC(n), Zone: Zone(1), CIDR: "172.31.16.0/20", Default: true},
		},
		Group: fsm.SecurityGroup{ID: Group(n), Account: id, VPC: VPC(n), Name: "default"},
	})
	w.must(&fsm.RegisterImage{Image: fsm.Image{ID: Image(n), Account: id, Name: "image"}})
	return id
}

// VPC is the id of the nth account's VPC.
func VPC(n int) fsm.VPCID { return fsm.VPCID(fmt.Sprintf("vpc-%017x", n)) }

// Subnet is the id of a subnet of the nth account.
func Subnet(n, zone int) fsm.SubnetID { return fsm.SubnetID(fmt.Sprintf("subnet-%016x%d", n, zone)) }

// Group is the id of the nth account's default security group.
func Group(n int) fsm.SecurityGroupID { return fsm.SecurityGroupID(fmt.Sprintf("sg-%017x", n)) }

// Image is the id of the nth account's image.
func Image(n int) fsm.ImageID { return fsm.ImageID(fmt.Sprintf("ami-%017x", n)) }

// Guest is an instance to launch: of an account, on a node, with an address of the account's VPC.
type Guest struct {
	Account int
	Node    fsm.NodeID
	Address string // in 172.31.0.0/20 or 172.31.16.0/20
	Number  int    // unique: ids and MAC follow from it
	Change  func(*fsm.Instance)
	Tags    []fsm.Tag
}

// ID is the instance's.
func (g Guest) ID() fsm.InstanceID { return fsm.InstanceID(fmt.Sprintf("i-%017x", g.Number)) }

// Interface is its interface's id.
func (g Guest) Interface() fsm.InterfaceID {
	return fsm.InterfaceID(fmt.Sprintf("eni-%017x", g.Number))
}

// MAC is its interface's.
func (g Guest) MAC() string {
	return fmt.Sprintf("02:00:00:00:%02x:%02x", g.Number>>8, g.Number&255)
}

// Launch adds the instances, pending, by one command.
func (w *World) Launch(guests ...Guest) {
	w.t.Helper()
	cmd := &fsm.LaunchInstances{}
	nodes := map[fsm.NodeID]bool{}
	for _, g := range guests {
		i := g.record()
		cmd.Instances = append(cmd.Instances, i)
		cmd.Interfaces = append(cmd.Interfaces, fsm.Interface{
			ID: i.Interface, Account: i.Account, VPC: i.VPC, Subnet: i.Subnet, Address: g.Address, MAC: g.MAC(),
			Groups: []fsm.SecurityGroupID{Group(g.Account)}, Instance: i.ID,
		})
		if len(g.Tags) > 0 {
			cmd.Tags = append(cmd.Tags, fsm.ResourceTags{Account: i.Account, Resource: string(i.ID), Tags: g.Tags})
		}
		if !nodes[g.Node] {
			nodes[g.Node] = true
			cmd.Capacity = append(cmd.Capacity, fsm.NodeCapacity{Node: g.Node, VCPUs: 1 << 20, Memory: 1 << 20})
		}
	}
	w.must(cmd)
}

func (g Guest) record() fsm.Instance {
	zone := 0
	if strings.HasPrefix(g.Address, "172.31.16.") {
		zone = 1
	}
	i := fsm.Instance{
		ID: g.ID(), Account: fsm.AccountID(fmt.Sprintf("%012d", g.Account)), Reservation: fmt.Sprintf("r-%017x", g.Number),
		Image: Image(g.Account), Type: "t3.micro", VCPUs: 1, Memory: 1, Arch: "x86_64", RootDevice: "/dev/sda1", Zone: Zone(zone),
		Node: g.Node, VPC: VPC(g.Account), Subnet: Subnet(g.Account, zone), Interface: g.Interface(), Address: g.Address,
		Metadata: fsm.MetadataOptions{HopLimit: 2}, Launched: 1_800_000_000_000,
	}
	if g.Change != nil {
		g.Change(&i)
	}
	return i
}

// Terminate ends the instance; its interface goes.
func (w *World) Terminate(g Guest) {
	w.t.Helper()
	w.must(&fsm.TerminateInstance{ID: g.ID(), Account: fsm.AccountID(fmt.Sprintf("%012d", g.Account))})
	w.must(&fsm.ObserveInstance{ID: g.ID(), Boot: 1, State: fsm.InstanceTerminated})
}
