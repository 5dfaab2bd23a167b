package shard

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/internal/vfs"
)

// cpu is the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// concurrently runs op b.N times in all, and reports CPU per operation: of all three nodes and of
// the caller, who is in this process too.
func concurrently(b *testing.B, callers int, op func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	before := cpu(b)
	for range callers {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(b.N) {
					return
				}
				if err := op(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// benchRig is three stores on the real file system, over TLS.
func benchRig(b *testing.B) *rig {
	dir := b.TempDir()
	return newRig(b, 3, overHTTP, func(r *rig) {
		r.fs = func(fsm.NodeID, *vfs.Mem) vfs.FS { return vfs.OS{} }
		r.tune = func(c *Config) {
			c.Dir = dir + "/" + string(c.Node)
			c.SegmentSize = 128 << 20
			c.Log = slog.New(slog.DiscardHandler)
		}
	})
}

func BenchmarkAppend4KiB(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			cfg := testDiskConfig(b, vfs.OS{})
			cfg.dir, cfg.segmentSize, cfg.now = b.TempDir(), 128<<20, time.Now
			d, err := openDisk(cfg)
			if err != nil {
				b.Fatal(err)
			}
			data := random(1, 4096)
			sum := []uint32{checksum(data)}
			concurrently(b, callers, func(i int) error {
				id := ID{0: byte(i), 1: byte(i >> 8), 2: byte(i >> 16), 3: byte(i >> 24)}
				buf := d.cfg.pools.get(len(data))
				copy(buf.payload(len(data)), data)
				r := &Put{header: header{kind: putRecord, k: 1, id: id, final: true, length: uint32(len(data))}, sums: sum, buf: buf}
				return d.putSync(r)
			})
			if err := d.close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			r := benchRig(b)
			data := random(1, size)
			b.SetBytes(int64(size))
			concurrently(b, 16, func(i int) error {
				_, _, err := r.stores[r.ids[i%3]].Write(context.Background(), fmt.Sprint("k", i), bytes.NewReader(data), int64(size))
				return err
			})
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
			r := benchRig(b)
			var refs []Ref
			for i := range 24 {
				refs = append(refs, r.put(r.ids[i%3], fmt.Sprint("k", i), random(1, size)))
			}
			b.SetBytes(int64(size))
			concurrently(b, 16, func(i int) error {
				body, err := r.stores[r.ids[i%3]].Read(context.Background(), refs[i%len(refs)], 0, -1)
				if err != nil {
					return err
				}
				if _, err := io.Copy(io.Discard, body); err != nil {
					return err
				}
				return body.Close()
			})
		})
	}
}
