package qlog

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"hive/internal/vfs"
)

// install gives the copy to an owner: its term is durable when this returns, and no older session can write any more.
// The session is refused where the same or a newer term is promised (again answers the session anew only for the very
// same term and opening: a connection that was lost). refusedBy is that term.
func (r *replica) install(s *session) (refusedBy term, err error) {
	var old *session
	defer func() {
		if old != nil && old.owner != s.owner {
			old.kill()
		}
	}()
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return term{}, ErrClosed
	}
	if r.failed != nil {
		return term{}, r.failed
	}
	if promised := r.promised(); promised.compare(s.term) > 0 {
		return promised, nil
	} else if r.state == nil || promised.compare(s.term) < 0 {
		if err := r.promise(s.term); err != nil {
			return term{}, r.fail(err)
		}
	}
	old, r.session = r.session, s
	return term{}, nil
}

// promised is the newest term that the copy knows.
func (r *replica) promised() term {
	t := r.lastTerm()
	if r.state != nil && r.state.promise.term.compare(t) > 0 {
		t = r.state.promise.term
	}
	return t
}

// promise makes t durable, and the directory with it.
func (r *replica) promise(t term) error {
	if r.state != nil {
		p := r.state.promise
		p.term = t
		return r.state.keep(p)
	}
	if err := r.fs.MkdirAll(r.dir); err != nil {
		return err
	}
	if err := r.fs.SyncDir(path.Dir(r.dir)); err != nil {
		return err
	}
	state, err := createState(r.fs, r.dir, promise{term: t, base: r.base}, mark{})
	if err != nil {
		return err
	}
	r.state = state
	return nil
}

// admit makes the copy a member: it has been given everything that ever was synced.
func (r *replica) admit(s *session) error {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(s); err != nil || r.state.member {
		return err
	}
	p := r.state.promise
	p.member = true
	if err := r.state.keep(p); err != nil {
		return r.fail(err)
	}
	return nil
}

// tell is the copy's report.
func (r *replica) tell() report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := report{
		base: r.base, next: r.next, used: r.used, flushed: r.flushed, runs: slices.Clone(r.runs),
		member: r.state != nil && r.state.member,
	}
	if r.state != nil {
		out.mark = min(r.state.mark.seq, r.next-1)
	}
	for _, h := range r.holes {
		out.holes = append(out.holes, span{h.first, h.last})
	}
	return out
}

// truncate cuts every record after keep, durably, with whatever lies behind the log's end.
func (r *replica) truncate(s *session, keep uint64) error {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(s); err != nil {
		return err
	}
	if keep+1 < r.base {
		return fmt.Errorf("%w: cut after record %d of a log that begins at %d", errWire, keep, r.base)
	}
	if err := r.truncateTo(keep); err != nil {
		return r.fail(fmt.Errorf("cut after record %d: %w", keep, err))
	}
	return nil
}

func (r *replica) truncateTo(keep uint64) error {
	if r.state.seq > keep {
		rep := report{base: 1, next: r.next, runs: r.runs}
		if err := r.state.lower(rep.termAt(keep), keep); err != nil {
			return err
		}
	}
	cut := len(r.segs)
	for cut > 1 && r.segs[cut-1].first > keep {
		cut--
	}
	if err := r.removeSegments(cut); err != nil {
		return err
	}
	r.synced = min(r.synced, keep)
	if len(r.segs) == 0 {
		return nil
	}
	seg := r.segs[len(r.segs)-1]
	if err := r.shorten(seg, keep); err != nil {
		return err
	}
	if r.next > keep+1 {
		r.next = max(keep+1, seg.first)
	}
	r.runs = slices.DeleteFunc(r.runs, func(run run) bool { return run.first >= r.next })
	r.publish()
	return r.dropEmptyBlank()
}

// shorten cuts the last segment's file after the record keep and forgets the damage behind it.
func (r *replica) shorten(seg *segment, keep uint64) error {
	if n := int64(keep+1) - int64(seg.first); n < int64(len(seg.offs)) {
		seg.end = seg.until(int(max(0, n)))
		if n <= 0 {
			seg.end = recordsAt
		}
		seg.offs = seg.offs[:max(0, n)]
	}
	for i, h := range r.holes {
		if h.first > keep {
			r.holes = r.holes[:i]
			seg.end = min(seg.end, max(h.at, recordsAt))
			break
		}
		if h.last >= keep {
			r.holes[i].last, r.holes[i].to = min(h.last, keep), 0
			seg.end = h.at
		}
	}
	if seg.blank {
		return nil
	}
	size, err := seg.f.Size()
	if err != nil || size <= int64(seg.end) {
		return err
	}
	if err := seg.f.Truncate(int64(seg.end)); err != nil {
		return err
	}
	seg.edits++
	return seg.f.Datasync()
}

