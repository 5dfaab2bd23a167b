package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hive/fsm"
)

// What nodes send each other, over HTTP/1.1 on the cluster's port. Integers are little endian.
//
//	POST /shard/put                          a record: header, table and payload as in a segment
//	                                         file, with nonce, number and position zero
//	GET  /shard/get/<blob>/<shard>/<from>/<to>  answered by pieces that end where blocks do:
//	                                            length (4), CRC32C (4), bytes; a length with the
//	                                            highest bit set is an error: its number
//	POST /shard/delete, /shard/mend          32 bytes for each blob: id (16), partition (2), shard,
//	                                         k, m (1 each), zero (3), size (8); CRC32C (4)
//	POST /shard/held                         blob ids, CRC32C (4); answered for each by a count (1)
//	                                         and as many of: shard, flags (1 each: 1 whole, 2 hint),
//	                                         records (4), key hash (32); CRC32C (4)
//	GET  /shard/ping
const (
	blobEntry   = 32
	heldEntry   = 38
	pieceHead   = 8
	pieceFailed = 1 << 31
	maxMessage  = 1 << 20 // of requests that are read whole
)

// errFrame is a message that is not what it should be: damaged on its way, or no peer's.
var errFrame = errors.New("malformed message between shard stores")

// wireError is a cause with the number under which it travels; numbers never change.
type wireError struct {
	number int
	status int
	cause  error
}

func wireErrors() []wireError {
	return []wireError{
		{1, 404, ErrNotFound}, {2, 422, ErrCorrupt}, {3, 507, ErrDiskFull}, {4, 500, ErrFailed},
		{5, 400, fsm.ErrInvalid}, {6, 503, ErrClosed},
	}
}

// readPut reads a record from a peer and verifies it. Its buffer is the caller's to release.
func readPut(r io.Reader, from *pools) (*Put, error) {
	var room [recordRoom]byte
	head := room[:recordHeaderSize]
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	h, err := parseLength(head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	if _, err := io.ReadFull(r, room[recordHeaderSize:h.payloadAt()]); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	if h, err = parse(room[:h.payloadAt()], at{}); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	width := int(h.k) + int(h.m)
	if h.kind == tombstone || h.length == 0 || h.seq > maxSeq || h.k == 0 || width > maxShards || int(h.shard) >= width {
		return nil, fmt.Errorf("%w: record of kind %d, shard %d of %d+%d", errFrame, h.kind, h.shard, h.k, h.m)
	}
	p := &Put{header: h, buf: from.get(int(h.length)), sums: make([]uint32, h.blocks())}
	if err := p.readPayload(r, room[:]); err != nil {
		p.buf.release()
		return nil, err
	}
	return p, nil
}

func (p *Put) readPayload(r io.Reader, head []byte) error {
	b := p.payload()
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	for i := range p.sums {
		p.sums[i] = blockSum(head, i)
		if checksum(b[i*blockSize:min(len(b), (i+1)*blockSize)]) != p.sums[i] {
			return fmt.Errorf("%w: block %d does not match its checksum", errFrame, i)
		}
	}
	return nil
}

// putHead is what goes in front of a record's payload to a peer.
func putHead(p *Put) []byte {
	b := make([]byte, p.payloadAt())
	p.header.put(b, at{}, p.sums)
	return b
}

// sealMessage appends the checksum.
func sealMessage(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, checksum(b)) }

// openMessage verifies and removes the checksum.
func openMessage(b []byte) ([]byte, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b[len(b)-4:]) != checksum(b[:len(b)-4]) {
		return nil, errFrame
	}
	return b[:len(b)-4], nil
}

func appendBlob(b []byte, ref Ref, shard uint8) []byte {
	b = append(b, ref.ID[:]...)
	b = binary.LittleEndian.AppendUint16(b, ref.Partition)
	b = append(b, shard, ref.K, ref.M, 0, 0, 0)
	return binary.LittleEndian.AppendUint64(b, uint64(ref.Size))
}

// encodeDeletions is also the message of Mend.
func encodeDeletions(dels []Deletion) []byte {
	b := make([]byte, 0, len(dels)*blobEntry+4)
	for _, d := range dels {
		b = appendBlob(b, d.Ref, d.Shard)
	}
	return sealMessage(b)
}

func decodeDeletions(b []byte) ([]Deletion, error) {
	b, err := openMessage(b)
	if err != nil || len(b)%blobEntry != 0 {
		return nil, errFrame
	}
	out := make([]Deletion, 0, len(b)/blobEntry)
	for ; len(b) > 0; b = b[blobEntry:] {
		d := Deletion{Shard: b[18], Ref: Ref{
			ID: ID(b[:16]), Partition: binary.LittleEndian.Uint16(b[16:]), K: b[19], M: b[20],
			Size: int64(binary.LittleEndian.Uint64(b[24:])),
		}}
		if d.Ref.Size < sizeUnknown || d.Ref.K == 0 || int(d.Ref.K)+int(d.Ref.M) > maxShards || d.Shard != wholeBlob && d.Shard >= maxShards {
			return nil, errFrame
		}
		out = append(out, d)
	}
	return out, nil
}

func encodeIDs(ids []ID) []byte {
	b := make([]byte, 0, len(ids)*16+4)
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return sealMessage(b)
}

func decodeIDs(b []byte) ([]ID, error) {
	b, err := openMessage(b)
	if err != nil || len(b)%16 != 0 {
		return nil, errFrame
	}
	out := make([]ID, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		out = append(out, ID(b[:16]))
	}
	return out, nil
}

func encodeHeld(held [][]Held) []byte {
	var b []byte
	for _, list := range held {
		b = append(b, byte(len(list)))
		for _, h := range list {
			var flags byte
			if h.Whole {
				flags |= 1
			}
			if h.Hint {
				flags |= 2
			}
			b = append(b, h.Shard, flags)
			b = binary.LittleEndian.AppendUint32(b, h.Records)
			b = append(b, h.Key[:]...)
		}
	}
	return sealMessage(b)
}

func decodeHeld(b []byte) (out [][]Held, err error) {
	if b, err = openMessage(b); err != nil {
		return nil, err
	}
	for len(b) > 0 {
		count := int(b[0])
		if len(b) < 1+count*heldEntry {
			return nil, errFrame
		}
		b = b[1:]
		list := make([]Held, count)
		for i := range list {
			list[i] = Held{
				Shard: b[0], Whole: b[1]&1 != 0, Hint: b[1]&2 != 0,
				Records: binary.LittleEndian.Uint32(b[2:]), Key: [32]byte(b[6:heldEntry]),
			}
			b = b[heldEntry:]
		}
		out = append(out, list)
	}
	return out, nil
}

// piecesIn is how many pieces bytes from..to of a shard come in.
func piecesIn(from, to int64) int64 { return (to-1)/blockSize - from/blockSize + 1 }
