package fsm_test

import (
	"testing"

	"hive/fsm"
)

func TestSubnetsOfAVPCDoNotOverlapAndAZoneHasOneDefault(t *testing.T) {
	s := newEC2State(t)
	subnet := func(id, zone, cidr string, standard bool) *fsm.CreateSubnet {
		return &fsm.CreateSubnet{Subnet: fsm.Subnet{ID: fsm.SubnetID(id), Account: ec2Account, VPC: "vpc-1", Zone: zone, CIDR: cidr, Default: standard}}
	}
	s.must(subnet("subnet-2", "zb", "172.31.16.0/20", true))
	s.refused(subnet("subnet-2", "zc", "172.31.32.0/20", false), fsm.ErrConflict)
	s.refused(subnet("subnet-3", "zb", "172.31.32.0/20", true), fsm.ErrExists)
	s.refused(subnet("subnet-3", "zc", "172.31.24.0/24", false), fsm.ErrInUse)
	s.refused(subnet("subnet-3", "zc", "172.31.0.0/16", false), fsm.ErrInUse)
	for _, cidr := range []string{"10.0.0.0/20", "172.31.32.1/20", "172.0.0.0/8", "x"} {
		s.refused(subnet("subnet-3", "zc", cidr, false), fsm.ErrInvalid)
	}
	other := subnet("subnet-3", "zc", "172.31.32.0/20", false)
	other.Subnet.Account = ec2Other
	s.refused(other, fsm.ErrNotFound)
	s.must(subnet("subnet-3", "zb", "172.31.32.0/20", false))
}

func TestAnInstanceChangesItsShapeOnlyWhileItIsStopped(t *testing.T) {
	s := newEC2State(t)
	s.must(launch("1", "172.31.0.10"))
	change := func(edit func(*fsm.ModifyInstance)) *fsm.ModifyInstance {
		i := s.instance("i-1")
		cmd := &fsm.ModifyInstance{
			ID: i.ID, Account: i.Account, Rev: i.Rev, Type: i.Type, VCPUs: i.VCPUs, Memory: i.Memory, UserData: i.UserData,
			OnShutdown: i.OnShutdown, Protected: i.Protected, Metadata: i.Metadata,
		}
		edit(cmd)
		return cmd
	}
	larger := func(c *fsm.ModifyInstance) { c.Memory *= 2 }
	s.refused(change(larger), fsm.ErrInvalid)
	stale := change(func(c *fsm.ModifyInstance) { c.Protected = true })
	s.must(stale)
	s.refused(stale, fsm.ErrConflict)
	s.refused(&fsm.TerminateInstance{ID: "i-1", Account: ec2Account}, fsm.ErrDenied)
	s.must(&fsm.ObserveInstance{ID: "i-1", Boot: 1, State: fsm.InstanceStopped})
	before := s.instance("i-1").Memory
	s.must(change(larger))
	if got := s.instance("i-1").Memory; got != 2*before {
		t.Errorf("%d MiB, want %d", got, 2*before)
	}
	s.must(change(func(c *fsm.ModifyInstance) { c.Protected = false }))
	s.must(&fsm.TerminateInstance{ID: "i-1", Account: ec2Account})
	s.refused(change(func(*fsm.ModifyInstance) {}), fsm.ErrInvalid)
	missing := change(func(c *fsm.ModifyInstance) { c.Account = ec2Other })
	s.refused(missing, fsm.ErrNotFound)
}
