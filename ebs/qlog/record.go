package qlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A segment file, 0000000124.log, is a header and then records, each at a multiple of 8 bytes. Integers are little
// endian. The header stands twice, so that one rotten sector does not hide the nonce that all records depend on.
//
//	file header, 64 bytes, at 0 and at 512; records begin at 1024
//	  0  8  "hiveqlg\n"
//	  8  4  format, 1
//	 12  4  number of the segment, as in its name
//	 16  8  nonce: random, so that a guest's data cannot pass for a record
//	 24  8  sequence of the first record
//	 32 28  zeroes
//	 60  4  CRC32C of bytes 0..60
//
//	record header, 64 bytes
//	  0  4  "hvQ1"
//	  4  1  kind: 0 an owner opened the log, 1 write, 2 zero, 3 trim
//	  5  3  zeroes
//	  8  8  generation of the owner that appended it
//	 16  8  incarnation: which opening under that generation
//	 24  8  sequence: one more than the record before
//	 32  8  sequence up to which the owner knew a majority to be synced at this append
//	 40  8  offset in the volume, bytes; of kind 0 the generation of the record before, 0 for none
//	 48  8  length in the volume, bytes; of kind 0 the incarnation of the record before
//	 56  4  length of the data that follows: as above for a write, else 0
//	 60  4  CRC32C of nonce, position in the file, bytes 0..60, the table that follows
//	then    CRC32C of each 64 KiB block of the data, 4 bytes each
//	        data
//	        zeroes up to a multiple of 8
//
// The data's checksums are by block, so that a part of a large record is read and verified alone. Between nodes a record
// goes as it is in a file, its header's checksum taken with nonce 0 and position 0; who stores it puts in its own.
const (
	fileHeaderSize = 64
	secondHeader   = 512
	recordsAt      = 1024
	headerSize     = 64
	blockSize      = 64 << 10
	segmentFormat  = 1
	maxTable       = 4 * (MaxData / blockSize)
	maxSpan        = headerSize + maxTable + MaxData
)

const (
	fileMagic   = "hiveqlg\n"
	recordMagic = "hvQ1"
)

// castagnoli is the table of CRC32C; crc32 answers the same one each time, made once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

// errNoRecord: these bytes are no record's header.
var errNoRecord = errors.New("no record here")

// header is a record's header.
type header struct {
	kind           Kind
	term           term
	seq, flushed   uint64
	offset, length int64
	data           uint32
}

// termBefore is the term of the record before an owner's first.
func (h *header) termBefore() term { return term{uint64(h.offset), uint64(h.length)} }

func (h *header) blocks() int { return int((uint64(h.data) + blockSize - 1) / blockSize) }

// dataAt is the data's distance from the record's start.
func (h *header) dataAt() int { return headerSize + 4*h.blocks() }

// span is what the record occupies, in bytes.
func (h *header) span() int { return (h.dataAt() + int(h.data) + 7) &^ 7 }

// put writes the header and the table to dst, which has dataAt bytes. The checksum is stamp's.
func (h *header) put(dst, data []byte) {
	le := binary.LittleEndian
	copy(dst, recordMagic)
	dst[4], dst[5], dst[6], dst[7] = byte(h.kind), 0, 0, 0
	le.PutUint64(dst[8:], h.term.gen)
	le.PutUint64(dst[16:], h.term.inc)
	le.PutUint64(dst[24:], h.seq)
	le.PutUint64(dst[32:], h.flushed)
	le.PutUint64(dst[40:], uint64(h.offset))
	le.PutUint64(dst[48:], uint64(h.length))
	le.PutUint32(dst[56:], h.data)
	for i := range h.blocks() {
		le.PutUint32(dst[headerSize+4*i:], sum(data[i*blockSize:min((i+1)*blockSize, len(data))]))
	}
}

