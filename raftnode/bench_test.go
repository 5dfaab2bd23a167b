package raftnode

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpuTime is what this process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load has callers do op b.N times in all, spread over nodes, and reports rate, latency and the CPU of all
// three nodes and the callers together.
func load(b *testing.B, callers int, nodes []*member, op func(m *member, i int64) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	before := cpuTime(b)
	b.ResetTimer()
	for c := range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(nodes[c%len(nodes)], i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// where are the nodes that callers are on.
func where(r *rig) map[string][]*member {
	lead := r.leader(context.Background())
	return map[string][]*member{"leader": {lead}, "follower": {r.others(lead)[0]}, "all": r.members()}
}

func BenchmarkPropose(b *testing.B) {
	r := newRig(b, nil)
	r.form(3)
	for _, place := range []string{"leader", "follower", "all"} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", place, callers), func(b *testing.B) {
				load(b, callers, where(r)[place], func(m *member, i int64) error {
					return m.Propose(context.Background(), set(fmt.Sprintf("b-%d", i%1000), uint64(i)))
				})
			})
		}
	}
}

func BenchmarkReadIndex(b *testing.B) {
	r := newRig(b, nil)
	r.form(3)
	for _, place := range []string{"leader", "follower", "all"} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", place, callers), func(b *testing.B) {
				load(b, callers, where(r)[place], func(m *member, _ int64) error { return m.ReadIndex(context.Background()) })
			})
		}
	}
}
