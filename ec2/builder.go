package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hive/fsm"
)

// builderPatience is how long a snapshot that is written by block waits for the next block, unless its maker says: AWS's
// default of StartSnapshot's Timeout.
const builderPatience = time.Hour

// sight is a builder as it was seen, and since when it has been so.
type sight struct {
	rev   uint64
	since time.Time
}

// builderWatch is what the leader has seen of the snapshots that are written by block.
type builderWatch struct {
	seen   map[fsm.SnapshotID]sight
	looked time.Time
}

// watchBuilders gives up what was abandoned. It looks at most once a tick: the state changes often, and nothing is urgent
// here.
func (s *Service) watchBuilders(ctx context.Context, w *builderWatch) error {
	now := s.cfg.Clock()
	if now.Sub(w.looked) < tick {
		return nil
	}
	w.looked = now
	var cmds []fsm.Command
	err := s.cfg.Control.View(func(v *fsm.View) error {
		cmds = s.abandoned(v, w.seen)
		return nil
	})
	for _, cmd := range cmds {
		if e := s.cfg.Control.Propose(ctx, cmd); !errors.Is(e, fsm.ErrConflict) && !errors.Is(e, fsm.ErrNotFound) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// abandoned gives up the snapshots that nobody has written to for too long: their maker is gone, and their builders keep
// logs open. What is written changes a builder's record within a minute, by its checkpoint. seen is what was seen before.
func (s *Service) abandoned(v *fsm.View, seen map[fsm.SnapshotID]sight) []fsm.Command {
	var out []fsm.Command
	now, pending := s.cfg.Clock(), map[fsm.SnapshotID]bool{}
	for _, x := range fsm.Snapshots.Scan(v, "") {
		if !x.Direct || x.State != fsm.SnapshotPending {
			continue
		}
		pending[x.ID] = true
		builder, _ := fsm.Volumes.Get(v, x.Volume)
		if was, ok := seen[x.ID]; !ok || was.rev != builder.Rev {
			seen[x.ID] = sight{builder.Rev, now}
			continue
		}
		patience := builderPatience
		if x.Timeout > 0 {
			patience = time.Duration(x.Timeout) * time.Minute
		}
		if now.Sub(seen[x.ID].since) >= patience {
			out = append(out, &fsm.CompleteSnapshot{
				ID: x.ID, Error: fmt.Sprintf("No block was written for %d minutes.", int(patience.Minutes())), Now: s.now(),
			})
		}
	}
	for id := range seen {
		if !pending[id] {
			delete(seen, id)
		}
	}
	return out
}
