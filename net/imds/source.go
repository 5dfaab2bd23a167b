package imds

import (
	"cmp"
	"net/netip"
	"slices"

	"hive/fsm"
)

// Instance is all that the metadata of an instance are made of.
type Instance struct {
	fsm.Instance
	Region string
	NIC    fsm.Interface
	VPC    fsm.VPC
	Subnet fsm.Subnet
	Groups []fsm.SecurityGroup // of the interface, in its order
	Disks  []string            // devices of the attached volumes besides the root, in order
	Tags   []fsm.Tag
	// The zero values where the instance has no instance profile, or that is gone or has no role.
	InstanceProfile fsm.InstanceProfile
	Role            fsm.Role
}

// Source knows who asks: the instance that has an address of a VPC.
type Source interface {
	Instance(id fsm.VPCID, address netip.Addr) (i Instance, ok bool, err error)
}

// Records are a Source: the control group's records.
type Records struct {
	Control interface {
		View(fn func(*fsm.View) error) error
	}
}

// Instance is the one whose interface has the address.
func (r Records) Instance(id fsm.VPCID, address netip.Addr) (i Instance, ok bool, err error) {
	err = r.Control.View(func(v *fsm.View) error {
		i, ok = find(v, id, address)
		return nil
	})
	return i, ok, err
}

func find(v *fsm.View, id fsm.VPCID, address netip.Addr) (i Instance, ok bool) {
	for _, s := range fsm.Subnets.Scan(v, "") {
		cidr, err := netip.ParsePrefix(s.CIDR)
		if s.VPC != id || err != nil || !cidr.Contains(address) {
			continue
		}
		if nic, taken := fsm.AddressTaken(v, s.ID, address.String()); taken {
			i.NIC, _ = fsm.Interfaces.Get(v, nic)
			i.Subnet = s
			break
		}
	}
	if i.Instance, ok = fsm.Instances.Get(v, i.NIC.Instance); !ok || i.NIC.Instance == "" {
		return Instance{}, false
	}
	i.VPC, _ = fsm.VPCs.Get(v, id)
	for _, g := range i.NIC.Groups {
		if group, ok := fsm.SecurityGroups.Get(v, g); ok {
			i.Groups = append(i.Groups, group)
		}
	}
	for _, x := range fsm.VolumesOf(v, i.ID) {
		if x.Attachment.Device != i.RootDevice {
			i.Disks = append(i.Disks, x.Attachment.Device)
		}
	}
	slices.SortFunc(i.Disks, func(a, b string) int { return cmp.Compare(a, b) })
	i.Tags = fsm.TagsOf(v, string(i.ID))
	findRole(v, &i)
	cluster, _ := fsm.TheCluster(v)
	i.Region = cluster.Region
	return i, true
}
