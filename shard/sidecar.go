package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"hive/internal/vfs"
)

// A sidecar, obj.0000124.idx, lists the records of the segment beside it, so that a start need not
// read the segment. It is written when the segment is closed and when the store is, and thrown
// away if anything about it is off. Integers are little endian.
//
//	 0  8  "hiveidx\n"
//	 8  4  format, 1
//	12  4  number of the segment
//	16  8  nonce of the segment
//	24  4  position up to which the segment is listed
//	28  4  number of entries
//	32  .. entries of 48 bytes, in the order of positions
//	 .  4  CRC32C of all before
//
//	entry:  0 16 blob id     16 4 shard<<24 | record   20 4 position   24 4 payload length
//	       28  1 kind        29 1 flags: 1 final       30 2 zero       32 8 sequence
//	       40  4 low         44 4 high
const (
	sidecarFormat = 1
	sidecarHeader = 32
	entrySize     = 48
)

var sidecarMagic = []byte("hiveidx\n")

// entry is what the lookup needs of a record.
type entry struct {
	slot      slot
	kind      recordKind
	final     bool
	off       uint32
	length    uint32
	lsn       uint64
	low, high uint32
}

func entryOf(h *header, off uint32) entry {
	return entry{
		slot: slotOf(h.id, h.shard, h.seq), kind: h.kind, final: h.final, off: off,
		length: h.length, lsn: h.lsn, low: h.low, high: h.high,
	}
}

// place is where the entry's record lies.
func (e *entry) place(number uint32) place {
	return placeOf(&header{kind: e.kind, final: e.final, length: e.length}, number, e.off)
}

func (e *entry) encode(b []byte) {
	le := binary.LittleEndian
	copy(b, e.slot.id[:])
	le.PutUint32(b[16:], e.slot.n)
	le.PutUint32(b[20:], e.off)
	le.PutUint32(b[24:], e.length)
	b[28] = byte(e.kind)
	if e.final {
		b[29] = 1
	}
	le.PutUint64(b[32:], e.lsn)
	le.PutUint32(b[40:], e.low)
	le.PutUint32(b[44:], e.high)
}

func decodeEntry(b []byte) entry {
	le := binary.LittleEndian
	return entry{
		slot: slot{ID(b[:16]), le.Uint32(b[16:])}, off: le.Uint32(b[20:]), length: le.Uint32(b[24:]),
		kind: recordKind(b[28]), final: b[29] == 1, lsn: le.Uint64(b[32:]), low: le.Uint32(b[40:]), high: le.Uint32(b[44:]),
	}
}

// writeSidecar writes the sidecar of a segment whose entries are in memory. It needs no sync: a
// torn one is thrown away.
func (d *disk) writeSidecar(s *segment) error {
	le := binary.LittleEndian
	b := make([]byte, sidecarHeader+len(s.entries)*entrySize+4)
	copy(b, sidecarMagic)
	le.PutUint32(b[8:], sidecarFormat)
	le.PutUint32(b[12:], s.number)
	copy(b[16:], s.nonce[:])
	le.PutUint32(b[24:], s.end.Load())
	le.PutUint32(b[28:], uint32(len(s.entries)))
	for i := range s.entries {
		s.entries[i].encode(b[sidecarHeader+i*entrySize:])
	}
	le.PutUint32(b[len(b)-4:], checksum(b[:len(b)-4]))
	name := d.path(sidecarName(s.number))
	if err := d.cfg.fs.Remove(name); err != nil && !vfs.IsNotExist(err) {
		return fmt.Errorf("replace sidecar: %w", err)
	}
	f, err := d.cfg.fs.Create(name)
	if err != nil {
		return fmt.Errorf("write sidecar: %w", err)
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Close())
}

var (
	// errSidecar is a sidecar that is not believed.
	errSidecar = errors.New("lookup file does not match its segment")
	// errCut is a segment that ends before what its sidecar lists.
	errCut = errors.New("the file has been cut short")
)

// readSidecar reads the list of a segment's records up to a position. It answers errSidecar, or a
// file that is not there, where the segment itself must be read.
func (d *disk) readSidecar(s *segment, size int64) ([]entry, uint32, error) {
	b, err := vfs.ReadFile(d.cfg.fs, d.path(sidecarName(s.number)))
	if err != nil {
		return nil, 0, err
	}
	return parseSidecar(b, s.at, size)
}

func parseSidecar(b []byte, of at, size int64) ([]entry, uint32, error) {
	le := binary.LittleEndian
	if len(b) < sidecarHeader+4 || !bytes.Equal(b[:8], sidecarMagic) || le.Uint32(b[8:]) != sidecarFormat ||
		le.Uint32(b[len(b)-4:]) != checksum(b[:len(b)-4]) {
		return nil, 0, errSidecar
	}
	covered, count := le.Uint32(b[24:]), int64(le.Uint32(b[28:]))
	if le.Uint32(b[12:]) != of.number || !bytes.Equal(b[16:24], of.nonce[:]) ||
		int64(len(b)) != sidecarHeader+count*entrySize+4 || covered < fileHeaderSize {
		return nil, 0, errSidecar
	}
	if int64(covered) > size {
		return nil, covered, errCut
	}
	entries := make([]entry, count)
	for i := range entries {
		entries[i] = decodeEntry(b[sidecarHeader+i*entrySize:])
		if e := &entries[i]; e.length > groupSize || int64(e.off)+e.place(of.number).span() > int64(covered) {
			return nil, 0, errSidecar
		}
	}
	return entries, covered, nil
}
