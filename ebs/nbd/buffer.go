package nbd

import (
	"math/bits"
	"sync"
)

// Sizes of pooled buffers are powers of two from 4 KiB to the largest payload.
const (
	minBufferBits = 12
	maxBufferBits = 25
	maxPayload    = 1 << maxBufferBits
)

// buffer holds the payload of one request. It is owned by whoever works on the request.
type buffer struct {
	p    []byte // of the payload's length
	full []byte
}

// pool keeps buffers that nobody uses, for all connections of a server. It gives them up when the collector runs.
type pool [maxBufferBits - minBufferBits + 1]sync.Pool

func class(n int) int { return max(bits.Len(uint(n-1)), minBufferBits) - minBufferBits }

func (p *pool) get(n int) *buffer {
	i := class(n)
	b, ok := p[i].Get().(*buffer)
	if !ok {
		b = &buffer{full: make([]byte, 1<<(i+minBufferBits))}
	}
	b.p = b.full[:n]
	return b
}

func (p *pool) put(b *buffer) { p[class(len(b.full))].Put(b) }

// budget bounds the bytes of the buffers of one connection. Only the connection's reader takes, so it alone waits.
type budget struct {
	limit int
	mu    sync.Mutex // guards used
	used  int
	less  chan struct{} // has one element after something was given back
}

// try takes n bytes if they are free. One buffer is always allowed, whatever its size.
func (b *budget) try(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.limit {
		return false
	}
	b.used += n
	return true
}

// take waits for n bytes. What it waits for always comes: requests end, and their replies are written or dropped.
func (b *budget) take(n int) {
	for !b.try(n) {
		<-b.less
	}
}

func (b *budget) give(n int) {
	b.mu.Lock()
	b.used -= n
	b.mu.Unlock()
	select {
	case b.less <- struct{}{}:
	default:
	}
}
