package qlog

import (
	"context"
	"errors"
	"fmt"

	"hive/fsm"
)

// mend fetches a record that is damaged on this node from another copy and puts it in its place. ErrCorrupt where no copy
// within reach has it.
func (l *Log) mend(ctx context.Context, seq uint64) error {
	l.mending.Lock()
	defer l.mending.Unlock()
	switch _, _, err := l.r.chunk(nil, seq, seq, chunkSize); {
	case err == nil:
		return nil // somebody else was faster
	case !errors.Is(err, errHole):
		return err
	}
	l.r.damage(seq)
	mine := l.r.tell()
	want := mine.termAt(seq)
	var failed []error
	for _, node := range l.cfg.Replicas {
		if node == l.cfg.Self {
			continue
		}
		err := l.mendFrom(ctx, node, seq, want)
		if err == nil {
			l.cfg.Log.Info("a damaged record is mended", "volume", l.cfg.Volume, "seq", seq, "from", node)
			return nil
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("%w: volume %s, node %s, record %d: %w", ErrCorrupt, l.cfg.Volume, l.cfg.Self, seq, errors.Join(failed...))
}

func (l *Log) mendFrom(ctx context.Context, node fsm.NodeID, seq uint64, want term) error {
	c, err := connect(ctx, l.cfg.Dial, node, l.cfg.Volume)
	if err != nil {
		return err
	}
	defer c.close()
	release := c.guard(ctx)
	defer release()
	next, err := c.fetch(seq, seq, func(b []byte) error {
		h, err := parse(b, 0, 0)
		if err != nil || h.term != want {
			return fmt.Errorf("%w: node %s has another record %d", errWire, node, seq)
		}
		return l.r.fill(l.s, b)
	})
	if err == nil && next == seq {
		err = fmt.Errorf("node %s: record %d: %w", node, seq, errHole)
	}
	return err
}
