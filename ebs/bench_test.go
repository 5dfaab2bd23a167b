package ebs

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"hive/ebs/qlog"
)

// cpu is the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchDevice is a volume of 1 GiB of one node on the real file system, as it is in the program.
func benchDevice(b *testing.B) device {
	r := newRig(b, 1, func(c *Config) {
		c.CacheBytes, c.CheckpointAt, c.SegmentSize = 0, 0, 0
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
		if err := c.setDefaults(); err != nil {
			b.Fatal(err)
		}
	})
	id := r.volume(1, "")
	r.attach(id, "n-a")
	return device{r.node("n-a").find(id).v}
}

func measure(b *testing.B, n int64, op func(i int) error) {
	b.Helper()
	b.SetBytes(n)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for i := range b.N {
		if err := op(i); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

func fill1GiB(b *testing.B, d device) {
	p := pattern(1, 1<<20)
	for off := int64(0); off < d.Size(); off += 1 << 20 {
		if err := d.WriteAt(context.Background(), p, off, false); err != nil {
			b.Fatal(err)
		}
	}
	for d.v.pending() {
		if _, err := d.v.checkpoint(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead4KiBCached(b *testing.B) {
	d, p := benchDevice(b), make([]byte, 4096)
	fill1GiB(b, d)
	measure(b, 4096, func(int) error {
		return d.ReadAt(context.Background(), p, rand.Int64N(1<<18)<<12)
	})
}

func BenchmarkWrite4KiB(b *testing.B) {
	d, p := benchDevice(b), pattern(1, 4096)
	measure(b, 4096, func(int) error { return d.WriteAt(context.Background(), p, rand.Int64N(1<<18)<<12, false) })
}

func BenchmarkWrite4KiBAndFlush(b *testing.B) {
	d, p := benchDevice(b), pattern(1, 4096)
	measure(b, 4096, func(int) error { return d.WriteAt(context.Background(), p, rand.Int64N(1<<18)<<12, true) })
}

func BenchmarkRead1MiBCached(b *testing.B) {
	d, p := benchDevice(b), make([]byte, 1<<20)
	fill1GiB(b, d)
	measure(b, 1<<20, func(i int) error { return d.ReadAt(context.Background(), p, int64(i%1024)<<20) })
}

func BenchmarkWrite1MiB(b *testing.B) {
	d, p := benchDevice(b), pattern(1, 1<<20)
	measure(b, 1<<20, func(i int) error { return d.WriteAt(context.Background(), p, int64(i%1024)<<20, false) })
}

// BenchmarkRead4KiBFromChunks reads what is neither in the log nor in the cache.
func BenchmarkRead4KiBFromChunks(b *testing.B) {
	d, p := benchDevice(b), make([]byte, 4096)
	fill1GiB(b, d)
	measure(b, 4096, func(int) error {
		off := rand.Int64N(1<<18) << 12
		d.v.cache.forget(d.v.number, off, 4096)
		return d.ReadAt(context.Background(), p, off)
	})
}

// BenchmarkCheckpointRandom makes maps of random 4 KiB writes, 64 MiB at a time.
func BenchmarkCheckpointRandom(b *testing.B) {
	d, p := benchDevice(b), pattern(1, 4096)
	measure(b, 64<<20, func(int) error {
		for range 16 << 10 {
			if err := d.v.change(qlog.Write, rand.Int64N(1<<18)<<12, 4096, p); err != nil {
				return err
			}
		}
		_, err := d.v.checkpoint(context.Background())
		return err
	})
}
