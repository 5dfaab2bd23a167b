package shard

import (
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"
)

// How a blob is cut. A blob is a row of stripes; a stripe is k data blocks of 64 KiB and m parity
// blocks; shard j of a blob is the row of its blocks j. The last stripe's block length is what is
// left over divided by k, rounded up, its last data block padded with zeroes for the encoding:
//
//	bytes    0        64K       128K      192K       256K  +10
//	         | stripe 0         | stripe 1           | stripe 2: blocks of 5 bytes
//	shard 0  [ 0..64K          ][ 128K..192K        ][ 5 ]
//	shard 1  [ 64K..128K       ][ 192K..256K        ][ 5 ]
//	shard 2  [ parity          ][ parity            ][ 5 ]
//
// A shard is stored in records of up to 8 blocks (a group): what is written, sent and acknowledged
// at once.
const (
	blockSize   = 64 << 10
	groupBlocks = 8
	groupSize   = groupBlocks * blockSize // of a shard's payload in one record
	maxShards   = 32                      // k+m
)

// shape is the geometry of one blob.
type shape struct {
	k, m int
	size int64
}

// stripe is how many bytes of the blob a whole stripe holds.
func (s shape) stripe() int64 { return int64(s.k) * blockSize }

// stripes is how many stripes there are.
func (s shape) stripes() int64 { return (s.size + s.stripe() - 1) / s.stripe() }

// block is the length of stripe i's blocks.
func (s shape) block(i int64) int {
	left := s.size - i*s.stripe()
	if left >= s.stripe() {
		return blockSize
	}
	return int((left + int64(s.k) - 1) / int64(s.k))
}

// shardSize is the length of each shard.
func (s shape) shardSize() int64 {
	n := s.stripes()
	if n == 0 {
		return 0
	}
	return (n-1)*blockSize + int64(s.block(n-1))
}

// groups is how many records a shard has.
func (s shape) groups() uint32 { return uint32((s.stripes() + groupBlocks - 1) / groupBlocks) }

// group is the payload length of a shard's record seq.
func (s shape) group(seq uint32) int {
	return int(min(groupSize, s.shardSize()-int64(seq)*groupSize))
}

// coders keeps one encoder for each profile: making one inverts matrices.
type coders struct {
	mu sync.Mutex // guards m
	m  map[[2]int]reedsolomon.Encoder
}

func newCoders() *coders { return &coders{m: map[[2]int]reedsolomon.Encoder{}} }

// get is the encoder of a profile with parity. The matrices are part of the stored format: with
// one parity shard it is the exclusive or of the data, else the library's default Vandermonde.
func (c *coders) get(k, m int) (reedsolomon.Encoder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if enc, ok := c.m[[2]int{k, m}]; ok {
		return enc, nil
	}
	opts := []reedsolomon.Option{reedsolomon.WithMaxGoroutines(1)}
	if m == 1 {
		opts = append(opts, reedsolomon.WithFastOneParityMatrix())
	}
	enc, err := reedsolomon.New(k, m, opts...)
	if err != nil {
		return nil, fmt.Errorf("profile RS(%d,%d): %w", k, m, err)
	}
	c.m[[2]int{k, m}] = enc
	return enc, nil
}

// encode fills in the m parity blocks of a stripe from its k data blocks; all have one length.
func (c *coders) encode(blocks [][]byte, k int) error {
	if len(blocks) == k {
		return nil
	}
	enc, err := c.get(k, len(blocks)-k)
	if err != nil {
		return err
	}
	return enc.Encode(blocks)
}

// rebuild fills in the blocks that want names, from any k of the others. A missing block has
// length 0 and capacity for the result.
func (c *coders) rebuild(blocks [][]byte, k int, want []bool) error {
	if len(blocks) == k {
		return fmt.Errorf("profile RS(%d,0) has no parity: %w", k, ErrLost)
	}
	enc, err := c.get(k, len(blocks)-k)
	if err != nil {
		return err
	}
	return enc.ReconstructSome(blocks, want)
}
