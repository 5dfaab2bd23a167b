package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"hive/fsm"
)

// A segment file, obj.0000124.bin, is a file header and then records, each at a multiple of 8
// bytes. Integers are little endian. A file alone tells which shard of which object lies where.
//
//	file header, 128 bytes
//	  0  8  "hiveseg\n"
//	  8  4  format, 1
//	 12  4  number of the segment, as in its name
//	 16  8  nonce: random, so that an object's bytes cannot pass for a record
//	 24  1  length of the node's id
//	 25 91  the node's id, zeroes
//	116  4  number of the segment that was filled before, 0 for none
//	120  4  its length in bytes
//	124  4  CRC32C of bytes 0..124
//
//	record header, 104 bytes
//	  0  4  "hvR1"
//	  4  1  kind: 1 shard, 2 shard kept for another node, 3 tombstone
//	  5  1  shard number; of a tombstone 255 for all shards of the blob
//	  6  1  k data shards of the blob
//	  7  1  m parity shards
//	  8 16  blob id
//	 24 32  first half of SHA-512 of the key: its top bits are the partition
//	 56  8  size of the blob in bytes; -1 in all but the last record of a shard
//	 64  8  sequence over the whole store: of two records of a shard the higher one counts
//	 72  4  number of the record in its shard
//	 76  4  flags: 1 the shard's last record
//	 80  4  payload length
//	 84  4  position in this file up to which it was known to be synced at this append
//	 88  4  unix seconds
//	 92  4  of a tombstone: lowest segment that holds what it deletes
//	 96  4  of a tombstone: highest such segment
//	100  4  CRC32C of nonce, segment number, position, bytes 0..100, the table that follows
//	then    CRC32C of each 64 KiB block of the payload, 4 bytes each
//	        payload
//	        zeroes up to a multiple of 8
const (
	fileHeaderSize   = 128
	recordHeaderSize = 104
	segmentFormat    = 1
	maxTable         = 4 * groupBlocks
	recordRoom       = recordHeaderSize + maxTable // in front of a payload in its buffer
	wholeBlob        = 255
	sizeUnknown      = -1
)

