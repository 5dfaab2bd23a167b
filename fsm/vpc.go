package fsm

import "net/netip"

// Ids of EC2 resources: a prefix and 17 hex digits, unique in the cluster and never used again.
type (
	VPCID           string // "vpc-…"
	SubnetID        string // "subnet-…"
	SecurityGroupID string // "sg-…"
	InterfaceID     string // "eni-…"
)

// VPC is a private network. Its data plane is a namespace on each node that hosts one of its interfaces.
type VPC struct {
	Meta
	ID       VPCID     `cbor:"1,keyasint"`
	Account  AccountID `cbor:"2,keyasint"`
	CIDR     string    `cbor:"3,keyasint"` // netip.Prefix
	VNI      uint32    `cbor:"4,keyasint"` // of the VXLAN between the nodes, unique in the cluster, 1 to 1<<24-1
	Default  bool      `cbor:"5,keyasint,omitempty"`
	Created  int64     `cbor:"6,keyasint"`           // Unix ms
	DNSNames bool      `cbor:"7,keyasint,omitempty"` // enableDnsHostnames
}

// Subnet is a range of a VPC in one zone.
type Subnet struct {
	Meta
	ID      SubnetID  `cbor:"1,keyasint"`
	Account AccountID `cbor:"2,keyasint"`
	VPC     VPCID     `cbor:"3,keyasint"`
	Zone    string    `cbor:"4,keyasint"`
	CIDR    string    `cbor:"5,keyasint"` // netip.Prefix, within the VPC's
	Default bool      `cbor:"6,keyasint,omitempty"`
}

// SecurityGroup is a named set of interfaces. The default group of a default VPC lets its members reach each other
// and everything outside.
type SecurityGroup struct {
	Meta
	ID          SecurityGroupID `cbor:"1,keyasint"`
	Account     AccountID       `cbor:"2,keyasint"`
	VPC         VPCID           `cbor:"3,keyasint"`
	Name        string          `cbor:"4,keyasint"`
	Description string          `cbor:"5,keyasint,omitempty"`
}

// Interface is a network interface of an instance: an address in a subnet for as long as the record lives.
type Interface struct {
	Meta
	ID       InterfaceID       `cbor:"1,keyasint"`
	Account  AccountID         `cbor:"2,keyasint"`
	VPC      VPCID             `cbor:"3,keyasint"`
	Subnet   SubnetID          `cbor:"4,keyasint"`
	Address  string            `cbor:"5,keyasint"` // IPv4
	MAC      string            `cbor:"6,keyasint"` // "02:…"
	Groups   []SecurityGroupID `cbor:"7,keyasint,omitempty"`
	Instance InstanceID        `cbor:"8,keyasint,omitempty"`
	Created  int64             `cbor:"9,keyasint"` // Unix ms
}

// Tables of the control group about networks.
var (
	VPCs           = Table[VPCID, VPC]{Name: "vpc", Watch: watchVPC}
	Subnets        = Table[SubnetID, Subnet]{Name: "subnet", Watch: watchSubnet}
	SecurityGroups = Table[SecurityGroupID, SecurityGroup]{Name: "security-group", Watch: watchSecurityGroup}
	Interfaces     = Table[InterfaceID, Interface]{Name: "interface", Watch: watchInterface}

	// vpcNumbers has the VPC of each VNI (8 hex digits).
	vpcNumbers = Table[string, VPCID]{Name: "vpc-vni"}
	// defaultVPCs has the default VPC of each account.
	defaultVPCs = Table[AccountID, VPCID]{Name: "vpc-default"}
	// addresses has the interface of each address in use: the subnet, a zero byte, the address.
	addresses = Table[string, InterfaceID]{Name: "address"}
)

var vpcKinds = []KindEntry{
	{400, Control, func() Command { return new(CreateDefaultVPC) }},
	{401, Control, func() Command { return new(CreateSubnet) }},
}

