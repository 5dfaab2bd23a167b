package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"syscall"
)

// bbolt trusts the pages that it maps: a flipped bit makes it panic in a goroutine of its own, fault
// outside of the map, run in circles, or answer without the records that it lost. So the whole file
// is read here, page by page and without a map, before bbolt is given it.
//
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
	// maxTreeDepth is more than a tree of 2^64 pages with two keys each has.
	maxTreeDepth = 64
)

// ErrStateInUse is a state file that another process has open.
var ErrStateInUse = errors.New("state file is open in another process")

// checkState reads the whole state file and returns its header. A file that is not whole is
// ErrStateCorrupt; a file that is not there is os.ErrNotExist.
func checkState(path string) (header, error) {
	f, err := os.Open(path)
	if err != nil {
		return header{}, fmt.Errorf("check state file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return header{}, fmt.Errorf("check state file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return header{}, fmt.Errorf("%s is not a file", path)
	}
	// The lock that bbolt takes: whoever holds it is writing.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return header{}, fmt.Errorf("%w: %s: %w", ErrStateInUse, path, err)
	}
	return checkPages(f)
}

func checkPages(f io.ReaderAt) (header, error) {
	c := &pageCheck{f: f}
	root, err := c.metas()
	if err != nil {
		return header{}, err
	}
	var head header
	var records, sum uint64
	err = c.tree(root, keyRange{}, 0, func(flags uint32, name, value []byte) error {
		if flags != flagBucket {
			return corruptf("a record outside of all tables")
		}
		return c.bucket(value, func(flags uint32, k, v []byte) (err error) {
			if bytes.Equal(name, metaBucket) {
				head, err = decodeHeader(v)
				return err
			}
			if flags != 0 {
				return corruptf("a table inside of table %q", name)
			}
			if _, err := openValue(string(name), k, v); err != nil {
				return err
			}
			records++
			sum += uint64(valueCRC(v))
			return nil
		})
	})
	if err != nil {
		return header{}, err
	}
	if head.class == 0 || head.records != records || head.sum != sum {
		return header{}, corruptf("%d records, %d expected", records, head.records)
	}
	return head, nil
}

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStateCorrupt, fmt.Sprintf(format, args...))
}

type pageCheck struct {
	f        io.ReaderAt
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

// metas checks both meta pages and returns the newer one's root. bbolt would fall back on the older
// when the newer is bad, and so show an older state: both must be good.
func (c *pageCheck) metas() (root uint64, err error) {
	c.pageSize = int64(os.Getpagesize())
	var txid [2]uint64
	for i := range txid {
		page := make([]byte, pageHeader+metaSize)
		if _, err := c.f.ReadAt(page, int64(i)*c.pageSize); err != nil {
			return 0, corruptf("meta page %d: %v", i, err)
		}
		m := page[pageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		le := binary.NativeEndian
		if le.Uint16(page[8:]) != flagMeta || le.Uint32(m) != boltMagic || le.Uint32(m[4:]) != boltVersion ||
			le.Uint32(m[8:]) != uint32(c.pageSize) || le.Uint64(m[56:]) != sum.Sum64() {
			return 0, corruptf("meta page %d", i)
		}
		txid[i] = le.Uint64(m[48:])
		if i == 0 || txid[1] > txid[0] {
			root, c.high = le.Uint64(m[16:]), le.Uint64(m[40:])
		}
	}
	if txid[0]+1 != txid[1] && txid[1]+1 != txid[0] {
		return 0, corruptf("meta pages of transactions %d and %d", txid[0], txid[1])
	}
	return root, nil
}

// keyRange is where a subtree's keys must lie: from min on and before max, where set.
type keyRange struct{ min, max []byte }

func (r keyRange) holds(k []byte) bool {
	return bytes.Compare(k, r.min) >= 0 && (r.max == nil || bytes.Compare(k, r.max) < 0)
}

type visitRecord func(flags uint32, key, value []byte) error

func (c *pageCheck) bucket(value []byte, visit visitRecord) error {
	if len(value) < bucketValue {
		return corruptf("a table of %d bytes", len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return c.tree(root, keyRange{}, 0, visit)
	}
	page := value[bucketValue:]
	if len(page) < pageHeader || binary.NativeEndian.Uint16(page[8:]) != flagLeaf {
		return corruptf("an inline table")
	}
	return c.leaf(page, keyRange{}, visit)
}

func (c *pageCheck) tree(id uint64, in keyRange, depth int, visit visitRecord) error {
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

func (c *pageCheck) page(id uint64, depth int) ([]byte, error) {
	if id < 2 || id >= c.high || depth > maxTreeDepth || id > math.MaxInt64/uint64(c.pageSize)-1 {
		return nil, corruptf("page %d of %d cannot stand here", id, c.high)
	}
	page := make([]byte, c.pageSize)
	if _, err := c.f.ReadAt(page, int64(id)*c.pageSize); err != nil {
		return nil, corruptf("page %d: %v", id, err)
	}
	overflow := uint64(binary.NativeEndian.Uint32(page[12:]))
	if binary.NativeEndian.Uint64(page) != id || overflow >= c.high-id {
		return nil, corruptf("header of page %d", id)
	}
	if overflow > 0 {
		rest := io.NewSectionReader(c.f, (int64(id)+1)*c.pageSize, int64(overflow)*c.pageSize)
		all := bytes.NewBuffer(page)
		// Grows with what is there, not with what a corrupt header promises.
		if n, err := io.Copy(all, rest); err != nil || n != rest.Size() {
			return nil, corruptf("page %d: %d of %d bytes: %v", id, n, rest.Size(), err)
		}
		page = all.Bytes()
	}
	for i := id; i <= id+overflow; i++ {
		if c.seen.has(i) {
			return nil, corruptf("page %d stands twice", i)
		}
		c.seen.add(i)
	}
	return page, nil
}

func (c *pageCheck) leaf(page []byte, in keyRange, visit visitRecord) error {
	var last []byte
	for i := range int(binary.NativeEndian.Uint16(page[10:])) {
		at := pageHeader + i*pageElement
		if at+pageElement > len(page) {
			return corruptf("a leaf of too many elements")
		}
		e := page[at:]
		flags, pos := binary.NativeEndian.Uint32(e), uint64(binary.NativeEndian.Uint32(e[4:]))
		ksize, vsize := uint64(binary.NativeEndian.Uint32(e[8:])), uint64(binary.NativeEndian.Uint32(e[12:]))
		if pos+ksize+vsize > uint64(len(e)) {
			return corruptf("an element outside of its leaf")
		}
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

func (c *pageCheck) branch(page []byte, in keyRange, depth int, visit visitRecord) error {
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if count == 0 || pageHeader+count*pageElement > len(page) {
		return corruptf("a branch of %d elements", count)
	}
	element := func(i int) (key []byte, child uint64, err error) {
		e := page[pageHeader+i*pageElement:]
		pos, ksize := uint64(binary.NativeEndian.Uint32(e)), uint64(binary.NativeEndian.Uint32(e[4:]))
		if pos+ksize > uint64(len(e)) {
			return nil, 0, corruptf("an element outside of its branch")
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
