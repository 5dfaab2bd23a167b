package ebs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/ebs/qlog"
	"hive/fsm"
)

const (
	// pagesAtOnce is how many pages of one volume a checkpoint makes at the same time.
	pagesAtOnce = 2
	// rowsAtOnce is how many rows of chunks one proposal has.
	rowsAtOnce = 256
	// compactBelow: a chunk of which less than one in this many sectors is still read is copied into new chunks.
	compactBelow = 4
)

// prepared is a map that is in the blob layer, with its rows recorded, and is now to become the volume's. It is kept until the
// control group has answered, so that a group without a leader costs no bytes to be written again.
type prepared struct {
	root   *root
	at     fsm.VolumeMap
	layers int // how many of the oldest layers it contains
	marks  []fsm.SnapshotID
}

// checkpoint brings the frozen layers up to the first snapshot among them, or all, into the volume's map, and cuts the log. It
// changes nothing before the control group has the new map; after an error it may be called again. more tells that
// there is something left.
func (v *volume) checkpoint(ctx context.Context) (more bool, err error) {
	v.checkpoints.Lock()
	defer v.checkpoints.Unlock()
	if err := v.failure(); err != nil {
		return false, err
	}
	if v.prepared == nil {
		layers := v.due()
		if len(layers) == 0 {
			return false, nil
		}
		if v.prepared, err = v.prepare(ctx, layers); err != nil {
			return true, fmt.Errorf("checkpoint of %s: %w", v.id, err)
		}
	}
	if err := v.publish(ctx, v.prepared); err != nil {
		return true, fmt.Errorf("checkpoint of %s: %w", v.id, err)
	}
	if v.builder != "" && slices.Contains(v.prepared.marks, v.builder) {
		v.fail(ErrClosed) // its snapshot is complete: the volume is gone
		return false, nil
	}
	v.install(v.prepared)
	v.prepared = nil
	if err := v.cut(ctx); err != nil { // the next checkpoint cuts again
		v.slog.Warn("log is not cut yet", "cause", err)
	}
	return v.pending(), nil
}

// due freezes the newest layer and is the layers of the next checkpoint, oldest first.
func (v *volume) due() []*layer {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rotateLocked()
	frozen := v.layers[:len(v.layers)-1]
	for i, l := range frozen {
		if len(l.marks) > 0 {
			return frozen[:i+1]
		}
	}
	return frozen
}

// pending tells whether the layers have anything that a checkpoint would take.
func (v *volume) pending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pendingLocked()
}

func (v *volume) pendingLocked() bool { return len(v.layers) > 1 || v.layers[0].bytes > 0 }

// prepare writes chunks, pages and root, and records them.
func (v *volume) prepare(ctx context.Context, layers []*layer) (*prepared, error) {
	v.mu.Lock()
	base, at := v.base, v.at
	v.mu.Unlock()
	merged := layers[0]
	for _, l := range layers[1:] {
		merged = l.over(merged)
	}
	p := &prepared{root: base, at: at, layers: len(layers), marks: merged.marks}
	p.at.Seq = merged.cut
	if merged.count == 0 {
		return p, nil
	}
	w := &mapWriter{v: v, layer: merged, base: base, changed: map[uint32]fsm.BlobRef{}}
	if err := w.pages(ctx); err != nil {
		return nil, err
	}
	p.root = base.with(w.changed)
	p.at.Root = nil
	if len(p.root.pages) > 0 {
		ref, err := w.store(ctx, p.root.encode())
		if err != nil {
			return nil, err
		}
		p.at.Root = &ref
	}
	return p, w.record(ctx)
}

// publish makes a prepared map the volume's, after the snapshots that consist of it have it. From its first try on the map that
// is read by may be garbage.
func (v *volume) publish(ctx context.Context, p *prepared) error {
	v.mu.Lock()
	if v.replacing == nil {
		v.replacing = make(chan struct{})
	}
	v.mu.Unlock()
	for _, id := range p.marks {
		if err := v.complete(ctx, id, p.at); err != nil {
			return err
		}
		if id == v.builder {
			return nil
		}
	}
	err := v.cfg.Control.Propose(ctx, &fsm.CheckpointVolume{ID: v.id, Generation: v.generation, Map: p.at})
	return v.refused(err)
}

// complete gives a snapshot its map. One that is gone, or completed already, is passed over.
func (v *volume) complete(ctx context.Context, id fsm.SnapshotID, at fsm.VolumeMap) error {
	err := v.cfg.Control.Propose(ctx, &fsm.CompleteSnapshot{
		ID: id, Map: at, Generation: v.generation, Now: v.cfg.Clock().UnixMilli(),
	})
	if errors.Is(err, fsm.ErrNotFound) {
		return nil
	}
	if errors.Is(err, fsm.ErrConflict) {
		if pending, looked := isPending(v.cfg.Control, id); looked != nil || !pending {
			return looked
		}
	}
	return v.refused(err)
}

// isPending tells whether a snapshot waits for its map.
func isPending(g Group, id fsm.SnapshotID) (pending bool, err error) {
	err = g.View(func(view *fsm.View) error {
		s, ok := fsm.Snapshots.Get(view, id)
		pending = ok && s.State == fsm.SnapshotPending
		return nil
	})
	return pending, err
}

