package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"hive/fsm"
)

// MaxVoters is how many voters a group has at most, but for those that an operator fixed.
const MaxVoters = 5

// Server is a member of a Raft group as its configuration lists it.
type Server struct {
	Node  fsm.NodeID
	Voter bool
}

// Seat is a member with what decides whether it votes.
type Seat struct {
	Node     fsm.NodeID
	Zone     string
	Suffrage string // as the operator fixed it; see fsm.SuffrageAuto
	Alive    bool
	Votes    bool // is a voter now
}

// WantedVoters chooses the voters of a group: those that the operator fixed; then present voters
// that are alive; then others that are alive, from zones with the fewest voters first; then
// present voters that are dead, as long as places are left, for nobody better is there. A dead
// voter so gives way only to a member that is alive.
func WantedVoters(seats []Seat) map[fsm.NodeID]bool {
	wanted := map[fsm.NodeID]bool{}
	zones := map[string]int{}
	take := func(s Seat) {
		wanted[s.Node] = true
		zones[s.Zone]++
	}
	for _, s := range seats {
		if s.Suffrage == fsm.SuffrageVoter {
			take(s)
		}
	}
	for len(wanted) < MaxVoters {
		rest := slices.DeleteFunc(slices.Clone(seats), func(s Seat) bool {
			return wanted[s.Node] || s.Suffrage != fsm.SuffrageAuto || (!s.Alive && !s.Votes)
		})
		if len(rest) == 0 {
			break
		}
		take(slices.MinFunc(rest, func(a, b Seat) int {
			return cmp.Or(rank(a)-rank(b), zones[a.Zone]-zones[b.Zone], cmp.Compare(a.Node, b.Node))
		}))
	}
	return wanted
}

func rank(s Seat) int {
	switch {
	case s.Alive && s.Votes:
		return 0
	case s.Alive:
		return 1
	default:
		return 2
	}
}

// Step is one change of a group's configuration.
type Step struct {
	Action string // AddNonvoter, AddVoter, DemoteVoter, RemoveServer
	Node   fsm.NodeID
}

// Actions of a Step, as Raft names them.
const (
	AddNonvoter  = "AddNonvoter"
	AddVoter     = "AddVoter"
	DemoteVoter  = "DemoteVoter"
	RemoveServer = "RemoveServer"
)

// NextStep is the next change that brings a group's configuration towards its members, one at a
// time, in an order in which quorum is never smaller than it must be: new members come in as
// non-voters, voters are added before others are demoted, and nobody is demoted or removed while
// quorum would be lost by it. CaughtUp tells whether a non-voter has the log.
func NextStep(servers []Server, seats []Seat, caughtUp func(fsm.NodeID) bool) (Step, bool) {
	have := map[fsm.NodeID]Server{}
	for _, s := range servers {
		have[s.Node] = s
	}
	seats = slices.Clone(seats)
	member := map[fsm.NodeID]Seat{}
	for i := range seats {
		seats[i].Votes = have[seats[i].Node].Voter
		member[seats[i].Node] = seats[i]
	}
	wanted := WantedVoters(seats)
	for _, s := range seats {
		if _, in := have[s.Node]; !in && s.Suffrage != fsm.SuffrageNone {
			return Step{AddNonvoter, s.Node}, true
		}
	}
	for _, s := range seats {
		if wanted[s.Node] && !s.Votes && s.Alive && caughtUp(s.Node) {
			return Step{AddVoter, s.Node}, true
		}
	}
	for _, s := range servers {
		seat, isMember := member[s.Node]
		gone := !isMember || seat.Suffrage == fsm.SuffrageNone
		switch {
		case s.Voter && (gone || !wanted[s.Node]):
			if keepsQuorum(servers, s.Node, member) {
				return Step{DemoteVoter, s.Node}, true
			}
		case gone:
			return Step{RemoveServer, s.Node}, true
		}
	}
	return Step{}, false
}

// keepsQuorum tells whether the voters without one of them still have a live majority.
func keepsQuorum(servers []Server, without fsm.NodeID, members map[fsm.NodeID]Seat) bool {
	voters, alive := 0, 0
	for _, s := range servers {
		if !s.Voter || s.Node == without {
			continue
		}
		voters++
		if members[s.Node].Alive {
			alive++
		}
	}
	return voters > 0 && alive >= voters/2+1
}

// Forecast says in plain words what a change to one group would do to its quorum, and why it must
// be refused, if so.
func Forecast(group fsm.GroupID, servers []Server, alive func(fsm.NodeID) bool, node fsm.NodeID, votes bool) (line, refused string) {
	after := slices.Clone(servers)
	i := slices.IndexFunc(after, func(s Server) bool { return s.Node == node })
	if i < 0 {
		after = append(after, Server{Node: node})
		i = len(after) - 1
	}
	after[i].Voter = votes
	v0, a0 := count(servers, alive)
	v1, a1 := count(after, alive)
	line = fmt.Sprintf("%s: %d voters (%d alive, quorum %d) -> %d voters (%d alive, quorum %d); then %s",
		group, v0, a0, v0/2+1, v1, a1, v1/2+1, tolerance(v1, a1))
	switch {
	case v1 == 0:
		refused = fmt.Sprintf("%s is the last voter of %s: the group would end", node, group)
	case a1 < v1/2+1:
		refused = fmt.Sprintf("%s would lose its quorum: %d of %d voters would be alive and %d are needed; bring a node back first", group, a1, v1, v1/2+1)
	}
	return line, refused
}

func count(servers []Server, alive func(fsm.NodeID) bool) (voters, live int) {
	for _, s := range servers {
		if s.Voter {
			voters++
			if alive(s.Node) {
				live++
			}
		}
	}
	return voters, live
}

func tolerance(voters, alive int) string {
	spare := alive - (voters/2 + 1)
	switch {
	case spare < 0:
		return "quorum is lost"
	case spare == 0:
		return "no further node may fail"
	case spare == 1:
		return "one more node may fail"
	default:
		return fmt.Sprintf("%d more nodes may fail", spare)
	}
}
