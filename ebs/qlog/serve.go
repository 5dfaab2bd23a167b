package qlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hive/fsm"
)

// syncer syncs a copy when its owner asks, one fdatasync for all that has been asked meanwhile.
type syncer struct {
	r      *replica
	s      *session
	idle   time.Duration
	wake   chan struct{}
	want   atomic.Uint64
	synced func(seq uint64, err error) // told after each sync; an error is the last
}

func newSyncer(r *replica, s *session, idle time.Duration, synced func(uint64, error)) *syncer {
	return &syncer{r: r, s: s, idle: idle, wake: make(chan struct{}, 1), synced: synced}
}

// ask wants the record seq, which is in the copy, synced.
func (y *syncer) ask(seq uint64) {
	for {
		old := y.want.Load()
		if old >= seq {
			return
		}
		if y.want.CompareAndSwap(old, seq) {
			break
		}
	}
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// run syncs until ctx ends or the copy fails or has a new owner.
func (y *syncer) run(ctx context.Context) {
	quiet := time.NewTimer(y.idle)
	defer quiet.Stop()
	var done uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-quiet.C:
			if err := y.r.settle(); err != nil {
				y.synced(0, err)
				return
			}
			continue
		case <-y.wake:
		}
		if y.want.Load() <= done {
			continue
		}
		seq, err := y.r.sync(y.s)
		y.synced(seq, err)
		if err != nil {
			return
		}
		done = seq
		quiet.Reset(y.idle)
	}
}

// server is one owner's connection to a copy here.
type server struct {
	store *Store
	wire  *wire
	r     *replica
	s     *session // nil before an install
	sync  *syncer
	done  sync.WaitGroup
	end   context.CancelFunc
}

// run answers frames until the connection ends.
func (v *server) run(ctx context.Context) {
	ctx, v.end = context.WithCancel(ctx)
	defer v.done.Wait()
	defer v.end()
	if err := v.serve(ctx); err != nil && ctx.Err() == nil {
		v.store.cfg.Log.Debug("a connection to a log copy ends", "err", err)
		if err := v.wire.send(text(fFailure, err.Error())); err != nil {
			v.store.cfg.Log.Debug("telling an owner", "err", err)
		}
	}
	if err := v.wire.conn.Close(); err != nil {
		v.store.cfg.Log.Debug("closing a log connection", "err", err)
	}
}

func (v *server) serve(ctx context.Context) error {
	t, payload, err := v.wire.receive()
	if err != nil {
		return malformed(err)
	}
	if t != fHello || len(payload) < len(helloText) || string(payload[:len(helloText)]) != helloText {
		return fmt.Errorf("%w: no greeting", errWire)
	}
	if v.r, err = v.store.replica(fsm.VolumeID(payload[len(helloText):])); err != nil {
		return err
	}
	for {
		t, payload, err := v.wire.receive()
		if err != nil {
			return malformed(err)
		}
		if err := v.answer(ctx, t, payload); err != nil {
			return err
		}
	}
}

// malformed is err if the owner is to hear of it: a connection that has ended needs no answer.
func malformed(err error) error {
	if errors.Is(err, errWire) {
		return err
	}
	return nil
}

func (v *server) answer(ctx context.Context, t frameType, payload []byte) error {
	switch t {
	case fPing:
		return v.wire.send(words(fPong))
	case fInstall:
		return v.install(ctx, payload)
	case fFetch:
		return v.fetch(payload)
	}
	if v.s == nil {
		return fmt.Errorf("%w: type %d before a term is installed", errWire, t)
	}
	switch t {
	case fAppend:
		return v.append(payload)
	case fTruncate:
		return v.one(payload, func(keep uint64) error { return v.r.truncate(v.s, keep) })
	case fReset:
		return v.one(payload, func(base uint64) error { return v.r.reset(v.s, base) })
	case fFill:
		if len(payload) < 8 {
			return fmt.Errorf("%w: fill", errWire)
		}
		if err := v.r.fill(v.s, payload[8:]); err != nil {
			return err
		}
		return v.wire.send(words(fDone))
	case fCut:
		n, err := numbers(payload, 1)
		if err != nil {
			return err
		}
		return v.r.cut(v.s, n[0])
	case fAdmit:
		if err := v.r.admit(v.s); err != nil {
			return err
		}
		return v.wire.send(words(fAdmitted))
	default:
		return fmt.Errorf("%w: type %d from an owner", errWire, t)
	}
}

