package raftnode

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hive/fsm"
)

// group reads "VvNn": a voter, a dead voter, a nonvoter, a dead nonvoter; named n-1, n-2, …
func groupOf(spec string) []Member {
	var out []Member
	for i, c := range spec {
		m := Member{Node: fsm.NodeID(fmt.Sprintf("n-%d", i+1)), Suffrage: Nonvoter, Alive: strings.ContainsRune("VN", c)}
		if strings.ContainsRune("Vv", c) {
			m.Suffrage = Voter
		}
		out = append(out, m)
	}
	return out
}

func TestChangesThatLoseQuorumAreRefused(t *testing.T) {
	for _, c := range []struct {
		group string
		op    Op
		node  fsm.NodeID
		want  error
		spare int
	}{
		{"V", OpRemove, "n-1", ErrQuorum, 0},
		{"V", OpDemote, "n-1", ErrQuorum, 0},
		{"VN", OpDemote, "n-1", ErrQuorum, 0},
		{"V", OpAddNonvoter, "n-2", nil, 0},
		{"V", OpAddVoter, "n-2", nil, 0},
		{"Vn", OpAddVoter, "n-2", ErrQuorum, 0},
		{"VV", OpRemove, "n-2", nil, 0},
		{"Vv", OpRemove, "n-2", ErrQuorum, 0}, // not even that can be agreed upon
		{"VVV", OpRemove, "n-3", nil, 0},
		{"VVv", OpRemove, "n-3", nil, 0},
		{"VVv", OpRemove, "n-2", ErrQuorum, 0}, // the living one
		{"VVv", OpDemote, "n-1", ErrQuorum, 0},
		{"VVv", OpAddVoter, "n-4", nil, 0},
		{"VVvn", OpAddVoter, "n-4", ErrQuorum, 0},
		{"VVVN", OpAddVoter, "n-4", nil, 1},
		{"VVVNN", OpAddVoter, "n-5", nil, 1},
		{"VVVV", OpRemove, "n-4", nil, 1},
		{"VVVVV", OpRemove, "n-5", nil, 1},
		{"VVVvv", OpRemove, "n-1", ErrQuorum, 0},
		{"VVVvv", OpRemove, "n-5", nil, 0},
		{"VVV", OpRemove, "n-9", ErrNotMember, 0},
		{"VVV", OpDemote, "n-9", ErrNotMember, 0},
		{"Vvv", OpAddNonvoter, "n-4", ErrQuorum, 0},
	} {
		effect, err := CheckChange(groupOf(c.group), Change{Op: c.op, Node: c.node})
		if !errors.Is(err, c.want) || err == nil && effect.SpareAfter != c.spare {
			t.Errorf("%s, %s %s: %v, %v", c.group, c.op, c.node, effect, err)
		}
	}
	if _, err := CheckChange(groupOf("VVV"), Change{Op: "rename", Node: "n-1"}); err == nil {
		t.Error("a change that is none was taken")
	}
}

func TestNoPermittedChangeLeavesTheGroupWithoutALivingMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := groupOf(rapid.StringMatching("[VvNn]{1,9}").Draw(t, "group"))
		c := Change{
			Op:   rapid.SampledFrom([]Op{OpAddNonvoter, OpAddVoter, OpDemote, OpRemove}).Draw(t, "op"),
			Node: fsm.NodeID(fmt.Sprintf("n-%d", rapid.IntRange(1, 10).Draw(t, "node"))),
		}
		effect, err := CheckChange(members, c)
		if err != nil {
			return
		}
		after, err := apply(members, c)
		if err != nil {
			t.Fatal(err)
		}
		voters, alive := count(after)
		if voters == 0 || alive*2 <= voters {
			t.Fatalf("%v leaves %d of %d voters alive", c, alive, voters)
		}
		if d := effect.VotersAfter - effect.VotersBefore; d < -1 || d > 1 {
			t.Fatalf("%v changes %d voters at once", c, d)
		}
	})
}