// headerSum is the checksum of the header and table at the start of rec.
func headerSum(rec []byte, blocks int, nonce uint64, pos uint32) uint32 {
	var where [12]byte
	binary.LittleEndian.PutUint64(where[:], nonce)
	binary.LittleEndian.PutUint32(where[8:], pos)
	crc := crc32.Update(sum(where[:]), castagnoli(), rec[:60])
	return crc32.Update(crc, castagnoli(), rec[headerSize:headerSize+4*blocks])
}

// stamp puts the checksum of a place in front of rec's table.
func (h *header) stamp(rec []byte, nonce uint64, pos uint32) {
	binary.LittleEndian.PutUint32(rec[60:], headerSum(rec, h.blocks(), nonce, pos))
}

// parse reads and verifies the header and table at the start of b, which may end anywhere.
func parse(b []byte, nonce uint64, pos uint32) (header, error) {
	if len(b) < headerSize || string(b[:4]) != recordMagic {
		return header{}, errNoRecord
	}
	le := binary.LittleEndian
	h := header{
		kind: Kind(b[4]), term: term{le.Uint64(b[8:]), le.Uint64(b[16:])},
		seq: le.Uint64(b[24:]), flushed: le.Uint64(b[32:]),
		offset: int64(le.Uint64(b[40:])), length: int64(le.Uint64(b[48:])), data: le.Uint32(b[56:]),
	}
	if h.data > MaxData || len(b) < h.dataAt() || headerSum(b, h.blocks(), nonce, pos) != le.Uint32(b[60:]) {
		return header{}, errNoRecord
	}
	if h.seq == 0 || h.seq == 1<<64-1 || h.flushed >= h.seq || h.offset < 0 || h.length < 0 || (h.data > 0 && int64(h.data) != h.length) {
		return header{}, errNoRecord
	}
	return h, nil
}

// dataOf is the data of the record at the start of rec, verified; false where it is cut short or damaged.
func (h *header) dataOf(rec []byte) ([]byte, bool) {
	if len(rec) < h.dataAt()+int(h.data) {
		return nil, false
	}
	data := rec[h.dataAt() : h.dataAt()+int(h.data)]
	for i := range h.blocks() {
		if !h.blockOK(rec, i, data[i*blockSize:min((i+1)*blockSize, len(data))]) {
			return nil, false
		}
	}
	return data, true
}

// blockOK verifies one block against the table behind the header at the start of rec.
func (h *header) blockOK(rec []byte, i int, block []byte) bool {
	return sum(block) == binary.LittleEndian.Uint32(rec[headerSize+4*i:])
}

// fileHeader is a segment's header.
type fileHeader struct {
	number uint32
	nonce  uint64
	first  uint64
}

// bytes is everything in front of the first record.
func (h fileHeader) bytes() []byte {
	b := make([]byte, recordsAt)
	le := binary.LittleEndian
	copy(b, fileMagic)
	le.PutUint32(b[8:], segmentFormat)
	le.PutUint32(b[12:], h.number)
	le.PutUint64(b[16:], h.nonce)
	le.PutUint64(b[24:], h.first)
	le.PutUint32(b[60:], sum(b[:60]))
	copy(b[secondHeader:], b[:fileHeaderSize])
	return b
}

// parseFileHeader reads either of a segment's two headers.
func parseFileHeader(b []byte, number uint32) (fileHeader, bool) {
	le := binary.LittleEndian
	for _, at := range []int{0, secondHeader} {
		if len(b) < at+fileHeaderSize {
			break
		}
		c := b[at : at+fileHeaderSize]
		if string(c[:8]) == fileMagic && le.Uint32(c[8:]) == segmentFormat && le.Uint32(c[12:]) == number &&
			le.Uint32(c[60:]) == sum(c[:60]) && le.Uint64(c[24:]) > 0 {
			return fileHeader{number, le.Uint64(c[16:]), le.Uint64(c[24:])}, true
		}
	}
	return fileHeader{}, false
}
