package ebs

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

const (
	// fillUnit is what a read that misses the cache reads at least: what the blob layer verifies at once.
	fillUnit = 64 << 10
	// fillMax is what is read at once at most.
	fillMax = 1 << 20
)

// fill is a range on its way into the cache. A write into it makes it worthless for the cache, not for who reads.
type fill struct {
	off  int64
	buf  []byte
	dead bool          // guarded by the volume's mu
	done chan struct{} // closed at its end
}

// tryRead reads from the cache.
func (v *volume) tryRead(p []byte, off int64) bool {
	if v.failed.Load() || !v.cache.read(v.number, p, off) {
		return false
	}
	if at := v.ahead.Load(); at >= off && at < off+int64(len(p)) && v.ahead.CompareAndSwap(at, -1) {
		v.askAhead(windowEnd(at))
	}
	return true
}

// windowEnd is where the fillMax that an offset lies in ends.
func windowEnd(off int64) int64 { return (off/fillMax + 1) * fillMax }

// askAhead has what begins at off read into the cache, unless the reader ahead is busy.
func (v *volume) askAhead(off int64) {
	if off >= v.size {
		return
	}
	select {
	case v.wish <- off:
	default:
	}
}

// readAhead reads what is wished for until ctx ends or the volume fails. When a read reaches what was read ahead, the next
// window is wished for.
func (v *volume) readAhead(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.dead:
			return
		case off := <-v.wish:
			v.ahead.Store(-1)
			end := min(windowEnd(off), v.size)
			var last [sectorSize]byte
			if v.cache.read(v.number, last[:], end-sectorSize) {
				v.ahead.Store(off) // it is there already, as far as can be told cheaply
				continue
			}
			v.mu.Lock()
			f := v.addFillLocked(off, end)
			v.next = end
			v.mu.Unlock()
			err := v.fill(ctx, f)
			v.putFill(f.buf)
			if err == nil { // else whoever reads it is told
				v.ahead.Store(off)
			}
		}
	}
}

