package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"hive/fsm"
)

// RaftGroup is what membership needs of one Raft group.
type RaftGroup interface {
	IsLeader() bool
	Servers() ([]Server, error)
	// Step makes one change of the configuration and returns once it is committed.
	Step(ctx context.Context, s Step) error
	// Lag is how many entries a server is behind the leader's commit index.
	Lag(ctx context.Context, node fsm.NodeID) (uint64, error)
}

// Reconciler keeps one group's configuration in step with the cluster's members. It runs on
// every node and acts where the group's leader is.
type Reconciler struct {
	ID      fsm.GroupID
	Raft    RaftGroup
	Control Group
	Alive   func(fsm.NodeID) bool
	Log     *slog.Logger
}

const (
	reconcileEvery = 250 * time.Millisecond
	// reconcileIdle is the period while nothing is to be done.
	reconcileIdle = 2 * time.Second
	stepTimeout   = 10 * time.Second
	// caughtUpLag is how near to the commit index a non-voter must be to become a voter.
	caughtUpLag = 64
)

// Run reconciles until ctx ends. A step that fails is tried again.
func (r *Reconciler) Run(ctx context.Context) error {
	for {
		wait := reconcileIdle
		changed := r.Control.Changed()
		if r.Raft.IsLeader() {
			did, err := r.step(ctx)
			if err != nil && ctx.Err() == nil {
				r.Log.Warn("membership step failed and will be tried again", "group", r.ID, "err", err)
			}
			if did || err != nil {
				wait = reconcileEvery
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
			// A burst of entries is looked at once.
			select {
			case <-timer.C:
			case <-time.After(reconcileEvery):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (r *Reconciler) step(ctx context.Context) (did bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	// Members must not be an older list than the one that others were told of.
	if err := r.Control.ReadIndex(ctx); err != nil {
		return false, err
	}
	servers, err := r.Raft.Servers()
	if err != nil {
		return false, err
	}
	seats, err := r.seats()
	if err != nil || len(seats) == 0 {
		return false, err
	}
	step, ok := NextStep(servers, seats, func(n fsm.NodeID) bool {
		lag, err := r.Raft.Lag(ctx, n)
		return err == nil && lag <= caughtUpLag
	})
	if !ok {
		return false, nil
	}
	r.Log.Info("membership", "group", r.ID, "step", step.Action, "node", step.Node)
	if err := r.Raft.Step(ctx, step); err != nil {
		return false, fmt.Errorf("%s %s: %w", step.Action, step.Node, err)
	}
	return true, nil
}

func (r *Reconciler) seats() ([]Seat, error) {
	var out []Seat
	err := r.Control.View(func(v *fsm.View) error {
		for _, m := range membersOf(v) {
			out = append(out, Seat{Node: m.ID, Zone: m.Zone, Suffrage: m.Suffrage, Alive: r.Alive(m.ID)})
		}
		return nil
	})
	return out, err
}
