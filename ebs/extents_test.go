package ebs

import (
	"testing"

	"pgregory.net/rapid"

	"hive/ebs/qlog"
)

// checkLayer finds what is wrong with a layer's structure.
func checkLayer(t fatal, l *layer) {
	t.Helper()
	count, end := 0, int64(0)
	for i, leaf := range l.leaves {
		if len(leaf) == 0 || len(leaf) > leafMax {
			t.Fatalf("leaf %d has %d spans", i, len(leaf))
		}
		for _, s := range leaf {
			if s.start < end || s.end <= s.start || !s.zero() && s.first > s.start {
				t.Fatalf("span %+v after one that ends at %d", s, end)
			}
			end = s.end
			count++
		}
	}
	if count != l.count {
		t.Fatalf("%d spans, counted %d", count, l.count)
	}
}

func TestLayerHasTheNewestOfEachSector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 3000
		var lower [2]layer
		var want [size]span // start..end unused: first and at of each sector
		ops := rapid.IntRange(0, 800).Draw(t, "ops")
		long := rapid.Int64Range(1, 600).Draw(t, "longest")
		seq := uint64(0)
		for i := range lower {
			for range ops {
				seq++
				start := rapid.Int64Range(0, size-1).Draw(t, "start")
				end := min(start+rapid.Int64Range(1, long).Draw(t, "n"), size)
				at := qlog.Position{Seq: seq}
				if seq%3 == 0 {
					at.Seq = 0
				}
				lower[i].put(span{start: start, end: end, first: start, at: at})
				for s := start; s < end; s++ {
					want[s] = span{start: 1, first: start, at: at}
				}
			}
			checkLayer(t, &lower[i])
		}
		both := lower[1].over(&lower[0])
		checkLayer(t, both)
		for _, layers := range [][]*layer{{&lower[0], &lower[1]}, {both}} {
			at := int64(0)
			for _, p := range resolve(layers, 0, size) {
				if p.start != at || p.end <= p.start {
					t.Fatalf("piece %+v where one from %d on must be", p, at)
				}
				for s := p.start; s < p.end; s++ {
					if w := want[s]; p.base != (w.start == 0) || !p.base && (p.at != w.at || p.first != w.first) {
						t.Fatalf("sector %d is %+v, want %+v", s, p, w)
					}
				}
				at = p.end
			}
			if at != size {
				t.Fatalf("pieces end at %d", at)
			}
		}
	})
}
