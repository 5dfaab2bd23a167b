package ec2

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

// site is where a launch may go: a subnet for each zone, and the security groups.
type site struct {
	vpc     fsm.VPCID
	subnets map[string]fsm.Subnet
	groups  []fsm.SecurityGroupID
}

// zones are the zones that the site has subnets in.
func (x site) zones() []string {
	out := make([]string, 0, len(x.subnets))
	for zone := range x.subnets {
		out = append(out, zone)
	}
	slices.Sort(out)
	return out
}

// plan decides all of a launch: nodes, addresses and ids.
func (s *Service) plan(v *fsm.View, l *launch) (*fsm.LaunchInstances, error) {
	image, err := imageToRun(v, l)
	if err != nil {
		return nil, err
	}
	key, err := keyToGive(v, l)
	if err != nil {
		return nil, err
	}
	profile, err := profileSpecified(v, account(l.caller), l.profile)
	if err != nil {
		return nil, err
	}
	where, err := siteOf(v, l)
	if err != nil {
		return nil, err
	}
	devices, err := devicesOf(v, l, image)
	if err != nil {
		return nil, err
	}
	chosen := place(s.members(v), func(id fsm.NodeID) fsm.NodeUse { return fsm.UseOf(v, id) },
		demand{vcpus: l.typ.VCPUs, memory: l.typ.Memory, arch: l.typ.Arch, zones: where.zones()}, l.max)
	if len(chosen) < l.min {
		return nil, s.whyNot(l)
	}
	addresses, err := s.addresses(v, l, where, chosen)
	if err != nil {
		return nil, err
	}
	if len(addresses) < l.min {
		return nil, bad("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.",
			where.subnets[chosen[len(addresses)].Zone].ID)
	}
	return s.assemble(l, assembly{image: image, key: key, profile: profile.ID, site: where, devices: devices, nodes: chosen[:len(addresses)], addresses: addresses})
}

// whyNot is why a launch does not fit: no node ever runs its kind of guest, or those that do are full.
func (s *Service) whyNot(l *launch) error {
	if !slices.ContainsFunc(s.runnable(), func(t instanceType) bool { return t.Arch == l.typ.Arch }) {
		return bad("Unsupported", "Your requested instance type (%s) is not supported in this region: no node runs guests of the architecture %s.",
			l.typ.Name, l.typ.Arch)
	}
	return errCapacity(l.typ.Name, l.zone)
}

// members are the nodes of gossip that are members of the cluster.
func (s *Service) members(v *fsm.View) []NodeInfo {
	return slices.DeleteFunc(slices.Clone(s.cfg.Nodes()), func(n NodeInfo) bool { return !fsm.Members.Has(v, n.ID) })
}

// imageToRun is the image of a launch, whose type it fixes.
func imageToRun(v *fsm.View, l *launch) (fsm.Image, error) {
	image, err := visibleImage(v, account(l.caller), fsm.ImageID(l.image))
	if err != nil {
		return image, err
	}
	if state := stateOfImage(v, image); state != types.ImageStateAvailable {
		return image, bad("InvalidAMIID.Unavailable", "The image ID '%s' is not available: it is %s.", l.image, state)
	}
	if l.typ.Name == "" {
		l.typ, _ = typeNamed(defaultType(image.Arch))
	}
	if l.typ.Arch != image.Arch {
		return image, invalid("The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.",
			l.typ.Arch, image.Arch)
	}
	return image, nil
}

func keyToGive(v *fsm.View, l *launch) (fsm.KeyPair, error) {
	if l.key == "" {
		return fsm.KeyPair{}, nil
	}
	key, ok := fsm.KeyPairNamed(v, account(l.caller), l.key)
	if !ok {
		return key, noKeyPair(l.key)
	}
	return key, nil
}

// siteOf is where a launch may go.
func siteOf(v *fsm.View, l *launch) (site, error) {
	if l.zone != "" && !slices.Contains(zonesOf(v), l.zone) {
		return site{}, invalid("Invalid availability zone: [%s]", l.zone)
	}
	x, err := subnetsFor(v, l)
	if err != nil {
		return site{}, err
	}
	x.groups, err = groupsFor(v, l, x.vpc)
	return x, err
}

