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

// Scrub reads every record of this node again, compares it with its checksum, looks for the shards
// that live blobs should have here, and mends what is rotten or missing.
func (s *Store) Scrub(ctx context.Context) (ScrubReport, error) {
	var report ScrubReport
	s.progress(func(p *Progress) { *p = Progress{What: "scrub", Running: true, Began: s.cfg.Now()} })
	defer s.progress(func(p *Progress) { p.Running = false })
	limit := newThrottle(s.cfg.ScrubRate)
	err := s.local.disk.each(func(seg *segment) error { return s.scrubSegment(ctx, seg, limit, &report) })
	if err != nil {
		return report, fmt.Errorf("scrub: %w", err)
	}
	if err := s.scrubLive(ctx, &report); err != nil {
		return report, fmt.Errorf("scrub: %w", err)
	}
	s.log.Info("scrub done", "records", report.Records, "bytes", report.Bytes, "rotten", report.Rotten,
		"missing", report.Missing, "mended", report.Mended, "failed", report.Failed)
	return report, nil
}

// scrubSegment verifies the records of a segment that count.
func (s *Store) scrubSegment(ctx context.Context, seg *segment, limit *throttle, report *ScrubReport) error {
	d := s.local.disk
	room := make([]byte, verifyRoom)
	for slot, p := range d.recordsIn(seg.number) {
		_, err := seg.verify(p.off, p.length(), room)
		if errors.Is(err, ErrCorrupt) {
			d.spoil(slot, p, err)
			report.Rotten++
		} else if err != nil {
			return err
		}
		report.Records++
		report.Bytes += p.span()
		s.progress(func(p *Progress) { p.Done, p.Bytes = report.Records, report.Bytes })
		if !limit.wait(ctx, p.span()) {
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

// scrubLive looks for this node's shard of every live blob and mends what is not whole.
func (s *Store) scrubLive(ctx context.Context, report *ScrubReport) error {
	if s.cfg.Live == nil {
		return nil
	}
	return s.cfg.Live(ctx, func(ref Ref) bool {
		missing, err := s.missing(ref)
		if err != nil || !missing {
			return ctx.Err() == nil
		}
		if h, _ := s.local.disk.shardHeld(ref.ID, s.shardOf(ref)); h.Records == 0 {
			report.Missing++
		}
		if _, err := s.RepairBlob(ctx, ref); err != nil {
			report.Failed++
			s.log.Warn("shard not mended", "blob", ref.ID, "cause", err)
		} else {
			report.Mended++
		}
		return s.giveWay(ctx, err)
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
