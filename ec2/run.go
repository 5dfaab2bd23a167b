package ec2

import (
	"context"
	"errors"
	"slices"
	"time"

	"hive/fsm"
)

const (
	forgetAfter = time.Hour      // how long a terminated instance is still told of, as in EC2
	tokenLife   = 24 * time.Hour // how long a client token is kept
	tick        = 10 * time.Second
	breath      = 100 * time.Millisecond // between two looks, however fast the state changes
	pruneMost   = 500                    // records that one command removes
)

// Run keeps what no request does: on the leader of the control group it gives accounts their default network, ends what
// lost nodes cannot end, and forgets what is over. On every node it carries out that node's imports. It returns when
// ctx ends.
func (s *Service) Run(ctx context.Context) error {
	imports := make(chan struct{})
	go func() {
		defer close(imports)
		s.runImports(ctx)
	}()
	defer func() { <-imports }()
	lost := map[fsm.NodeID]time.Time{} // dead nodes, and when that was first seen
	builders := builderWatch{seen: map[fsm.SnapshotID]sight{}}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		changed := s.cfg.Control.Changed()
		if s.cfg.Leader() {
			if err := errors.Join(s.control(ctx, lost), s.watchBuilders(ctx, &builders)); err != nil && ctx.Err() == nil {
				s.cfg.Log.ErrorContext(ctx, "EC2's controller failed; it tries again", "err", err)
			}
		} else {
			clear(lost)
			clear(builders.seen)
		}
		pause.Reset(breath)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
		}
	}
}

// control does all that is to be done now.
func (s *Service) control(ctx context.Context, lost map[fsm.NodeID]time.Time) error {
	s.noteLost(lost)
	var bare []fsm.AccountID
	var cmds []fsm.Command
	err := s.cfg.Control.View(func(v *fsm.View) error {
		bare = withoutNetwork(v)
		cmds = append(s.endings(v, lost), s.prunings(v)...)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range bare {
		err = errors.Join(err, s.ensureDefaultVPC(ctx, id))
	}
	for _, cmd := range cmds {
		// A conflict is a decision that was overtaken: the change that did it wakes Run, which looks again.
		if e := s.cfg.Control.Propose(ctx, cmd); !errors.Is(e, fsm.ErrConflict) && !errors.Is(e, fsm.ErrInvalid) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// withoutNetwork are the accounts that lack a default VPC, or a default subnet in a zone.
func withoutNetwork(v *fsm.View) []fsm.AccountID {
	zones, have := zonesOf(v), map[string]bool{} // VPC and zone
	for _, x := range fsm.Subnets.Scan(v, "") {
		if x.Default {
			have[fsm.Key(string(x.VPC), x.Zone)] = true
		}
	}
	var out []fsm.AccountID
	for _, a := range fsm.Accounts(v, "") {
		vpc, ok := fsm.DefaultVPC(v, a.ID)
		if !ok || slices.ContainsFunc(zones, func(zone string) bool { return !have[fsm.Key(string(vpc.ID), zone)] }) {
			out = append(out, a.ID)
		}
	}
	return out
}

// noteLost keeps since when members are dead, or not heard of.
func (s *Service) noteLost(lost map[fsm.NodeID]time.Time) {
	alive := map[fsm.NodeID]bool{}
	for _, n := range s.cfg.Nodes() {
		alive[n.ID] = n.Alive
	}
	err := s.cfg.Control.View(func(v *fsm.View) error {
		for id := range fsm.Members.Scan(v, "") {
			if alive[id] {
				delete(lost, id)
			} else if _, ok := lost[id]; !ok {
				lost[id] = s.cfg.Clock()
			}
		}
		return nil
	})
	if err != nil {
		s.cfg.Log.Error("members cannot be looked up", "err", err)
	}
}

// endings end what was asked to end, or to begin, on nodes that are lost: the node cannot say how it went. It is safe: the
// volumes' next owner has a higher generation, and a node that comes back kills what it should not have.
func (s *Service) endings(v *fsm.View, lost map[fsm.NodeID]time.Time) []fsm.Command {
	gone := func(node fsm.NodeID) bool {
		since, dead := lost[node]
		return dead && s.cfg.Clock().Sub(since) >= s.cfg.NodeLostAfter || !dead && !fsm.Members.Has(v, node)
	}
	failed := &fsm.Reason{Code: "Server.InternalError", Message: "Server.InternalError: the host was lost before the instance started"}
	var out []fsm.Command
	for _, i := range fsm.Instances.Scan(v, "") {
		if !i.Runs() || !gone(i.Node) {
			continue
		}
		end := &fsm.ObserveInstance{ID: i.ID, Boot: i.Boot, Now: s.now()}
		switch {
		case i.State == fsm.InstanceStopping:
			end.State = fsm.InstanceStopped
		case i.State == fsm.InstanceShuttingDown:
			end.State = fsm.InstanceTerminated
		case i.State == fsm.InstancePending && i.Boot == 1:
			end.State, end.Reason = fsm.InstanceTerminated, failed
		case i.State == fsm.InstancePending: // it ran before: its volumes stay
			end.State, end.Reason = fsm.InstanceStopped, failed
		}
		if end.State != "" {
			out = append(out, end)
			continue
		}
		for _, x := range fsm.VolumesOf(v, i.ID) {
			if x.Attachment.State == fsm.Detaching {
				out = append(out, &fsm.SetVolumeDetached{ID: x.ID, Generation: x.Generation})
			}
		}
	}
	return out
}

// prunings forget terminated instances and old client tokens.
func (s *Service) prunings(v *fsm.View) []fsm.Command {
	var out []fsm.Command
	forget := &fsm.ForgetInstances{Before: s.cfg.Clock().Add(-forgetAfter).UnixMilli()}
	for _, i := range fsm.Instances.Scan(v, "") {
		if i.State == fsm.InstanceTerminated && i.Changed < forget.Before && len(forget.IDs) < pruneMost {
			forget.IDs = append(forget.IDs, i.ID)
		}
	}
	if len(forget.IDs) > 0 {
		out = append(out, forget)
	}
	prune := &fsm.PruneClientTokens{Before: s.cfg.Clock().Add(-tokenLife).UnixMilli()}
	for key, t := range fsm.ClientTokens(v) {
		if t.Created < prune.Before && len(prune.Keys) < pruneMost {
			prune.Keys = append(prune.Keys, key)
		}
	}
	if len(prune.Keys) > 0 {
		out = append(out, prune)
	}
	return out
}
