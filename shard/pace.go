package shard

import (
	"sync/atomic"
	"time"
)

// pace learns how long a read of a shard takes, as TCP learns its round trip (RFC 6298): the mean
// and the mean deviation, so that a read that takes much longer is hedged.
type pace struct {
	least, most time.Duration
	mean, dev   *atomic.Int64 // nanoseconds; racing updates lose one sample
}

const leastReadHedge = 30 * time.Millisecond

func newPace(most time.Duration) pace {
	return pace{least: min(leastReadHedge, most), most: most, mean: &atomic.Int64{}, dev: &atomic.Int64{}}
}

// saw takes a sample.
func (p pace) saw(d time.Duration) {
	mean, dev := p.mean.Load(), p.dev.Load()
	diff := int64(d) - mean
	p.mean.Store(mean + diff/8)
	p.dev.Store(dev + (max(diff, -diff)-dev)/4)
}

// delay is after how long another node is asked too.
func (p pace) delay() time.Duration {
	return min(p.most, max(p.least, time.Duration(p.mean.Load()+4*p.dev.Load())))
}
