package qlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"hive/fsm"
	"hive/internal/vfs"
)

// replica is this node's copy of one volume's log. Whoever has installed the newest term there holds its session; only
// that session writes.
type replica struct {
	volume fsm.VolumeID
	dir    string
	fs     vfs.FS
	log    *slog.Logger
	rand   io.Reader
	size   int64 // of a segment, bytes

	// syncMu is held over every sync and every change of more than the log's end: one fdatasync at a time, so that
	// its error cannot be told to another. It is taken before mu.
	syncMu sync.Mutex

	mu      sync.Mutex // guards what is below, and the segments' fields
	state   *stateFile // nil while nobody has installed a term
	segs    []*segment // oldest first
	unnamed bool       // the directory has changed since it was synced
	number  uint32     // of the newest segment that ever was
	base    uint64     // sequences before are not wanted
	next    uint64     // of the next record
	runs    []run
	holes   []gap // damaged records, in order
	synced  uint64
	flushed uint64 // the highest of the records' own
	bytes   int64  // ever appended since opening
	used    bool
	session *session
	failed  error // a sync or write has failed: final
	closed  bool

	view atomic.Pointer[[]*segment] // segs as readers see them
}

// session is the right of one owner's connection to write a copy.
type session struct {
	term  term
	owner any    // one owner may install again without ending itself
	kill  func() // ends the owner's connection; called without the copy's locks
}

// openReplica reads what dir holds. A directory that is not there is a copy that was never written.
func openReplica(r *replica) error {
	r.base, r.next = 1, 1
	r.publish()
	names, err := r.fs.List(r.dir)
	if vfs.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", r.volume, err)
	}
	if err := r.readState(); err != nil {
		return fmt.Errorf("open the log of %s: %w", r.volume, err)
	}
	if err := r.readSegments(names); err != nil {
		return errors.Join(fmt.Errorf("open the log of %s: %w", r.volume, err), r.closeFiles())
	}
	r.publish()
	return nil
}

// readState opens the state file. Where both its slots are lost so is the promise: the copy is no member then.
func (r *replica) readState() error {
	name := path.Join(r.dir, stateName)
	b, err := vfs.ReadFile(r.fs, name)
	if vfs.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	p, m, ok := parseState(b)
	if !ok {
		r.log.Warn("the state of a log copy cannot be read: it counts again once it has been filled", "volume", r.volume)
		return nil
	}
	f, err := r.fs.Open(name)
	if err != nil {
		return err
	}
	r.state = &stateFile{f: f, promise: p, mark: m}
	r.base, r.next, r.synced = p.base, p.base, m.seq
	r.used = p.base > 1
	return nil
}

// readSegments scans the segment files, in order.
func (r *replica) readSegments(names []string) error {
	slices.Sort(names)
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			if err := r.readSegment(name, n); err != nil {
				return err
			}
		}
	}
	if r.state == nil && len(r.segs) > 0 {
		r.base = r.segs[0].first
	}
	if err := r.addMarked(); err != nil {
		return err
	}
	missing := len(r.segs) > 0 && r.segs[0].first > r.base
	if missing && r.synced >= r.base {
		return fmt.Errorf("records %d to %d of %s have no file: %w", r.base, r.segs[0].first-1, r.volume, ErrCorrupt)
	}
	if missing || r.next < r.base { // nothing from base on was synced: a torn end without its beginning, or a reset cut short
		err := r.removeSegments(0)
		r.next, r.runs, r.holes = r.base, nil, nil
		return err
	}
	r.dropOldHoles()
	return nil
}

