package qlog

import (
	"slices"
	"sort"
)

// run is records that one opening of the log wrote, from first up to the next run.
type run struct {
	term  term
	first uint64
}

// span is a range of sequences, both included.
type span struct{ first, last uint64 }

// report is what a copy says of itself when an owner has installed its term there.
type report struct {
	base    uint64 // records before are checkpointed
	next    uint64 // one more than the last record, or than the last that it knows it has lost
	member  bool   // its word counts: it forgot nothing since it was given the log
	used    bool   // holds, or has cut, more than the first records of owners
	flushed uint64 // a majority had synced up to here, as its records say
	mark    uint64 // this copy had synced up to here
	runs    []run
	holes   []span // damaged
}

// last is the term of the last record; zero where there is none.
func (r *report) last() term {
	if len(r.runs) == 0 || r.next <= r.base {
		return term{}
	}
	return r.runs[len(r.runs)-1].term
}

// termAt is the term of the record seq; zero where it is not there. Of damaged records before a run the last has a run of its
// own, for its successor tells its term; those before it count to the run before.
func (r *report) termAt(seq uint64) term {
	if seq < r.base || seq >= r.next {
		return term{}
	}
	i := sort.Search(len(r.runs), func(i int) bool { return r.runs[i].first > seq })
	if i == 0 {
		return term{}
	}
	return r.runs[i-1].term
}

// holds tells that the record is there and whole.
func (r *report) holds(seq uint64) bool {
	if seq < r.base || seq >= r.next {
		return false
	}
	for _, h := range r.holes {
		if seq >= h.first && seq <= h.last {
			return false
		}
	}
	return true
}

// better tells that a's log is newer than b's: by the last record's term, then by its sequence.
func better(a, b *report) bool {
	if c := a.last().compare(b.last()); c != 0 {
		return c > 0
	}
	return a.next > b.next
}

// common is the last sequence at which two copies hold the same record, and with it the same log before it: a term and a
// sequence name one record and all that precede it. False where they have none in common.
func common(a, b *report) (uint64, bool) {
	x, y := a.aligned(b), b.aligned(a)
	low := max(x.base, y.base)
	for s := min(x.next, y.next) - 1; s >= low; {
		if t := x.termAt(s); t == y.termAt(s) && t != (term{}) {
			return s, true
		}
		start := max(x.runStart(s), y.runStart(s)) // the terms differ down to here
		if start <= low {
			break
		}
		s = start - 1
	}
	return 0, false
}

// aligned is r with what b knows of where runs begin. Every term has one first record: where a copy's own is damaged, the
// records from there on are that term's nevertheless.
func (r *report) aligned(b *report) *report {
	out := *r
	out.runs = slices.Clone(r.runs)
	for i, run := range out.runs {
		for _, other := range b.runs {
			if other.term == run.term && other.first < run.first && (i == 0 || other.first > out.runs[i-1].first) {
				out.runs[i].first = other.first
			}
		}
	}
	return &out
}

// truncate forgets every record after keep.
func (r *report) truncate(keep uint64) {
	r.next, r.mark = min(r.next, keep+1), min(r.mark, keep)
	r.runs = slices.DeleteFunc(slices.Clone(r.runs), func(run run) bool { return run.first > keep })
	var holes []span
	for _, h := range r.holes {
		if h.first <= keep {
			holes = append(holes, span{h.first, min(h.last, keep)})
		}
	}
	r.holes = holes
}

// learn notes the term of a damaged record.
func (r *report) learn(seq uint64, t term) {
	i := sort.Search(len(r.runs), func(i int) bool { return r.runs[i].first > seq })
	switch {
	case i > 0 && r.runs[i-1].term.compare(t) >= 0: // known
	case i < len(r.runs) && r.runs[i].term == t:
		r.runs[i].first = seq
	case i == len(r.runs) || r.runs[i].term.compare(t) > 0:
		r.runs = slices.Insert(slices.Clone(r.runs), i, run{t, seq})
	}
}

// runStart is the first sequence of the run that holds seq.
func (r *report) runStart(seq uint64) uint64 {
	i := sort.Search(len(r.runs), func(i int) bool { return r.runs[i].first > seq })
	if i == 0 {
		return r.base
	}
	return r.runs[i-1].first
}
