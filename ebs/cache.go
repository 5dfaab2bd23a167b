package ebs

import (
	"math/bits"
	"sync"
)

const (
	blockSize    = 4096 // of the cache
	blockSectors = blockSize / sectorSize
	slabBlocks   = 256 // slots of one allocation: 1 MiB
	cacheShards  = 16
	shardShift   = 8 // neighbouring blocks of 1 MiB lie in one shard
)

// cacheKey is a block of a volume that is open; each opening has its own number.
type cacheKey struct {
	volume uint32
	block  uint32 // 4 KiB each: 16 TiB
}

// cache keeps the newest content of blocks, for all volumes of the node, and drops the ones that were not used for longest.
// It may forget anything at any time; who puts blocks into it sees to it that they are the newest.
type cache struct{ shards [cacheShards]cacheShard }

type cacheShard struct {
	mu    sync.Mutex // guards what follows
	limit int        // slabs
	index map[cacheKey]int32
	slabs [][]byte
	slots []slot // of all slabs; slot 0 is the list's head and has no bytes
	free  []int32
}

// slot is the place of a block. Slot i has bytes (i-1)%slabBlocks of slab (i-1)/slabBlocks.
type slot struct {
	key        cacheKey
	prev, next int32 // in order of use, the newest behind the head
	valid      uint8 // a bit for each sector
	used       bool
}

func newCache(limit int64) *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i].index = map[cacheKey]int32{}
		c.shards[i].slots = make([]slot, 1)
	}
	c.resize(limit)
	return c
}

// resize changes how many bytes the cache may hold, at least one slab for each shard.
func (c *cache) resize(limit int64) {
	for i := range c.shards {
		c.shards[i].resize(max(1, int(limit/cacheShards/(slabBlocks*blockSize))))
	}
}

func (c *cache) shard(k cacheKey) *cacheShard {
	return &c.shards[(k.block>>shardShift+k.volume*5)%cacheShards]
}

// inShards cuts blocks [first, end) into runs that lie in one shard.
func (c *cache) inShards(volume, first, end uint32, fn func(s *cacheShard, first, end uint32) bool) bool {
	for first < end {
		stop := min((first>>shardShift+1)<<shardShift, end)
		s := c.shard(cacheKey{volume, first})
		s.mu.Lock()
		ok := fn(s, first, stop)
		s.mu.Unlock()
		if !ok {
			return false
		}
		first = stop
	}
	return true
}

// sectorMask has the bits of sectors [from, to) of a block.
func sectorMask(from, to int) uint8 { return uint8(1<<to - 1<<from) }

// blockPart is the part of a range of bytes that lies in one block.
func blockPart(block uint32, off, n int64) (from, to int64) {
	start := int64(block) * blockSize
	return max(off-start, 0), min(off+n-start, blockSize)
}

func blocksOf(off, n int64) (first, end uint32) {
	return uint32(off / blockSize), uint32((off + n + blockSize - 1) / blockSize)
}

// read copies a range of bytes, whole sectors, if all of it is there.
func (c *cache) read(volume uint32, p []byte, off int64) bool {
	first, end := blocksOf(off, int64(len(p)))
	return c.inShards(volume, first, end, func(s *cacheShard, first, end uint32) bool {
		for b := first; b < end; b++ {
			i, ok := s.index[cacheKey{volume, b}]
			if !ok {
				return false
			}
			from, to := blockPart(b, off, int64(len(p)))
			mask := sectorMask(int(from/sectorSize), int(to/sectorSize))
			if s.slots[i].valid&mask != mask {
				return false
			}
			copy(p[int64(b)*blockSize+from-off:], s.bytes(i)[from:to])
			s.touch(i)
		}
		return true
	})
}

// write puts a range of bytes, whole sectors, into the cache.
func (c *cache) write(volume uint32, p []byte, off int64) {
	first, end := blocksOf(off, int64(len(p)))
	c.inShards(volume, first, end, func(s *cacheShard, first, end uint32) bool {
		for b := first; b < end; b++ {
			i := s.slot(cacheKey{volume, b})
			from, to := blockPart(b, off, int64(len(p)))
			copy(s.bytes(i)[from:to], p[int64(b)*blockSize+from-off:])
			s.slots[i].valid |= sectorMask(int(from/sectorSize), int(to/sectorSize))
		}
		return true
	})
}

// forget drops a range of bytes, whole sectors.
func (c *cache) forget(volume uint32, off, n int64) {
	first, end := blocksOf(off, n)
	if int(end-first) > c.shards[0].count() {
		c.sweep(func(k cacheKey) (drop bool) { return k.volume == volume && k.block > first && k.block+1 < end })
		c.forgetEach(volume, off, n, first, first+1)
		first = end - 1
	}
	c.forgetEach(volume, off, n, first, end)
}

