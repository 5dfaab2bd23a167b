// Package nbdtest has a device for tests and benchmarks of the NBD server. It is never part of the program.
package nbdtest

import (
	"context"
	"sync"
	"sync/atomic"
)

// pageSize is the unit in which Memory takes memory.
const pageSize = 32 << 10

// Memory is a sparse device of zeroes in memory: pages that nobody wrote take none. It is as durable as its process.
type Memory struct {
	pages   []page
	size    int64
	flushes atomic.Int64
}

type page struct {
	mu   sync.RWMutex // guards data
	data []byte       // nil is a hole
}

// NewMemory makes a device of size bytes, a multiple of 512.
func NewMemory(size int64) *Memory {
	return &Memory{pages: make([]page, (size+pageSize-1)/pageSize), size: size}
}

// Size is the device's length in bytes.
func (m *Memory) Size() int64 { return m.size }

// Flushes is how many times Flush was called.
func (m *Memory) Flushes() int64 { return m.flushes.Load() }

// each calls f for each page that n bytes from off touch, with the part of the page, in bytes.
func (m *Memory) each(off, n int64, f func(p *page, from, to int64)) {
	for n > 0 {
		from := off % pageSize
		some := min(n, pageSize-from)
		f(&m.pages[off/pageSize], from, from+some)
		off, n = off+some, n-some
	}
}

// TryRead reads: memory never waits.
func (m *Memory) TryRead(p []byte, off int64) bool {
	m.each(off, int64(len(p)), func(pg *page, from, to int64) {
		pg.mu.RLock()
		defer pg.mu.RUnlock()
		if pg.data == nil {
			clear(p[:to-from])
		} else {
			copy(p, pg.data[from:to])
		}
		p = p[to-from:]
	})
	return true
}

// TryWrite writes: memory never waits.
func (m *Memory) TryWrite(p []byte, off int64) bool {
	m.each(off, int64(len(p)), func(pg *page, from, to int64) {
		pg.mu.Lock()
		defer pg.mu.Unlock()
		if pg.data == nil {
			pg.data = make([]byte, pageSize)
		}
		copy(pg.data[from:to], p)
		p = p[to-from:]
	})
	return true
}

// ReadAt reads len(p) bytes.
func (m *Memory) ReadAt(_ context.Context, p []byte, off int64) error {
	m.TryRead(p, off)
	return nil
}

// WriteAt writes p.
func (m *Memory) WriteAt(_ context.Context, p []byte, off int64, _ bool) error {
	m.TryWrite(p, off)
	return nil
}

// Zero gives whole pages up if it may punch holes; without, pages that are holes become allocated.
func (m *Memory) Zero(_ context.Context, off, n int64, _, punch bool) error {
	m.each(off, n, func(pg *page, from, to int64) {
		pg.mu.Lock()
		defer pg.mu.Unlock()
		switch {
		case punch && to-from == pageSize:
			pg.data = nil
		case pg.data != nil:
			clear(pg.data[from:to])
		case !punch:
			pg.data = make([]byte, pageSize)
		}
	})
	return nil
}

// Trim makes holes where whole pages are trimmed, and zeroes elsewhere.
func (m *Memory) Trim(ctx context.Context, off, n int64, fua bool) error {
	return m.Zero(ctx, off, n, fua, true)
}

// Flush counts.
func (m *Memory) Flush(context.Context) error {
	m.flushes.Add(1)
	return nil
}

// TryFlush counts: memory never waits.
func (m *Memory) TryFlush() bool {
	m.flushes.Add(1)
	return true
}

// Extents tells of whole pages: those that were never written, or given up, are holes that read as zero.
func (m *Memory) Extents(_ context.Context, off, n int64, yield func(length int64, hole, zero bool) bool) error {
	more := true
	m.each(off, n, func(pg *page, from, to int64) {
		if !more {
			return
		}
		pg.mu.RLock()
		hole := pg.data == nil
		pg.mu.RUnlock()
		more = yield(to-from, hole, hole)
	})
	return nil
}
