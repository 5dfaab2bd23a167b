package ebs

import (
	"slices"
	"sort"

	"hive/ebs/qlog"
)

// sectorSize is the unit of the map, in bytes: what a guest may read or write at least.
const sectorSize = 512

// span is sectors [start, end) whose newest content is one record of the log.
type span struct {
	start, end int64
	first      int64         // sector at which the record's data begins
	at         qlog.Position // Seq 0: zeroes
}

func (s span) zero() bool { return s.at.Seq == 0 }

// layer is what a part of the log makes of a volume: spans that do not overlap, in order. It is a sorted list in leaves of at
// most leafMax, so that an insertion moves little. Not safe for concurrent use; never changed once it is frozen.
type layer struct {
	leaves [][]span // none is empty
	count  int
	bytes  int64 // of log that it stands for, overwritten records included

	// Of a frozen layer:
	cut   uint64         // last record in it
	marks []snapshotMark // snapshots that consist of this layer and what is below it
}

// leafMax bounds a leaf: 128 spans are 6 KiB.
const leafMax = 128

// spanMemory is what a span costs, for the accounts: 56 bytes in leaves that are two thirds full.
const spanMemory = 84

// find is the place of the first span that ends after sector.
func (l *layer) find(sector int64) (leaf, i int) {
	leaf = sort.Search(len(l.leaves), func(i int) bool { return last(l.leaves[i]).end > sector })
	if leaf == len(l.leaves) {
		return leaf, 0
	}
	spans := l.leaves[leaf]
	return leaf, sort.Search(len(spans), func(i int) bool { return spans[i].end > sector })
}

func last(spans []span) *span { return &spans[len(spans)-1] }

// each goes over the spans that overlap [start, end), cut to it, in order, until yield answers false.
func (l *layer) each(start, end int64, yield func(span) bool) {
	leaf, i := l.find(start)
	for ; leaf < len(l.leaves); leaf, i = leaf+1, 0 {
		for _, s := range l.leaves[leaf][i:] {
			if s.start >= end {
				return
			}
			s.start, s.end = max(s.start, start), min(s.end, end)
			if !yield(s) {
				return
			}
		}
	}
}

// put lays s over what was there.
func (l *layer) put(s span) {
	leaf, i := l.find(s.start)
	if leaf == len(l.leaves) {
		l.append(s)
		return
	}
	var keep [3]span // what replaces the spans that s touches
	n := 0
	if old := l.leaves[leaf][i]; old.start < s.start {
		keep[n] = old
		keep[n].end = s.start
		n++
	}
	keep[n] = s
	n++
	toLeaf, to := leaf, i // the first span that is kept
	for toLeaf < len(l.leaves) {
		if to == len(l.leaves[toLeaf]) {
			toLeaf, to = toLeaf+1, 0
			continue
		}
		old := l.leaves[toLeaf][to]
		if old.start >= s.end {
			break
		}
		if old.end > s.end {
			keep[n] = old
			keep[n].start = s.end
			n++
			to++
			break
		}
		to++
	}
	l.replace(place{leaf, i}, place{toLeaf, to}, keep[:n])
}

// append adds a span behind all others.
func (l *layer) append(s span) {
	l.count++
	if n := len(l.leaves); n > 0 && len(l.leaves[n-1]) < leafMax {
		l.leaves[n-1] = append(l.leaves[n-1], s)
		return
	}
	l.leaves = append(l.leaves, append(make([]span, 0, leafMax), s))
}

// place is a span's: a leaf and an index in it, which may be one behind its last.
type place struct{ leaf, i int }

// replace puts spans in the stead of those in [from, to).
func (l *layer) replace(from, to place, spans []span) {
	l.count += len(spans)
	if from.leaf == to.leaf {
		l.count -= to.i - from.i
		l.leaves[from.leaf] = slices.Replace(l.leaves[from.leaf], from.i, to.i, spans...)
	} else {
		for _, leaf := range l.leaves[from.leaf:to.leaf] {
			l.count -= len(leaf)
		}
		l.count += from.i - to.i
		if to.i > 0 {
			l.leaves[to.leaf] = slices.Delete(l.leaves[to.leaf], 0, to.i)
		}
		l.leaves[from.leaf] = append(l.leaves[from.leaf][:from.i], spans...)
		l.leaves = slices.Delete(l.leaves, from.leaf+1, to.leaf)
		if next := from.leaf + 1; next < len(l.leaves) && len(l.leaves[next]) == 0 {
			l.leaves = slices.Delete(l.leaves, next, next+1)
		}
	}
	l.split(from.leaf)
}

// split halves a leaf that has become too long.
func (l *layer) split(leaf int) {
	spans := l.leaves[leaf]
	if len(spans) <= leafMax {
		return
	}
	half := len(spans) / 2
	right := append(make([]span, 0, leafMax), spans[half:]...)
	clear(spans[half:])
	l.leaves[leaf] = spans[:half]
	l.leaves = slices.Insert(l.leaves, leaf+1, right)
}

// memory is the bytes that the layer holds.
func (l *layer) memory() int64 { return int64(l.count) * spanMemory }

// over lays l over lower and is the result; neither is changed.
func (l *layer) over(lower *layer) *layer {
	out := &layer{cut: l.cut, marks: slices.Concat(lower.marks, l.marks), bytes: lower.bytes + l.bytes}
	for _, from := range []*layer{lower, l} {
		for _, leaf := range from.leaves {
			for _, s := range leaf {
				out.put(s)
			}
		}
	}
	return out
}

// piece is sectors [start, end) of a volume and where their newest content lies: in the log, in the map below the layers
// (base), or nowhere (zeroes).
type piece struct {
	span
	base bool
}

// resolve cuts [start, end) into pieces by the layers, the newest last.
func resolve(layers []*layer, start, end int64) []piece {
	out := []piece{{span: span{start: start, end: end}, base: true}}
	for i := len(layers) - 1; i >= 0; i-- {
		if layers[i].count == 0 {
			continue
		}
		var next []piece
		for _, p := range out {
			if !p.base {
				next = append(next, p)
				continue
			}
			from := p.start
			layers[i].each(p.start, p.end, func(s span) bool {
				if s.start > from {
					next = append(next, piece{span: span{start: from, end: s.start}, base: true})
				}
				next = append(next, piece{span: s})
				from = s.end
				return true
			})
			if from < p.end {
				next = append(next, piece{span: span{start: from, end: p.end}, base: true})
			}
		}
		out = next
	}
	return out
}