// one does what a frame of one number asks.
func (v *server) one(payload []byte, do func(uint64) error) error {
	n, err := numbers(payload, 1)
	if err != nil {
		return err
	}
	if n[0] >= 1<<63 {
		return fmt.Errorf("%w: record %d", errWire, n[0])
	}
	if err := do(n[0]); err != nil {
		return err
	}
	return v.wire.send(words(fDone))
}

// install gives the copy to the connection's owner, who may ask again with a newer term.
func (v *server) install(ctx context.Context, payload []byte) error {
	n, err := numbers(payload, 2)
	if err != nil {
		return err
	}
	if n[0] == 0 || v.sync != nil && v.s.term.gen != n[0] {
		return fmt.Errorf("%w: generation %d", errWire, n[0])
	}
	s := &session{term: term{n[0], n[1]}, owner: v, kill: v.kill}
	refusedBy, err := v.r.install(s)
	if err != nil {
		return err
	}
	if refusedBy != (term{}) {
		return v.wire.send(words(fRefused, refusedBy.gen, refusedBy.inc))
	}
	v.s = s
	v.sync = newSyncer(v.r, s, v.store.cfg.Settle, v.synced)
	v.done.Add(1)
	go func(y *syncer) {
		defer v.done.Done()
		y.run(ctx)
	}(v.sync)
	rep := v.r.tell()
	if len(rep.holes) > maxParts || len(rep.runs) > maxParts {
		return fmt.Errorf("%w: %d damaged places and %d openings on this copy", ErrCorrupt, len(rep.holes), len(rep.runs))
	}
	return v.wire.send(rep.frame())
}

// kill ends the connection because another owner has the copy.
func (v *server) kill() {
	v.end()
	if err := v.wire.conn.Close(); err != nil {
		v.store.cfg.Log.Debug("closing an older owner's connection", "err", err)
	}
}

// synced tells the owner how far its copy is durable.
func (v *server) synced(seq uint64, err error) {
	frame := words(fSynced, seq)
	if err != nil {
		frame = text(fFailure, err.Error())
	}
	if failed := v.wire.send(frame); failed != nil || err != nil {
		v.kill()
	}
}

func (v *server) append(payload []byte) error {
	if len(payload) < 8 {
		return fmt.Errorf("%w: append", errWire)
	}
	in := reader{b: payload}
	want := in.word()
	if len(in.b) > 0 {
		if err := v.r.appendAll(v.s, in.b); err != nil {
			return err
		}
	}
	if want == 0 {
		return nil
	}
	if end := v.r.end(); want >= end {
		return fmt.Errorf("%w: a sync of record %d of a log that ends at %d", errWire, want, end-1)
	}
	v.sync.ask(want)
	return nil
}

// fetch sends records until the last or one that is not whole here.
func (v *server) fetch(payload []byte) error {
	n, err := numbers(payload, 2)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, chunkSize)
	for seq, last := n[0], n[1]; seq <= last; {
		buf = recordFrame(buf, 0)
		var count int
		buf, count, err = v.r.chunk(buf, seq, last, chunkSize)
		if errors.Is(err, errHole) || errors.Is(err, ErrCut) {
			return v.wire.send(seal(recordFrame(buf, seq), fFetched))
		}
		if err != nil {
			return err
		}
		if err := v.wire.send(seal(buf, fFetched)); err != nil {
			return err
		}
		seq += uint64(count)
	}
	return nil
}
