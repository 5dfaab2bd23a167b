package s3

import (
	"encoding/binary"

	"hive/fsm"
)

// crcJoin computes the CRC of concatenated pieces from the CRCs of the pieces. Appending n zero bytes to
// a message is a linear map of its CRC over GF(2): a matrix, here a column per bit, that is
// squared log2(8n) times. Source: Mark Adler, zlib, crc32_combine.
type crcJoin struct {
	poly uint64 // reversed
	bits int    // 32 or 64

	size  int64 // that shift is for: parts are mostly of one size
	shift matrix
}

type matrix [64]uint64

func (m *matrix) times(v uint64) (out uint64) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			out ^= m[i]
		}
	}
	return out
}

func (m *matrix) squared() (out matrix) {
	for i := range m {
		out[i] = m.times(m[i])
	}
	return out
}

func (m *matrix) after(first *matrix) (out matrix) {
	for i := range first {
		out[i] = m.times(first[i])
	}
	return out
}

// zeros is the map for n zero bytes.
func (j *crcJoin) zeros(n int64) matrix {
	power := matrix{0: j.poly} // one zero bit
	out := matrix{}
	for i := range j.bits {
		if i > 0 {
			power[i] = 1 << (i - 1)
		}
		out[i] = 1 << i
	}
	for bits := uint64(n) * 8; bits != 0; bits >>= 1 {
		if bits&1 != 0 {
			out = power.after(&out)
		}
		power = power.squared()
	}
	return out
}

// append is the CRC of a message with CRC head followed by one of size bytes with CRC tail.
func (j *crcJoin) append(head, tail uint64, size int64) uint64 {
	if size != j.size || j.shift == (matrix{}) {
		j.size, j.shift = size, j.zeros(size)
	}
	return j.shift.times(head) ^ tail
}

// joinCRCs is the checksum of the parts' bytes one after another.
func joinCRCs(a *algorithm, parts []fsm.Part) []byte {
	j := crcJoin{poly: a.poly, bits: len(parts[0].Sum.Sum) * 8}
	var crc uint64
	for _, p := range parts {
		var wide [8]byte
		copy(wide[8-len(p.Sum.Sum):], p.Sum.Sum)
		crc = j.append(crc, binary.BigEndian.Uint64(wide[:]), p.Size)
	}
	return binary.BigEndian.AppendUint64(nil, crc)[8-j.bits/8:]
}