// removeSegments removes the files of segs[from:], newest first, and forgets what was damaged in them.
func (r *replica) removeSegments(from int) error {
	if from >= len(r.segs) {
		return nil
	}
	for i := len(r.segs) - 1; i >= from; i-- {
		s := r.segs[i]
		if err := errors.Join(s.f.Close(), r.fs.Remove(path.Join(r.dir, segmentName(s.number)))); err != nil {
			return err
		}
		if err := r.fs.SyncDir(r.dir); err != nil {
			return err
		}
		r.segs = r.segs[:i]
		r.next = min(r.next, s.first)
		r.holes = slices.DeleteFunc(r.holes, func(h gap) bool { return h.first >= s.first })
	}
	r.publish()
	return nil
}

// reset empties the log; its next record is base.
func (r *replica) reset(s *session, base uint64) error {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(s); err != nil {
		return err
	}
	if base == 0 {
		return fmt.Errorf("%w: reset to record 0", errWire)
	}
	if err := r.resetTo(base); err != nil {
		return r.fail(fmt.Errorf("empty the log: %w", err))
	}
	return nil
}

func (r *replica) resetTo(base uint64) error {
	if r.state.seq > 0 {
		if err := r.state.lower(term{}, 0); err != nil {
			return err
		}
	}
	if err := r.removeSegments(0); err != nil {
		return err
	}
	p := r.state.promise
	p.base = base
	if err := r.state.keep(p); err != nil {
		return err
	}
	r.base, r.next, r.runs, r.holes, r.synced, r.flushed = base, base, nil, nil, 0, 0
	r.used = base > 1
	return nil
}

// cut forgets records before the given one: whole segments, never the last. Appends go on meanwhile.
func (r *replica) cut(s *session, before uint64) error {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	if err := r.check(s); err != nil {
		r.mu.Unlock()
		return err
	}
	before = min(before, r.next)
	if before <= r.base {
		r.mu.Unlock()
		return nil
	}
	p := r.state.promise
	p.counter, p.base = p.counter+1, before
	r.mu.Unlock()
	err := r.state.put(p)
	r.mu.Lock()
	var gone []*segment
	if err == nil {
		r.state.promise = p
		gone = r.cutTo(before)
	}
	r.mu.Unlock()
	for _, seg := range gone {
		if e := errors.Join(seg.f.Close(), r.fs.Remove(path.Join(r.dir, segmentName(seg.number)))); !vfs.IsNotExist(e) {
			err = errors.Join(err, e)
		}
	}
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fail(fmt.Errorf("cut records before %d: %w", before, err))
}

// cutTo moves the log's beginning and answers the segments that are not needed any more.
func (r *replica) cutTo(base uint64) []*segment {
	r.base, r.used, r.unnamed = base, true, true
	n := 0
	for n < len(r.segs)-1 && r.segs[n].next() <= base {
		n++
	}
	gone := r.segs[:n]
	r.segs = slices.Clone(r.segs[n:])
	r.dropOldHoles()
	r.publish()
	return gone
}

// dropOldHoles forgets damage in records that are not wanted.
func (r *replica) dropOldHoles() {
	r.holes = slices.DeleteFunc(r.holes, func(h gap) bool { return h.last < r.base })
	for i := range r.holes {
		r.holes[i].first = max(r.holes[i].first, r.base)
	}
}

// closeFiles closes every file.
func (r *replica) closeFiles() error {
	var errs []error
	for _, s := range r.segs {
		errs = append(errs, s.f.Close())
	}
	if r.state != nil {
		errs = append(errs, r.state.f.Close())
	}
	return errors.Join(errs...)
}

// release gives up a session and makes the mark survive.
func (r *replica) release(s *session) error {
	r.mu.Lock()
	if r.session == s {
		r.session = nil
	}
	r.mu.Unlock()
	return r.settle()
}

// close ends the session, makes the mark durable and closes the files.
func (r *replica) close() error {
	settled := r.settle()
	var old *session
	defer func() {
		if old != nil {
			old.kill()
		}
	}()
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	old, r.session = r.session, nil
	return errors.Join(settled, r.closeFiles())
}
