package qlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"hive/fsm"
)

// link keeps one copy on another node like the owner's: it connects, finds what differs, and streams records from the
// owner's own file. A copy that was away is only further behind.
type link struct {
	l    *Log
	node fsm.NodeID
	wake chan struct{}

	// guarded by l.mu
	voter
	connected bool
	sent      int64 // of the bytes that were ever appended
	admit     bool  // it has all that was synced: it is to become a member
}

const (
	pingEvery  = patience / 4
	backoffMin = 20 * time.Millisecond
)

func newLink(l *Log, node fsm.NodeID) *link {
	return &link{l: l, node: node, wake: make(chan struct{}, 1)}
}

// nudge says that there may be something to send.
func (k *link) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run keeps the copy connected until ctx ends or the log is lost. c is a connection that has the owner's term installed,
// or nil.
func (k *link) run(ctx context.Context, c *client, rep report) {
	log := k.l.cfg.Log.With("volume", k.l.cfg.Volume, "node", k.node)
	wait, said := backoffMin, false
	for ctx.Err() == nil {
		err := error(nil)
		if c == nil {
			c, rep, err = k.open(ctx)
		}
		if c != nil {
			wait, said = backoffMin, false
			err = k.serve(ctx, c, rep)
			k.down()
			c = nil
		}
		if errors.Is(err, ErrFenced) {
			k.l.lose(err)
			return
		}
		if !said && ctx.Err() == nil {
			log.Warn("a log copy cannot be reached", "err", err)
			said = true
		}
		pause(ctx, wait)
		wait = min(2*wait, k.l.cfg.retry)
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// open connects and installs the owner's term again.
func (k *link) open(ctx context.Context) (*client, report, error) {
	c, err := connect(ctx, k.l.cfg.Dial, k.node, k.l.cfg.Volume)
	if err != nil {
		return nil, report{}, err
	}
	release := c.guard(ctx)
	defer release()
	rep, refusedBy, err := c.install(k.l.s.term)
	if err == nil && refusedBy != (term{}) {
		err = fmt.Errorf("%w: volume %s, generation %d on node %s", ErrFenced, k.l.cfg.Volume, refusedBy.gen, k.node)
	}
	if err != nil {
		c.close()
		return nil, report{}, err
	}
	return c, rep, nil
}

func (k *link) down() {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	k.connected = false
}

// serve makes the copy like the owner's and then streams, until the connection or ctx ends. It closes the connection.
func (k *link) serve(ctx context.Context, c *client, rep report) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	release := c.guard(ctx)
	defer c.close()
	defer release()
	cursor, err := k.reconcile(ctx, c, rep)
	if err != nil {
		return err
	}
	behind, end := k.l.r.bytesFrom(cursor), k.l.r.appendedBytes()
	k.l.mu.Lock()
	k.member, k.acked, k.connected, k.sent, k.admit = rep.member, 0, true, end-behind, false
	k.votes = k.votes || rep.member
	k.l.broadcast()
	k.l.mu.Unlock()
	heard := make(chan error, 1)
	go func() {
		heard <- k.hear(c)
		cancel()
	}()
	err = k.stream(ctx, c, cursor)
	cancel()
	c.close()
	if other := <-heard; errors.Is(err, context.Canceled) {
		err = other
	}
	return err
}

// reconcile cuts what the copy has and the owner has not, fills what is damaged, and answers the first sequence to send.
func (k *link) reconcile(ctx context.Context, c *client, rep report) (uint64, error) {
	mine := k.l.r.tell()
	keep, ok := common(&rep, &mine)
	if !ok {
		base := max(mine.base, min(rep.base, mine.next))
		return base, c.reset(base)
	}
	if err := c.truncate(keep); err != nil {
		return 0, err
	}
	if mine.base > rep.base { // damage before is of no interest
		if err := c.wire.send(words(fCut, mine.base)); err != nil {
			return 0, err
		}
	}
	for _, h := range rep.holes {
		first, last := max(h.first, mine.base), min(h.last, keep)
		if first > last {
			continue
		}
		if err := k.fill(ctx, c, first, last); err != nil {
			return 0, err
		}
		k.l.cfg.Log.Info("damaged records of a log copy are mended", "volume", k.l.cfg.Volume, "node", k.node, "first", first, "last", last)
	}
	return keep + 1, nil
}

func (k *link) fill(ctx context.Context, c *client, first, last uint64) error {
	var buf []byte
	for seq := first; seq <= last; {
		out, n, err := k.l.r.chunk(recordFrame(buf, 0), seq, last, chunkSize)
		if errors.Is(err, errHole) {
			if err := k.l.mend(ctx, seq); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if _, _, err := c.ask(seal(out, fFill), fDone); err != nil {
			return err
		}
		buf, seq = out, seq+uint64(n)
	}
	return nil
}

// hear takes the copy's answers until the connection ends.
func (k *link) hear(c *client) error {
	for {
		t, payload, err := c.expect(fSynced, fPong, fAdmitted)
		if err != nil {
			return err
		}
		switch t {
		case fSynced:
			n, err := numbers(payload, 1)
			if err != nil {
				return err
			}
			k.synced(n[0])
		case fAdmitted:
			k.l.mu.Lock()
			k.member, k.votes = true, true
			k.l.count()
			k.l.broadcast()
			k.l.mu.Unlock()
		}
	}
}

// synced notes how far the copy is durable.
func (k *link) synced(seq uint64) {
	end := k.l.r.end()
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	if seq >= end { // it never was sent that
		return
	}
	k.acked = max(k.acked, seq)
	k.l.count()
	k.l.broadcast()
	if !k.member && !k.admit && k.acked >= k.l.opened && k.acked >= k.l.flushed {
		k.admit = true
		k.nudge()
	}
}

// errands are what is to be sent besides records.
type errands struct {
	want  uint64
	admit bool
}

func (k *link) errands() errands {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	return errands{k.l.want, k.admit}
}

// stream sends records as they come, and what else is asked, until ctx ends.
func (k *link) stream(ctx context.Context, c *client, cursor uint64) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var buf []byte
	out := sender{link: k, wire: c.wire, cursor: cursor}
	for {
		sent, err := out.some(ctx, &buf)
		if err != nil {
			return err
		}
		if sent && ctx.Err() == nil && len(ping.C) == 0 {
			continue
		}
		if sent {
			k.nudge()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.wake:
		case <-ping.C:
			if err := c.wire.send(words(fPing)); err != nil {
				return err
			}
		}
	}
}

// sender is how far a connection is.
type sender struct {
	*link
	wire     *wire
	cursor   uint64 // next to send
	asked    uint64 // to be synced
	cut      uint64
	admitted bool
}

// some sends the next frame, if there is one to send.
func (o *sender) some(ctx context.Context, buf *[]byte) (bool, error) {
	e := o.errands()
	if end := o.l.r.end(); o.cursor < end {
		return true, o.records(ctx, buf, end-1, e.want)
	}
	if e.want > o.asked && e.want < o.cursor {
		o.asked = e.want
		return true, o.wire.send(words(fAppend, e.want))
	}
	if base := o.l.r.begin(); base > o.cut {
		o.cut = base
		return true, o.wire.send(words(fCut, base))
	}
	if e.admit && !o.admitted {
		o.admitted = true
		return true, o.wire.send(words(fAdmit))
	}
	return false, nil
}

// records sends some, with the request to sync when it covers what is wanted.
func (o *sender) records(ctx context.Context, buf *[]byte, last, want uint64) error {
	b, n, err := o.l.r.chunk(recordFrame(*buf, 0), o.cursor, last, chunkSize)
	*buf = b
	if errors.Is(err, errHole) {
		return o.l.mend(ctx, o.cursor)
	}
	if err != nil {
		return err
	}
	if cap(b) > 8*chunkSize {
		*buf = nil // a large record went through
	}
	o.cursor += uint64(n)
	if want > o.asked && want < o.cursor {
		binary.LittleEndian.PutUint64(b[frameHeader:], want)
		o.asked = want
	}
	if err := o.wire.send(seal(b, fAppend)); err != nil {
		return err
	}
	o.l.mu.Lock()
	o.sent += int64(len(b) - frameHeader - 8)
	o.l.mu.Unlock()
	return nil
}
