// Package vpc computes what the network of one node has to be: from the records of the cluster, as plain data, by a
// pure function. It never touches a link, a rule or a socket; dataplane makes its answer so.
package vpc

import (
	"cmp"
	"net/netip"
	"slices"

	"hive/fsm"
)

// Underlay is where a node's tunnels end.
type Underlay struct {
	IP   netip.Addr
	Port uint16 // UDP, of VXLAN; nodes that share a network namespace need different ones
	MTU  int    // of the path between the nodes; 0 means 1500
}

// State is the wanted network of one node.
type State struct {
	Node   fsm.NodeID
	Spaces []Space // in order of VPC
}

// Space is the namespace of one VPC on the node. Every list is in order, so that equal states are equal values.
type Space struct {
	VPC        fsm.VPCID
	CIDR       netip.Prefix
	MTU        int          // of guests, and of every link
	Addresses  []netip.Addr // that the namespace itself answers for: routers, DNS, metadata
	Taps       []Tap
	Tunnel     *Tunnel // nil while the node's own end is not known
	Routes     []Route
	Neighbours []Neighbour
	Leases     []Lease
	Zone       Zone
	Rules      []Ruleset
}

// Tap is the port of one guest.
type Tap struct {
	Name      string // of the link
	Interface fsm.InterfaceID
	Instance  fsm.InstanceID
	Address   netip.Addr
	MAC       string // of the guest
}

// Tunnel is the VXLAN to the same VPC on other nodes. It learns nothing and floods nothing: what Forwards does not
// have goes nowhere.
type Tunnel struct {
	VNI      uint32
	Local    Underlay
	MAC      string
	Forwards []Forward
}

// Forward says behind which node a MAC lies.
type Forward struct {
	MAC  string
	IP   netip.Addr
	Port uint16
}

// Route is a route of the namespace.
type Route struct {
	To     netip.Prefix
	Link   string
	Source netip.Addr // preferred of what the namespace itself sends; zero: none
}

// Neighbour is a fixed answer to ARP's question.
type Neighbour struct {
	Address netip.Addr
	MAC     string
	Link    string
}

// Lease is what DHCP tells a guest.
type Lease struct {
	Link     string // the only one that it is told on
	MAC      string
	Address  netip.Addr
	Bits     int // of the subnet's mask
	Router   netip.Addr
	DNS      netip.Addr
	Metadata netip.Addr
	Hostname string
	Domain   string
	MTU      int
	Seconds  int // that it lasts
}

// Zone is what the VPC's own name server knows.
type Zone struct {
	Servers []netip.Addr // addresses that it answers at
	Domain  string       // without a dot at the end
	CIDR    netip.Prefix // whose reverse names are its own
	Names   []Name       // in order of name
}

// Name is a name of an instance.
type Name struct {
	Name    string // full, without a dot at the end
	Address netip.Addr
	Reverse bool // it is what the address resolves to
}

// Addresses of services that are the same in every VPC.
var (
	metadataAddress = netip.AddrFrom4([4]byte{169, 254, 169, 254})
	dnsAddress      = netip.AddrFrom4([4]byte{169, 254, 169, 253})
)

const (
	tunnelLink    = "vxlan" // the tunnel's name inside the namespace
	tunnelHeaders = 50      // bytes that VXLAN over IPv4 adds
	leaseSeconds  = 3600
	// RouterMAC is the router's in every VPC on every node: a guest that moves finds it again.
	RouterMAC = "0a:00:00:00:00:01"
)

// Wanted is what node's network has to be. Instances on nodes that underlay does not have are left out of the routes.
func Wanted(v *fsm.View, node fsm.NodeID, underlay map[fsm.NodeID]Underlay) State {
	return read(v).wanted(node, underlay)
}

// facts are the records that a node's network follows from.
type facts struct {
	region string
	vpcs   map[fsm.VPCID]*network
}

type network struct {
	vpc     fsm.VPC
	cidr    netip.Prefix
	subnets map[fsm.SubnetID]netip.Prefix
	ports   []port // in order of address
}

// port is an interface with its instance.
type port struct {
	fsm.Interface
	address  netip.Addr
	instance fsm.Instance
}

func read(v *fsm.View) facts {
	cluster, _ := fsm.TheCluster(v)
	f := facts{region: cluster.Region, vpcs: map[fsm.VPCID]*network{}}
	for id, x := range fsm.VPCs.Scan(v, "") {
		if cidr, err := netip.ParsePrefix(x.CIDR); err == nil {
			f.vpcs[id] = &network{vpc: x, cidr: cidr, subnets: map[fsm.SubnetID]netip.Prefix{}}
		}
	}
	for id, s := range fsm.Subnets.Scan(v, "") {
		if cidr, err := netip.ParsePrefix(s.CIDR); err == nil && f.vpcs[s.VPC] != nil {
			f.vpcs[s.VPC].subnets[id] = cidr
		}
	}
	for _, n := range fsm.Interfaces.Scan(v, "") {
		address, err := netip.ParseAddr(n.Address)
		instance, ok := fsm.Instances.Get(v, n.Instance)
		if x := f.vpcs[n.VPC]; err == nil && ok && x != nil {
			x.ports = append(x.ports, port{n, address, instance})
		}
	}
	return f
}

