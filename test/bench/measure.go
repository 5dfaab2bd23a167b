package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hive/test/rig"
)

// row is what one kind of request at one concurrency took.
type row struct {
	op           string
	conc, ops    int
	failed       int
	wall         time.Duration
	p50, p99     time.Duration
	cpu          time.Duration // of all servers, for one request
	rss, largest int64         // peak bytes: sum over the servers, and of the largest
}

func (r row) rate() float64 { return float64(r.ops) / r.wall.Seconds() }

// work are the requests of one row.
type work struct {
	op       string
	conc     int
	time     time.Duration // no request begins after it
	max      int           // requests; 0 is no limit
	clients  []*client     // one for each of conc
	requests func(c *client, worker, i int) error
}

// measure sends the requests of w and weighs what they cost the servers.
func measure(ctx context.Context, servers []rig.Proc, w work) (row, error) {
	for _, s := range servers {
		if err := s.ResetPeak(); err != nil {
			return row{}, err
		}
	}
	before, err := cpu(servers)
	if err != nil {
		return row{}, err
	}
	r := row{op: w.op, conc: w.conc}
	times, failures := w.send(ctx, &r)
	after, err := cpu(servers)
	if err != nil {
		return r, err
	}
	r.ops, r.failed = len(times), len(failures)
	if r.ops > 0 {
		slices.Sort(times)
		r.p50, r.p99 = times[(len(times)-1)*50/100], times[(len(times)-1)*99/100]
		r.cpu = (after - before) / time.Duration(r.ops)
	}
	if err := r.memory(servers); err != nil {
		return r, err
	}
	return r, errors.Join(failures[:min(len(failures), 3)]...)
}

// send lets every client send one request after the other. It answers how long each took, and what failed.
func (w *work) send(ctx context.Context, r *row) (times []time.Duration, failures []error) {
	var next atomic.Int64
	var mu sync.Mutex // guards times and failures
	var all sync.WaitGroup
	begin := time.Now()
	for worker := range w.conc {
		all.Go(func() {
			var mine []time.Duration
			var failed []error
			for ctx.Err() == nil && time.Since(begin) < w.time {
				i := int(next.Add(1)) - 1
				if w.max > 0 && i >= w.max {
					break
				}
				start := time.Now()
				if err := w.requests(w.clients[worker], worker, i); err != nil {
					failed = append(failed, fmt.Errorf("%s: %w", w.op, err))
					continue
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			times, failures = append(times, mine...), append(failures, failed...)
		})
	}
	all.Wait()
	r.wall = time.Since(begin)
	if ctx.Err() != nil {
		failures = append(failures, ctx.Err())
	}
	return times, failures
}

func cpu(servers []rig.Proc) (time.Duration, error) {
	var sum time.Duration
	for _, s := range servers {
		d, err := s.CPU()
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

func (r *row) memory(servers []rig.Proc) error {
	for _, s := range servers {
		peak, err := s.Memory("VmHWM")
		if err != nil {
			return err
		}
		r.rss += peak
		r.largest = max(r.largest, peak)
	}
	return nil
}

// stored is how many bytes of disk the files below dir have, as du counts.
func stored(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed under way
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum, err
}
