package ec2

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"hive/fsm"
)

// CapEBS is the capability of nodes that keep volumes' logs.
const CapEBS = "ebs"

// demand is what an instance needs of its node.
type demand struct {
	vcpus  int
	memory int64 // MiB
	arch   string
	zones  []string // that it may be in
}

// room is a node with what it has left.
type room struct {
	NodeInfo
	vcpus  int
	memory int64 // MiB
}

// place chooses a node for each of up to n instances of one kind: each goes to where most memory is free then. It
// answers fewer when no more fit. It is a function of its arguments: used says what a node's instances have been
// promised already.
func place(nodes []NodeInfo, used func(fsm.NodeID) fsm.NodeUse, want demand, n int) []NodeInfo {
	var rooms []room
	for _, node := range nodes {
		if node.hosts() && node.runs(want.arch) && slices.Contains(want.zones, node.Zone) {
			u := used(node.ID)
			rooms = append(rooms, room{node, node.VCPUs - u.VCPUs, node.MemoryMiB - u.Memory})
		}
	}
	var out []NodeInfo
	for len(out) < n {
		best := -1
		for i, r := range rooms {
			if r.vcpus >= want.vcpus && r.memory >= want.memory && (best < 0 || roomier(r, rooms[best])) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		rooms[best].vcpus -= want.vcpus
		rooms[best].memory -= want.memory
		out = append(out, rooms[best].NodeInfo)
	}
	return out
}

func roomier(a, b room) bool {
	return cmp.Or(cmp.Compare(a.memory, b.memory), cmp.Compare(a.vcpus, b.vcpus), cmp.Compare(b.ID, a.ID)) > 0
}

// capacities are those of the chosen nodes, each once.
func capacities(chosen []NodeInfo) []fsm.NodeCapacity {
	var out []fsm.NodeCapacity
	for _, n := range chosen {
		c := fsm.NodeCapacity{Node: n.ID, VCPUs: n.VCPUs, Memory: n.MemoryMiB}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// logNodes chooses the nodes that keep copies of a volume's log: first, if it is one of those that can, then the others in
// an order that is the volume's own, so that volumes spread; nodes that are dead come last, for a copy there catches up
// when they are back. It answers at most n.
func logNodes(nodes []NodeInfo, id fsm.VolumeID, first fsm.NodeID, n int) []fsm.NodeID {
	type candidate struct {
		NodeInfo
		score uint64
	}
	var all []candidate
	for _, node := range nodes {
		if slices.Contains(node.Caps, CapEBS) {
			all = append(all, candidate{node, rendezvous(string(id), string(node.ID))})
		}
	}
	rank := func(c candidate) int {
		switch {
		case c.ID == first:
			return 0
		case c.Alive:
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.score, a.score), cmp.Compare(a.ID, b.ID))
	})
	out := make([]fsm.NodeID, 0, n)
	for _, c := range all[:min(n, len(all))] {
		out = append(out, c.ID)
	}
	return out
}

func rendezvous(a, b string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(a + "\x00" + b)) // never fails
	x := h.Sum64()
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// Reserved addresses of a subnet: the first four and the last, as in AWS ("Subnet sizing").
const (
	reservedFirst = 4
	reservedLast  = 1
)

// addressRange are the first address that an interface can have and how many there are.
func addressRange(cidr netip.Prefix) (first uint32, count uint32) {
	base := binary.BigEndian.Uint32(cidr.Masked().Addr().AsSlice())
	size := uint64(1) << (32 - cidr.Bits())
	if size <= reservedFirst+reservedLast {
		return base, 0
	}
	return base + reservedFirst, uint32(size - reservedFirst - reservedLast)
}

// freeAddresses are n addresses of a subnet that taken does not know, looked for from the seed's on, around; fewer when the
// subnet is full.
func freeAddresses(cidr netip.Prefix, taken func(string) bool, seed uint32, n int) []string {
	first, count := addressRange(cidr)
	var out []string
	for i := uint32(0); i < count && len(out) < n; i++ {
		at := first + uint32((uint64(seed)+uint64(i))%uint64(count))
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], at)
		if a := netip.AddrFrom4(raw).String(); !taken(a) {
			out = append(out, a)
		}
	}
	return out
}
