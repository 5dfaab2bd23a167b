package shard

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Times of the background work.
const (
	tendEvery    = time.Second      // hand-over, collection of garbage, compaction
	tendAgain    = 5 * time.Second  // the same after an error
	orphansEvery = 6 * time.Hour    // collection of orphans
	retryRepair  = 30 * time.Second // a full repair that some shards were missing from
)

// Run does what a store does in the background, until ctx is done: it probes nodes that did not
// answer, hands over and collects what the index notes, mends, scrubs and compacts.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.health.run(ctx, s.cfg.Peers.Ping) })
	wg.Go(func() { s.tend(ctx) })
	wg.Go(func() { s.mendOnDemand(ctx) })
	wg.Go(func() { s.repairWhenWounded(ctx) })
	wg.Go(func() { s.onSchedule(ctx) })
	wg.Wait()
	return nil
}

// complain logs what background work could not do: it is tried again.
func (s *Store) complain(what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrNoTable) {
		s.log.Warn(what+" is tried again later", "cause", err)
	}
}

// tend does once a second what may be due.
func (s *Store) tend(ctx context.Context) {
	partly := map[ID]struct{}{}
	wait := tendEvery
	for pause(ctx, wait) {
		wait = tendEvery
		for what, err := range map[string]error{
			"hand-over":             s.handOver(ctx),
			"collection of garbage": s.collect(ctx, partly),
			"compaction":            s.compactAll(ctx),
		} {
			if err != nil {
				s.complain(what, err)
				wait = tendAgain
			}
		}
	}
}

// compactAll gives back the space of every segment that is worth it.
func (s *Store) compactAll(ctx context.Context) error {
	d := s.local.disk
	for {
		n, ok := d.compactable(!d.wounded())
		if !ok {
			return nil
		}
		if err := d.compact(ctx, n); err != nil {
			return err
		}
	}
}

func (s *Store) mendOnDemand(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.repair.wake:
			s.mendQueued(ctx)
		}
	}
}

// repairWhenWounded looks at everything when the store was found damaged or empty.
func (s *Store) repairWhenWounded(ctx context.Context) {
	wait := tendEvery
	for s.local.disk.wounded() && pause(ctx, wait) {
		if _, err := s.tables.get(); err == nil {
			s.complain("repair", s.Repair(ctx))
			wait = retryRepair
		}
	}
}

// onSchedule scrubs and collects orphans.
func (s *Store) onSchedule(ctx context.Context) {
	scrub, orphans := s.cfg.Now().Add(s.cfg.ScrubEvery), s.cfg.Now().Add(orphansEvery)
	for pause(ctx, time.Minute) {
		now := s.cfg.Now()
		if now.After(orphans) {
			_, err := s.CollectOrphans(ctx)
			s.complain("collection of orphans", err)
			orphans = now.Add(orphansEvery)
		}
		if now.After(scrub) {
			_, err := s.Scrub(ctx)
			s.complain("scrub", err)
			scrub = now.Add(s.cfg.ScrubEvery)
		}
	}
}
