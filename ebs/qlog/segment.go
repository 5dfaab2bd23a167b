package qlog

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"hive/internal/vfs"
)

// segment is one file of a copy. What is not said to be otherwise is guarded by the copy's lock.
type segment struct {
	fileHeader // does not change once the segment is in use
	f          vfs.File

	offs  []uint32 // where the record first+i begins; 0 where it is damaged
	end   uint32   // where the next record goes
	blank bool     // neither header could be read: the file is to be written anew

	edits, synced uint64 // writes to the file, and how many of them a sync has covered
}

func segmentName(number uint32) string { return fmt.Sprintf("%010d.log", number) }

// segmentNumber is the number in a file's name, and whether it is a segment's.
func segmentNumber(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, ".log")
	if !ok || len(digits) != 10 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n > 0
}

// next is the sequence after the segment's last.
func (s *segment) next() uint64 { return s.first + uint64(len(s.offs)) }

// until is where the bytes of the records from index i on end at the latest.
func (s *segment) until(i int) uint32 {
	for _, off := range s.offs[i:] {
		if off != 0 {
			return off
		}
	}
	return s.end
}

// readFull reads len(b) bytes at off; a file that ends before is damage.
func (s *segment) readFull(b []byte, off int64) error {
	n, err := s.f.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("segment %d ends at %d: %w", s.number, off+int64(n), errHole)
	default:
		return fmt.Errorf("read segment %d at %d: %w", s.number, off, err)
	}
}

// record is a whole record in a segment's bytes.
type record struct {
	header
	at uint32
}

// gap is bytes of a segment between whole records that hold records which cannot be read. Where to is 0 it ends with
// the file.
type gap struct {
	first, last uint64 // the missing sequences
	at, to      uint32
}

// scanned is what a segment's bytes hold.
type scanned struct {
	records []record
	gaps    []gap
	end     uint32 // of the last whole record
}

// scan finds every whole record in a segment's bytes. Records grow by one, and never to an older term; what lies between
// whole records is a gap, what follows the last is left to the caller.
func scan(b []byte, fh fileHeader, after term) scanned {
	out := scanned{end: recordsAt}
	expect := fh.first
	for pos := recordsAt; pos < len(b); {
		h, err := parse(b[pos:], fh.nonce, uint32(pos))
		if err != nil || h.seq < expect || h.seq-expect > uint64(pos)/headerSize || h.term.compare(after) < 0 {
			pos += 8
			continue
		}
		if _, whole := h.dataOf(b[pos:]); !whole {
			pos = min(pos+h.span(), len(b)) // its data may hold anything; its sequence becomes part of a gap
			continue
		}
		if h.seq > expect {
			out.gaps = append(out.gaps, gap{expect, h.seq - 1, out.end, uint32(pos)})
		}
		out.records = append(out.records, record{h, uint32(pos)})
		expect, after = h.seq+1, h.term
		pos += h.span()
		out.end = uint32(pos)
	}
	return out
}
