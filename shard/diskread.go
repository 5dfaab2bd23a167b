package shard

import (
	"errors"
	"fmt"
	"io"
)

// diskPieces reads a shard from this node's segments.
type diskPieces struct {
	d        *disk
	id       ID
	shard    uint8
	pos, end int64 // in the shard

	places  []place // of the records from first on
	first   uint32
	pinned  map[uint32]*segment
	current uint32 // record whose header and table are in table
	table   []byte
	loaded  bool
}

// open begins to read bytes from..to of a shard. It answers ErrNotFound where this node does not
// have all of them, ErrCorrupt where it knows them to be rotten. The segments stay open until
// Close, whatever is deleted meanwhile.
func (d *disk) open(id ID, shard uint8, from, to int64) (*diskPieces, error) {
	r := &diskPieces{d: d, id: id, shard: shard, pos: from, end: to, first: uint32(from / groupSize)}
	last := uint32((to - 1) / groupSize)
	d.mu.RLock()
	defer d.mu.RUnlock()
	for seq := r.first; seq <= last; seq++ {
		s := slotOf(id, shard, seq)
		p, ok := d.index[s]
		if !ok || min(to, int64(seq+1)*groupSize) > int64(seq)*groupSize+int64(p.length()) {
			return nil, errors.Join(fmt.Errorf("shard %d of %v: %w", shard, id, ErrNotFound), r.Close())
		}
		if _, bad := d.rotten[s]; bad {
			return nil, errors.Join(fmt.Errorf("shard %d of %v: %w", shard, id, ErrCorrupt), r.Close())
		}
		r.pinLocked(p.segment)
		r.places = append(r.places, p)
	}
	return r, nil
}

func (r *diskPieces) pinLocked(number uint32) {
	if _, have := r.pinned[number]; have {
		return
	}
	s := r.d.segments[number]
	s.refs.Add(1)
	if r.pinned == nil {
		r.pinned = make(map[uint32]*segment, 1)
	}
	r.pinned[number] = s
}

// Close lets the segments go.
func (r *diskPieces) Close() error {
	var errs []error
	for _, s := range r.pinned {
		errs = append(errs, s.drop())
	}
	r.pinned = nil
	return errors.Join(errs...)
}

// Next reads and verifies the following block.
func (r *diskPieces) Next(buf []byte) ([]byte, error) {
	if r.pos >= r.end {
		return nil, io.EOF
	}
	seq := uint32(r.pos / groupSize)
	p := r.places[seq-r.first]
	b, err := r.block(buf, seq, p)
	if errors.Is(err, ErrCorrupt) {
		r.d.spoil(slotOf(r.id, r.shard, seq), p, err)
	}
	return b, err
}

// block reads and verifies the block at r.pos and answers what was asked for of it.
func (r *diskPieces) block(buf []byte, seq uint32, p place) ([]byte, error) {
	s := r.pinned[p.segment]
	at := r.pos - int64(seq)*groupSize // in the payload
	i := int(at / blockSize)
	n := min(blockSize, int(p.length())-i*blockSize)
	if !r.loaded || r.current != seq {
		if err := r.load(buf, s, seq, p); err != nil {
			return nil, err
		}
	}
	head := header{length: p.length()}
	if len(buf) < recordRoom+n {
		return nil, io.ErrShortBuffer
	}
	block := buf[recordRoom : recordRoom+n]
	if err := s.readFull(block, int64(p.off)+int64(head.payloadAt()+i*blockSize)); err != nil {
		return nil, err
	}
	if checksum(block) != blockSum(r.table, i) {
		return nil, fmt.Errorf("block %d of the record at %d of segment %d: %w", i, p.off, s.number, ErrCorrupt)
	}
	skip := int(at) - i*blockSize
	block = block[skip:min(n, skip+int(r.end-r.pos))]
	r.pos += int64(len(block))
	return block, nil
}

// load reads a record's header and table.
func (r *diskPieces) load(buf []byte, s *segment, seq uint32, p place) error {
	h, table, err := s.readHeader(p.off, p.length(), buf[:recordRoom])
	if err != nil {
		return err
	}
	if h.id != r.id || h.shard != r.shard || h.seq != seq {
		return fmt.Errorf("record at %d of segment %d is another one: %w", p.off, s.number, ErrCorrupt)
	}
	r.table = append(r.table[:0], table...)
	r.current, r.loaded = seq, true
	return nil
}
