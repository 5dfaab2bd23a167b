package s3

import (
	"bytes"
	"context"
	"errors"
	"io"

	"hive/fsm"
)

// piece is a range of one blob.
type piece struct {
	ref    fsm.BlobRef
	off, n int64
}

// pieces are the blobs' ranges that make up a span of an object.
func (a *answer) pieces() []piece {
	if a.object.Upload == "" {
		if a.object.Blob == nil || a.span.length == 0 {
			return nil
		}
		return []piece{{*a.object.Blob, a.span.off, a.span.length}}
	}
	var out []piece
	at, end := int64(0), a.span.off+a.span.length
	for _, p := range a.parts {
		from, to := max(a.span.off, at), min(end, at+p.Size)
		if p.Blob != nil && from < to {
			out = append(out, piece{*p.Blob, from - at, to - from})
		}
		at += p.Size
	}
	return out
}

// open opens the first blob at once, so that one that is gone is found before anything is answered,
// and the others when their turn comes.
func (s *Service) open(ctx context.Context, t target, a *answer) (io.ReadCloser, error) {
	pieces := a.pieces()
	switch len(pieces) {
	case 0:
		return io.NopCloser(bytes.NewReader(nil)), nil
	case 1:
		return s.cfg.Blobs.Read(ctx, pieces[0].ref, pieces[0].off, pieces[0].n)
	}
	r := &joinedReader{ctx: ctx, s: s, t: t, rest: pieces}
	if err := r.next(); err != nil {
		return nil, err
	}
	return r, nil
}

// joinedReader reads the parts of an object one after another.
type joinedReader struct {
	ctx  context.Context //nolint:containedctx // of the one request that it answers
	s    *Service
	t    target
	cur  io.ReadCloser // nil at the end
	rest []piece
}

// next goes on to the next part; io.EOF when there is none.
func (r *joinedReader) next() error {
	if r.cur != nil {
		err := r.cur.Close()
		r.cur = nil
		if err != nil {
			return err
		}
	}
	if len(r.rest) == 0 {
		return io.EOF
	}
	p := r.rest[0]
	r.rest = r.rest[1:]
	var err error
	r.cur, err = r.s.cfg.Blobs.Read(r.ctx, p.ref, p.off, p.n)
	return err
}

// Read is io.Reader's.
func (r *joinedReader) Read(p []byte) (int, error) {
	for r.cur != nil {
		n, err := r.cur.Read(p)
		if errors.Is(err, io.EOF) {
			if err = r.next(); err == io.EOF && n > 0 { //nolint:errorlint // our own
				err = nil
			}
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// WriteTo is io.WriterTo's: it lets each part write itself.
func (r *joinedReader) WriteTo(w io.Writer) (total int64, err error) {
	for r.cur != nil && err == nil {
		n, copyErr := io.Copy(w, r.cur)
		total += n
		if err = copyErr; err == nil {
			err = r.next()
		}
	}
	if err == io.EOF { //nolint:errorlint // next's own
		err = nil
	}
	return total, err
}

// Close is io.Closer's.
func (r *joinedReader) Close() error {
	r.rest = nil
	if r.cur == nil {
		return nil
	}
	err := r.cur.Close()
	r.cur = nil
	return err
}
