package qlog

import (
	"encoding/hex"
	"reflect"
	"testing"
)

func at(gen uint64) term { return term{gen, gen << 32} }

// logOf is a report of a log from base on, one record of each generation given; 0 is a damaged record.
func logOf(base uint64, gens ...uint64) *report {
	r := &report{base: base, next: base + uint64(len(gens)), member: true}
	for i, gen := range gens {
		seq := base + uint64(i)
		switch n := len(r.holes); {
		case gen == 0 && n > 0 && r.holes[n-1].last == seq-1:
			r.holes[n-1].last = seq
		case gen == 0:
			r.holes = append(r.holes, span{seq, seq})
		default:
			r.learn(seq, at(gen))
		}
	}
	return r
}

func TestCommonIsTheLastRecordOfTheSameTerm(t *testing.T) {
	for _, c := range []struct {
		what string
		a, b *report
		want uint64
		ok   bool
	}{
		{"equal", logOf(1, 1, 1, 1), logOf(1, 1, 1, 1), 3, true},
		{"one is longer", logOf(1, 1, 1, 1), logOf(1, 1, 1), 2, true},
		{"the ends differ", logOf(1, 1, 1, 2, 2), logOf(1, 1, 1, 3), 2, true},
		{"both begin later", logOf(3, 1, 2, 2), logOf(4, 2, 2, 3), 5, true},
		{"nothing is shared", logOf(1, 1, 1), logOf(1, 2, 2), 0, false},
		{"one ends before the other begins", logOf(1, 1, 1), logOf(7, 1, 1), 0, false},
		{"empty", logOf(1), logOf(1, 1), 0, false},
		{"damage inside a run", logOf(1, 1, 0, 1), logOf(1, 1, 1, 1), 3, true},
		{"the first record of a run is damaged and the other ends there", logOf(1, 1, 1, 0, 2), logOf(1, 1, 1, 2), 3, true},
		{"a run is damaged and the other ends there", logOf(1, 1, 0, 0, 3), logOf(1, 1, 2), 1, true},
	} {
		for range 2 {
			if got, ok := common(c.a, c.b); got != c.want || ok != c.ok {
				t.Errorf("%s: %d %v, want %d %v", c.what, got, ok, c.want, c.ok)
			}
			c.a, c.b = c.b, c.a
		}
	}
}

func TestADamagedRecordsTermIsLearntOnce(t *testing.T) {
	r := logOf(1, 1, 0, 0, 3)
	r.learn(2, at(2))
	r.learn(3, at(2))
	r.learn(3, at(1)) // older than what is before: not believed
	want := []run{{at(1), 1}, {at(2), 2}, {at(3), 4}}
	if !reflect.DeepEqual(r.runs, want) {
		t.Fatal(r.runs)
	}
	r.truncate(2)
	if r.next != 3 || !reflect.DeepEqual(r.runs, want[:2]) || !reflect.DeepEqual(r.holes, []span{{2, 2}}) {
		t.Fatal(r)
	}
}

func TestAReportCrossesTheWire(t *testing.T) {
	r := logOf(5, 1, 0, 0, 2, 2)
	r.used, r.flushed, r.mark = true, 6, 7
	got, err := parseReport(r.frame()[frameHeader:])
	if err != nil || !reflect.DeepEqual(&got, r) {
		t.Fatal(got, err)
	}
}

// What lies on disks must be read by every later version.
func TestTheLayoutsDoNotChange(t *testing.T) {
	h := header{kind: Write, term: term{2, 3}, seq: 9, flushed: 7, offset: 4096, length: 5, data: 5}
	rec := make([]byte, h.span())
	h.put(rec, []byte("hello"))
	copy(rec[h.dataAt():], "hello")
	h.stamp(rec, 11, 1024)
	for _, c := range []struct{ what, got, want string }{
		{"record", hex.EncodeToString(rec), goldenRecord},
		{"file header", hex.EncodeToString(fileHeader{3, 11, 9}.bytes()[:fileHeaderSize]), goldenFile},
		{"promise", hex.EncodeToString(promise{5, term{2, 3}, 9, true}.bytes()), goldenPromise},
		{"mark", hex.EncodeToString(mark{6, term{2, 3}, 9}.bytes()), goldenMark},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s", c.what, c.got)
		}
	}
	if back, err := parse(rec, 11, 1024); err != nil || back != h {
		t.Fatal(back, err)
	}
	for _, wrong := range []struct {
		nonce uint64
		pos   uint32
	}{{12, 1024}, {11, 1032}, {0, 0}} {
		if _, err := parse(rec, wrong.nonce, wrong.pos); err == nil {
			t.Fatal("a record is read at a place that is not its own")
		}
	}
}

const (
	goldenRecord = "687651310100000002000000000000000300000000000000090000000000000007000000000000000010000000000000" +
		"0500000000000000050000008b808a1c4cbb719a68656c6c6f00000000000000"
	goldenFile = "68697665716c670a01000000030000000b00000000000000090000000000000000000000000000000000000000000000" +
		"000000000000000000000000249710a8"
	goldenPromise = "687651530100000005000000000000000200000000000000030000000000000009000000000000000100000000000000" +
		"000000000000000000000000d59774a0"
	goldenMark = "6876514d0100000006000000000000000200000000000000030000000000000009000000000000000000000000000000" +
		"00000000000000000000000048941e21"
)
