package shard

import "io"

// group is up to groupBlocks stripes of a blob, encoded: one record's payload for each shard.
type group struct {
	seq   uint32
	n     int // payload bytes of each shard
	final bool
	bufs  []*buffer
	sums  [][]uint32
}

func (g *group) release() {
	for _, b := range g.bufs {
		b.release()
	}
	g.bufs = nil
}

// encoder cuts a body into groups.
type encoder struct {
	src    *source
	shape  shape // size sizeUnknown until the end
	coders *coders
	pools  *pools
	blocks [][]byte // scratch: the stripe's blocks
}

// next reads and encodes the group of that number.
func (e *encoder) next(seq uint32) (*group, error) {
	width := e.shape.k + e.shape.m
	g := &group{seq: seq, bufs: make([]*buffer, width), sums: make([][]uint32, width)}
	room := groupSize
	if e.shape.size >= 0 {
		room = e.shape.group(seq)
	}
	count := (room + blockSize - 1) / blockSize
	sums := make([]uint32, width*count)
	for j := range g.bufs {
		g.bufs[j] = e.pools.get(room)
		g.sums[j] = sums[j*count : j*count : (j+1)*count]
	}
	err := e.stripes(g, count)
	if err == nil {
		err = e.finish(g)
	}
	if err != nil {
		g.release()
		return nil, err
	}
	return g, nil
}

// stripes fills in the group's stripes.
func (e *encoder) stripes(g *group, count int) error {
	for i := range count {
		var block int
		var err error
		if e.shape.size >= 0 {
			block = e.shape.block(int64(g.seq)*groupBlocks + int64(i))
			err = e.readKnown(g, i, block)
		} else {
			block, err = e.readUnknown(g, i)
		}
		if err != nil {
			return err
		}
		if block == 0 {
			return nil
		}
		if err := e.parity(g, i, block); err != nil {
			return err
		}
	}
	return nil
}

// at is shard j's block of the group's stripe i.
func (g *group) at(j, i, block int) []byte {
	return g.bufs[j].b[recordRoom+i*blockSize : recordRoom+i*blockSize+block]
}

func (e *encoder) readKnown(g *group, i, block int) error {
	left := e.shape.size - e.src.taken
	for j := range e.shape.k {
		b := g.at(j, i, block)
		n := int(min(int64(block), left))
		if err := e.src.exactly(b[:n]); err != nil {
			return err
		}
		clear(b[n:])
		left -= int64(n)
	}
	return nil
}

// readUnknown reads a whole stripe, or the last one, whose blocks are shorter.
func (e *encoder) readUnknown(g *group, i int) (block int, err error) {
	total := 0
	for j := range e.shape.k {
		n, err := e.src.full(g.at(j, i, blockSize))
		if err != nil {
			return 0, err
		}
		total += n
	}
	if total == e.shape.k*blockSize {
		return blockSize, nil
	}
	tail := make([]byte, 0, e.shape.k*blockSize)
	for j := range e.shape.k {
		tail = append(tail, g.at(j, i, min(blockSize, max(0, total-j*blockSize)))...)
	}
	block = (total + e.shape.k - 1) / e.shape.k
	tail = tail[:e.shape.k*block]
	clear(tail[total:])
	for j := range e.shape.k {
		copy(g.at(j, i, block), tail[j*block:])
	}
	return block, nil
}

// parity encodes stripe i and sums its blocks up.
func (e *encoder) parity(g *group, i, block int) error {
	e.blocks = e.blocks[:0]
	for j := range g.bufs {
		e.blocks = append(e.blocks, g.at(j, i, block))
	}
	if err := e.coders.encode(e.blocks, e.shape.k); err != nil {
		return err
	}
	for j, b := range e.blocks {
		g.sums[j] = append(g.sums[j], checksum(b))
	}
	g.n += block
	return nil
}

// finish notes whether this was the last group. The body's own verdict comes before that.
func (e *encoder) finish(g *group) error {
	if e.shape.size >= 0 {
		if e.src.taken == e.shape.size {
			g.final = true
			return e.src.end()
		}
		return nil
	}
	more, err := e.src.more()
	if err != nil {
		return err
	}
	if !more {
		g.final = true
		e.shape.size = e.src.taken
		if g.n == 0 && g.seq > 0 {
			return io.ErrNoProgress // a group is begun only when a byte of it was seen
		}
	}
	return nil
}