// CreateDefaultVPC gives an account its default VPC with a subnet in each zone and the default security group.
type CreateDefaultVPC struct {
	VPC     VPC           `cbor:"1,keyasint"`
	Subnets []Subnet      `cbor:"2,keyasint"`
	Group   SecurityGroup `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateDefaultVPC) Kind() Kind { return 400 }

// Check refuses an account that has one (ErrExists), an account that is none (ErrNotFound), an id or a VNI that is
// taken (ErrConflict: draw another), and ranges that do not fit (ErrInvalid).
func (c *CreateDefaultVPC) Check(v *View) error {
	id := string(c.VPC.ID)
	switch {
	case !accounts.Has(v, c.VPC.Account):
		return Errorf(ErrNotFound, "account/"+string(c.VPC.Account))
	case defaultVPCs.Has(v, c.VPC.Account):
		return Errorf(ErrExists, id)
	case VPCs.Has(v, c.VPC.ID), SecurityGroups.Has(v, c.Group.ID), vpcNumbers.Has(v, vniKey(c.VPC.VNI)):
		return Errorf(ErrConflict, id)
	case c.VPC.VNI == 0 || c.VPC.VNI >= 1<<24:
		return Errorf(ErrInvalid, id)
	}
	whole, err := netip.ParsePrefix(c.VPC.CIDR)
	if err != nil || whole != whole.Masked() {
		return Errorf(ErrInvalid, id)
	}
	for i, s := range c.Subnets {
		part, err := netip.ParsePrefix(s.CIDR)
		if err != nil || part != part.Masked() || part.Bits() < whole.Bits() || !whole.Contains(part.Addr()) || s.VPC != c.VPC.ID {
			return Errorf(ErrInvalid, string(s.ID))
		}
		if Subnets.Has(v, s.ID) {
			return Errorf(ErrConflict, string(s.ID))
		}
		for _, other := range c.Subnets[:i] {
			if o, _ := netip.ParsePrefix(other.CIDR); o.Overlaps(part) {
				return Errorf(ErrInvalid, string(s.ID))
			}
		}
	}
	return nil
}

// Record writes the VPC and what belongs to it.
func (c *CreateDefaultVPC) Record(w *Writer) {
	VPCs.Put(w, c.VPC.ID, c.VPC)
	vpcNumbers.Put(w, vniKey(c.VPC.VNI), c.VPC.ID)
	defaultVPCs.Put(w, c.VPC.Account, c.VPC.ID)
	for _, s := range c.Subnets {
		Subnets.Put(w, s.ID, s)
	}
	SecurityGroups.Put(w, c.Group.ID, c.Group)
}

// CreateSubnet adds a subnet to a VPC.
type CreateSubnet struct {
	Subnet Subnet       `cbor:"1,keyasint"`
	Tags   []Tag        `cbor:"2,keyasint,omitempty"`
	Once   *ClientToken `cbor:"3,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *CreateSubnet) Kind() Kind { return 401 }

// Check refuses a VPC that is none of the account's (ErrNotFound), a range outside of it (ErrInvalid), one that overlaps
// another subnet's (ErrInUse with its id), a second default subnet of a zone (ErrExists with the first one's id), and an
// id or a client token that is taken (ErrConflict).
func (c *CreateSubnet) Check(v *View) error {
	if err := c.Once.check(v); err != nil {
		return err
	}
	s := c.Subnet
	vpc, ok := VPCs.Get(v, s.VPC)
	switch {
	case !ok || vpc.Account != s.Account:
		return Errorf(ErrNotFound, string(s.VPC))
	case Subnets.Has(v, s.ID):
		return Errorf(ErrConflict, string(s.ID))
	}
	if err := checkQuota(v, s.Account, QuotaSubnets, 1); err != nil {
		return err
	}
	whole, err := netip.ParsePrefix(vpc.CIDR)
	part, err2 := netip.ParsePrefix(s.CIDR)
	if err != nil || err2 != nil || part != part.Masked() || part.Bits() < whole.Bits() || !whole.Contains(part.Addr()) {
		return Errorf(ErrInvalid, string(s.ID))
	}
	for _, other := range Subnets.Scan(v, "") {
		if other.VPC != s.VPC {
			continue
		}
		if o, err := netip.ParsePrefix(other.CIDR); err != nil || o.Overlaps(part) {
			return Errorf(ErrInUse, string(other.ID))
		}
		if s.Default && other.Default && other.Zone == s.Zone {
			return Errorf(ErrExists, string(other.ID))
		}
	}
	return nil
}

// Record writes the subnet.
func (c *CreateSubnet) Record(w *Writer) {
	Subnets.Put(w, c.Subnet.ID, c.Subnet)
	putTags(w, c.Subnet.Account, string(c.Subnet.ID), c.Tags)
	c.Once.put(w)
}

// DefaultVPC is an account's default VPC, and whether it has one.
func DefaultVPC(v *View, account AccountID) (VPC, bool) {
	id, ok := defaultVPCs.Get(v, account)
	if !ok {
		return VPC{}, false
	}
	return VPCs.Get(v, id)
}

// AddressTaken is the interface that has an address of a subnet, if one has.
func AddressTaken(v *View, subnet SubnetID, address string) (InterfaceID, bool) {
	return addresses.Get(v, Key(string(subnet), address))
}

func vniKey(vni uint32) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 8)
	for i := range out {
		out[i] = digits[vni>>(28-4*i)&15]
	}
	return string(out)
}

// checkInterface refuses an interface whose id or address is taken (ErrConflict) or whose subnet is none (ErrNotFound).
func checkInterface(v *View, n Interface) error {
	s, ok := Subnets.Get(v, n.Subnet)
	if !ok || s.Account != n.Account || s.VPC != n.VPC {
		return Errorf(ErrNotFound, string(n.Subnet))
	}
	cidr, err := netip.ParsePrefix(s.CIDR)
	addr, err2 := netip.ParseAddr(n.Address)
	if err != nil || err2 != nil || !cidr.Contains(addr) {
		return Errorf(ErrInvalid, n.Address)
	}
	for _, g := range n.Groups {
		if group, ok := SecurityGroups.Get(v, g); !ok || group.Account != n.Account || group.VPC != n.VPC {
			return Errorf(ErrNotFound, string(g))
		}
	}
	if Interfaces.Has(v, n.ID) || addresses.Has(v, Key(string(n.Subnet), n.Address)) {
		return Errorf(ErrConflict, n.Address)
	}
	return nil
}

func putInterface(w *Writer, n Interface) {
	Interfaces.Put(w, n.ID, n)
	addresses.Put(w, Key(string(n.Subnet), n.Address), n.ID)
}

func dropInterface(w *Writer, id InterfaceID) {
	if n, ok := Interfaces.Get(&w.View, id); ok {
		Interfaces.Delete(w, id)
		addresses.Delete(w, Key(string(n.Subnet), n.Address))
	}
}