func (c *cache) forgetEach(volume uint32, off, n int64, first, end uint32) {
	c.inShards(volume, first, end, func(s *cacheShard, first, end uint32) bool {
		for b := first; b < end; b++ {
			i, ok := s.index[cacheKey{volume, b}]
			if !ok {
				continue
			}
			from, to := blockPart(b, off, n)
			if s.slots[i].valid &^= sectorMask(int(from/sectorSize), int(to/sectorSize)); s.slots[i].valid == 0 {
				s.drop(i)
			}
		}
		return true
	})
}

// close forgets a volume.
func (c *cache) close(volume uint32) {
	c.sweep(func(k cacheKey) bool { return k.volume == volume })
}

// sweep drops the blocks that drop names.
func (c *cache) sweep(drop func(cacheKey) bool) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for j := range s.slots {
			if s.slots[j].used && drop(s.slots[j].key) {
				s.drop(int32(j))
			}
		}
		s.mu.Unlock()
	}
}

// held is how many bytes a volume has in the cache.
func (c *cache) held() map[uint32]int64 {
	out := map[uint32]int64{}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for j := range s.slots {
			if s.slots[j].used {
				out[s.slots[j].key.volume] += int64(bits.OnesCount8(s.slots[j].valid)) * sectorSize
			}
		}
		s.mu.Unlock()
	}
	return out
}

func (s *cacheShard) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.slots)
}

func (s *cacheShard) bytes(i int32) []byte {
	slab := s.slabs[(i-1)/slabBlocks]
	at := int(i-1) % slabBlocks * blockSize
	return slab[at : at+blockSize : at+blockSize]
}

func (s *cacheShard) unlink(i int32) {
	x := &s.slots[i]
	s.slots[x.prev].next, s.slots[x.next].prev = x.next, x.prev
}

func (s *cacheShard) link(i int32) {
	head := &s.slots[0]
	s.slots[i].prev, s.slots[i].next = 0, head.next
	s.slots[head.next].prev = i
	s.slots[0].next = i
}

func (s *cacheShard) touch(i int32) {
	if s.slots[0].next != i {
		s.unlink(i)
		s.link(i)
	}
}

func (s *cacheShard) drop(i int32) {
	s.unlink(i)
	delete(s.index, s.slots[i].key)
	s.slots[i] = slot{}
	s.free = append(s.free, i)
}

// slot is the place of a block, made if it has none.
func (s *cacheShard) slot(k cacheKey) int32 {
	if i, ok := s.index[k]; ok {
		s.touch(i)
		return i
	}
	if len(s.free) == 0 {
		if len(s.slabs) < s.limit {
			s.grow()
		} else {
			s.drop(s.slots[0].prev)
		}
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.slots[i] = slot{key: k, used: true}
	s.index[k] = i
	s.link(i)
	return i
}

func (s *cacheShard) grow() {
	s.slabs = append(s.slabs, make([]byte, slabBlocks*blockSize))
	n := len(s.slots)
	s.slots = append(s.slots, make([]slot, slabBlocks)...)
	for i := len(s.slots) - 1; i >= n; i-- {
		s.free = append(s.free, int32(i))
	}
}

func (s *cacheShard) resize(slabs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = slabs
	if len(s.slabs) <= slabs {
		return
	}
	n := 1 + slabs*slabBlocks
	for i := n; i < len(s.slots); i++ {
		if s.slots[i].used {
			s.drop(int32(i))
		}
	}
	clear(s.slabs[slabs:])
	s.slabs, s.slots = s.slabs[:slabs], s.slots[:n:n]
	kept := s.free[:0]
	for _, i := range s.free {
		if int(i) < n {
			kept = append(kept, i)
		}
	}
	s.free = kept
}

// CacheClaim is an open volume and what uses it, for CacheBytes.
type CacheClaim struct {
	Size   int64 // of the volume, bytes
	Memory int64 // of the instance that has it, bytes; 0 for none
}

// CacheBytes is how much memory the block cache of a node may use, in bytes: for each open volume its size, but at most half
// of its instance's memory and at most 1 GiB; together 32 MiB at least and an eighth of the host's memory at most. It is
// taken as blocks are read and written, and what was not used for longest goes first, whichever volume it is of.
func CacheBytes(host int64, volumes []CacheClaim) int64 {
	var total int64
	for _, v := range volumes {
		claim := min(v.Size, 1<<30)
		if v.Memory > 0 {
			claim = min(claim, v.Memory/2)
		}
		total += claim
	}
	return min(max(total, 32<<20), max(host/8, 32<<20))
}
