package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hive/fsm"
)

// watch does what the records ask of this node, until ctx ends.
func (m *Manager) watch(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Tick)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := m.cfg.Control.Changed()
		if err := m.look(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("volumes could not be looked after; it will be tried again", "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-changed:
			select { // many changes are looked at together
			case <-time.After(min(lookPause, m.cfg.Tick)):
			case <-ctx.Done():
			}
		}
	}
}

// lookPause is how long after a change the records are looked at: looking goes over all volumes.
const lookPause = 50 * time.Millisecond

// work is one thing that the records ask for.
type work struct {
	name string // no two of a name run at once
	do   func(context.Context) error
}

// look starts what is to be done and is not under way.
func (m *Manager) look(ctx context.Context) error {
	var todo []work
	logs, err := m.logs.Volumes()
	if err != nil {
		return err
	}
	err = m.cfg.Control.View(func(v *fsm.View) error {
		for _, o := range m.opened() {
			if x, ok := fsm.Volumes.Get(v, o.v.id); !ok || x.Generation != o.v.generation || o.v.failed.Load() {
				todo = append(todo, work{"close " + string(o.v.id), func(ctx context.Context) error { return m.abandon(ctx, o) }})
			}
		}
		todo = append(todo, m.settling(v)...)
		todo = append(todo, m.freezing(v)...)
		for _, id := range logs {
			if !fsm.Volumes.Has(v, id) {
				todo = append(todo, work{"log " + string(id), func(ctx context.Context) error { return m.removeLog(ctx, id) }})
			}
		}
		m.forgetLocks(func(id fsm.VolumeID) bool { return !fsm.Volumes.Has(v, id) })
		return nil
	})
	for _, w := range todo {
		m.start(ctx, w)
	}
	return err
}

// start does work in the background, unless work of that name is under way.
func (m *Manager) start(ctx context.Context, w work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[w.name] || m.ended {
		return
	}
	m.busy[w.name] = true
	m.work.Go(func() {
		if err := w.do(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("work on a volume failed; it will be tried again", "work", w.name, "cause", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.busy, w.name)
	})
}

// abandon closes a volume that has another owner, is gone, or has failed.
func (m *Manager) abandon(ctx context.Context, o *opened) error {
	unlock, err := m.lock(ctx, o.v.id)
	if err != nil {
		return err
	}
	defer unlock()
	if m.find(o.v.id) != o {
		return nil
	}
	o.v.fail(ErrNotOwner)
	m.shut(o)
	return nil
}

// settling are the volumes out of service whose log is not in their map, for which it is this node's turn.
func (m *Manager) settling(v *fsm.View) (out []work) {
	for _, x := range fsm.Volumes.Scan(v, "") {
		if !x.Dirty || m.find(x.ID) != nil || fsm.VolumeInService(v, x) || m.settler(x) != m.cfg.Node {
			continue
		}
		out = append(out, work{"settle " + string(x.ID), func(ctx context.Context) error { return m.settleVolume(ctx, x) }})
	}
	return out
}

// settler is the node that is to settle a volume: its owner, or the first of the others with a copy that is alive.
func (m *Manager) settler(x fsm.Volume) fsm.NodeID {
	if m.cfg.Alive(x.Owner) {
		return x.Owner
	}
	if i := slices.IndexFunc(x.Replicas, m.cfg.Alive); i >= 0 {
		return x.Replicas[i]
	}
	return ""
}

// settleVolume opens a volume to bring its log into its map and to give it up.
func (m *Manager) settleVolume(ctx context.Context, x fsm.Volume) error {
	unlock, err := m.lock(ctx, x.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if m.find(x.ID) != nil {
		return nil
	}
	if x.Owner != m.cfg.Node {
		if err := m.take(ctx, x); err != nil {
			if errors.Is(err, fsm.ErrConflict) || errors.Is(err, fsm.ErrInUse) {
				return nil // somebody else was faster
			}
			return err
		}
		x.Generation++
	}
	o, err := m.acquire(ctx, x.ID, x.Generation)
	if errors.Is(err, ErrNotOwner) || errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, id := range m.pendingOf(x.ID) {
		if err := o.v.freeze(ctx, id); err != nil {
			return err
		}
	}
	m.leave(o)
	return nil
}

// pendingOf are the snapshots of a volume whose content is to be frozen.
func (m *Manager) pendingOf(id fsm.VolumeID) (out []fsm.SnapshotID) {
	err := m.cfg.Control.View(func(v *fsm.View) error {
		for _, s := range fsm.Snapshots.Scan(v, "") {
			if s.Volume == id && s.State == fsm.SnapshotPending && !s.Direct {
				out = append(out, s.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil // the state is being closed: so are we
	}
	return out
}

// freezing are the pending snapshots that this node has to freeze or complete.
func (m *Manager) freezing(v *fsm.View) (out []work) {
	for _, s := range fsm.Snapshots.Scan(v, "") {
		if s.State != fsm.SnapshotPending || s.Direct {
			continue
		}
		x, there := fsm.Volumes.Get(v, s.Volume)
		o := m.find(s.Volume)
		switch {
		case !there || !x.Dirty:
			if m.cfg.Leader() {
				found := subject{Snapshot: s, volume: x, there: there}
				out = append(out, work{"complete " + string(s.ID), func(ctx context.Context) error { return m.completeAtRest(ctx, found) }})
			}
		case o != nil && o.v.generation == x.Generation && !o.v.failed.Load() && !slices.Contains(o.v.marks(), s.ID):
			out = append(out, work{"freeze " + string(s.ID), func(ctx context.Context) error { return m.freezeHere(ctx, o, s.ID) }})
		}
	}
	return out
}

// freezeHere freezes a snapshot of an open volume, unless it has been completed since.
func (m *Manager) freezeHere(ctx context.Context, o *opened, id fsm.SnapshotID) error {
	if pending, err := isPending(m.cfg.Control, id); err != nil || !pending {
		return err
	}
	if err := o.v.freeze(ctx, id); err != nil && !o.v.failed.Load() {
		return err
	}
	return nil
}

// removeLog removes the copy of a volume's log once the volume is known to be gone.
func (m *Manager) removeLog(ctx context.Context, id fsm.VolumeID) error {
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if m.find(id) != nil {
		return nil // it is closed first
	}
	if _, err := m.record(ctx, id); !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := m.logs.Remove(id); err != nil {
		return fmt.Errorf("remove the log of %s: %w", id, err)
	}
	m.cfg.Log.Info("log of a volume that is gone is removed", "volume", id)
	return nil
}
