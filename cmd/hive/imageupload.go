package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/internal/awscall"
	"hive/vm/image"
)

const (
	blockSize      = 512 << 10 // of the EBS direct APIs
	uploadsAtOnce  = 8
	headerChanged  = "X-Amz-Changedblockscount"
	headerChecksum = "X-Amz-Checksum"
)

// completeWithin is how long the node may take to bring what was sent from its log into its chunks.
const completeWithin = 15 * time.Minute

// blockRun is blocks [from, to) of a disk that may hold other bytes than zeroes.
type blockRun struct{ from, to int64 }

// blockRuns are the blocks that a disk's file has anything in.
func blockRuns(d *disk) (runs []blockRun, blocks int64, err error) {
	for e, err := range image.Extents(d.file) {
		if err != nil {
			return nil, 0, err
		}
		r := blockRun{e.Offset / blockSize, (e.Offset + e.Length + blockSize - 1) / blockSize}
		if n := len(runs); n > 0 && r.from < runs[n-1].to {
			r.from = runs[n-1].to
		}
		if r.from < r.to {
			runs, blocks = append(runs, r), blocks+r.to-r.from
		}
	}
	return runs, blocks, nil
}

// upload puts the disk's blocks into a snapshot and completes it. It answers the bytes that were sent.
func (i imageClient) upload(ctx context.Context, out output, d *disk, snapshot string) (int64, error) {
	runs, total, err := blockRuns(d)
	if err != nil {
		return 0, err
	}
	bar := out.progress(100)
	defer bar.close()
	var mu sync.Mutex // guards seen, sent and bar
	var seen, sent int64
	group, ctx2 := errgroup.WithContext(ctx)
	indexes := make(chan int64)
	group.Go(func() error {
		defer close(indexes)
		return eachBlock(ctx2, runs, indexes)
	})
	for range uploadsAtOnce {
		group.Go(func() error {
			block := make([]byte, blockSize)
			for index := range indexes {
				put, err := i.uploadBlock(ctx2, d, snapshot, index, block)
				if err != nil {
					return err
				}
				mu.Lock()
				if seen++; put {
					sent++
				}
				showPercent(bar, "uploading "+d.name, seen, total)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	err = i.explain(i.JSON(ctx, awscall.Request{
		Service: "ebs", Method: http.MethodPost, Path: "/snapshots/completion/" + snapshot, Within: completeWithin,
		Header: http.Header{headerChanged: {strconv.FormatInt(sent, 10)}},
	}, nil))
	return sent * blockSize, err
}

func eachBlock(ctx context.Context, runs []blockRun, indexes chan<- int64) error {
	for _, r := range runs {
		for index := r.from; index < r.to; index++ {
			select {
			case indexes <- index:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// uploadBlock reads a block and puts it, unless it is all zeroes. block is where it is read to.
func (i imageClient) uploadBlock(ctx context.Context, d *disk, snapshot string, index int64, block []byte) (put bool, err error) {
	n, err := d.file.ReadAt(block, index*blockSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	clear(block[n:])
	if isZero(block) {
		return false, nil
	}
	sum := sha256.Sum256(block)
	header := http.Header{
		headerChecksum: {base64.StdEncoding.EncodeToString(sum[:])}, "X-Amz-Checksum-Algorithm": {"SHA256"},
		"X-Amz-Data-Length": {strconv.Itoa(blockSize)}, "Content-Type": {"application/octet-stream"},
	}
	return true, i.explain(i.JSON(ctx, awscall.Request{
		Service: "ebs", Method: http.MethodPut, Path: fmt.Sprintf("/snapshots/%s/blocks/%d", snapshot, index), Header: header, Body: block,
	}, nil))
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
