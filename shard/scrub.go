package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ScrubReport is what a scrub found on this node.
type ScrubReport struct {
	Records int64 // read and verified
	Bytes   int64
	Rotten  int64 // records that did not match their checksum
	Missing int64 // shards of live blobs that were not there and were owed by nobody
	Mended  int64 // shards
	Failed  int64 // shards that could not be mended now
}

// scrubbing is a scrub under way.
type scrubbing struct {
	s       *Store
	limit   *throttle
	report  ScrubReport
	spoiled map[slot]int64 // how many rotten records each shard has, by its first record
	wanted  map[ID]bool    // the blobs among them that some record refers to
	hints   map[slot]bool  // the shards among them that were kept for another node
}

// Scrub reads every record of this node again, compares it with its checksum, looks for the shards
// that live blobs should have here, and mends what is rotten or missing.
func (s *Store) Scrub(ctx context.Context) (ScrubReport, error) {
	s.progress(func(p *Progress) { *p = Progress{What: "scrub", Running: true, Began: s.cfg.Now()} })
	defer s.progress(func(p *Progress) { p.Running = false })
	c := &scrubbing{s: s, limit: newThrottle(s.cfg.ScrubRate), spoiled: map[slot]int64{}, wanted: map[ID]bool{}, hints: map[slot]bool{}}
	err := s.local.disk.each(func(seg *segment) error { return c.segment(ctx, seg) })
	if err == nil {
		err = c.live(ctx)
	}
	if err != nil {
		return c.report, fmt.Errorf("scrub: %w", err)
	}
	s.mendQueued(ctx)
	if err := c.countMended(); err != nil {
		return c.report, fmt.Errorf("scrub: %w", err)
	}
	r := c.report
	s.log.Info("scrub done", "records", r.Records, "bytes", r.Bytes, "rotten", r.Rotten,
		"missing", r.Missing, "mended", r.Mended, "failed", r.Failed)
	return r, nil
}

// countMended tells which of the shards that were rotten are whole now. What no record refers to, and a hint that was
// handed over by another keeper, are not missed by anyone: they go with the other orphans.
func (c *scrubbing) countMended() error {
	for id, records := range c.spoiled {
		needed := c.s.cfg.Live == nil || c.wanted[id.id]
		if needed && c.hints[id] {
			var err error
			if needed, err = c.s.hintNeeded(id); err != nil {
				return err
			}
		}
		if !needed {
			c.report.Rotten -= records
			c.s.log.Info("a rotten shard is needed by nobody and waits for its collection", "blob", id.id)
			continue
		}
		h, _ := c.s.local.disk.shardHeld(id.id, id.shard())
		if h.Whole {
			c.report.Mended++
		} else if h.Records > 0 || c.s.local.disk.isRotten(id) {
			c.report.Failed++
		}
	}
	return nil
}

// isRotten tells whether a record is known to be.
func (d *disk) isRotten(s slot) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, bad := d.rotten[s]
	return bad
}

// segment verifies the records of a segment that count.
func (c *scrubbing) segment(ctx context.Context, seg *segment) error {
	d := c.s.local.disk
	room := make([]byte, verifyRoom)
	for id, p := range d.recordsIn(seg.number) {
		_, err := seg.verify(p.off, p.length(), room)
		if errors.Is(err, ErrCorrupt) {
			d.spoil(id, p, err)
			whole := slotOf(id.id, id.shard(), 0)
			c.spoiled[whole]++
			c.wanted[id.id], c.hints[whole] = false, p.hint()
			c.report.Rotten++
		} else if err != nil {
			return err
		}
		c.report.Records++
		c.report.Bytes += p.span()
		c.s.progress(func(p *Progress) { p.Done, p.Bytes = c.report.Records, c.report.Bytes })
		if !c.limit.wait(ctx, p.span()) {
			return ctx.Err()
		}
	}
	return nil
}

// recordsIn are the records of a segment that count.
func (d *disk) recordsIn(number uint32) map[slot]place {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := map[slot]place{}
	for s, p := range d.index {
		if p.segment == number {
			out[s] = p
		}
	}
	return out
}

// live looks for this node's shard of every live blob and mends what is not whole.
func (c *scrubbing) live(ctx context.Context) error {
	if c.s.cfg.Live == nil {
		return nil
	}
	return c.s.cfg.Live(ctx, func(ref Ref) bool {
		if _, rotten := c.wanted[ref.ID]; rotten {
			c.wanted[ref.ID] = true
		}
		missing, err := c.s.missing(ref)
		if err != nil || !missing {
			return ctx.Err() == nil
		}
		_, err = c.s.RepairBlob(ctx, ref)
		if err != nil {
			c.s.log.Warn("shard not mended", "blob", ref.ID, "cause", err)
		}
		if _, counted := c.spoiled[slotOf(ref.ID, c.s.shardOf(ref), 0)]; !counted {
			c.report.Missing++
			if err != nil {
				c.report.Failed++
			} else {
				c.report.Mended++
			}
		}
		return c.s.giveWay(ctx, err)
	})
}

// shardOf is the number of the shard that this node should have of a blob, or wholeBlob.
func (s *Store) shardOf(ref Ref) uint8 {
	p, err := s.partition(ref)
	if err != nil {
		return wholeBlob
	}
	if i := slices.Index(p.nodes, s.cfg.Node); i >= 0 {
		return uint8(i)
	}
	return wholeBlob
}

// missing tells whether this node should have a shard of a blob, does not, and nobody is to hand
// it over.
func (s *Store) missing(ref Ref) (bool, error) {
	shard := s.shardOf(ref)
	if ref.Size == 0 || shard == wholeBlob {
		return false, nil
	}
	if _, whole := s.ownShard(ref, shard); whole {
		return false, nil
	}
	owed, err := s.owedTo(ref.ID, shard)
	return !owed, err
}
