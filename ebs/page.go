package ebs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"

	"hive/fsm"
)

// A map is a root and pages, each a blob. Integers are little endian, "varint" is Go's unsigned one.
//
//	root                                            page
//	 0  4  "hvVR"                                    0  4  "hvVP"
//	 4  2  format, 1                                 4  2  format, 1
//	 6  2  zeroes                                    6  2  zeroes
//	 8  4  number of pages                           8  4  number of chunks
//	12     pages, 32 bytes each, in order:          12  4  number of extents
//	        0  4  index of the page                 16     chunks, 28 bytes each: blob
//	        4 28  blob                                     extents, 4 varints each, in order:
//	then   4  CRC32C of all before                          sectors since the end of the one before
//	                                                        sectors
//	blob, 28 bytes                                          chunk
//	 0 16  id                                               first sector in the chunk
//	16  2  partition                                then   4  CRC32C of all before
//	18  1  data shards
//	19  1  parity shards
//	20  8  size in bytes
//
// What no page and no extent tells of is zeroes. A chunk belongs to one page only, so that how much of it is alive is
// seen from that page.
const (
	rootMagic  = "hvVR"
	pageMagic  = "hvVP"
	mapFormat  = 1
	refSize    = 28
	pageBytes  = 1 << 30 // of the volume that a page tells of
	pageSector = pageBytes / sectorSize
	maxMapBlob = 256 << 20
)

// chunkMax is the size of the largest chunk, in bytes.
const chunkMax = 4 << 20

// ErrMap is a part of a map that is not what its format says: it is never served from.
var errMap = errors.New("malformed part of a volume's map")

// extent is sectors of a page and where in a chunk they lie.
type extent struct{ start, n, chunk, first uint32 }

func (e extent) end() uint32 { return e.start + e.n }

// page is the map of 1 GiB. It never changes once it is made.
type page struct {
	chunks  []fsm.BlobRef
	extents []extent // in order, not overlapping
}

func (p *page) memory() int64 { return int64(len(p.chunks))*40 + int64(len(p.extents))*16 + 64 }

// each goes over the extents that overlap [start, end), cut to it, in order, until yield answers false.
func (p *page) each(start, end uint32, yield func(extent) bool) {
	i := sort.Search(len(p.extents), func(i int) bool { return p.extents[i].end() > start })
	for _, e := range p.extents[i:] {
		if e.start >= end || start >= end {
			return
		}
		if cut := max(e.start, start) - e.start; cut > 0 {
			e.start, e.n, e.first = e.start+cut, e.n-cut, e.first+cut
		}
		e.n = min(e.end(), end) - e.start
		if !yield(e) {
			return
		}
	}
}

// root is a map's list of pages. It never changes once it is made.
type root struct{ pages []rootEntry } // in order of index

type rootEntry struct {
	index uint32
	ref   fsm.BlobRef
}

// page is the blob of a page; none when the page is all zeroes.
func (r *root) page(index uint32) (fsm.BlobRef, bool) {
	i, ok := slices.BinarySearchFunc(r.pages, index, func(e rootEntry, i uint32) int { return int(int64(e.index) - int64(i)) })
	if !ok {
		return fsm.BlobRef{}, false
	}
	return r.pages[i].ref, true
}

// with is the root with changed pages; a page whose blob has size 0 goes.
func (r *root) with(changed map[uint32]fsm.BlobRef) *root {
	out := &root{}
	for _, e := range r.pages {
		if _, ok := changed[e.index]; !ok {
			out.pages = append(out.pages, e)
		}
	}
	for index, ref := range changed {
		if ref.Size > 0 {
			out.pages = append(out.pages, rootEntry{index, ref})
		}
	}
	slices.SortFunc(out.pages, func(a, b rootEntry) int { return int(int64(a.index) - int64(b.index)) })
	return out
}

func (r *root) memory() int64 { return int64(len(r.pages)) * 48 }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func appendRef(b []byte, ref fsm.BlobRef) []byte {
	b = append(b, ref.ID[:]...)
	b = binary.LittleEndian.AppendUint16(b, ref.Partition)
	b = append(b, ref.K, ref.M)
	return binary.LittleEndian.AppendUint64(b, uint64(ref.Size))
}

func parseRef(b []byte) (ref fsm.BlobRef) {
	copy(ref.ID[:], b)
	ref.Partition, ref.K, ref.M = binary.LittleEndian.Uint16(b[16:]), b[18], b[19]
	ref.Size = int64(binary.LittleEndian.Uint64(b[20:]))
	return ref
}

