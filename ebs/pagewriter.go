package ebs

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/ebs/qlog"
	"hive/fsm"
)

// pageWriter makes a new page of an old one and a layer: data of the layer goes into new chunks, in the order of the volume;
// what it covers of old chunks is no longer referred to, and an old chunk of which little is left is copied.
type pageWriter struct {
	w     *mapWriter
	start int64 // first sector of the page in the volume
	old   *page
	keep  []uint32       // new number of each old chunk, plus one; 0: none yet
	moved map[int][]byte // parts of chunks that are given up, by their place in the list of parts

	out    page
	buf    []byte    // the chunk being filled
	chunk  int       // its number; -1 while nothing is in it
	began  time.Time // when work on it began
	upload *errgroup.Group
	refs   map[int]fsm.BlobRef // of new chunks that are stored; guarded by w.mu
}

func newPageWriter(w *mapWriter, index uint32, old *page) *pageWriter {
	return &pageWriter{
		w: w, start: int64(index) * pageSector, old: old, keep: make([]uint32, len(old.chunks)), moved: map[int][]byte{},
		refs: map[int]fsm.BlobRef{},
	}
}

// part is sectors of the new page: of an old chunk or, fresh, of a record of the log, in which they begin at sector first.
type part struct {
	extent
	at    qlog.Position
	fresh bool
}

// parts are the new page's, in order. Zeroes of the layer are left out.
func (p *pageWriter) parts() (out []part) {
	from := uint32(0)
	rest := func(to uint32) {
		p.old.each(from, to, func(e extent) bool {
			out = append(out, part{extent: e})
			return true
		})
	}
	p.w.layer.each(p.start, p.start+pageSector, func(s span) bool {
		rest(uint32(s.start - p.start))
		from = uint32(s.end - p.start)
		if !s.zero() {
			out = append(out, part{at: s.at, fresh: true, extent: extent{
				start: uint32(s.start - p.start), n: uint32(s.end - s.start), first: uint32(s.start - s.first),
			}})
		}
		return true
	})
	rest(pageSector)
	return out
}

// run makes the page.
func (p *pageWriter) run(ctx context.Context) (*page, error) {
	parts := p.parts()
	if err := p.findDead(ctx, parts); err != nil {
		return nil, err
	}
	var uploads context.Context
	p.upload, uploads = errgroup.WithContext(ctx)
	err := p.fill(uploads, parts)
	if err == nil {
		p.finish(uploads)
	} else if p.buf != nil {
		p.w.v.buffers <- p.buf
	}
	if failed := p.upload.Wait(); failed != nil { // the cause, where fill's error may be its consequence
		return nil, failed
	}
	for number, ref := range p.refs {
		p.out.chunks[number] = ref
	}
	return &p.out, err
}

// moveMax is how many bytes of mostly dead chunks one page copies at a checkpoint, of at most moveChunks.
const (
	moveMax    = 8 << 20
	moveChunks = 64
)

// findDead reads what is left of old chunks that are mostly dead, to copy it, the least first. A chunk that cannot be read now
// stays.
func (p *pageWriter) findDead(ctx context.Context, parts []part) error {
	live, dead := make([]int64, len(p.old.chunks)), []uint32{}
	for _, x := range parts {
		if !x.fresh {
			live[x.chunk] += int64(x.n) * sectorSize
		}
	}
	for i, ref := range p.old.chunks {
		if live[i] > 0 && live[i]*compactBelow < ref.Size && ref.Size <= chunkMax {
			dead = append(dead, uint32(i))
		}
	}
	slices.SortFunc(dead, func(a, b uint32) int { return cmp.Compare(live[a], live[b]) })
	room := int64(moveMax)
	for _, i := range dead[:min(len(dead), moveChunks)] {
		if room -= live[i]; room < 0 || ctx.Err() != nil {
			break
		}
		if err := p.move(ctx, i, parts); err != nil {
			p.w.v.slog.Warn("a chunk that is mostly dead cannot be copied now", "chunk", p.old.chunks[i].ID, "cause", err)
		}
	}
	return ctx.Err()
}

