package ebs

import (
	"context"
	"errors"
	"fmt"

	"hive/fsm"
)

// subject is a snapshot and the volume that it is of, as one view has them.
type subject struct {
	fsm.Snapshot
	volume    fsm.Volume
	there     bool // the volume is
	inService bool
}

// subject looks a snapshot up; it sees every write acknowledged before the call.
func (m *Manager) subject(ctx context.Context, id fsm.SnapshotID) (subject, error) {
	var out subject
	if !validID(string(id), "snap-") {
		return out, fmt.Errorf("snapshot %q: %w", id, ErrInvalid)
	}
	if err := m.cfg.Control.ReadIndex(ctx); err != nil {
		return out, err
	}
	err := m.cfg.Control.View(func(v *fsm.View) error {
		var ok bool
		if out.Snapshot, ok = fsm.Snapshots.Get(v, id); !ok {
			return fmt.Errorf("snapshot %s: %w", id, ErrNotFound)
		}
		if out.volume, out.there = fsm.Volumes.Get(v, out.Volume); out.there {
			out.inService = fsm.VolumeInService(v, out.volume)
		}
		return nil
	})
	return out, err
}

// tries is how often a request looks again for the owner of a volume.
const tries = 4

// withOwner runs local where the volume of a snapshot is open under its current generation, or asks the owner's node. A
// volume that no living node serves is taken over, where that is allowed.
func (m *Manager) withOwner(ctx context.Context, id fsm.SnapshotID, local func(*opened) error, remote func(fsm.NodeID) error) (err error) {
	for range tries {
		s, failed := m.subject(ctx, id)
		switch {
		case failed != nil:
			return failed
		case s.State != fsm.SnapshotPending || !s.there || s.volume.Owner == "":
			return fmt.Errorf("snapshot %s is %s: %w", id, s.State, ErrState)
		case s.volume.Owner == m.cfg.Node:
			err = m.whenOpen(ctx, s.volume, local)
		case m.cfg.Alive(s.volume.Owner):
			err = remote(s.volume.Owner)
		case !s.inService || s.Direct:
			err = m.take(ctx, s.volume)
			if err == nil {
				err = ErrNotOwner // until looked at again
			}
		default:
			return fmt.Errorf("node %s, which has volume %s, does not answer: %w", s.volume.Owner, s.volume.ID, ErrUnavailable)
		}
		if !errors.Is(err, ErrNotOwner) && !errors.Is(err, fsm.ErrConflict) {
			return err
		}
	}
	return err
}

// whenOpen runs fn with a volume that this node owns, open.
func (m *Manager) whenOpen(ctx context.Context, x fsm.Volume, fn func(*opened) error) error {
	o := m.find(x.ID)
	if o == nil || o.v.generation != x.Generation || o.v.failed.Load() {
		unlock, err := m.lock(ctx, x.ID)
		if err != nil {
			return err
		}
		o, err = m.acquire(ctx, x.ID, x.Generation)
		unlock()
		if err != nil {
			return err
		}
	}
	return fn(o)
}

// take makes this node the owner of a volume.
func (m *Manager) take(ctx context.Context, x fsm.Volume) error {
	m.cfg.Log.Info("taking a volume over", "volume", x.ID, "from", x.Owner, "generation", x.Generation+1)
	return m.cfg.Control.Propose(ctx, &fsm.TakeVolume{ID: x.ID, Generation: x.Generation, Node: m.cfg.Node})
}

// Freeze decides the content of a pending snapshot: at return it is all that was written to the volume before the call, and
// stays so whatever fails. The snapshot is completed later, by the volume's owner. ErrUnavailable when the owner does not
// answer and its instance has not been given up.
func (m *Manager) Freeze(ctx context.Context, id fsm.SnapshotID) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	s, err := m.subject(ctx, id)
	switch {
	case err != nil:
		return err
	case s.State == fsm.SnapshotCompleted:
		return nil
	case s.Direct || s.State != fsm.SnapshotPending:
		return fmt.Errorf("snapshot %s is %s: %w", id, s.State, ErrState)
	case !s.volume.Dirty:
		return m.completeAtRest(ctx, s)
	}
	err = m.withOwner(ctx, id, func(o *opened) error { return o.v.freeze(ctx, id) },
		func(node fsm.NodeID) error { return m.askFreeze(ctx, node, id) })
	if errors.Is(err, ErrState) { // it was given up, or completed, meanwhile
		if s, err = m.subject(ctx, id); err == nil && s.State == fsm.SnapshotPending && !s.volume.Dirty {
			err = m.completeAtRest(ctx, s)
		}
	}
	return err
}