var (
	fileMagic   = []byte("hiveseg\n")
	recordMagic = []byte("hvR1")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

type recordKind uint8

const (
	putRecord  recordKind = 1
	hintRecord recordKind = 2
	tombstone  recordKind = 3
)

const flagFinal = 1

// header is a record's header.
type header struct {
	kind    recordKind
	shard   uint8
	k, m    uint8
	id      ID
	key     keyHash
	size    int64
	lsn     uint64
	seq     uint32
	final   bool
	length  uint32 // of the payload
	synced  uint32
	seconds uint32
	low     uint32
	high    uint32
}

// blocks is the number of checksums in the table.
func (h *header) blocks() int { return int(h.length+blockSize-1) / blockSize }

// payloadAt is the payload's distance from the record's start.
func (h *header) payloadAt() int { return recordHeaderSize + 4*h.blocks() }

// span is what the record occupies in its file.
func (h *header) span() int { return align(h.payloadAt() + int(h.length)) }

func align(n int) int { return (n + 7) &^ 7 }

// at names a position in a segment; its nonce and number are part of every record's checksum.
type at struct {
	nonce  [8]byte
	number uint32
	off    uint32
}

// put writes the header and the table of checksums to dst, which has payloadAt bytes.
func (h *header) put(dst []byte, where at, sums []uint32) {
	le := binary.LittleEndian
	copy(dst, recordMagic)
	dst[4], dst[5], dst[6], dst[7] = byte(h.kind), h.shard, h.k, h.m
	copy(dst[8:], h.id[:])
	copy(dst[24:], h.key[:])
	le.PutUint64(dst[56:], uint64(h.size))
	le.PutUint64(dst[64:], h.lsn)
	le.PutUint32(dst[72:], h.seq)
	var flags uint32
	if h.final {
		flags = flagFinal
	}
	le.PutUint32(dst[76:], flags)
	le.PutUint32(dst[80:], h.length)
	le.PutUint32(dst[84:], h.synced)
	le.PutUint32(dst[88:], h.seconds)
	le.PutUint32(dst[92:], h.low)
	le.PutUint32(dst[96:], h.high)
	for i, sum := range sums {
		le.PutUint32(dst[recordHeaderSize+4*i:], sum)
	}
	le.PutUint32(dst[100:], headerSum(dst[:recordHeaderSize+4*len(sums)], where))
}

func headerSum(b []byte, where at) uint32 {
	var seed [16]byte
	copy(seed[:], where.nonce[:])
	binary.LittleEndian.PutUint32(seed[8:], where.number)
	binary.LittleEndian.PutUint32(seed[12:], where.off)
	sum := crc32.Update(0, castagnoli, seed[:])
	sum = crc32.Update(sum, castagnoli, b[:100])
	return crc32.Update(sum, castagnoli, b[recordHeaderSize:])
}

// errNoRecord is a place in a segment where no record begins.
var errNoRecord = errors.New("no record here")

// parseLength reads as much of a header as tells how long header and table are.
func parseLength(b []byte) (h header, err error) {
	le := binary.LittleEndian
	if len(b) < recordHeaderSize || string(b[:4]) != string(recordMagic) {
		return h, errNoRecord
	}
	h = header{
		kind: recordKind(b[4]), shard: b[5], k: b[6], m: b[7], id: ID(b[8:24]), key: keyHash(b[24:56]),
		size: int64(le.Uint64(b[56:])), lsn: le.Uint64(b[64:]), seq: le.Uint32(b[72:]),
		final: le.Uint32(b[76:])&flagFinal != 0, length: le.Uint32(b[80:]), synced: le.Uint32(b[84:]),
		seconds: le.Uint32(b[88:]), low: le.Uint32(b[92:]), high: le.Uint32(b[96:]),
	}
	if h.length > groupSize || h.kind < putRecord || h.kind > tombstone {
		return h, errNoRecord
	}
	return h, nil
}

// parse reads and verifies a header with its table, which b holds in full.
func parse(b []byte, where at) (h header, err error) {
	if h, err = parseLength(b); err != nil {
		return h, err
	}
	if len(b) < h.payloadAt() {
		return h, errNoRecord
	}
	if binary.LittleEndian.Uint32(b[100:]) != headerSum(b[:h.payloadAt()], where) {
		return h, fmt.Errorf("record header at %d of segment %d: %w", where.off, where.number, ErrCorrupt)
	}
	return h, nil
}

// blockSum is the checksum of block i in a verified header with its table.
func blockSum(b []byte, i int) uint32 {
	return binary.LittleEndian.Uint32(b[recordHeaderSize+4*i:])
}

// checksum is a block's CRC32C.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// fileHeader is what a segment says of itself.
type fileHeader struct {
	at
	node       fsm.NodeID
	prev       uint32
	prevLength uint32
}

const maxNodeID = 91

// put fills in a segment's first bytes.
func (h *fileHeader) put(b []byte) error {
	if len(h.node) > maxNodeID {
		return fmt.Errorf("node id of %d bytes: %w", len(h.node), fsm.ErrInvalid)
	}
	clear(b[:fileHeaderSize])
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[8:], segmentFormat)
	binary.LittleEndian.PutUint32(b[12:], h.number)
	copy(b[16:], h.nonce[:])
	b[24] = byte(len(h.node))
	copy(b[25:], h.node)
	binary.LittleEndian.PutUint32(b[116:], h.prev)
	binary.LittleEndian.PutUint32(b[120:], h.prevLength)
	binary.LittleEndian.PutUint32(b[124:], checksum(b[:124]))
	return nil
}

// errFormat is a segment of a version that this one does not know.
var errFormat = errors.New("segment file of a newer format: upgrade this node")

// parseFileHeader verifies a segment's first bytes.
func parseFileHeader(b []byte) (h fileHeader, err error) {
	le := binary.LittleEndian
	if len(b) < fileHeaderSize || string(b[:8]) != string(fileMagic) || b[24] > maxNodeID ||
		le.Uint32(b[124:]) != checksum(b[:124]) {
		return h, fmt.Errorf("segment file header: %w", ErrCorrupt)
	}
	if f := le.Uint32(b[8:]); f != segmentFormat {
		return h, fmt.Errorf("format %d: %w", f, errFormat)
	}
	h.at = at{nonce: [8]byte(b[16:24]), number: le.Uint32(b[12:])}
	h.node = fsm.NodeID(b[25 : 25+b[24]])
	h.prev, h.prevLength = le.Uint32(b[116:]), le.Uint32(b[120:])
	return h, nil
}