func (f facts) wanted(node fsm.NodeID, underlay map[fsm.NodeID]Underlay) State {
	s := State{Node: node}
	for _, x := range f.vpcs {
		slices.SortFunc(x.ports, func(a, b port) int { return a.address.Compare(b.address) })
		if slices.ContainsFunc(x.ports, func(p port) bool { return p.on(node) }) {
			s.Spaces = append(s.Spaces, x.space(node, f.region, underlay))
		}
	}
	slices.SortFunc(s.Spaces, func(a, b Space) int { return cmp.Compare(a.VPC, b.VPC) })
	return s
}

func (p port) on(node fsm.NodeID) bool { return p.instance.Runs() && p.instance.Node == node }

func (x *network) space(node fsm.NodeID, region string, underlay map[fsm.NodeID]Underlay) Space {
	s := Space{VPC: x.vpc.ID, CIDR: x.cidr, MTU: guestMTU(underlay)}
	s.Zone = x.zone(region)
	s.Addresses = append(s.Addresses, metadataAddress)
	s.Addresses = append(s.Addresses, s.Zone.Servers...)
	for _, cidr := range x.subnets {
		s.Addresses = append(s.Addresses, router(cidr))
	}
	slices.SortFunc(s.Addresses, netip.Addr.Compare)
	s.Addresses = slices.Compact(s.Addresses)
	if own, ok := underlay[node]; ok {
		s.Tunnel = &Tunnel{VNI: x.vpc.VNI, Local: own, MAC: NodeMAC(node)}
	}
	for _, p := range x.ports {
		switch far, ok := underlay[p.instance.Node]; {
		case p.on(node):
			s.addLocal(p, x.subnets[p.Subnet], region)
		case p.instance.Runs() && ok && s.Tunnel != nil:
			s.addRemote(p, far)
		}
	}
	s.Rules = rules(s, x.ports)
	return s
}

func (s *Space) addLocal(p port, subnet netip.Prefix, region string) {
	link := TapName(p.ID)
	s.Taps = append(s.Taps, Tap{Name: link, Interface: p.ID, Instance: p.Instance, Address: p.address, MAC: p.MAC})
	s.Routes = append(s.Routes, Route{To: host(p.address), Link: link, Source: router(subnet)})
	s.Neighbours = append(s.Neighbours, Neighbour{Address: p.address, MAC: p.MAC, Link: link})
	s.Leases = append(s.Leases, Lease{
		Link: link, MAC: p.MAC, Address: p.address, Bits: subnet.Bits(), Router: router(subnet),
		DNS: resolver(s.CIDR), Metadata: metadataAddress,
		Hostname: HostName(p.address), Domain: Domain(region), MTU: s.MTU, Seconds: leaseSeconds,
	})
}

func (s *Space) addRemote(p port, far Underlay) {
	mac := NodeMAC(p.instance.Node)
	s.Routes = append(s.Routes, Route{To: host(p.address), Link: tunnelLink})
	s.Neighbours = append(s.Neighbours, Neighbour{Address: p.address, MAC: mac, Link: tunnelLink})
	f := Forward{MAC: mac, IP: far.IP, Port: far.Port}
	i, found := slices.BinarySearchFunc(s.Tunnel.Forwards, f, func(a, b Forward) int { return cmp.Compare(a.MAC, b.MAC) })
	if !found {
		s.Tunnel.Forwards = slices.Insert(s.Tunnel.Forwards, i, f)
	}
}

// guestMTU is what fits through the narrowest path between the nodes.
func guestMTU(underlay map[fsm.NodeID]Underlay) int {
	mtu := 1500
	for _, u := range underlay {
		if u.MTU > 0 {
			mtu = min(mtu, u.MTU)
		}
	}
	return mtu - tunnelHeaders
}

// UnderlayMTU is the MTU of a path that carries guests' packets of this size.
func UnderlayMTU(guest int) int { return guest + tunnelHeaders }

func (x *network) zone(region string) Zone {
	z := Zone{Servers: []netip.Addr{resolver(x.cidr), dnsAddress}, Domain: Domain(region), CIDR: x.cidr}
	for _, p := range x.ports {
		z.Names = append(z.Names,
			Name{Name: HostName(p.address) + "." + z.Domain, Address: p.address, Reverse: true},
			Name{Name: string(p.Instance) + "." + z.Domain, Address: p.address})
	}
	slices.SortFunc(z.Names, func(a, b Name) int { return cmp.Compare(a.Name, b.Name) })
	return z
}
