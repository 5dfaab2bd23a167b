package shard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// scanner goes over the records of a segment file by their headers.
type scanner struct {
	s    *segment
	size int64

	window []byte // bytes of the file from base on
	base   int64
	room   []byte
}

// Bytes that are read at once: enough for many small records, little beside a large one.
const scanWindow = 64 << 10

func newScanner(s *segment, size int64) *scanner {
	return &scanner{s: s, size: size, room: make([]byte, scanWindow)}
}

// peek is up to n bytes at pos; fewer only where the file ends.
func (c *scanner) peek(pos int64, n int) ([]byte, error) {
	if pos < c.base || pos+int64(n) > c.base+int64(len(c.window)) {
		want := int(min(int64(len(c.room)), c.size-pos))
		got, err := c.s.f.ReadAt(c.room[:max(0, want)], pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read segment %d at %d: %w", c.s.number, pos, err)
		}
		c.window, c.base = c.room[:got], pos
	}
	b := c.window[pos-c.base:]
	return b[:min(n, len(b))], nil
}

// record reads the header at pos. It answers errNoRecord or ErrCorrupt where none is.
func (c *scanner) record(pos int64) (header, []byte, error) {
	b, err := c.peek(pos, recordRoom)
	if err != nil {
		return header{}, nil, err
	}
	h, err := parse(b, at{c.s.nonce, c.s.number, uint32(pos)})
	if err == nil && pos+int64(h.span()) > c.size {
		err = errNoRecord
	}
	return h, b, err
}

// next is the position of the first record from pos on, or size if there is none.
func (c *scanner) next(pos int64) (int64, error) {
	for pos = int64(align(int(pos))); pos+recordHeaderSize <= c.size; {
		b, err := c.peek(pos, scanWindow)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(b, recordMagic)
		if i < 0 {
			pos += int64(align(len(b)))
			continue
		}
		found := pos + int64(i)
		if found%8 == 0 {
			if _, _, err := c.record(found); err == nil {
				return found, nil
			} else if !errors.Is(err, errNoRecord) && !errors.Is(err, ErrCorrupt) {
				return 0, err
			}
		}
		pos = int64(align(int(found) + 1))
	}
	return c.size, nil
}

// gap is bytes of a segment that are no record.
type gap struct{ from, to int64 }

// found is a record as a scan sees it.
type found struct {
	header
	off uint32
}

// scan lists the records from pos on and the gaps between and behind them.
func (c *scanner) scan(pos int64) (records []found, gaps []gap, err error) {
	for pos < c.size {
		h, _, err := c.record(pos)
		switch {
		case err == nil:
			records = append(records, found{h, uint32(pos)})
			pos += int64(h.span())
		case errors.Is(err, errNoRecord), errors.Is(err, ErrCorrupt):
			to, err := c.next(pos + 1)
			if err != nil {
				return nil, nil, err
			}
			gaps = append(gaps, gap{pos, to})
			pos = to
		default:
			return nil, nil, err
		}
	}
	return records, gaps, nil
}

// verify reads the payload of a record against its checksums.
func (s *segment) verify(off uint32, length uint32, room []byte) (header, error) {
	h, table, err := s.readHeader(off, length, room)
	if err != nil {
		return h, err
	}
	body := room[len(table):]
	for i := range h.blocks() {
		n := min(blockSize, int(h.length)-i*blockSize)
		if err := s.readFull(body[:n], int64(off)+int64(len(table)+i*blockSize)); err != nil {
			return h, err
		}
		if checksum(body[:n]) != blockSum(table, i) {
			return h, fmt.Errorf("block %d of the record at %d of segment %d: %w", i, off, s.number, ErrCorrupt)
		}
	}
	return h, nil
}

// verifyRoom is what verify needs.
const verifyRoom = recordRoom + blockSize
