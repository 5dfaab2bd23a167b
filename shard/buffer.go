package shard

import (
	"sync"
	"sync/atomic"
)

// buffer holds a payload, with room for a record's header in front and padding behind, so that a
// record is written to its segment and sent to other nodes without being copied. Whoever hands it
// to another goroutine retains it for that one; the last release gives it back to its pool.
type buffer struct {
	b    []byte
	pool *sync.Pool // nil: left to the collector
	refs atomic.Int32
}

// newBuffer is a buffer of no pool.
func newBuffer(n int) *buffer {
	b := &buffer{b: make([]byte, recordRoom+n+8)}
	b.refs.Store(1)
	return b
}

// payload is the first n bytes of the payload's room.
func (b *buffer) payload(n int) []byte { return b.b[recordRoom : recordRoom+n : recordRoom+n] }

// frame is the whole record, for its header to be filled in; the padding is zeroed.
func (b *buffer) frame(h *header) []byte {
	start := recordRoom - h.payloadAt()
	end := start + h.span()
	clear(b.b[recordRoom+int(h.length) : end])
	return b.b[start:end]
}

func (b *buffer) retain() { b.refs.Add(1) }

func (b *buffer) release() {
	switch left := b.refs.Add(-1); {
	case left == 0 && b.pool != nil:
		b.pool.Put(b)
	case left < 0:
		panic("shard: buffer released twice")
	}
}

// pools keeps buffers of three sizes, so that a small object does not hold a big one.
type pools struct {
	small, block, group sync.Pool
}

const smallBuffer = 4 << 10

// get is a buffer for a payload of n bytes, at most groupSize.
func (p *pools) get(n int) *buffer {
	switch {
	case n <= smallBuffer:
		return getBuffer(&p.small, smallBuffer)
	case n <= blockSize:
		return getBuffer(&p.block, blockSize)
	default:
		return getBuffer(&p.group, groupSize)
	}
}

func getBuffer(pool *sync.Pool, size int) *buffer {
	if b, ok := pool.Get().(*buffer); ok {
		b.refs.Store(1)
		return b
	}
	b := newBuffer(size)
	b.pool = pool
	return b
}