func subnetsFor(v *fsm.View, l *launch) (site, error) {
	if l.subnet != "" {
		subnet, ok := fsm.Subnets.Get(v, fsm.SubnetID(l.subnet))
		switch {
		case !ok || subnet.Account != account(l.caller):
			return site{}, notFound(l.subnet)
		case l.zone != "" && l.zone != subnet.Zone:
			return site{}, invalid("The specified Availability Zone '%s' is not that of subnet '%s': '%s'.", l.zone, l.subnet, subnet.Zone)
		}
		return site{vpc: subnet.VPC, subnets: map[string]fsm.Subnet{subnet.Zone: subnet}}, nil
	}
	vpc, ok := fsm.DefaultVPC(v, account(l.caller))
	if !ok {
		return site{}, bad("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
	}
	x := site{vpc: vpc.ID, subnets: defaultSubnets(v, vpc.ID)}
	if l.zone != "" {
		x.subnets = only(x.subnets, l.zone)
	}
	if len(x.subnets) == 0 {
		return site{}, bad("MissingInput", "No subnets found for the default VPC '%s'. Please specify a subnet.", vpc.ID)
	}
	return x, nil
}

func only(subnets map[string]fsm.Subnet, zone string) map[string]fsm.Subnet {
	if subnet, ok := subnets[zone]; ok {
		return map[string]fsm.Subnet{zone: subnet}
	}
	return nil
}

// groupsFor are the security groups of a launch: the VPC's default one where it names none.
func groupsFor(v *fsm.View, l *launch, vpc fsm.VPCID) ([]fsm.SecurityGroupID, error) {
	var out []fsm.SecurityGroupID
	for _, id := range l.groups {
		g, ok := fsm.SecurityGroups.Get(v, fsm.SecurityGroupID(id))
		switch {
		case !ok || g.Account != account(l.caller):
			return nil, notFound(id)
		case g.VPC != vpc:
			return nil, bad("InvalidParameter", "Security group %s and the subnet belong to different networks.", id)
		}
		out = append(out, g.ID)
	}
	for _, name := range l.groupNames {
		id, ok := groupNamed(v, vpc, name)
		if !ok {
			return nil, bad("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", name, vpc)
		}
		out = append(out, id)
	}
	if len(out) == 0 {
		if g, ok := defaultGroup(v, vpc); ok {
			out = append(out, g.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func groupNamed(v *fsm.View, vpc fsm.VPCID, name string) (fsm.SecurityGroupID, bool) {
	for _, g := range fsm.SecurityGroups.Scan(v, "") {
		if g.VPC == vpc && g.Name == name {
			return g.ID, true
		}
	}
	return "", false
}

// addresses are addresses for the chosen nodes' instances, one each; fewer where a subnet is full.
func (s *Service) addresses(v *fsm.View, l *launch, where site, chosen []NodeInfo) ([]string, error) {
	if l.address != "" {
		return s.fixedAddress(v, l, where.subnets[chosen[0].Zone])
	}
	seed, err := s.draw(4)
	if err != nil {
		return nil, err
	}
	given := map[string]bool{} // subnet and address
	var out []string
	for _, node := range chosen {
		subnet := where.subnets[node.Zone]
		cidr, err := netip.ParsePrefix(subnet.CIDR)
		if err != nil {
			return nil, err
		}
		free := freeAddresses(cidr, func(a string) bool {
			_, taken := fsm.AddressTaken(v, subnet.ID, a)
			return taken || given[fsm.Key(string(subnet.ID), a)]
		}, binary.BigEndian.Uint32(seed), 1)
		if len(free) == 0 {
			break
		}
		given[fsm.Key(string(subnet.ID), free[0])] = true
		out = append(out, free[0])
	}
	return out, nil
}

// fixedAddress checks the address that a request asks for.
func (s *Service) fixedAddress(v *fsm.View, l *launch, subnet fsm.Subnet) ([]string, error) {
	cidr, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddr(l.address)
	if err != nil || !addr.Is4() {
		return nil, invalid("Value (%s) for parameter privateIpAddress is invalid. Invalid IPv4 address.", l.address)
	}
	if !cidr.Contains(addr) {
		return nil, invalid("Address %s does not fall within the subnet's address range", l.address)
	}
	first, count := addressRange(cidr)
	if at := binary.BigEndian.Uint32(addr.AsSlice()); at < first || at-first >= count {
		return nil, invalid("Address %s is in subnet's reserved address range", l.address)
	}
	if _, taken := fsm.AddressTaken(v, subnet.ID, addr.String()); taken {
		return nil, bad("InvalidIPAddress.InUse", "Address %s is in use.", l.address)
	}
	return []string{addr.String()}, nil
}

// assembly is all that a launch's records are made of.
type assembly struct {
	image     fsm.Image
	key       fsm.KeyPair
	profile   fsm.EntityID
	site      site
	devices   []device
	nodes     []NodeInfo // one for each instance
	addresses []string   // likewise
}

func (s *Service) assemble(l *launch, a assembly) (*fsm.LaunchInstances, error) {
	reservation, err := s.newID("r")
	if err != nil {
		return nil, err
	}
	cmd := &fsm.LaunchInstances{Capacity: capacities(a.nodes)}
	if l.once != nil {
		token := *l.once
		cmd.Once = &token
	}
	for n := range a.nodes {
		if err := s.addInstance(cmd, l, a, n); err != nil {
			return nil, err
		}
		cmd.Instances[n].Reservation = reservation
	}
	return cmd, nil
}

// addInstance adds the nth instance with its interface and its volumes.
func (s *Service) addInstance(cmd *fsm.LaunchInstances, l *launch, a assembly, n int) error {
	id, err := s.newID("i")
	if err != nil {
		return err
	}
	nic, err := s.newID("eni")
	if err != nil {
		return err
	}
	mac, err := s.newMAC()
	if err != nil {
		return err
	}
	now, node := s.now(), a.nodes[n]
	subnet := a.site.subnets[node.Zone]
	i := fsm.Instance{
		ID: fsm.InstanceID(id), Account: account(l.caller), LaunchIndex: n, Image: a.image.ID, Type: l.typ.Name,
		VCPUs: l.typ.VCPUs, Memory: l.typ.Memory, Arch: a.image.Arch, BootMode: a.image.BootMode, RootDevice: a.image.RootDevice,
		Zone: node.Zone, Node: node.ID, VPC: a.site.vpc, Subnet: subnet.ID, Interface: fsm.InterfaceID(nic), Address: a.addresses[n],
		KeyName: a.key.Name, PublicKey: a.key.PublicKey, UserData: l.userData, Metadata: metadataOptions(a.image, l.metadata),
		OnShutdown: l.onShutdown, Launched: now, Created: now, Changed: now, Protected: l.protected,
	}
	if l.once != nil {
		i.Token = l.once.Token
	}
	if a.profile != "" {
		i.Profile, i.ProfileAt = a.profile, now
		if i.ProfileTie, err = s.newID(tiePrefix); err != nil {
			return err
		}
	}
	cmd.Instances = append(cmd.Instances, i)
	cmd.Interfaces = append(cmd.Interfaces, fsm.Interface{
		ID: i.Interface, Account: i.Account, VPC: i.VPC, Subnet: i.Subnet, Address: i.Address, MAC: mac, Groups: a.site.groups,
		Instance: i.ID, Created: now,
	})
	tagged(cmd, l, types.ResourceTypeInstance, id)
	tagged(cmd, l, types.ResourceTypeNetworkInterface, nic)
	for _, d := range a.devices {
		x, err := s.newVolumeOf(i, d)
		if err != nil {
			return err
		}
		cmd.Volumes = append(cmd.Volumes, x)
		tagged(cmd, l, types.ResourceTypeVolume, string(x.ID))
	}
	return nil
}

// newVolumeOf is the volume of a device of a new instance.
func (s *Service) newVolumeOf(i fsm.Instance, d device) (fsm.Volume, error) {
	x, err := s.newVolume(i.Account, i.Zone, nil)
	if err != nil {
		return x, err
	}
	x.Created = i.Created
	x.Attachment = &fsm.Attachment{
		Instance: i.ID, Device: d.name, State: fsm.Attaching, Time: i.Created, DeleteOnTermination: d.deleted,
	}
	if err := d.apply(&x); err != nil {
		return x, err
	}
	return x, s.placeVolume(&x, i.Node)
}

// tagged gives a new resource the tags that the request has for its type.
func tagged(cmd *fsm.LaunchInstances, l *launch, kind types.ResourceType, id string) {
	if tags := l.tags[kind]; len(tags) > 0 {
		cmd.Tags = append(cmd.Tags, fsm.ResourceTags{Account: account(l.caller), Resource: id, Tags: tags})
	}
}
