package ebs

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"hive/fsm"
)

// content reads what maps and chunks hold, for all volumes of the node. Maps and chunks never change, so their pages are kept
// by blob and shared by clones.
type content struct {
	blobs Blobs
	log   *slog.Logger

	mu    sync.Mutex // guards what follows
	limit int64      // bytes of pages
	used  int64
	pages map[fsm.BlobID]*list.Element // of *keptPage
	order *list.List                   // the last used first
	roots map[fsm.BlobID]*root         // of snapshots that are being read
}

// rootsKept is how many of these there are at most; each has up to 0.7 MiB.
const rootsKept = 16

// snapshotRoot is a root that will be asked for again soon.
func (c *content) snapshotRoot(ctx context.Context, ref *fsm.BlobRef) (*root, error) {
	if ref == nil {
		return &root{}, nil
	}
	c.mu.Lock()
	r := c.roots[ref.ID]
	c.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := c.root(ctx, ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.roots) >= rootsKept {
		clear(c.roots)
	}
	c.roots[ref.ID] = r
	return r, nil
}

type keptPage struct {
	id    fsm.BlobID
	ready chan struct{} // closed when page or err is set
	page  *page
	err   error
}

func newContent(blobs Blobs, limit int64, log *slog.Logger) *content {
	return &content{blobs: blobs, log: log, limit: limit, pages: map[fsm.BlobID]*list.Element{}, order: list.New(), roots: map[fsm.BlobID]*root{}}
}

// blob reads a range of a blob.
func (c *content) blob(ctx context.Context, ref fsm.BlobRef, p []byte, off int64) error {
	r, err := c.blobs.Read(ctx, ref, off, int64(len(p)))
	if err != nil {
		return fmt.Errorf("blob %v: %w", ref.ID, err)
	}
	_, err = io.ReadFull(r, p)
	if closing := r.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("blob %v: %w", ref.ID, err)
	}
	return nil
}

func (c *content) whole(ctx context.Context, ref fsm.BlobRef) ([]byte, error) {
	if ref.Size <= 0 || ref.Size > maxMapBlob {
		return nil, fmt.Errorf("blob %v of %d bytes: %w", ref.ID, ref.Size, errMap)
	}
	b := make([]byte, ref.Size)
	return b, c.blob(ctx, ref, b, 0)
}

// root reads the list of pages of a map; nil is the map of zeroes.
func (c *content) root(ctx context.Context, ref *fsm.BlobRef) (*root, error) {
	if ref == nil {
		return &root{}, nil
	}
	b, err := c.whole(ctx, *ref)
	if err != nil {
		return nil, err
	}
	r, err := decodeRoot(b)
	if err != nil {
		return nil, fmt.Errorf("blob %v: %w", ref.ID, err)
	}
	return r, nil
}

