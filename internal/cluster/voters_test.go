package cluster

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"hive/fsm"
)

func TestADeadVoterGivesWayOnlyToAMemberThatIsAlive(t *testing.T) {
	seats := []Seat{
		{Node: "a", Alive: true, Votes: true}, {Node: "b", Alive: true, Votes: true}, {Node: "c", Alive: true, Votes: true},
		{Node: "d", Alive: true, Votes: true}, {Node: "e", Votes: true},
	}
	if w := WantedVoters(seats); !w["e"] {
		t.Error("the dead voter was dropped with nobody to take its place")
	}
	if w := WantedVoters(append(seats, Seat{Node: "f", Alive: true})); w["e"] || !w["f"] {
		t.Errorf("voters %v: the live non-voter should replace the dead voter", w)
	}
}

func TestVotersAreSpreadOverZones(t *testing.T) {
	var seats []Seat
	for i := range 9 {
		seats = append(seats, Seat{Node: fsm.NodeID(fmt.Sprintf("n%d", i)), Zone: string(rune('a' + i/3)), Alive: true})
	}
	zones := map[string]int{}
	for _, s := range seats {
		if WantedVoters(seats)[s.Node] {
			zones[s.Zone]++
		}
	}
	if zones["a"] > 2 || zones["b"] > 2 || zones["c"] > 2 {
		t.Errorf("voters by zone: %v", zones)
	}
}

func TestForecastRefusesWhatLosesQuorum(t *testing.T) {
	servers := []Server{{"a", true}, {"b", true}, {"c", true}}
	alive := func(n fsm.NodeID) bool { return n != "c" }
	if _, refused := Forecast("control", servers, alive, "b", false); refused == "" {
		t.Error("demoting a live voter of two live of three was not refused")
	}
	if line, refused := Forecast("control", servers, alive, "c", false); refused != "" {
		t.Errorf("demoting the dead voter was refused: %s %s", line, refused)
	}
	if _, refused := Forecast("control", servers[:1], alive, "a", false); refused == "" {
		t.Error("demoting the last voter was not refused")
	}
}

// Whatever the members and their health: carrying out the steps ends, never loses a quorum that
// was there, and ends with every member in the group and nobody else.
func TestStepsKeepQuorumAndEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "nodes")
		var seats []Seat
		alive := map[fsm.NodeID]bool{}
		for i := range n {
			s := Seat{
				Node: fsm.NodeID(fmt.Sprintf("n%d", i)), Zone: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"),
				Alive:    rapid.Bool().Draw(t, "alive"),
				Suffrage: rapid.SampledFrom([]string{"", "", "", fsm.SuffrageVoter, fsm.SuffrageNonvoter, fsm.SuffrageNone}).Draw(t, "suffrage"),
			}
			alive[s.Node] = s.Alive
			seats = append(seats, s)
		}
		var servers []Server
		for i := range rapid.IntRange(1, n+1).Draw(t, "servers") { // the last may be no member
			servers = append(servers, Server{fsm.NodeID(fmt.Sprintf("n%d", i)), i == 0 || rapid.Bool().Draw(t, "votes")})
		}
		quorum := func() bool {
			voters, live := count(servers, func(n fsm.NodeID) bool { return alive[n] })
			return live >= voters/2+1
		}
		had := quorum()
		for range 50 {
			step, more := NextStep(servers, seats, func(fsm.NodeID) bool { return true })
			if !more {
				return
			}
			servers = applyStep(servers, step)
			if had && !quorum() {
				t.Fatalf("%v lost the quorum: %v", step, servers)
			}
		}
		t.Fatalf("the steps do not end: %v", servers)
	})
}

func applyStep(servers []Server, s Step) []Server {
	var out []Server
	for _, have := range servers {
		if have.Node != s.Node {
			out = append(out, have)
		}
	}
	if s.Action != RemoveServer {
		out = append(out, Server{s.Node, s.Action == AddVoter})
	}
	return out
}