// refused ends the volume's service when the control group says that it has another owner.
func (v *volume) refused(err error) error {
	if errors.Is(err, fsm.ErrConflict) || errors.Is(err, fsm.ErrInvalid) {
		err = fmt.Errorf("%w: %w", ErrNotOwner, err)
		v.fail(err)
	}
	return err
}

// install reads by the new map from now on.
func (v *volume) install(p *prepared) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.base, v.at = p.root, p.at
	v.version++
	v.layers = append([]*layer(nil), v.layers[p.layers:]...)
	for _, id := range p.marks {
		delete(v.marked, id)
	}
	v.since = v.cfg.Clock()
	v.account()
	close(v.room)
	v.room = make(chan struct{})
	close(v.replacing)
	v.replacing = nil
}

// cut gives up the log's records that the map contains.
func (v *volume) cut(ctx context.Context) error {
	v.mu.Lock()
	before := v.at.Seq + 1
	v.mu.Unlock()
	err := v.log.Cut(ctx, before)
	if errors.Is(err, qlog.ErrFenced) {
		v.fail(fencing(err))
	}
	return err
}

// release says that the volume is closed and its map has all of it.
func (v *volume) release(ctx context.Context) error {
	v.checkpoints.Lock()
	defer v.checkpoints.Unlock()
	v.mu.Lock()
	at, err, left := v.at, v.err, v.pendingLocked()
	v.mu.Unlock()
	if err != nil {
		return err
	}
	if left {
		return fmt.Errorf("volume %s was changed while it was given up", v.id)
	}
	return v.refused(v.cfg.Control.Propose(ctx, &fsm.CheckpointVolume{ID: v.id, Generation: v.generation, Map: at, Release: true}))
}

// mapWriter makes the pages that a layer changes.
type mapWriter struct {
	v     *volume
	layer *layer
	base  *root

	mu      sync.Mutex // guards what follows
	changed map[uint32]fsm.BlobRef
	rows    []fsm.Chunk
	owed    [][]fsm.Owed
	count   int
}

// pages makes all pages that the layer touches.
func (w *mapWriter) pages(ctx context.Context) error {
	all, group := errgroup.WithContext(ctx)
	all.SetLimit(pagesAtOnce)
	for from := int64(0); group.Err() == nil; {
		index, ok := w.next(from)
		if !ok {
			break
		}
		all.Go(func() error { return w.page(group, uint32(index)) })
		from = (index + 1) * pageSector
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return ctx.Err() // it may have ended before the last page was begun
}

// next is the first page that the layer touches from a sector on.
func (w *mapWriter) next(from int64) (index int64, ok bool) {
	w.layer.each(from, 1<<62, func(s span) bool {
		index, ok = s.start/pageSector, true
		return false
	})
	return index, ok
}

// page makes one page.
func (w *mapWriter) page(ctx context.Context, index uint32) error {
	old := &page{}
	if ref, ok := w.base.page(index); ok {
		p, err := w.v.content.page(ctx, ref)
		if err != nil {
			return err
		}
		old = p
	}
	p, err := newPageWriter(w, index, old).run(ctx)
	if err != nil {
		return err
	}
	var ref fsm.BlobRef
	if len(p.extents) > 0 {
		if ref, err = w.store(ctx, p.encode()); err != nil {
			return err
		}
		w.v.content.keep(ref.ID, p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[index] = ref
	return nil
}

// breatheMax bounds one rest.
const breatheMax = 200 * time.Millisecond

// breathe rests as long as the work since began took, while nobody waits for the checkpoint: so a burst of writes has the
// machine, and the checkpoint half of one processor at most. began is set to the rest's end.
func (w *mapWriter) breathe(ctx context.Context, began *time.Time) error {
	clock := w.v.cfg.Clock
	if !began.IsZero() && len(w.layer.marks) == 0 && !w.v.hurry.Load() && w.v.dirty.Load() < w.v.cfg.DirtyMax/2 {
		timer := time.NewTimer(min(clock().Sub(*began), breatheMax))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	*began = clock()
	return nil
}

// store writes a blob and notes its row.
func (w *mapWriter) store(ctx context.Context, b []byte) (fsm.BlobRef, error) {
	w.mu.Lock()
	w.count++
	key := fmt.Sprintf("%s/%d/%d/%d", w.v.id, w.v.generation, w.layer.cut, w.count)
	w.mu.Unlock()
	ref, owed, err := w.v.content.write(ctx, key, b)
	if err != nil {
		return ref, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows = append(w.rows, fsm.Chunk{Ref: ref, Volume: w.v.id, Generation: w.v.generation, Seq: w.layer.cut})
	w.owed = append(w.owed, owed)
	return ref, nil
}

// record makes the rows of all that was written.
func (w *mapWriter) record(ctx context.Context) error {
	group := w.v.cfg.index(w.v.lineage)
	for from := 0; from < len(w.rows); from += rowsAtOnce {
		to := min(from+rowsAtOnce, len(w.rows))
		cmd := &fsm.RecordChunks{Lineage: w.v.lineage, Chunks: w.rows[from:to]}
		for _, owed := range w.owed[from:to] {
			if len(owed) > 0 {
				cmd.Owed = w.owed[from:to]
			}
		}
		if err := group.Propose(ctx, cmd); err != nil {
			return fmt.Errorf("record chunks: %w", err)
		}
	}
	return nil
}

// allZero tells whether b has nothing but zeroes.
func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