// read reads len(p) bytes as they were at some moment of the call, each sector for itself.
func (v *volume) read(ctx context.Context, p []byte, off int64) error {
	if err := v.check(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(int64(len(p)), (off/fillMax+1)*fillMax-off)
		if !v.tryRead(p[:n], off) {
			if err := v.miss(ctx, p[:n], off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+n
	}
	return nil
}

// miss reads a range, which lies in one fillMax, from where it is stored, and what is beside it into the cache.
func (v *volume) miss(ctx context.Context, p []byte, off int64) error {
	n := int64(len(p))
	for {
		f, mine := v.beginFill(off, n)
		if mine {
			defer v.putFill(f.buf)
			if err := v.fill(ctx, f); err != nil {
				return err
			}
			copy(p, f.buf[off-f.off:])
			return nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if v.tryRead(p, off) {
			return nil
		}
	}
}

// sequential is how many misses in a row, each where the one before ended, make reads go ahead.
const sequential = 3

// beginFill is the fill that will bring a range, or a new one. That is longer the longer misses have followed each other.
func (v *volume) beginFill(off, n int64) (f *fill, mine bool) {
	lo, hi := off/fillUnit*fillUnit, (off+n+fillUnit-1)/fillUnit*fillUnit
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.fills {
		if !f.dead && f.off <= off && off+n <= f.off+int64(len(f.buf)) {
			return f, false
		}
	}
	if v.row++; lo != v.next {
		v.row = 0
	}
	hi = min(max(hi, min(lo+fillUnit<<min(v.row, 4), windowEnd(lo))), v.size)
	if v.next = hi; v.row >= sequential {
		v.askAhead(hi)
	}
	return v.addFillLocked(lo, hi), true
}

func (v *volume) addFillLocked(lo, hi int64) *fill {
	f := &fill{off: lo, buf: v.getFill(int(hi - lo)), done: make(chan struct{})}
	v.fills = append(v.fills, f)
	return f
}

// fill reads a fill's range and puts it into the cache, unless it was written meanwhile.
func (v *volume) fill(ctx context.Context, f *fill) error {
	defer close(f.done)
	for {
		version, err := v.load(ctx, f)
		if err != nil && v.outdated(ctx, version) {
			continue // what was read from may have been given up meanwhile
		}
		v.mu.Lock()
		for i := range v.fills {
			if v.fills[i] == f {
				v.fills[i] = v.fills[len(v.fills)-1]
				v.fills = v.fills[:len(v.fills)-1]
				break
			}
		}
		err = errors.Join(v.err, err)
		if err == nil && !f.dead {
			v.cache.write(v.number, f.buf, f.off)
		}
		v.mu.Unlock()
		return err
	}
}

// outdatedLocked tells whether the map of that version may have been replaced. If it is not known yet, wait tells when it is.
func (v *volume) outdatedLocked(version uint64) (again bool, wait <-chan struct{}) {
	switch {
	case v.err != nil:
		return false, nil
	case version != v.version:
		return true, nil
	default:
		return v.replacing != nil, v.replacing
	}
}

// load reads a fill's range as it is at one moment.
func (v *volume) load(ctx context.Context, f *fill) (version uint64, err error) {
	start := f.off / sectorSize
	v.mu.Lock()
	pieces := resolve(v.layers, start, start+int64(len(f.buf))/sectorSize)
	base, version := v.base, v.version
	f.dead = false // it is read from now on
	v.mu.Unlock()
	return version, v.readPieces(ctx, base, pieces, f.buf)
}

// readPieces fills dst with pieces, which follow each other.
func (v *volume) readPieces(ctx context.Context, base *root, pieces []piece, dst []byte) error {
	if len(pieces) == 1 {
		return v.readPiece(ctx, base, pieces[0], dst)
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	for _, p := range pieces {
		n := (p.end - p.start) * sectorSize
		part := dst[:n:n]
		dst = dst[n:]
		if !p.base { // the log is at hand
			if err := v.readPiece(ctx, base, p, part); err != nil {
				return errors.Join(err, all.Wait())
			}
			continue
		}
		all.Go(func() error { return v.content.read(ctx, base, part, p.start) })
	}
	return all.Wait()
}

func (v *volume) readPiece(ctx context.Context, base *root, p piece, dst []byte) error {
	switch {
	case p.base:
		return v.content.read(ctx, base, dst, p.start)
	case p.zero():
		clear(dst)
		return nil
	default:
		return v.log.ReadAt(dst, p.at, (p.start-p.first)*sectorSize)
	}
}

// unchanged reads from the cache what lies at a sector, if no record after cut has changed it: it is then what a frozen layer
// has there.
func (v *volume) unchanged(p []byte, start int64, cut uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	same := v.err == nil
	for i := len(v.layers) - 1; i >= 0 && same; i-- {
		l := v.layers[i]
		if i < len(v.layers)-1 && l.cut <= cut {
			break
		}
		l.each(start, start+int64(len(p))/sectorSize, func(span) bool {
			same = false
			return false
		})
	}
	return same && v.cache.read(v.number, p, start*sectorSize)
}

// extents tells which sectors of a range have data, in order, until yield answers false.
func (v *volume) extents(ctx context.Context, off, n int64, yield func(length int64, data bool) bool) error {
	if err := v.check(off, n); err != nil {
		return err
	}
	r := runs{yield: yield}
	for start, end := off/sectorSize, (off+n)/sectorSize; start < end && !r.ended; {
		v.mu.Lock()
		err, version := v.err, v.version
		pieces, base := resolve(v.layers, start, end), v.base
		v.mu.Unlock()
		if err != nil {
			return err
		}
		told, err := v.tell(ctx, base, pieces, &r)
		start += told
		if err != nil && !v.outdated(ctx, version) {
			return err
		}
	}
	r.flush()
	return nil
}

// outdated waits until it is known whether the map of that version was replaced, and answers that.
func (v *volume) outdated(ctx context.Context, version uint64) bool {
	v.mu.Lock()
	again, wait := v.outdatedLocked(version)
	v.mu.Unlock()
	if again && wait != nil {
		select {
		case <-wait:
		case <-v.dead:
		case <-ctx.Done():
		}
	}
	return again && ctx.Err() == nil
}

// tell adds what pieces are to runs, and answers how many sectors of them it has added.
func (v *volume) tell(ctx context.Context, base *root, pieces []piece, r *runs) (told int64, err error) {
	add := func(n int64, data bool) bool {
		told += n
		return r.add(n, data)
	}
	for _, p := range pieces {
		if !p.base {
			add(p.end-p.start, !p.zero())
		} else if err := v.content.extents(ctx, base, p.start, p.end, add); err != nil {
			return told, err
		}
		if r.ended {
			break
		}
	}
	return told, nil
}

// runs joins neighbours of the same kind.
type runs struct {
	yield func(length int64, data bool) bool
	n     int64 // sectors
	data  bool
	ended bool
}

func (r *runs) add(n int64, data bool) bool {
	if data != r.data {
		r.flush()
	}
	r.n, r.data = r.n+n, data
	return !r.ended
}

func (r *runs) flush() {
	if r.n > 0 && !r.ended {
		r.ended = !r.yield(r.n*sectorSize, r.data)
	}
	r.n = 0
}

// getFill is a buffer for a fill.
func (s *shared) getFill(n int) []byte {
	if b, ok := s.pool.Get().(*[fillMax]byte); ok {
		return b[:n]
	}
	return new([fillMax]byte)[:n]
}

func (s *shared) putFill(b []byte) { s.pool.Put((*[fillMax]byte)(b[:fillMax])) }
