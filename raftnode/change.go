package raftnode

import (
	"fmt"

	"hive/fsm"
)

// Suffrage is a member's part in a group.
type Suffrage string

// Suffrages.
const (
	Voter    Suffrage = "voter"
	Nonvoter Suffrage = "nonvoter"
)

// Op is a kind of change.
type Op string

// Ops.
const (
	OpAddNonvoter Op = "add-nonvoter" // a new member, that only follows
	OpAddVoter    Op = "add-voter"    // a new voter, or a nonvoter promoted
	OpDemote      Op = "demote"       // a voter becomes a nonvoter
	OpRemove      Op = "remove"
)

// Change is a change of a group's membership.
type Change struct {
	Op   Op
	Node fsm.NodeID
	// At is the configuration index that the change was decided on (Configuration.Index); the change is refused
	// with ErrStale when it is another by then. 0 takes whatever is in force.
	At uint64
}

// Member is a server of a group, and whether it seems alive.
type Member struct {
	Node     fsm.NodeID
	Suffrage Suffrage
	Alive    bool
}

// Effect is what a change does to quorum.
type Effect struct {
	VotersBefore, VotersAfter int
	QuorumBefore, QuorumAfter int // how many voters must agree
	AliveBefore, AliveAfter   int // voters that seem alive
	// SpareBefore and SpareAfter are how many of the living voters may be lost with the group still able to
	// write; negative when it is not.
	SpareBefore, SpareAfter int
}

// String says the effect in a sentence.
func (e Effect) String() string {
	return fmt.Sprintf("voters %d -> %d, quorum %d -> %d, alive %d -> %d: the group can lose %d more (now %d)",
		e.VotersBefore, e.VotersAfter, e.QuorumBefore, e.QuorumAfter, e.AliveBefore, e.AliveAfter,
		max(e.SpareAfter, 0), max(e.SpareBefore, 0))
}

// CheckChange tells what a change does to quorum. It refuses with ErrQuorum what would leave fewer living
// voters than the new quorum, or no voter, and what could not be agreed upon now; with ErrNotMember what is
// about a node that is not in the group. The effect is filled in with either answer.
func CheckChange(members []Member, c Change) (Effect, error) {
	after, err := apply(members, c)
	if err != nil {
		return Effect{}, err
	}
	var e Effect
	e.VotersBefore, e.AliveBefore = count(members)
	e.VotersAfter, e.AliveAfter = count(after)
	e.QuorumBefore, e.QuorumAfter = e.VotersBefore/2+1, e.VotersAfter/2+1
	e.SpareBefore, e.SpareAfter = e.AliveBefore-e.QuorumBefore, e.AliveAfter-e.QuorumAfter
	switch {
	case e.VotersAfter == 0:
		return e, fmt.Errorf("%w: %s is the last voter", ErrQuorum, c.Node)
	case e.SpareBefore < 0:
		return e, fmt.Errorf("%w: %d of %d voters are alive, %d must agree to a change", ErrQuorum,
			e.AliveBefore, e.VotersBefore, e.QuorumBefore)
	case e.SpareAfter < 0:
		return e, fmt.Errorf("%w: %d of %d voters would be alive, of %d that must agree", ErrQuorum,
			e.AliveAfter, e.VotersAfter, e.QuorumAfter)
	}
	return e, nil
}

func count(members []Member) (voters, alive int) {
	for _, m := range members {
		if m.Suffrage == Voter {
			voters++
			if m.Alive {
				alive++
			}
		}
	}
	return voters, alive
}

// apply is the membership after a change.
func apply(members []Member, c Change) ([]Member, error) {
	out, found := make([]Member, 0, len(members)+1), false
	for _, m := range members {
		if m.Node != c.Node {
			out = append(out, m)
			continue
		}
		found = true
		switch c.Op {
		case OpAddVoter:
			m.Suffrage = Voter
		case OpDemote:
			m.Suffrage = Nonvoter
		case OpRemove:
			continue
		case OpAddNonvoter: // raft leaves a voter as it is
		}
		out = append(out, m)
	}
	switch c.Op {
	case OpAddVoter, OpAddNonvoter:
		if !found {
			m := Member{Node: c.Node, Suffrage: Nonvoter, Alive: true} // it asked to join
			if c.Op == OpAddVoter {
				m.Suffrage = Voter
			}
			out = append(out, m)
		}
	case OpDemote, OpRemove:
		if !found {
			return nil, fmt.Errorf("%w: %s", ErrNotMember, c.Node)
		}
	default:
		return nil, fmt.Errorf("%q is not a change of membership", c.Op)
	}
	return out, nil
}
