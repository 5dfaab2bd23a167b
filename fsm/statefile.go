package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// The state file is a bbolt file with one bucket per table and one for the header. bbolt keeps no
// checksum of what it stores, so the file carries its own:
//
//	header   "\x00meta"/"header": 4 bytes CRC32C of the rest | format | class | clean (0 or 1) |
//	         applied index | count of records | sum of the records' CRCs (8 bytes each, big endian) | boot id
//	record   table/key: the record in CBOR | 4 bytes CRC32C of lengths, table, key and CBOR
//
// Count and sum change with every record written, in the same transaction: a lost page is noticed as
// a changed one is.
const (
	stateFormat = 1
	headerFixed = 4 + 3 + 3*8
	crcSize     = 4
)

var (
	metaBucket = []byte("\x00meta") // no table's name begins with a zero byte
	keyHeader  = []byte("header")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrStateCorrupt is a state file that cannot be read; it is derived, so removing it and
// starting again rebuilds it from snapshot and log.
var ErrStateCorrupt = errors.New("state file is corrupt")

// header is what the state file says of itself.
type header struct {
	class   Class
	clean   bool   // closed by Close
	applied uint64 // index of the last entry in the state
	records uint64
	sum     uint64
	boot    string // boot id of the machine when the file was opened
}

func (h *header) add(value []byte) {
	h.records++
	h.sum += uint64(valueCRC(value))
}

func (h *header) remove(value []byte) {
	if value != nil {
		h.records--
		h.sum -= uint64(valueCRC(value))
	}
}

func (h *header) encode() []byte {
	out := make([]byte, 4, headerFixed+len(h.boot))
	out = append(out, stateFormat, byte(h.class), 0)
	if h.clean {
		out[6] = 1
	}
	out = binary.BigEndian.AppendUint64(out, h.applied)
	out = binary.BigEndian.AppendUint64(out, h.records)
	out = binary.BigEndian.AppendUint64(out, h.sum)
	out = append(out, h.boot...)
	binary.BigEndian.PutUint32(out, crc32.Checksum(out[4:], castagnoli))
	return out
}

func decodeHeader(raw []byte) (header, error) {
	if len(raw) < headerFixed || binary.BigEndian.Uint32(raw) != crc32.Checksum(raw[4:], castagnoli) {
		return header{}, fmt.Errorf("%w: header of %d bytes", ErrStateCorrupt, len(raw))
	}
	if raw[4] != stateFormat || raw[6] > 1 {
		return header{}, fmt.Errorf("%w: format %d", ErrStateCorrupt, raw[4])
	}
	return header{
		class: Class(raw[5]), clean: raw[6] == 1,
		applied: binary.BigEndian.Uint64(raw[7:]),
		records: binary.BigEndian.Uint64(raw[15:]),
		sum:     binary.BigEndian.Uint64(raw[23:]),
		boot:    string(raw[31:]),
	}, nil
}

// headerOf reads the header, or panics with corruptState.
func headerOf(tx *bbolt.Tx) header {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		panic(corruptState{errors.New("no header")})
	}
	h, err := decodeHeader(meta.Get(keyHeader))
	if err != nil {
		panic(corruptState{err})
	}
	return h
}

func (h *header) write(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	if err := meta.Put(keyHeader, h.encode()); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	return nil
}

// sealValue appends the checksum of a record to its body.
func sealValue(table string, key, body []byte) []byte {
	return binary.BigEndian.AppendUint32(body, recordCRC(table, key, body))
}

// openValue checks the checksum of a stored value and returns the record's body.
func openValue(table string, key, value []byte) ([]byte, error) {
	if len(value) < crcSize {
		return nil, fmt.Errorf("%w: record of %d bytes", ErrStateCorrupt, len(value))
	}
	body := value[:len(value)-crcSize]
	if recordCRC(table, key, body) != valueCRC(value) {
		return nil, fmt.Errorf("%w: checksum of a record", ErrStateCorrupt)
	}
	return body, nil
}

func valueCRC(value []byte) uint32 {
	if len(value) < crcSize {
		panic(corruptState{fmt.Errorf("record of %d bytes", len(value))})
	}
	return binary.BigEndian.Uint32(value[len(value)-crcSize:])
}

func recordCRC(table string, key, body []byte) uint32 {
	var lengths [8]byte
	binary.BigEndian.PutUint32(lengths[:], uint32(len(table)))
	binary.BigEndian.PutUint32(lengths[4:], uint32(len(key)))
	sum := crc32.Update(0, castagnoli, lengths[:])
	sum = crc32.Update(sum, castagnoli, []byte(table))
	sum = crc32.Update(sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, body)
}
