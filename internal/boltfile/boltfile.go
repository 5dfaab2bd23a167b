// Package boltfile reads a bbolt file page by page, without a memory map and without trusting a byte
// of it, and tells a whole file from a truncated and a corrupt one. bbolt itself trusts its pages: on a
// bad one it panics in a goroutine of its own, faults outside of the map, or answers without the
// records that it lost. It never writes.
package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
)

// Causes for which a file cannot be believed.
var (
	ErrTruncated = errors.New("the file is shorter than it says")
	ErrCorrupt   = errors.New("the file is corrupt")
)

// Source of the layout: go.etcd.io/bbolt, internal/common (file format version 2, native byte order):
//
//	page    8 bytes id | 2 flags | 2 count | 4 overflow | elements
//	branch  element: 4 bytes offset of key from the element | 4 length of key | 8 page id of the child
//	leaf    element: 4 bytes flags | 4 offset of key from the element | 4 length of key | 4 length of value
//	meta    4 bytes magic | 4 version | 4 page size | 4 flags | 8 root page | 8 sequence |
//	        8 freelist page | 8 high-water mark | 8 transaction | 8 FNV-1a of all before
//	bucket  value of a leaf element with flag 1: 8 bytes root page | 8 sequence | if the root is 0, a page
const (
	pageHeader  = 16
	pageElement = 16
	bucketValue = 16
	flagBranch  = 1
	flagLeaf    = 2
	flagMeta    = 4
	flagBucket  = 1
	metaSize    = 64
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	maxDepth    = 64 // of a tree: more than 2^64 pages with two keys each need
)

// Visit is called for each record, bucket by bucket and in order of key. The slices are valid during
// the call.
type Visit func(bucket, key, value []byte) error

// Check reads every page in use of the file, which is size bytes long, and calls visit for its
// records. It answers ErrTruncated, ErrCorrupt or visit's error. Buckets inside of buckets are corrupt.
//
// Both meta pages must be good: bbolt falls back on the older when the newer is bad, and so forgets the
// last transaction without a word.
func Check(f io.ReaderAt, size int64, visit Visit) error {
	c := &check{f: f, size: size, pageSize: int64(os.Getpagesize())}
	root, err := c.metas()
	if err != nil {
		return err
	}
	return c.tree(root, keyRange{}, 0, func(flags uint32, name, value []byte) error {
		if flags != flagBucket {
			return corruptf("a record outside of all buckets")
		}
		return c.bucket(value, func(flags uint32, k, v []byte) error {
			if flags != 0 {
				return corruptf("a bucket inside of bucket %q", name)
			}
			return visit(name, k, v)
		})
	})
}

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

type check struct {
	f        io.ReaderAt
	size     int64
	pageSize int64
	high     uint64 // high-water mark: every page in use is below
	seen     bitset
}

// bitset is a set of page ids.
type bitset []uint64

func (b bitset) has(i uint64) bool { return i/64 < uint64(len(b)) && b[i/64]>>(i%64)&1 == 1 }

