package ebs

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The cache may forget, but what it answers is what was put there last.
func TestCacheAnswersTheNewestOrNothing(t *testing.T) {
	for seed := range uint64(6) {
		c := newCache(0)
		const size = 24 << 20 // more than it holds
		want, known := make([]byte, size), make([]bool, size/sectorSize)
		random := rand.New(rand.NewPCG(seed, 1))
		for range 300 {
			off := random.Int64N(size/sectorSize) * sectorSize
			n := min((random.Int64N(64)+1)*sectorSize, size-off)
			if random.IntN(20) == 0 {
				n = size - off
			}
			switch random.IntN(4) {
			case 0:
				c.forget(1, off, n)
				for s := off / sectorSize; s < (off+n)/sectorSize; s++ {
					known[s] = false
				}
			case 1:
				if random.IntN(10) == 0 {
					c.resize(random.Int64N(64 << 20))
				}
				c.write(2, make([]byte, n), off) // another volume's
			case 2:
				copy(want[off:off+n], bytes.Repeat([]byte{byte(random.Uint32())}, int(n)))
				for s := off / sectorSize; s < (off+n)/sectorSize; s++ {
					known[s] = true
				}
				c.write(1, want[off:off+n], off)
			default:
				got := make([]byte, n)
				if !c.read(1, got, off) {
					continue
				}
				if !bytes.Equal(got, want[off:off+n]) {
					t.Fatalf("%d bytes at %d are not the newest", n, off)
				}
				for s := off / sectorSize; s < (off+n)/sectorSize; s++ {
					if !known[s] {
						t.Fatalf("sector %d was forgotten", s)
					}
				}
			}
		}
		c.close(1)
		if held := c.held(); held[1] != 0 {
			t.Fatalf("%d bytes of a closed volume", held[1])
		}
	}
}

func TestCacheBytesFollowsItsFormula(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		host    int64
		volumes []CacheClaim
		want    int64
	}{
		{16 * gib, nil, 32 << 20},
		{16 * gib, []CacheClaim{{Size: 8 * gib}}, gib},
		{16 * gib, []CacheClaim{{Size: 8 * gib, Memory: gib}}, gib / 2},
		{16 * gib, []CacheClaim{{Size: 100 << 20, Memory: gib}}, 100 << 20},
		{16 * gib, []CacheClaim{{Size: 8 * gib}, {Size: 8 * gib}, {Size: 8 * gib}}, 2 * gib},
		{128 << 20, []CacheClaim{{Size: 8 * gib}}, 32 << 20},
	} {
		if got := CacheBytes(c.host, c.volumes); got != c.want {
			t.Errorf("CacheBytes(%d, %v) = %d, want %d", c.host, c.volumes, got, c.want)
		}
	}
}
