package shard

import (
	"context"
	"errors"
	"io"
	"time"

	"hive/fsm"
)

// origin is a shard at a node.
type origin struct {
	shard uint8
	node  fsm.NodeID
}

// feed is one shard's blocks as they arrive.
type feed struct {
	origin
	next   int64 // stripe of the block that comes next out of ready
	ready  []piece
	done   bool // no more will come
	slow   bool // somebody else was asked because of it
	begun  time.Time
	credit chan struct{} // one token for each block that may be read ahead
	cancel context.CancelFunc
	get    Get
	room   int // for the longest block
	events chan<- event
}

// piece is a block, or the part of it that was asked for, in its buffer.
type piece struct {
	b   []byte
	buf *buffer
}

// event is a block that arrived, or the end of its feed.
type event struct {
	feed *feed
	piece
	err error
}

// readAhead is how many blocks of a shard may wait.
const readAhead = 3

// drop forgets blocks of stripes before the given one.
func (f *feed) drop(before int64) {
	for f.next < before && len(f.ready) > 0 {
		f.ready[0].buf.release()
		f.take()
	}
}

// take removes the first block and lets one more be read.
func (f *feed) take() {
	f.ready = f.ready[1:]
	f.next++
	if f.credit != nil {
		select {
		case f.credit <- struct{}{}:
		default:
		}
	}
}

// block is the feed's block of the stripe, if it has arrived.
func (f *feed) block(stripe int64) (piece, bool) {
	if f.next == stripe && len(f.ready) > 0 {
		return f.ready[0], true
	}
	return piece{}, false
}

// feed reads a shard's blocks into its events: one for each of them and one for the end or an
// error.
func (s *Store) feed(ctx context.Context, f *feed) {
	defer f.cancel()
	err := s.feedPieces(ctx, f)
	if err == nil {
		err = io.EOF
	}
	select {
	case f.events <- event{feed: f, err: err}:
	case <-ctx.Done():
	}
}

func (s *Store) feedPieces(ctx context.Context, f *feed) (err error) {
	r, err := s.get(ctx, f.node, f.get)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for at := f.get.From; at < f.get.To; {
		if f.credit != nil {
			select {
			case <-f.credit:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		buf := s.pools.get(f.room)
		b, err := r.Next(buf.b)
		if err != nil {
			buf.release()
			return s.note(ctx, f.node, unexpectedEnd(err))
		}
		at += int64(len(b))
		select {
		case f.events <- event{feed: f, piece: piece{b, buf}}:
		case <-ctx.Done():
			buf.release()
			return ctx.Err()
		}
	}
	return nil
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
