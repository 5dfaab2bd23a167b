package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"hive/ebs/qlog"
	"hive/internal/vfs"
)

func TestSequentialReadsGoAhead(t *testing.T) {
	control, index := groups(t)
	b := newBench(t, control, index, "1")
	v := b.open(b.create(testGiB, ""), true)
	data := pattern(1, 32<<20)
	ctx := context.Background()
	if err := v.write(ctx, data, 0, false); err != nil {
		t.Fatal(err)
	}
	if _, err := v.checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	v.cache.forget(v.number, 0, 32<<20)
	var reads atomic.Int64
	b.faults.set(func(op string) error { reads.Add(1); return nil }, nil)
	life, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); v.readAhead(life) }()
	got := make([]byte, 16<<10)
	for off := int64(0); off < 32<<20; off += int64(len(got)) {
		if err := v.read(ctx, got, off); err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "sequential", got, data[off:off+int64(len(got))])
	}
	stop()
	<-ended
	if n := reads.Load(); n > 32*2+8 { // a window of 1 MiB may begin in one chunk and end in the next
		t.Errorf("32 MiB were read in %d pieces", n)
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
}

// A chunk of which little is left is given up, though what is left of it is read on.
func TestMostlyDeadChunksAreCopied(t *testing.T) {
	control, index := groups(t)
	b := newBench(t, control, index, "1")
	v := b.open(b.create(testGiB, ""), true)
	ctx := context.Background()
	first, second := pattern(1, 1<<20), pattern(2, 900<<10)
	for _, p := range [][]byte{first, second} {
		if err := v.write(ctx, p, 0, false); err != nil {
			t.Fatal(err)
		}
		if _, err := v.checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	p, err := v.content.page(ctx, v.base.pages[0].ref)
	if err != nil || len(p.chunks) != 1 || len(p.extents) != 1 {
		t.Errorf("page %+v, %v", p, err)
	}
	v.cache.forget(v.number, 0, 1<<20)
	got := make([]byte, 1<<20)
	if err := v.read(ctx, got, 0); err != nil {
		t.Fatal(err)
	}
	copy(first, second)
	wantBytes(t, "after compaction", got, first)
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsReachTheGuestByNumber(t *testing.T) {
	for err, want := range map[error]syscall.Errno{
		ErrNotOwner: syscall.ESHUTDOWN, ErrClosed: syscall.ESHUTDOWN, qlog.ErrFenced: syscall.ESHUTDOWN, vfs.ErrNoSpace: syscall.ENOSPC,
		ErrInvalid: syscall.EINVAL, qlog.ErrCorrupt: syscall.EIO, context.Canceled: syscall.EIO,
	} {
		if got := errnoOf(fmt.Errorf("volume: %w", err)); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v becomes %v, want %v", err, got, want)
		}
	}
	if errnoOf(nil) != nil {
		t.Error("no error becomes one")
	}
}

func TestExtentsTellDataFromHoles(t *testing.T) {
	control, index := groups(t)
	b := newBench(t, control, index, "1")
	v := b.open(b.create(testGiB, ""), true)
	ctx := context.Background()
	const border = 1 << 30 // of two pages
	if err := v.write(ctx, pattern(1, 64<<10), border-32<<10, false); err != nil {
		t.Fatal(err)
	}
	if _, err := v.checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.zero(ctx, qlog.Zero, border, 512, false); err != nil {
		t.Fatal(err)
	}
	if err := v.write(ctx, pattern(1, 512), testGiB<<30-512, false); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := v.extents(ctx, 0, testGiB<<30, func(n int64, data bool) bool {
		got = append(got, fmt.Sprint(n, data))
		return true
	})
	want := []string{
		fmt.Sprint(border-32<<10, false), fmt.Sprint(32<<10, true), "512 false", fmt.Sprint(32<<10-512, true),
		fmt.Sprint(border-32<<10-512, false), "512 true",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("extents %v, %v; want %v", got, err, want)
	}
	n := 0
	if err := v.extents(ctx, 0, testGiB<<30, func(int64, bool) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d extents after the second was refused, %v", n, err)
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
}