// readSegment scans one file and adds what it holds.
func (r *replica) readSegment(name string, number uint32) error {
	full := path.Join(r.dir, name)
	b, err := vfs.ReadFile(r.fs, full)
	if err != nil {
		return err
	}
	f, err := r.fs.Open(full)
	if err != nil {
		return err
	}
	if int64(len(b)) > 1<<31 {
		b = b[:1<<31]
	}
	r.number, r.unnamed = max(r.number, number), true
	fh, ok := parseFileHeader(b, number)
	ok = ok && (len(r.segs) == 0 || fh.first >= r.next) // else it was left by a cut that was interrupted
	if n := len(r.segs); n > 0 && len(r.segs[n-1].offs) == 0 {
		// A file without records goes before: what is missed between the two is missed there.
		if !ok {
			return errors.Join(f.Close(), r.fs.Remove(full))
		} else if fh.first == r.next {
			if err := r.removeSegments(n - 1); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	s := &segment{fileHeader: fh, f: f, end: recordsAt, edits: 1}
	if !ok {
		s.fileHeader, s.blank = fileHeader{number: number, first: r.next}, true
		r.segs = append(r.segs, s)
		return nil
	}
	found := scan(b, fh, r.lastTerm())
	if len(r.segs) > 0 {
		if err := r.addHole(gap{first: r.next, last: fh.first - 1, at: r.segs[len(r.segs)-1].end}); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	r.segs = append(r.segs, s)
	r.next = fh.first
	if err := r.addScanned(s, found); err != nil {
		return err
	}
	return r.rewriteUnmarked(s, b, found)
}

// maxHole bounds how many records one damaged place can have: a limit of memory, far beyond what files can hold.
const maxHole = 1 << 24

// addHole notes that the last segment lacks the records of g, if there are any.
func (r *replica) addHole(g gap) error {
	if g.first > g.last {
		return nil
	}
	if g.last-g.first >= maxHole {
		return fmt.Errorf("%w: volume %s: records %d to %d are missing", ErrCorrupt, r.volume, g.first, g.last)
	}
	s := r.segs[len(r.segs)-1]
	for len(s.offs) < int(g.last+1-s.first) {
		s.offs = append(s.offs, 0)
	}
	r.holes = append(r.holes, g)
	r.next = g.last + 1
	return nil
}

func (r *replica) addScanned(s *segment, found scanned) error {
	gaps := found.gaps
	for _, rec := range found.records {
		if len(gaps) > 0 && gaps[0].last == rec.seq-1 {
			if err := r.addHole(gaps[0]); err != nil {
				return err
			}
			gaps = gaps[1:]
		}
		r.learnTerm(&rec.header)
		s.offs = append(s.offs, rec.at)
		r.next = rec.seq + 1
		r.account(&rec.header)
	}
	s.end = found.end
	return nil
}

// account takes a record's header into what is known of the whole log.
func (r *replica) account(h *header) {
	if h.term != r.lastTerm() {
		r.runs = append(r.runs, run{h.term, h.seq})
	}
	r.flushed = max(r.flushed, h.flushed)
	r.used = r.used || h.kind != opened
}

// learnTerm notes the term of a damaged record from its successor: the same, unless that is an owner's first, which names
// the term before its own.
func (r *replica) learnTerm(h *header) {
	if n := len(r.holes); n == 0 || r.holes[n-1].last != h.seq-1 {
		return
	}
	t := h.term
	if h.kind == opened {
		t = h.termBefore()
	}
	if t.compare(r.lastTerm()) > 0 {
		r.runs = append(r.runs, run{t, h.seq - 1})
	}
}

func (r *replica) lastTerm() term {
	if len(r.runs) == 0 {
		return term{}
	}
	return r.runs[len(r.runs)-1].term
}

// rewriteUnmarked writes again what no mark says to be synced: after a sync that failed the kernel may hold bytes that it
// believes to be on the disk and that are not.
func (r *replica) rewriteUnmarked(s *segment, b []byte, found scanned) error {
	i := slices.IndexFunc(found.records, func(rec record) bool { return rec.seq > r.synced })
	if i < 0 {
		return nil
	}
	from := int64(found.records[i].at)
	if i == 0 {
		from = 0
	}
	if _, err := s.f.WriteAt(b[from:min(int(found.end), len(b))], from); err != nil {
		return fmt.Errorf("write the unsynced end of %s again: %w", segmentName(s.number), err)
	}
	return nil
}

// addMarked adds what the mark says was synced and no file holds any more, and takes away blank files behind it.
func (r *replica) addMarked() error {
	if r.state == nil || r.state.seq < r.next || r.state.seq < r.base {
		return r.dropEmptyBlank()
	}
	if len(r.segs) == 0 {
		return fmt.Errorf("records %d to %d of %s have no file: %w", r.base, r.state.seq, r.volume, ErrCorrupt)
	}
	s := r.segs[len(r.segs)-1]
	if err := r.addHole(gap{first: r.next, last: r.state.seq, at: s.end}); err != nil {
		return err
	}
	if m := r.state.mark; m.term.compare(r.lastTerm()) > 0 {
		r.runs = append(r.runs, run{m.term, m.seq})
	}
	r.used = true
	return nil
}

// dropEmptyBlank removes a last file whose header cannot be read and that no record is missed from: it was being made.
func (r *replica) dropEmptyBlank() error {
	if n := len(r.segs); n > 0 && r.segs[n-1].blank && len(r.segs[n-1].offs) == 0 {
		return r.removeSegments(n - 1)
	}
	return nil
}

// check tells whether s may write the copy.
func (r *replica) check(s *session) error {
	switch {
	case r.closed:
		return ErrClosed
	case r.failed != nil:
		return r.failed
	case r.session != s:
		return fmt.Errorf("%w: volume %s, generation %d", ErrFenced, r.volume, s.term.gen)
	}
	return nil
}

// fail makes an error of the disk final.
func (r *replica) fail(err error) error {
	if r.failed == nil {
		r.failed = fmt.Errorf("%w: volume %s: %w", ErrFailed, r.volume, err)
		r.log.Error("a log copy has failed", "volume", r.volume, "err", err)
	}
	return r.failed
}

// publish shows readers the segments.
func (r *replica) publish() {
	segs := slices.Clone(r.segs)
	r.view.Store(&segs)
}

// find is the segment that holds seq.
func (r *replica) find(seq uint64) *segment {
	i, ok := slices.BinarySearchFunc(r.segs, seq, func(s *segment, seq uint64) int { return cmp.Compare(s.first, seq) })
	if !ok {
		i--
	}
	if i < 0 || seq >= r.segs[i].next() {
		return nil
	}
	return r.segs[i]
}

func (r *replica) nonce() (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r.rand, b[:]); err != nil {
		return 0, fmt.Errorf("draw a nonce: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// end is the sequence of the next record.
func (r *replica) end() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// appendedBytes counts what was ever appended since opening.
func (r *replica) appendedBytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// bytesFrom is about how many bytes the records from seq on have.
func (r *replica) bytesFrom(seq uint64) (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.segs {
		switch {
		case s.first >= seq:
			n += int64(s.end)
		case s.next() > seq:
			n += int64(s.end - s.until(int(seq-s.first)))
		}
	}
	return n
}

// begin is the first sequence that is wanted.
func (r *replica) begin() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.base
}
