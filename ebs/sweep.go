package ebs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"hive/fsm"
)

const (
	// rowsInView is how many rows one view reads: a view that lasts long keeps dead pages of the state file.
	rowsInView = 1000
	// dropsAtOnce is how many blobs one proposal gives up.
	dropsAtOnce = 1000
	// sweptMax is how many lineages the manager remembers to be clean.
	sweptMax = 10_000
)

// sweeps gives up, while this node leads, the chunks that no map has any more.
func (m *Manager) sweeps(ctx context.Context) {
	tick := time.NewTicker(m.cfg.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !m.cfg.Leader() {
			continue
		}
		if n, err := m.Sweep(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("sweep of volumes' chunks failed; it will be tried again", "cause", err)
		} else if n > 0 {
			m.cfg.Log.Info("chunks that no map has are given up", "chunks", n)
		}
	}
}

// Sweep gives up the chunks of all lineages that no volume's and no snapshot's map has, and tells how many. It is for the
// control group's leader; two at once do no harm.
func (m *Manager) Sweep(ctx context.Context) (dropped int, err error) {
	for _, g := range m.cfg.Index {
		for lineage := ""; ; {
			next, err := nextLineage(g, lineage)
			if err != nil {
				return dropped, err
			}
			if next == "" {
				break
			}
			n, err := m.sweepLineage(ctx, g, next)
			if dropped += n; err != nil {
				return dropped, fmt.Errorf("lineage %s: %w", next, err)
			}
			lineage = next
		}
	}
	return dropped, nil
}

// nextLineage is the first lineage with chunks after the given one; "" when there is none.
func nextLineage(g IndexGroup, lineage string) (next string, err error) {
	after := ""
	if lineage != "" {
		after = lineage + "\x01" // behind all of its keys, which go on with a zero byte
	}
	err = g.View(func(v *fsm.View) error {
		fsm.ChunksFrom(v, "", after, func(key string, _ fsm.Chunk) bool {
			next = fsm.LineageOf(key)
			return false
		})
		return nil
	})
	return next, err
}

// rows goes over the rows of a lineage, or of all with "".
func rows(ctx context.Context, g IndexGroup, lineage string, yield func(fsm.Chunk) bool) error {
	for after, more := "", true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var page []fsm.Chunk
		err := g.View(func(v *fsm.View) error {
			more = false
			fsm.ChunksFrom(v, lineage, after, func(key string, c fsm.Chunk) bool {
				if len(page) == rowsInView {
					more = true
					return false
				}
				page, after = append(page, c), key
				return true
			})
			return nil
		})
		if err != nil {
			return err
		}
		for _, c := range page {
			if !yield(c) {
				return nil
			}
		}
	}
	return nil
}

// Live yields every blob that belongs to a volume or a snapshot, as of a moment after the call began.
func (m *Manager) Live(ctx context.Context, yield func(fsm.BlobRef) bool) error {
	for _, g := range m.cfg.Index {
		more := true
		err := rows(ctx, g, "", func(c fsm.Chunk) bool {
			more = yield(c.Ref)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// sweepLineage reads the rows first and the maps afterwards: a row that is there and was recorded for a map which the
// control group does not have yet is spared, because its writer still owns the volume and is ahead of its map.
func (m *Manager) sweepLineage(ctx context.Context, g IndexGroup, lineage string) (dropped int, err error) {
	var candidates []fsm.Chunk
	err = rows(ctx, g, lineage, func(c fsm.Chunk) bool {
		candidates = append(candidates, c)
		return true
	})
	if err != nil {
		return 0, err
	}
	maps, volumes, err := m.mapsOf(ctx, lineage)
	if err != nil {
		return 0, err
	}
	state := sweepState(candidates, maps, volumes)
	if m.sweptAs(lineage, state) {
		return 0, nil
	}
	reached, err := m.reach(ctx, maps)
	if err != nil {
		return 0, err
	}
	var drop []fsm.BlobID
	for _, c := range candidates {
		x, ok := volumes[c.Volume]
		writing := ok && x.Generation == c.Generation && c.Seq > x.Map.Seq
		if !writing && !reached[c.Ref.ID] {
			drop = append(drop, c.Ref.ID)
		}
	}
	for len(drop) > 0 {
		some := drop[:min(len(drop), dropsAtOnce)]
		err := g.Propose(ctx, &fsm.DropChunks{Lineage: lineage, IDs: some, Now: m.cfg.Clock().UnixMilli()})
		if err != nil {
			return dropped, err
		}
		drop, dropped = drop[len(some):], dropped+len(some)
	}
	if dropped == 0 {
		m.noteSwept(lineage, state)
	}
	return dropped, nil
}

// sweepState is a digest of all that a sweep decides by.
func sweepState(rows []fsm.Chunk, roots []fsm.BlobRef, volumes map[fsm.VolumeID]fsm.Volume) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range rows {
		h.Write(c.Ref.ID[:]) //nolint:errcheck // a hash takes all
	}
	for _, m := range roots {
		h.Write(m.ID[:]) //nolint:errcheck // a hash takes all
	}
	for _, id := range slices.Sorted(maps.Keys(volumes)) {
		fmt.Fprintf(h, "%s %d %d;", id, volumes[id].Generation, volumes[id].Map.Seq) //nolint:errcheck // a hash takes all
	}
	h.Sum(sum[:0])
	return sum
}

// sweptAs tells whether a lineage is as it was when a sweep found nothing in it.
func (m *Manager) sweptAs(lineage string, state [sha256.Size]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swept[lineage] == state
}

func (m *Manager) noteSwept(lineage string, state [sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.swept == nil || len(m.swept) > sweptMax {
		m.swept = map[string][sha256.Size]byte{}
	}
	m.swept[lineage] = state
}

// mapsOf are the maps of a lineage, and its volumes.
func (m *Manager) mapsOf(ctx context.Context, lineage string) (maps []fsm.BlobRef, volumes map[fsm.VolumeID]fsm.Volume, err error) {
	if err := m.cfg.Control.ReadIndex(ctx); err != nil {
		return nil, nil, err
	}
	volumes = map[fsm.VolumeID]fsm.Volume{}
	err = m.cfg.Control.View(func(v *fsm.View) error {
		for id, x := range fsm.Volumes.Scan(v, "") {
			if x.Lineage == lineage {
				if volumes[id] = x; x.Map.Root != nil {
					maps = append(maps, *x.Map.Root)
				}
			}
		}
		for _, s := range fsm.Snapshots.Scan(v, "") {
			if s.Lineage == lineage && s.Map.Root != nil {
				maps = append(maps, *s.Map.Root)
			}
		}
		return nil
	})
	return maps, volumes, err
}

// reach is every blob of some maps. What maps share is read once.
func (m *Manager) reach(ctx context.Context, maps []fsm.BlobRef) (map[fsm.BlobID]bool, error) {
	reached := map[fsm.BlobID]bool{}
	for _, ref := range maps {
		if reached[ref.ID] {
			continue
		}
		reached[ref.ID] = true
		r, err := m.shared.content.root(ctx, &ref)
		if err != nil {
			return nil, err
		}
		for _, e := range r.pages {
			if reached[e.ref.ID] {
				continue
			}
			reached[e.ref.ID] = true
			p, err := m.shared.content.page(ctx, e.ref)
			if err != nil {
				return nil, err
			}
			for _, c := range p.chunks {
				reached[c.ID] = true
			}
		}
	}
	return reached, nil
}
