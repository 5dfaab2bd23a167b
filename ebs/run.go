package ebs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// retryMin and retryMax bound the time between two tries of a checkpoint.
const (
	retryMin = 200 * time.Millisecond
	retryMax = 10 * time.Second
)

// serve does the volume's background work until ctx ends or the volume fails.
func (v *volume) serve(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { v.readAhead(ctx) })
	work.Go(func() { v.run(ctx) })
	work.Wait()
}

// run makes checkpoints until ctx ends or the volume fails: at once when there is much to do or a snapshot waits, else when
// the volume is idle.
func (v *volume) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { v.wake() })
	defer stop()
	tick := time.NewTicker(max(v.cfg.IdleAfter/4, time.Millisecond))
	defer tick.Stop()
	for wait := retryMin; ctx.Err() == nil && !v.failed.Load(); {
		select {
		case <-ctx.Done():
			return
		case <-v.dead:
			return
		case <-v.log.Lost():
			v.lost()
			return
		case <-v.kick:
		case <-tick.C:
		}
		if !v.wanted() {
			continue
		}
		more, err := v.checkpoint(ctx)
		if err == nil {
			wait = retryMin
			if more && v.wanted() {
				v.wake()
			}
			continue
		}
		if ctx.Err() == nil && !v.failed.Load() {
			v.slog.Warn("checkpoint failed; it will be tried again", "cause", err, "after", wait)
		}
		if !v.pause(ctx, wait) {
			return
		}
		wait = min(2*wait, retryMax)
		v.wake()
	}
}

// lost ends the service of a volume whose log a newer owner has taken.
func (v *volume) lost() {
	err := v.log.Err()
	if err == nil {
		err = ErrNotOwner
	}
	v.fail(fmt.Errorf("%w: %w", ErrNotOwner, err))
}

// pause answers false when there is nothing more to wait for.
func (v *volume) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-v.log.Lost():
		v.lost()
	case <-v.dead:
	case <-ctx.Done():
	}
	return false
}

// wanted tells whether it is time for a checkpoint.
func (v *volume) wanted() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	dirty := v.dirtyLocked()
	if len(v.layers) > 1 || dirty >= v.cfg.CheckpointAt {
		return true
	}
	now := v.cfg.Clock()
	return dirty > 0 && (now.Sub(v.wrote) >= v.cfg.IdleAfter || now.Sub(v.since) >= 10*v.cfg.IdleAfter)
}

// settle brings everything into the map and gives the volume up. It is tried until it works, ctx ends, or another node owns
// the volume (ErrNotOwner).
func (v *volume) settle(ctx context.Context) error {
	v.hurry.Store(true)
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		err := v.settleOnce(ctx)
		if err == nil || errors.Is(err, ErrNotOwner) || v.failed.Load() {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.slog.Warn("volume is not settled; it will be tried again", "cause", err, "after", wait)
		if !v.pause(ctx, wait) {
			return v.failure()
		}
	}
}

func (v *volume) settleOnce(ctx context.Context) error {
	for {
		more, err := v.checkpoint(ctx)
		if err != nil {
			return err
		}
		if !more {
			return v.release(ctx)
		}
	}
}