// move takes the parts of an old chunk into memory.
func (p *pageWriter) move(ctx context.Context, chunk uint32, parts []part) error {
	b := make([]byte, p.old.chunks[chunk].Size)
	if err := p.w.v.content.blob(ctx, p.old.chunks[chunk], b, 0); err != nil {
		return err
	}
	for i, x := range parts {
		if !x.fresh && x.chunk == chunk {
			p.moved[i] = bytes.Clone(b[int64(x.first)*sectorSize : int64(x.first+x.n)*sectorSize])
		}
	}
	return nil
}

func (p *pageWriter) fill(ctx context.Context, parts []part) error {
	for i, x := range parts {
		if err := p.add(ctx, x, p.moved[i]); err != nil {
			return err
		}
	}
	return nil
}

// add takes a part into the new page; moved is its content if its chunk is given up.
func (p *pageWriter) add(ctx context.Context, x part, moved []byte) error {
	if x.fresh {
		return p.copy(ctx, x.start, x.n, func(dst []byte, skip int64) error {
			from := p.start + int64(x.start) + skip/sectorSize
			if len(dst) <= fillUnit && p.w.v.unchanged(dst, from, p.w.layer.cut) {
				return nil
			}
			return p.w.v.log.ReadAt(dst, x.at, int64(x.first)*sectorSize+skip)
		})
	}
	if moved != nil {
		return p.copy(ctx, x.start, x.n, func(dst []byte, skip int64) error {
			copy(dst, moved[skip:])
			return nil
		})
	}
	if p.keep[x.chunk] == 0 {
		p.out.chunks = append(p.out.chunks, p.old.chunks[x.chunk])
		p.keep[x.chunk] = uint32(len(p.out.chunks))
	}
	p.extend(extent{x.start, x.n, p.keep[x.chunk] - 1, x.first})
	return nil
}

// extend adds an extent, to the one before if it goes on there.
func (p *pageWriter) extend(e extent) {
	if n := len(p.out.extents); n > 0 {
		before := &p.out.extents[n-1]
		if before.chunk == e.chunk && before.end() == e.start && before.first+before.n == e.first {
			before.n += e.n
			return
		}
	}
	p.out.extents = append(p.out.extents, e)
}

// copy puts n sectors into new chunks. What is all zeroes becomes a hole.
func (p *pageWriter) copy(ctx context.Context, start, n uint32, read func(dst []byte, skip int64) error) error {
	for skip := int64(0); n > 0; {
		if err := p.room(ctx); err != nil {
			return err
		}
		some := min(n, uint32(chunkMax-len(p.buf))/sectorSize)
		at := len(p.buf)
		dst := p.buf[at : at+int(some)*sectorSize]
		if err := read(dst, skip); err != nil {
			return err
		}
		if !allZero(dst) {
			p.buf = p.buf[:at+len(dst)]
			p.extend(extent{start, some, p.number(), uint32(at / sectorSize)})
		}
		start, n, skip = start+some, n-some, skip+int64(some)*sectorSize
	}
	return nil
}

// room makes sure that there is a chunk with room for a sector.
func (p *pageWriter) room(ctx context.Context) error {
	if p.buf != nil && len(p.buf) < chunkMax {
		return nil
	}
	p.finish(ctx)
	if err := p.w.breathe(ctx, &p.began); err != nil {
		return err
	}
	select {
	case p.buf = <-p.w.v.buffers:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.buf == nil {
		p.buf = make([]byte, 0, chunkMax)
	}
	p.buf, p.chunk = p.buf[:0], -1
	return nil
}

// number is the place of the chunk being filled in the page's list.
func (p *pageWriter) number() uint32 {
	if p.chunk < 0 {
		p.chunk = len(p.out.chunks)
		p.out.chunks = append(p.out.chunks, fsm.BlobRef{})
	}
	return uint32(p.chunk)
}

// finish sends the chunk on its way.
func (p *pageWriter) finish(ctx context.Context) {
	buf, number := p.buf, p.chunk
	if p.buf = nil; buf == nil {
		return
	}
	if number < 0 { // all of it was zeroes
		p.w.v.buffers <- buf
		return
	}
	p.upload.Go(func() error {
		defer func() { p.w.v.buffers <- buf }()
		ref, err := p.w.store(ctx, buf)
		if err != nil {
			return err
		}
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.refs[number] = ref
		return nil
	})
}
