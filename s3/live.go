package s3

import (
	"context"

	"hive/fsm"
)

// livePage is how many records one view reads: a view that lasts long keeps the state file's dead
// pages from being used again.
const livePage = 1000

// Live yields every blob that a record of this node's state refers to, until yield answers false. A blob
// that is referred to from before the call until after it is yielded at least once: blobs move from
// a part to a manifest only, and parts are read first.
func (s *Service) Live(ctx context.Context, yield func(fsm.BlobRef) bool) error {
	for _, g := range s.cfg.Index {
		more, err := liveIn(ctx, s, g, yield)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func liveIn(ctx context.Context, s *Service, g Group, yield func(fsm.BlobRef) bool) (more bool, err error) {
	parts := func(p fsm.Part) []fsm.BlobRef { return refs(p.Blob) }
	manifests := func(m fsm.Manifest) (out []fsm.BlobRef) {
		for i := range m.Parts {
			out = append(out, refs(m.Parts[i].Blob)...)
		}
		return out
	}
	objects := func(o fsm.Object) []fsm.BlobRef { return refs(o.Blob) }
	more, err = liveRows(ctx, s, g, fsm.Parts, parts, yield)
	if err == nil && more {
		more, err = liveRows(ctx, s, g, fsm.Manifests, manifests, yield)
	}
	if err == nil && more {
		more, err = liveRows(ctx, s, g, fsm.Objects, objects, yield)
	}
	return more, err
}

func refs(blob *fsm.BlobRef) []fsm.BlobRef {
	if blob == nil {
		return nil
	}
	return []fsm.BlobRef{*blob}
}

func liveRows[K ~string, V any](ctx context.Context, s *Service, g Group, t fsm.Table[K, V], of func(V) []fsm.BlobRef, yield func(fsm.BlobRef) bool) (more bool, err error) {
	from, end := K(""), false
	for !end {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		var page []fsm.BlobRef
		err := s.local(g, func(v *fsm.View) error {
			rows := 0
			end = true
			for k, row := range t.From(v, from) {
				if rows == livePage {
					from, end = k, false
					return nil
				}
				rows++
				page = append(page, of(row)...)
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		for _, ref := range page {
			if !yield(ref) {
				return false, nil
			}
		}
	}
	return true, nil
}