// page reads a page, or has it already. One read serves all who want it at once.
func (c *content) page(ctx context.Context, ref fsm.BlobRef) (*page, error) {
	for {
		c.mu.Lock()
		e, ok := c.pages[ref.ID]
		if !ok {
			k := &keptPage{id: ref.ID, ready: make(chan struct{})}
			c.pages[ref.ID] = c.order.PushFront(k)
			c.mu.Unlock()
			return c.load(ctx, ref, k)
		}
		c.order.MoveToFront(e)
		k := e.Value.(*keptPage)
		c.mu.Unlock()
		select {
		case <-k.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if k.err == nil {
			return k.page, nil
		}
		if err := ctx.Err(); err != nil { // who read it may have given up for reasons of its own: try again
			return nil, err
		}
	}
}

// load reads a page for all who wait for it.
func (c *content) load(ctx context.Context, ref fsm.BlobRef, k *keptPage) (*page, error) {
	var p *page
	b, err := c.whole(ctx, ref)
	if err == nil {
		p, err = decodePage(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.page = p; err != nil {
		k.page, k.err = nil, fmt.Errorf("page %v: %w", ref.ID, err)
	}
	close(k.ready)
	if k.err != nil {
		c.order.Remove(c.pages[ref.ID])
		delete(c.pages, ref.ID)
		return nil, k.err
	}
	c.used += k.page.memory()
	c.trimLocked()
	return k.page, nil
}

// keep remembers a page that was just written.
func (c *content) keep(id fsm.BlobID, p *page) {
	k := &keptPage{id: id, ready: make(chan struct{}), page: p}
	close(k.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[id] = c.order.PushFront(k)
	c.used += p.memory()
	c.trimLocked()
}

// trimLocked forgets the pages not used for longest. One always stays.
func (c *content) trimLocked() {
	for e := c.order.Back(); e != nil && c.used > c.limit && c.order.Len() > 1; {
		k, before := e.Value.(*keptPage), e.Prev()
		if k.page != nil {
			c.used -= k.page.memory()
			c.order.Remove(e)
			delete(c.pages, k.id)
		}
		e = before
	}
}

// inPages cuts sectors [start, end) of a volume into the parts of each page.
func inPages(start, end int64, fn func(index uint32, from, to uint32) error) error {
	for start < end {
		index := start / pageSector
		stop := min((index+1)*pageSector, end)
		if err := fn(uint32(index), uint32(start-index*pageSector), uint32(stop-index*pageSector)); err != nil {
			return err
		}
		start = stop
	}
	return nil
}

// chunkRange is the part of a chunk that a read needs, and where its extents go.
type chunkRange struct {
	ref      fsm.BlobRef
	from, to uint32 // sectors of the chunk
	into     []target
}

type target struct {
	first, n uint32 // sectors of the chunk
	dst      []byte
}

// read fills dst with the map's content from sector start on. A chunk's extents that lie in the range lie close together in
// the chunk too, so each chunk is read once.
func (c *content) read(ctx context.Context, r *root, dst []byte, start int64) error {
	clear(dst)
	var ranges []*chunkRange
	end := start + int64(len(dst))/sectorSize
	err := inPages(start, end, func(index, from, to uint32) error {
		ref, ok := r.page(index)
		if !ok {
			return nil
		}
		p, err := c.page(ctx, ref)
		if err != nil {
			return err
		}
		base := dst[(int64(index)*pageSector+int64(from)-start)*sectorSize:]
		ranges = append(ranges, p.ranges(from, to, base)...)
		return nil
	})
	if err != nil {
		return err
	}
	if len(ranges) == 1 {
		return c.fetch(ctx, ranges[0])
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8)
	for _, x := range ranges {
		all.Go(func() error { return c.fetch(ctx, x) })
	}
	return all.Wait()
}

// ranges are the chunk ranges of sectors [from, to); base is where sector from goes.
func (p *page) ranges(from, to uint32, base []byte) []*chunkRange {
	var out []*chunkRange
	byChunk := map[uint32]*chunkRange{}
	p.each(from, to, func(e extent) bool {
		x := byChunk[e.chunk]
		if x == nil {
			x = &chunkRange{ref: p.chunks[e.chunk], from: e.first, to: e.first}
			byChunk[e.chunk] = x
			out = append(out, x)
		}
		x.from, x.to = min(x.from, e.first), max(x.to, e.first+e.n)
		at := int64(e.start-from) * sectorSize
		x.into = append(x.into, target{e.first, e.n, base[at : at+int64(e.n)*sectorSize]})
		return true
	})
	return out
}

func (c *content) fetch(ctx context.Context, x *chunkRange) error {
	off := int64(x.from) * sectorSize
	if len(x.into) == 1 {
		return c.blob(ctx, x.ref, x.into[0].dst, off)
	}
	b := make([]byte, int64(x.to-x.from)*sectorSize)
	if err := c.blob(ctx, x.ref, b, off); err != nil {
		return err
	}
	for _, t := range x.into {
		copy(t.dst, b[int64(t.first-x.from)*sectorSize:])
	}
	return nil
}

// extents goes over sectors [start, end) of a map: which have data, which are zeroes.
func (c *content) extents(ctx context.Context, r *root, start, end int64, yield func(n int64, data bool) bool) error {
	more := true
	return inPages(start, end, func(index, from, to uint32) error {
		if !more {
			return nil
		}
		ref, ok := r.page(index)
		if !ok {
			more = yield(int64(to-from), false)
			return nil
		}
		p, err := c.page(ctx, ref)
		if err != nil {
			return err
		}
		p.each(from, to, func(e extent) bool {
			more = (e.start == from || yield(int64(e.start-from), false)) && yield(int64(e.n), true)
			from = e.end()
			return more
		})
		if more && from < to {
			more = yield(int64(to-from), false)
		}
		return nil
	})
}

// write stores a blob.
func (c *content) write(ctx context.Context, key string, b []byte) (fsm.BlobRef, []fsm.Owed, error) {
	return c.blobs.Write(ctx, key, bytes.NewReader(b), int64(len(b)))
}