// completeAtRest ends a snapshot of a volume whose map has everything.
func (m *Manager) completeAtRest(ctx context.Context, s subject) error {
	cmd := &fsm.CompleteSnapshot{ID: s.ID, Map: s.volume.Map, Generation: s.volume.Generation, Now: m.cfg.Clock().UnixMilli()}
	if !s.there {
		cmd.Error = "The volume is gone."
	}
	err := m.cfg.Control.Propose(ctx, cmd)
	if errors.Is(err, fsm.ErrConflict) {
		if pending, looked := isPending(m.cfg.Control, s.ID); looked == nil && !pending {
			return nil
		}
	}
	return err
}

// snapshotRoot is the map of a completed snapshot.
func (m *Manager) snapshotRoot(ctx context.Context, id fsm.SnapshotID, off, n int64) (*root, error) {
	s, err := m.subject(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.State != fsm.SnapshotCompleted {
		return nil, fmt.Errorf("snapshot %s is %s: %w", id, s.State, ErrState)
	}
	if size := s.Size << 30; off < 0 || n < 0 || off > size-n || (off|n)%sectorSize != 0 {
		return nil, fmt.Errorf("%d bytes at %d of %s, which has %d: %w", n, off, id, size, ErrInvalid)
	}
	return m.shared.content.snapshotRoot(ctx, s.Map.Root)
}

// ReadSnapshot reads a completed snapshot, from any node. Offset and length are multiples of 512.
func (m *Manager) ReadSnapshot(ctx context.Context, id fsm.SnapshotID, p []byte, off int64) error {
	r, err := m.snapshotRoot(ctx, id, off, int64(len(p)))
	if err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(len(p), fillMax)
		if err := m.shared.content.read(ctx, r, p[:n], off/sectorSize); err != nil {
			return fmt.Errorf("snapshot %s: %w", id, err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// SnapshotExtents tells which parts of a range of a completed snapshot have data and which are zeroes, in order and without
// a gap, until yield answers false.
func (m *Manager) SnapshotExtents(ctx context.Context, id fsm.SnapshotID, off, n int64, yield func(length int64, data bool) bool) error {
	r, err := m.snapshotRoot(ctx, id, off, n)
	if err != nil {
		return err
	}
	all := runs{yield: yield}
	if err := m.shared.content.extents(ctx, r, off/sectorSize, (off+n)/sectorSize, all.add); err != nil {
		return fmt.Errorf("snapshot %s: %w", id, err)
	}
	all.flush()
	return nil
}

// WriteBuilder writes into a pending snapshot that was begun with a builder, from any node. The bytes are on a majority of
// the log's copies at return. Offset and length are multiples of 512.
func (m *Manager) WriteBuilder(ctx context.Context, id fsm.SnapshotID, p []byte, off int64) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	return m.withOwner(ctx, id,
		func(o *opened) error {
			if o.v.builder != id {
				return fmt.Errorf("snapshot %s was not begun to be written: %w", id, ErrState)
			}
			return o.v.write(ctx, p, off, true)
		},
		func(node fsm.NodeID) error { return m.askWrite(ctx, node, id, p, off) })
}

// FinishBuilder completes a snapshot that was written with WriteBuilder. One that is completed already is passed over.
func (m *Manager) FinishBuilder(ctx context.Context, id fsm.SnapshotID) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	err := m.withOwner(ctx, id,
		func(o *opened) error { return m.finish(ctx, o, id) },
		func(node fsm.NodeID) error { return m.askFinish(ctx, node, id) })
	if err == nil {
		return nil
	}
	if s, looked := m.subject(ctx, id); looked == nil && s.State == fsm.SnapshotCompleted {
		return nil
	}
	return err
}

// finish freezes a builder and waits for its map.
func (m *Manager) finish(ctx context.Context, o *opened, id fsm.SnapshotID) error {
	if o.v.builder != id {
		return fmt.Errorf("snapshot %s was not begun to be written: %w", id, ErrState)
	}
	o.v.hurry.Store(true)
	if err := o.v.freeze(ctx, id); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = o.v.checkpoint(ctx); err != nil {
			return err
		}
		if pending, err := isPending(m.cfg.Control, id); err != nil || !pending {
			return err
		}
	}
	return nil
}
