package shard

import (
	"cmp"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"hive/fsm"
)

// Node is a node that can hold shards.
type Node struct {
	ID     fsm.NodeID
	Zone   string
	Weight float64 // share of the data, in any unit that all nodes share (bytes of disk); 0 counts as 1
}

// Profile is how many data and parity shards a new blob gets.
type Profile struct{ K, M uint8 }

// String is the profile as users know it, "RS(2,1)".
func (p Profile) String() string { return fmt.Sprintf("RS(%d,%d)", p.K, p.M) }

// ProfileFor is the profile for a number of nodes: two of five may be lost, any one of two to
// four, none of one.
func ProfileFor(nodes int) Profile {
	switch {
	case nodes < 2:
		return Profile{K: 1}
	case nodes < 3:
		return Profile{K: 1, M: 1}
	case nodes < 5:
		return Profile{K: 2, M: 1}
	default:
		return Profile{K: 3, M: 2}
	}
}

// Partitions is the number of partitions of a new cluster.
const Partitions = 1024

// keyHash is the first half of SHA-512 of a blob's key.
type keyHash [32]byte

func hashKey(key string) keyHash {
	sum := sha512.Sum512([]byte(key))
	return keyHash(sum[:32])
}

// partition is the top bits of the hash; count is a power of two.
func (h keyHash) partition(count uint16) uint16 {
	return uint16(uint32(binary.BigEndian.Uint16(h[:])) * uint32(count) >> 16)
}

// PartitionOf is the partition of a key among count (a power of two): the top bits of its SHA-512.
func PartitionOf(key string, count uint16) uint16 { return hashKey(key).partition(count) }

// PlanTable chooses nodes for every partition by weighted rendezvous hashing, zones kept apart as
// far as there are zones. Of n partitions each node gets its weight's share, and a node that is
// added or removed moves no more than its own share.
// It answers fsm.ErrInvalid when there are fewer nodes than shards or the count is no power of two.
func PlanTable(nodes []Node, p Profile, partitions int) (*fsm.InstallPartitions, error) {
	width := int(p.K) + int(p.M)
	if p.K == 0 || width > maxShards || len(nodes) < width {
		return nil, fsm.Errorf(fsm.ErrInvalid, "%v on %d nodes", p, len(nodes))
	}
	if partitions <= 0 || partitions > 1<<15 || partitions&(partitions-1) != 0 {
		return nil, fsm.Errorf(fsm.ErrInvalid, "%d partitions: not a power of two up to 32768", partitions)
	}
	sorted := slices.SortedFunc(slices.Values(nodes), func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	cmd := &fsm.InstallPartitions{K: p.K, M: p.M, Rows: make([]uint16, 0, partitions*width)}
	index := make(map[fsm.NodeID]uint16, len(sorted))
	for i, n := range sorted {
		index[n.ID] = uint16(i)
		cmd.Nodes = append(cmd.Nodes, n.ID)
	}
	for part := range partitions {
		for _, id := range rendezvous(sorted, uint16(part), width) {
			cmd.Rows = append(cmd.Rows, index[id])
		}
	}
	return cmd, nil
}

// rendezvous is the width nodes with the highest scores, taking one of each zone before a second
// of any (weighted rendezvous hashing,
// after Schindelhauer and Schomaker 2005: score = -weight / ln(hash)). The order gives
// the shard numbers, so that data shards are spread as well.
func rendezvous(nodes []Node, part uint16, width int) []fsm.NodeID {
	type scored struct {
		Node
		score float64
	}
	all := make([]scored, len(nodes))
	for i, n := range nodes {
		all[i] = scored{n, score(n, part)}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.ID, b.ID))
	})
	out := make([]fsm.NodeID, 0, width)
	used := map[string]int{}
	for round := 0; len(out) < width; round++ {
		for _, n := range all {
			if len(out) < width && used[n.Zone] == round && !slices.Contains(out, n.ID) {
				used[n.Zone]++
				out = append(out, n.ID)
			}
		}
	}
	return out
}

func score(n Node, part uint16) float64 {
	h := sha512.Sum512(binary.BigEndian.AppendUint16([]byte(n.ID+"\x00"), part))
	unit := (float64(binary.BigEndian.Uint64(h[:])>>11) + 0.5) / (1 << 53) // in (0,1)
	weight := n.Weight
	if weight <= 0 {
		weight = 1
	}
	return -weight / math.Log(unit)
}

// Move is the plan that leads from one table to another set of nodes.
type Move struct {
	Command *fsm.MovePartitions
	Shards  int // places that change, of Of
	Of      int
}

// PlanMove is the change of table that membership asks for: each partition keeps the nodes that
// the plan still wants in their places, so that only what must move moves.
func PlanMove(t *Table, nodes []Node) (*Move, error) {
	plan, err := PlanTable(nodes, Profile{t.K, t.M}, int(t.Count))
	if err != nil {
		return nil, err
	}
	width := int(t.K) + int(t.M)
	move := &Move{Command: &fsm.MovePartitions{Epoch: t.Epoch}, Of: len(plan.Rows)}
	for part := range t.Count {
		wanted := make([]fsm.NodeID, width)
		for j, n := range plan.Rows[int(part)*width : (int(part)+1)*width] {
			wanted[j] = plan.Nodes[n]
		}
		row := keepPlaces(t.Rows[part].Nodes, wanted)
		if changed := countChanged(t.Rows[part].Nodes, row); changed > 0 {
			move.Shards += changed
			move.Command.Moves = append(move.Command.Moves, fsm.PartitionMove{Partition: part, Nodes: row})
		}
	}
	return move, nil
}

// keepPlaces puts the wanted nodes in such an order that those which are there stay.
func keepPlaces(have, want []fsm.NodeID) []fsm.NodeID {
	out := make([]fsm.NodeID, len(want))
	var newcomers []fsm.NodeID
	for _, n := range want {
		if i := slices.Index(have, n); i >= 0 && i < len(out) {
			out[i] = n
		} else {
			newcomers = append(newcomers, n)
		}
	}
	for i := range out {
		if out[i] == "" {
			out[i], newcomers = newcomers[0], newcomers[1:]
		}
	}
	return out
}

func countChanged(a, b []fsm.NodeID) (n int) {
	for i := range b {
		if i >= len(a) || a[i] != b[i] {
			n++
		}
	}
	return n
}
