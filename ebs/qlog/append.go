package qlog

import (
	"errors"
	"fmt"
	"path"

	"hive/internal/vfs"
)

// room returns the segment that a record of so many bytes goes into, a new one where the last is full.
func (r *replica) room(span int) (*segment, error) {
	if n := len(r.segs); n > 0 {
		s := r.segs[n-1]
		if len(s.offs) == 0 || int64(s.end)+int64(span) <= r.size {
			return s, nil
		}
	}
	nonce, err := r.nonce()
	if err != nil {
		return nil, err
	}
	fh := fileHeader{r.number + 1, nonce, r.next}
	f, err := r.fs.Create(path.Join(r.dir, segmentName(fh.number)))
	if err != nil {
		return nil, r.writeError(err)
	}
	r.number, r.unnamed = fh.number, true
	if _, err := f.WriteAt(fh.bytes(), 0); err != nil {
		return nil, errors.Join(r.writeError(err), f.Close())
	}
	s := &segment{fileHeader: fh, f: f, end: recordsAt, edits: 1}
	r.segs = append(r.segs, s)
	r.publish()
	return s, nil
}

// writeError makes every error of a write but a full disk final.
func (r *replica) writeError(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) {
		return fmt.Errorf("write the log of %s: %w", r.volume, err)
	}
	return r.fail(err)
}

// appendOne is the owner's own append: at its end, under its own term. head is room for the header, its table and small
// data; a large record's data is written from where it is.
func (r *replica) appendOne(s *session, h header, data, head []byte) (Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(s); err != nil {
		return Position{}, err
	}
	h.seq, h.term, h.data = r.next, s.term, uint32(len(data))
	h.flushed = min(h.flushed, h.seq-1)
	if h.kind == opened {
		before := r.lastTerm()
		h.offset, h.length = int64(before.gen), int64(before.inc)
	}
	seg, err := r.room(h.span())
	if err != nil {
		return Position{}, err
	}
	head = head[:h.dataAt()]
	h.put(head, data)
	h.stamp(head, seg.nonce, seg.end)
	if len(data) <= blockSize {
		head, data = append(head, data...), nil
	}
	if _, err := seg.f.WriteAt(head, int64(seg.end)); err != nil {
		return Position{}, r.writeError(err)
	}
	if len(data) > 0 {
		if _, err := seg.f.WriteAt(data, int64(seg.end)+int64(h.dataAt())); err != nil {
			return Position{}, r.writeError(err)
		}
	}
	at := Position{h.seq, seg.number, seg.end, h.data}
	r.appended(seg, &h)
	return at, nil
}

// appended takes a record that has been written at the end into the index.
func (r *replica) appended(seg *segment, h *header) {
	seg.offs = append(seg.offs, seg.end)
	seg.end += uint32(h.span())
	seg.edits++
	r.next++
	r.bytes += int64(h.span())
	r.account(h)
}

// appendAll appends records as they came from another node, each with the term of whoever wrote it. It changes their
// checksums in place.
func (r *replica) appendAll(s *session, b []byte) error {
	headers, err := parseAll(b)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(s); err != nil {
		return err
	}
	if len(r.holes) > 0 {
		return fmt.Errorf("%w: records for a log that lacks record %d", errWire, r.holes[0].first)
	}
	for i := range headers {
		if h := &headers[i]; h.seq != r.next+uint64(i) || h.term.compare(s.term) > 0 || h.term.compare(r.lastTerm()) < 0 {
			return fmt.Errorf("%w: record %d of generation %d does not follow record %d", errWire, h.seq, h.term.gen, r.next-1)
		}
	}
	for len(headers) > 0 {
		n, size, err := r.appendSome(headers, b)
		if err != nil {
			return err
		}
		headers, b = headers[n:], b[size:]
	}
	return nil
}

// appendSome writes as many records as fit into one segment, at once.
func (r *replica) appendSome(headers []header, b []byte) (n, size int, err error) {
	seg, err := r.room(headers[0].span())
	if err != nil {
		return 0, 0, err
	}
	for i := range headers {
		span := headers[i].span()
		if n > 0 && int64(seg.end)+int64(size+span) > r.size {
			break
		}
		headers[i].stamp(b[size:], seg.nonce, seg.end+uint32(size))
		n, size = n+1, size+span
	}
	if _, err := seg.f.WriteAt(b[:size], int64(seg.end)); err != nil {
		return 0, 0, r.writeError(err)
	}
	for i := range headers[:n] {
		r.appended(seg, &headers[i])
	}
	return n, size, nil
}

// parseAll verifies records as they go between nodes, one behind the other.
func parseAll(b []byte) (headers []header, err error) {
	for at := 0; at < len(b); {
		h, err := parse(b[at:], 0, 0)
		if err != nil || len(b)-at < h.span() {
			return nil, fmt.Errorf("%w: no record at byte %d of %d", errWire, at, len(b))
		}
		if _, whole := h.dataOf(b[at:]); !whole {
			return nil, fmt.Errorf("%w: the data of record %d does not match its checksum", errWire, h.seq)
		}
		headers = append(headers, h)
		at += h.span()
	}
	return headers, nil
}

// sync makes the log durable up to its end as it is now, notes that, and answers that end.
func (r *replica) sync(s *session) (uint64, error) {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	if err := r.check(s); err != nil {
		r.mu.Unlock()
		return 0, err
	}
	work := r.unsynced()
	r.mu.Unlock()
	err := work.do(r)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return 0, r.fail(err)
	}
	r.covered(work)
	if err := r.check(s); err != nil {
		return 0, err
	}
	if work.seq > r.synced {
		r.synced = work.seq
		if err := r.state.note(work.term, work.seq); err != nil {
			return 0, r.fail(err)
		}
	}
	return work.seq, nil
}

// syncWork is what one sync has to make durable, taken before it begins.
type syncWork struct {
	seq     uint64
	term    term
	segs    []*segment
	edits   []uint64
	unnamed bool
}

func (r *replica) unsynced() syncWork {
	w := syncWork{seq: r.next - 1, term: r.lastTerm(), unnamed: r.unnamed}
	for _, s := range r.segs {
		if s.edits > s.synced {
			w.segs, w.edits = append(w.segs, s), append(w.edits, s.edits)
		}
	}
	r.unnamed = false
	return w
}

// do syncs; oldest first, so that a loss of power in between leaves a prefix.
func (w *syncWork) do(r *replica) error {
	for _, s := range w.segs {
		if err := s.f.Datasync(); err != nil {
			return fmt.Errorf("sync %s: %w", segmentName(s.number), err)
		}
	}
	if !w.unnamed {
		return nil
	}
	return r.fs.SyncDir(r.dir)
}

// covered notes what a sync has made durable.
func (r *replica) covered(w syncWork) {
	for i, s := range w.segs {
		s.synced = max(s.synced, w.edits[i])
	}
}

// settle makes the mark survive a loss of power. It is for a moment when nothing else is to be done.
func (r *replica) settle() error {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	state := r.state
	if state == nil || !state.unsynced || r.failed != nil || r.closed {
		r.mu.Unlock()
		return nil
	}
	state.unsynced = false
	r.mu.Unlock()
	if err := state.f.Datasync(); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.fail(fmt.Errorf("sync the mark: %w", err))
	}
	return nil
}
