package ec2

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"hive/fsm"
)

func host(id, zone string, vcpus int, memory int64) NodeInfo {
	return NodeInfo{ID: fsm.NodeID(id), Zone: zone, Caps: []string{CapEC2, CapEBS}, Alive: true, VCPUs: vcpus, MemoryMiB: memory}
}

func TestPlacementGoesWhereMostMemoryIsFree(t *testing.T) {
	dead, other := host("n-dead", "a", 64, 1<<20), host("n-other", "a", 64, 1<<20)
	dead.Alive, other.Caps = false, []string{"s3"}
	arm := host("n-arm", "a", 8, 1<<15)
	arm.Archs = []string{archARM}
	nodes := []NodeInfo{dead, other, arm, host("n-1", "a", 4, 4096), host("n-2", "a", 4, 8192), host("n-3", "b", 4, 16384)}
	used := map[fsm.NodeID]fsm.NodeUse{"n-3": {VCPUs: 1, Memory: 1024}}
	for _, x := range []struct {
		name string
		want demand
		n    int
		on   []fsm.NodeID
	}{
		{"the roomiest first", demand{1, 1024, archX86, []string{"a", "b"}}, 1, []fsm.NodeID{"n-3"}},
		{"the zone is honoured", demand{1, 1024, archX86, []string{"a"}}, 1, []fsm.NodeID{"n-2"}},
		{"spreading, until all is given", demand{2, 4096, archX86, []string{"a"}}, 9, []fsm.NodeID{"n-2", "n-1", "n-2"}},
		{"as many vCPUs as there are", demand{4, 512, archX86, []string{"b"}}, 1, nil},
		{"the architecture", demand{1, 512, archARM, []string{"a", "b"}}, 1, []fsm.NodeID{"n-arm"}},
		{"no such zone", demand{1, 512, archX86, []string{"c"}}, 1, nil},
	} {
		var got []fsm.NodeID
		for _, n := range place(nodes, func(id fsm.NodeID) fsm.NodeUse { return used[id] }, x.want, x.n) {
			got = append(got, n.ID)
		}
		if !slices.Equal(got, x.on) {
			t.Errorf("%s: %v, want %v", x.name, got, x.on)
		}
	}
}

func TestCopiesOfALogLieOnItsNodeAndSpread(t *testing.T) {
	var nodes []NodeInfo
	for i := range 6 {
		nodes = append(nodes, host(fmt.Sprintf("n-%d", i), "a", 1, 1))
	}
	nodes[5].Alive, nodes[4].Caps = false, []string{CapEC2}
	count := map[fsm.NodeID]int{}
	for i := range 300 {
		got := logNodes(nodes, fsm.VolumeID(fmt.Sprintf("vol-%d", i)), "n-1", 3)
		if len(got) != 3 || got[0] != "n-1" || slices.Contains(got, "n-4") || slices.Contains(got, "n-5") {
			t.Fatalf("copies on %v", got)
		}
		count[got[1]]++
		count[got[2]]++
	}
	for _, id := range []fsm.NodeID{"n-0", "n-2", "n-3"} {
		if count[id] < 140 || count[id] > 260 {
			t.Errorf("%s has %d of 600 copies", id, count[id])
		}
	}
	if got := logNodes(nodes, "vol-x", "n-1", 5); len(got) != 5 || got[4] != "n-5" {
		t.Errorf("a dead node is the last choice: %v", got)
	}
}

func TestAddressesSkipWhatIsReservedAndTaken(t *testing.T) {
	cidr := netip.MustParsePrefix("10.0.0.0/28") // .4 to .14
	taken := func(a string) bool { return a == "10.0.0.5" }
	got := freeAddresses(cidr, taken, 9, 99)
	want := []string{
		"10.0.0.13", "10.0.0.14", "10.0.0.4", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.12",
	}
	if !slices.Equal(got, want) {
		t.Errorf("free: %v", got)
	}
	if got := freeAddresses(netip.MustParsePrefix("10.0.0.0/31"), taken, 0, 1); got != nil {
		t.Errorf("a range of two has %v", got)
	}
}
