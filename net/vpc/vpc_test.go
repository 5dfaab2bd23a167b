package vpc_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
	"hive/net/nettest"
	"hive/net/vpc"
)

var update = flag.Bool("update", false, "write the golden files")

var underlay = map[fsm.NodeID]vpc.Underlay{
	"n1": {IP: netip.MustParseAddr("10.0.0.1"), Port: 4789, MTU: 1500},
	"n2": {IP: netip.MustParseAddr("10.0.0.2"), Port: 4790, MTU: 1400},
}

func guests() []nettest.Guest {
	return []nettest.Guest{
		{Account: 1, Node: "n1", Address: "172.31.0.5", Number: 1},
		{Account: 1, Node: "n1", Address: "172.31.16.9", Number: 2},
		{Account: 1, Node: "n2", Address: "172.31.0.6", Number: 3},
		{Account: 1, Node: "n2", Address: "172.31.0.7", Number: 4},
		{Account: 1, Node: "n3", Address: "172.31.0.8", Number: 5}, // whose address is not known
		{Account: 2, Node: "n2", Address: "172.31.0.5", Number: 6},
		{Account: 3, Node: "n1", Address: "172.31.0.10", Number: 7},
	}
}

func world(t *testing.T, guests []nettest.Guest) *nettest.World {
	t.Helper()
	w := nettest.New(t, "n1", "n2", "n3")
	for n := 1; n <= 3; n++ {
		w.Account(n)
	}
	for _, g := range guests {
		w.Launch(g)
	}
	return w
}

func wanted(t *testing.T, w *nettest.World, node fsm.NodeID, underlay map[fsm.NodeID]vpc.Underlay) string {
	t.Helper()
	var s vpc.State
	if err := w.View(func(v *fsm.View) error { s = vpc.Wanted(v, node, underlay); return nil }); err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

func TestEachNodeHasTheSpacesOfItsInstances(t *testing.T) {
	w := world(t, guests())
	for _, node := range []fsm.NodeID{"n1", "n2"} {
		golden(t, string(node), wanted(t, w, node, underlay))
	}
	golden(t, "idle", wanted(t, w, "n4", underlay))
	golden(t, "no-underlay", wanted(t, w, "n1", nil))
}

func TestTheOrderInWhichInstancesCameDoesNotMatter(t *testing.T) {
	want := wanted(t, world(t, guests()), "n1", underlay)
	turned := guests()
	slices.Reverse(turned)
	if got := wanted(t, world(t, turned), "n1", underlay); got != want {
		t.Errorf("in the other order:\n%s\nwant\n%s", got, want)
	}
}

func TestAnInstanceThatDoesNotRunHasANameAndNoPort(t *testing.T) {
	w := world(t, guests())
	stop := &fsm.StopInstance{ID: guests()[1].ID(), Account: "000000000001"}
	gone := &fsm.ObserveInstance{ID: stop.ID, Boot: 1, State: fsm.InstanceStopped}
	for _, cmd := range []fsm.Command{stop, gone} {
		if err := w.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	got := wanted(t, w, "n1", underlay)
	if strings.Contains(got, "tap000000000002") || strings.Contains(got, "route 172.31.16.9") {
		t.Errorf("a stopped instance has a port:\n%s", got)
	}
	if !strings.Contains(got, "name ip-172-31-16-9."+nettest.Region+".compute.internal 172.31.16.9") {
		t.Errorf("a stopped instance has no name:\n%s", got)
	}
}

func TestTheDomainIsAsInAWS(t *testing.T) {
	for region, want := range map[string]string{"us-east-1": "ec2.internal", "eu-west-3": "eu-west-3.compute.internal"} {
		if got := vpc.Domain(region); got != want {
			t.Errorf("%s: %s, want %s", region, got, want)
		}
	}
}
