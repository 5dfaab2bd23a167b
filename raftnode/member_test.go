package raftnode

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hive/fsm"
)

func TestMembershipIsChangedThroughAnyNode(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 60*time.Second)
	follower := r.follower(ctx)
	r.start("n-4", filepath.Join(t.TempDir(), "n-4"), "boot")
	var progress []uint64
	if err := follower.AddNonvoter(ctx, "n-4"); err != nil {
		t.Fatal(err)
	}
	if err := follower.WaitCaughtUp(ctx, "n-4", func(have, want uint64) { progress = append(progress, want) }); err != nil {
		t.Fatal(err)
	}
	if err := follower.AddVoter(ctx, "n-4"); err != nil {
		t.Fatal(err)
	}
	four := r.nodes["n-4"]
	s := four.until(ctx, t, func(s Status) bool { return s.Voters == 4 })
	if s.Config == 0 || !slices.Contains(s.Servers, Server{"n-4", Voter}) {
		t.Errorf("%+v", s)
	}
	if err := four.Propose(ctx, set("b", 4)); err != nil {
		t.Fatal(err)
	}
	stale := Change{Op: OpDemote, Node: "n-4", At: s.Config - 1}
	if err := follower.Change(ctx, stale); !errors.Is(err, ErrStale) {
		t.Errorf("decided on another configuration: %v", err)
	}
	stale.At = s.Config
	if err := follower.Change(ctx, stale); err != nil {
		t.Errorf("decided on the present configuration: %v", err)
	}
	if err := nodes[1].RemoveServer(ctx, "n-4"); err != nil {
		t.Fatal(err)
	}
	if err := nodes[1].RemoveServer(ctx, "n-4"); !errors.Is(err, ErrNotMember) {
		t.Errorf("removed twice: %v", err)
	}
	r.stop(four)
	r.compare()
}

func TestChangeThatLosesQuorumIsRefusedByTheLeader(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.form(3)
	ctx := testContext(t, 60*time.Second)
	lead := r.leader(ctx)
	dead := r.follower(ctx)
	r.kill(dead)
	lead.until(ctx, t, func(s Status) bool { return slices.Contains(s.Unwell, dead.id) })
	alive := r.follower(ctx)
	for _, via := range []*member{lead, alive} {
		if err := via.RemoveServer(ctx, alive.id); !errors.Is(err, ErrQuorum) {
			t.Errorf("via %s: %v", via.id, err)
		}
	}
	if err := alive.RemoveServer(ctx, dead.id); err != nil {
		t.Errorf("the dead one: %v", err)
	}
	if err := alive.Propose(ctx, set("b", 1)); err != nil {
		t.Fatal(err)
	}
	r.compare()
}

func TestLeadershipIsTransferred(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.form(3)
	ctx := testContext(t, 60*time.Second)
	want := r.follower(ctx)
	if err := r.follower(ctx).TransferLeadership(ctx, want.id); err != nil {
		t.Fatal(err)
	}
	if got := r.leader(ctx); got != want {
		t.Errorf("%s leads, not %s", got.id, want.id)
	}
	if err := want.TransferLeadership(ctx, "n-9"); !errors.Is(err, ErrNotMember) {
		t.Errorf("to a stranger: %v", err)
	}
	if err := want.TransferLeadership(ctx, ""); err != nil {
		t.Fatal(err)
	}
	r.compare()
}

func TestProposalsGoOnWhileLeadershipMoves(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 60*time.Second)
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		for range 5 {
			if err := nodes[0].TransferLeadership(ctx, ""); err != nil {
				t.Errorf("transfer: %v", err)
			}
		}
	}()
	for i := 0; ; i++ {
		if err := nodes[i%3].Propose(ctx, set("b", uint64(i))); err != nil {
			t.Fatal(err)
		}
		select {
		case <-moved:
			r.compare()
			return
		default:
		}
	}
}

func TestLeaderThatIsRemovedGivesWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.form(3)
	ctx := testContext(t, 60*time.Second)
	old := r.leader(ctx)
	via := r.follower(ctx)
	if err := via.RemoveServer(ctx, old.id); err != nil && !errors.Is(err, ErrUnknownOutcome) {
		t.Fatal(err)
	}
	r.stop(old)
	if err := via.Propose(ctx, set("b", 1)); err != nil {
		t.Fatal(err)
	}
	conf, err := via.Configuration(ctx)
	if err != nil || len(conf.Servers) != 2 {
		t.Errorf("%+v, %v", conf, err)
	}
	r.compare()
}

func TestBootstrapIsRepeatable(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(2)
	ctx := testContext(t, 30*time.Second)
	for range 2 {
		if err := nodes[0].Bootstrap(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if conf, err := nodes[0].Configuration(ctx); err != nil || len(conf.Servers) != 2 {
		t.Errorf("%+v, %v", conf, err)
	}
	r.compare()
}

func TestStatusIsToldWithoutALeader(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.form(3)
	ctx := testContext(t, 30*time.Second)
	last := r.follower(ctx)
	for _, m := range r.others(last) {
		r.kill(m)
	}
	s := last.until(ctx, t, func(s Status) bool { return s.Leader == "" })
	if s.Voters != 3 || s.Node != last.id {
		t.Errorf("%+v", s)
	}
	if _, err := last.StatusOf(ctx, fsm.NodeID("n-9")); err == nil {
		t.Error("the status of a stranger")
	}
}
