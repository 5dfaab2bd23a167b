package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// blockCell is a kind of load on a block server.
type blockCell struct {
	name, rw, size string
	depth          int
	flush          bool // after each write
}

var blockCells = []blockCell{
	{"4 KiB random read", "randread", "4k", 1, false},
	{"4 KiB random read", "randread", "4k", 32, false},
	{"4 KiB random write", "randwrite", "4k", 1, false},
	{"4 KiB random write", "randwrite", "4k", 32, false},
	{"4 KiB random write and flush", "randwrite", "4k", 1, true},
	{"64 KiB sequential read", "read", "64k", 8, false},
	{"64 KiB sequential write", "write", "64k", 8, false},
	{"1 MiB sequential read", "read", "1m", 4, false},
	{"1 MiB sequential write", "write", "1m", 4, false},
}

// blockRow is what one run, or the median run, of a cell gave.
type blockRow struct {
	iops, mib float64
	p50, p99  time.Duration
	cpu       time.Duration // of the server, for one request
	rss       int64         // bytes, the peak
}

type blockRunning struct {
	name string
	*blockProcess
}

// blockTable are the medians, by cell and server.
type blockTable struct {
	servers []blockRunning
	rows    [][]blockRow
}

// measure runs every cell on every server, one server after the other, several times over.
func (t *blockTable) measure(ctx context.Context, b *bench) error {
	for _, s := range t.servers { // reads should find what was written
		if _, err := s.fio(ctx, b, blockCell{rw: "write", size: "1m", depth: 4}, 0); err != nil {
			return err
		}
	}
	for _, cell := range blockCells {
		runs := make([][]blockRow, len(t.servers))
		for range b.blockRuns {
			for i, s := range t.servers {
				r, err := s.fio(ctx, b, cell, b.blockCell)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, cell.name, err)
				}
				runs[i] = append(runs[i], r)
			}
		}
		medians := make([]blockRow, len(runs))
		for i, all := range runs {
			slices.SortFunc(all, func(x, y blockRow) int { return cmp.Compare(x.iops, y.iops) })
			medians[i] = all[len(all)/2]
		}
		t.rows = append(t.rows, medians)
	}
	return nil
}

// fioAnswer is what is needed of fio's JSON.
type fioAnswer struct {
	Jobs []struct {
		Error       int
		Read, Write struct {
			IOPS     float64 `json:"iops"`
			Bytes    float64 `json:"bw_bytes"`
			Total    int64   `json:"total_ios"`
			Complete struct {
				Percentile map[string]float64 `json:"percentile"`
			} `json:"clat_ns"`
		}
	}
}

// fio puts one load on a server, for long; 0 is once over the device.
func (s blockRunning) fio(ctx context.Context, b *bench, cell blockCell, long time.Duration) (blockRow, error) {
	file := filepath.Join(b.dir, "fio.json")
	args := []string{"--name=cell", "--ioengine=nbd", "--uri=nbd+unix:///" + s.export + "?socket=" + s.socket, "--rw=" + cell.rw, "--bs=" + cell.size,
		fmt.Sprint("--iodepth=", cell.depth), fmt.Sprint("--size=", volumeSize), "--output-format=json", "--output=" + file}
	if long > 0 {
		args = append(args, "--time_based", fmt.Sprintf("--runtime=%dms", long.Milliseconds()))
	}
	if cell.flush {
		args = append(args, "--fsync=1")
	}
	for _, p := range s.procs {
		if err := p.ResetPeak(); err != nil {
			return blockRow{}, err
		}
	}
	before, err := cpu(s.procs)
	if err != nil {
		return blockRow{}, err
	}
	if out, err := exec.CommandContext(ctx, "fio", args...).CombinedOutput(); err != nil {
		return blockRow{}, fmt.Errorf("fio: %w\n%s", err, out)
	}
	after, err := cpu(s.procs)
	if err != nil {
		return blockRow{}, err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return blockRow{}, err
	}
	return s.row(raw, after-before)
}

func (s blockRunning) row(raw []byte, spent time.Duration) (blockRow, error) {
	var a fioAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return blockRow{}, fmt.Errorf("fio's answer: %w", err)
	}
	if len(a.Jobs) != 1 || a.Jobs[0].Error != 0 {
		return blockRow{}, fmt.Errorf("fio's answer: %s", raw)
	}
	side := a.Jobs[0].Read
	if side.Total == 0 {
		side = a.Jobs[0].Write
	}
	if side.Total == 0 {
		return blockRow{}, fmt.Errorf("fio made no request: %s", raw)
	}
	var weight row
	if err := weight.memory(s.procs); err != nil {
		return blockRow{}, err
	}
	return blockRow{iops: side.IOPS, mib: side.Bytes / (1 << 20), cpu: spent / time.Duration(side.Total), rss: weight.rss,
		p50: time.Duration(side.Complete.Percentile["50.000000"]), p99: time.Duration(side.Complete.Percentile["99.000000"])}, nil
}

func (t *blockTable) print(out io.Writer) {
	fmt.Fprintf(out, "| load | depth | server | requests/s | MiB/s | p50 µs | p99 µs | server CPU µs | peak RSS MiB | × %s |\n",
		strings.Join(blockReferences, " | × "))
	fmt.Fprintf(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |%s\n", strings.Repeat(" --- |", len(blockReferences)))
	for c, cell := range blockCells {
		for i, s := range t.servers {
			r := t.rows[c][i]
			fmt.Fprintf(out, "| %s | %d | %s | %.0f | %s | %s | %s | %s | %d |", cell.name, cell.depth, s.name, r.iops, digits(r.mib),
				digits(ms(r.p50)*1000), digits(ms(r.p99)*1000), digits(ms(r.cpu)*1000), r.rss>>20)
			for _, name := range blockReferences {
				ratio := ""
				if k := slices.IndexFunc(t.servers, func(s blockRunning) bool { return s.name == name }); k >= 0 {
					ratio = digits(r.iops / t.rows[c][k].iops)
				}
				fmt.Fprintf(out, " %s |", ratio)
			}
			fmt.Fprintln(out)
		}
	}
}