func appendHead(b []byte, magic string) []byte {
	b = append(b, magic...)
	return append(b, mapFormat, 0, 0, 0)
}

func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// unseal verifies checksum, kind and format, and is what follows these.
func unseal(b []byte, magic string) ([]byte, error) {
	if len(b) < 12 {
		return nil, fmt.Errorf("%d bytes: %w", len(b), errMap)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	switch {
	case crc32.Checksum(body, castagnoli()) != sum:
		return nil, fmt.Errorf("checksum: %w", errMap)
	case string(body[:4]) != magic:
		return nil, fmt.Errorf("kind %q where %q must be: %w", body[:4], magic, errMap)
	case binary.LittleEndian.Uint16(body[4:]) != mapFormat:
		return nil, fmt.Errorf("format %d is of another version: %w", binary.LittleEndian.Uint16(body[4:]), errMap)
	}
	return body[8:], nil
}

func (r *root) encode() []byte {
	b := appendHead(make([]byte, 0, 16+len(r.pages)*(4+refSize)), rootMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.pages)))
	for _, e := range r.pages {
		b = appendRef(binary.LittleEndian.AppendUint32(b, e.index), e.ref)
	}
	return seal(b)
}

func decodeRoot(b []byte) (*root, error) {
	b, err := unseal(b, rootMagic)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if len(b) < 4 || uint64(len(b)-4) != uint64(binary.LittleEndian.Uint32(b))*(4+refSize) {
		return nil, fmt.Errorf("root's length: %w", errMap)
	}
	r := &root{pages: make([]rootEntry, 0, len(b)/(4+refSize))}
	for b = b[4:]; len(b) > 0; b = b[4+refSize:] {
		e := rootEntry{binary.LittleEndian.Uint32(b), parseRef(b[4:])}
		if n := len(r.pages); n > 0 && r.pages[n-1].index >= e.index || e.ref.Size <= 0 || e.ref.Size > maxMapBlob {
			return nil, fmt.Errorf("root's page %d: %w", e.index, errMap)
		}
		r.pages = append(r.pages, e)
	}
	return r, nil
}

func (p *page) encode() []byte {
	b := appendHead(make([]byte, 0, 24+len(p.chunks)*refSize+len(p.extents)*8), pageMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.chunks)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.extents)))
	for _, ref := range p.chunks {
		b = appendRef(b, ref)
	}
	var end uint32
	for _, e := range p.extents {
		for _, x := range [4]uint32{e.start - end, e.n, e.chunk, e.first} {
			b = binary.AppendUvarint(b, uint64(x))
		}
		end = e.end()
	}
	return seal(b)
}

func decodePage(b []byte) (*page, error) {
	b, err := unseal(b, pageMagic)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	if len(b) < 8 {
		return nil, fmt.Errorf("page's length: %w", errMap)
	}
	chunks, extents := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	b = b[8:]
	if uint64(len(b)) < uint64(chunks)*refSize+uint64(extents)*4 || extents > pageSector {
		return nil, fmt.Errorf("page's length: %w", errMap)
	}
	p := &page{chunks: make([]fsm.BlobRef, chunks), extents: make([]extent, extents)}
	for i := range p.chunks {
		p.chunks[i] = parseRef(b)
		b = b[refSize:]
	}
	var end uint64
	for i := range p.extents {
		var e extent
		if e, b, err = p.decodeExtent(b, end); err != nil {
			return nil, err
		}
		p.extents[i], end = e, uint64(e.end())
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("page's end: %w", errMap)
	}
	return p, nil
}

func (p *page) decodeExtent(b []byte, end uint64) (extent, []byte, error) {
	var x [4]uint64
	for i := range x {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > pageSector {
			return extent{}, nil, fmt.Errorf("page's extents: %w", errMap)
		}
		x[i], b = v, b[n:]
	}
	start := end + x[0]
	if x[1] == 0 || start+x[1] > pageSector || x[2] >= uint64(len(p.chunks)) ||
		int64(x[3]+x[1])*sectorSize > p.chunks[x[2]].Size {
		return extent{}, nil, fmt.Errorf("page's extents: %w", errMap)
	}
	return extent{uint32(start), uint32(x[1]), uint32(x[2]), uint32(x[3])}, b, nil
}