func (b *bitset) add(i uint64) {
	for uint64(len(*b)) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

func (c *check) metas() (root uint64, err error) {
	if c.size < 2*c.pageSize {
		return 0, fmt.Errorf("%w: %d bytes", ErrTruncated, c.size)
	}
	var txid [2]uint64
	for i := range txid {
		page := make([]byte, pageHeader+metaSize)
		if _, err := c.f.ReadAt(page, int64(i)*c.pageSize); err != nil {
			return 0, corruptf("meta page %d: %v", i, err)
		}
		m := page[pageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		ne := binary.NativeEndian
		if ne.Uint16(page[8:]) != flagMeta || ne.Uint32(m) != boltMagic || ne.Uint32(m[4:]) != boltVersion ||
			ne.Uint32(m[8:]) != uint32(c.pageSize) || ne.Uint64(m[56:]) != sum.Sum64() {
			return 0, corruptf("meta page %d", i)
		}
		txid[i] = ne.Uint64(m[48:])
		if i == 0 || txid[1] > txid[0] {
			root, c.high = ne.Uint64(m[16:]), ne.Uint64(m[40:])
		}
	}
	if txid[0]+1 != txid[1] && txid[1]+1 != txid[0] {
		return 0, corruptf("meta pages of transactions %d and %d", txid[0], txid[1])
	}
	if c.high > uint64(math.MaxInt64/c.pageSize) || int64(c.high)*c.pageSize > c.size {
		return 0, fmt.Errorf("%w: %d bytes, %d pages of %d bytes", ErrTruncated, c.size, c.high, c.pageSize)
	}
	return root, nil
}

// keyRange is where a subtree's keys must lie: from min on and before max, where set.
type keyRange struct{ min, max []byte }

func (r keyRange) holds(k []byte) bool {
	return bytes.Compare(k, r.min) >= 0 && (r.max == nil || bytes.Compare(k, r.max) < 0)
}

type visitElement func(flags uint32, key, value []byte) error

func (c *check) bucket(value []byte, visit visitElement) error {
	if len(value) < bucketValue {
		return corruptf("a bucket of %d bytes", len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return c.tree(root, keyRange{}, 0, visit)
	}
	page := value[bucketValue:]
	if len(page) < pageHeader || binary.NativeEndian.Uint16(page[8:]) != flagLeaf {
		return corruptf("an inline bucket")
	}
	return c.leaf(page, keyRange{}, visit)
}

func (c *check) tree(id uint64, in keyRange, depth int, visit visitElement) error {
	page, err := c.page(id, depth)
	if err != nil {
		return err
	}
	switch binary.NativeEndian.Uint16(page[8:]) {
	case flagLeaf:
		return c.leaf(page, in, visit)
	case flagBranch:
		return c.branch(page, in, depth, visit)
	default:
		return corruptf("page %d is neither branch nor leaf", id)
	}
}

func (c *check) page(id uint64, depth int) ([]byte, error) {
	if id < 2 || id >= c.high || depth > maxDepth {
		return nil, corruptf("page %d of %d cannot stand here", id, c.high)
	}
	head := make([]byte, pageHeader)
	if _, err := c.f.ReadAt(head, int64(id)*c.pageSize); err != nil {
		return nil, corruptf("page %d: %v", id, err)
	}
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	if binary.NativeEndian.Uint64(head) != id || overflow >= c.high-id {
		return nil, corruptf("header of page %d", id)
	}
	page := make([]byte, int64(overflow+1)*c.pageSize) // it lies in the file: metas checked its size
	if _, err := c.f.ReadAt(page, int64(id)*c.pageSize); err != nil {
		return nil, corruptf("page %d: %v", id, err)
	}
	for i := id; i <= id+overflow; i++ {
		if c.seen.has(i) {
			return nil, corruptf("page %d stands twice", i)
		}
		c.seen.add(i)
	}
	return page, nil
}

// bbolt writes the keys and values of a page one after the other behind its elements. That they stand so is
// checked: it gives away a count that has changed, and with it records that would be lost.
func (c *check) leaf(page []byte, in keyRange, visit visitElement) error {
	var last []byte
	count := int(binary.NativeEndian.Uint16(page[10:]))
	next := uint64(pageHeader + count*pageElement) // where the next key must stand
	for i := range count {
		at := pageHeader + i*pageElement
		if at+pageElement > len(page) {
			return corruptf("a leaf of too many elements")
		}
		e := page[at:]
		flags, pos := binary.NativeEndian.Uint32(e), uint64(binary.NativeEndian.Uint32(e[4:]))
		ksize, vsize := uint64(binary.NativeEndian.Uint32(e[8:])), uint64(binary.NativeEndian.Uint32(e[12:]))
		if pos+ksize+vsize > uint64(len(e)) || uint64(at)+pos != next {
			return corruptf("an element out of place in its leaf")
		}
		next += ksize + vsize
		k, v := e[pos:pos+ksize], e[pos+ksize:pos+ksize+vsize]
		if !in.holds(k) || i > 0 && bytes.Compare(last, k) >= 0 {
			return corruptf("a leaf out of order")
		}
		if err := visit(flags, k, v); err != nil {
			return err
		}
		last = k
	}
	return nil
}

func (c *check) branch(page []byte, in keyRange, depth int, visit visitElement) error {
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if count == 0 || pageHeader+count*pageElement > len(page) {
		return corruptf("a branch of %d elements", count)
	}
	next := uint64(pageHeader + count*pageElement)
	element := func(i int) (key []byte, child uint64, err error) {
		e := page[pageHeader+i*pageElement:]
		pos, ksize := uint64(binary.NativeEndian.Uint32(e)), uint64(binary.NativeEndian.Uint32(e[4:]))
		if pos+ksize > uint64(len(e)) || i == 0 && pageHeader+pos != next {
			return nil, 0, corruptf("an element out of place in its branch")
		}
		return e[pos : pos+ksize], binary.NativeEndian.Uint64(e[8:]), nil
	}
	for i := range count {
		key, child, err := element(i)
		if err != nil {
			return err
		}
		below := keyRange{min: key, max: in.max}
		if i+1 < count {
			if below.max, _, err = element(i + 1); err != nil {
				return err
			}
		}
		if !in.holds(key) || below.max != nil && bytes.Compare(key, below.max) >= 0 {
			return corruptf("a branch out of order")
		}
		if err := c.tree(child, below, depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}
