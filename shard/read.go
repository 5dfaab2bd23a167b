package shard

import (
	"context"
	"fmt"
	"io"

	"hive/fsm"
)

// Read reads n bytes of a blob from off on; n < 0 or too large means up to the end. The first
// bytes have been read and verified when it returns, so that most errors come from Read and not
// from the body. The body implements io.WriterTo; it must be closed.
//
// Errors: ErrNotFound, ErrUnavailable, ErrLost, ErrNoTable, fsm.ErrInvalid for an off outside the
// blob, ctx's.
func (s *Store) Read(ctx context.Context, ref Ref, off, n int64) (io.ReadCloser, error) {
	if off < 0 || off > ref.Size {
		return nil, fmt.Errorf("offset %d in a blob of %d bytes: %w", off, ref.Size, fsm.ErrInvalid)
	}
	if n < 0 || n > ref.Size-off {
		n = ref.Size - off
	}
	if n == 0 {
		return &body{}, nil
	}
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	spec := rangeSpec(ref, off, n)
	g, err := s.gather(ctx, spec)
	if err != nil {
		return nil, err
	}
	b := &body{s: s, g: g, off: off, end: off + n, blocks: make([]piece, int(ref.K)+int(ref.M))}
	b.weight = int64(len(b.blocks)) * blockSize
	if spec.first != spec.last {
		b.weight = int64(ref.K+1) * (readAhead + 1) * blockSize
	}
	if err := s.memory.Acquire(ctx, b.weight); err != nil {
		g.close()
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	if err := b.load(); err != nil {
		return nil, joinClose(err, b)
	}
	return b, nil
}

// checkRef refuses a Ref that no write has made.
func checkRef(ref Ref) error {
	if ref.K == 0 || int(ref.K)+int(ref.M) > maxShards || ref.Size < 0 {
		return fmt.Errorf("blob %v of %d bytes with %d+%d shards: %w", ref.ID, ref.Size, ref.K, ref.M, fsm.ErrInvalid)
	}
	return nil
}

func joinClose(err error, c io.Closer) error {
	if closing := c.Close(); closing != nil {
		return fmt.Errorf("%w; %w", err, closing)
	}
	return err
}

// rangeSpec is which blocks a range of a blob needs.
func rangeSpec(ref Ref, off, n int64) gatherSpec {
	shape := shapeOf(ref)
	spec := gatherSpec{
		ref: ref, want: make([]bool, shape.k+shape.m),
		first: off / shape.stripe(), last: (off + n - 1) / shape.stripe(),
	}
	if spec.first != spec.last {
		for j := range shape.k {
			spec.want[j] = true
		}
		return spec
	}
	block := int64(shape.block(spec.first))
	start := off - spec.first*shape.stripe()
	a, b := start/block, (start+n-1)/block
	for j := a; j <= b; j++ {
		spec.want[j] = true
	}
	spec.lo, spec.hi = 0, int(block)
	if a == b {
		spec.lo, spec.hi = int(start-a*block), int(start+n-a*block)
	}
	return spec
}

// body is a range of a blob on its way out.
type body struct {
	s      *Store
	g      *gatherer // nil: nothing to read
	off    int64     // of the next byte in the blob
	end    int64
	blocks []piece // of the current stripe, by shard
	loaded bool
	weight int64
	err    error
}

// load makes the stripe that off lies in the current one.
func (b *body) load() error {
	if b.err != nil {
		return b.err
	}
	stripe := b.off / b.g.shape.stripe()
	if b.loaded && stripe != b.g.stripe {
		b.g.advance(b.blocks)
		b.loaded = false
	}
	if !b.loaded {
		if b.err = b.g.collect(b.blocks); b.err != nil {
			b.g.free(b.blocks)
			return b.err
		}
		b.loaded = true
	}
	return nil
}

// rest is the bytes at off that lie together in one block.
func (b *body) rest() []byte {
	g := b.g
	block := int64(g.shape.block(g.stripe))
	start := b.off - g.stripe*g.shape.stripe()
	j := start / block
	lo := int(start - j*block)
	if g.first == g.last {
		lo -= g.lo
	}
	part := b.blocks[j].b[lo:]
	return part[:min(int64(len(part)), b.end-b.off)]
}

// Read reads the next bytes.
func (b *body) Read(p []byte) (int, error) {
	if b.g == nil || b.off >= b.end {
		return 0, io.EOF
	}
	if err := b.load(); err != nil {
		return 0, err
	}
	n := copy(p, b.rest())
	b.off += int64(n)
	return n, nil
}

// WriteTo writes what is left, straight from the buffers that it was read into.
func (b *body) WriteTo(w io.Writer) (total int64, err error) {
	if b.g == nil {
		return 0, nil
	}
	for b.off < b.end {
		if err := b.load(); err != nil {
			return total, err
		}
		n, err := w.Write(b.rest())
		b.off += int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Close ends the read and gives its memory back.
func (b *body) Close() error {
	if b.g == nil {
		return nil
	}
	b.g.free(b.blocks)
	b.g.close()
	b.g = nil
	b.s.memory.Release(b.weight)
	return nil
}
