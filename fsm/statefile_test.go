package fsm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wholeState is a closed state file with trees of several levels, and its digest.
func wholeState(t testing.TB) (data []byte, want [32]byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	m, _ := open(t, path, "boot")
	fill(t, m, 400)
	long := Token{ID: "long", Hash: bytes.Repeat([]byte("long"), 4000)} // a record over several pages
	m.Apply(entry(t, 401, &CreateToken{Token: long}))
	m.Apply(entry(t, 402, &CreateAccount{Account: Account{ID: "123456789012"}}))
	for i := uint64(403); i < 440; i++ { // pages become free, and some are written again
		m.Apply(entry(t, i, &RevokeToken{ID: token(int(i) % 7 * 50).Token.ID}))
	}
	want = digest(t, m)
	closeMachine(t, m)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, want
}

// wholeOrRebuilt opens a damaged file: it must be rebuilt, with a line that says so, or be as it was.
func wholeOrRebuilt(t *testing.T, data []byte, want [32]byte) (rebuilt bool) {
	t.Helper()
	m, log := open(t, write(t, data), "boot")
	defer closeMachine(t, m)
	if m.Rebuilt() {
		if m.Applied() != 0 || countTokens(t, m) != 0 || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "rebuilt") {
			t.Fatalf("applied %d, log %q", m.Applied(), log)
		}
		return true
	}
	if digest(t, m) != want || log.Len() != 0 {
		t.Fatalf("a state that is not the one that was written is believed, log %q", log)
	}
	return false
}

func TestCutStateFileIsRebuiltNeverHalfRead(t *testing.T) {
	data, want := wholeState(t)
	page := os.Getpagesize()
	for _, n := range []int{0, 1, 100, page - 1, page, 2*page - 1, 2 * page, 3 * page, 4 * page, len(data) / 2, len(data) - page - 1} {
		if !wholeOrRebuilt(t, data[:n], want) {
			t.Errorf("a file cut to %d of %d bytes was believed", n, len(data))
		}
	}
	for n := range len(data) / page {
		if _, err := checkPages(bytes.NewReader(data[:n*page]), int64(n*page)); err == nil && !wholeOrRebuilt(t, data[:n*page], want) {
			t.Logf("the pages from %d on are free", n)
		}
	}
}

func TestFlippedBitIsNeverBelieved(t *testing.T) {
	data, want := wholeState(t)
	detected, harmless := 0, 0
	for i := 0; i < len(data); i += 13 {
		bad := slices.Clone(data)
		bad[i] ^= 1 << (i / 13 % 8)
		if _, err := checkPages(bytes.NewReader(bad), int64(len(bad))); err != nil {
			if !errors.Is(err, ErrStateCorrupt) {
				t.Fatalf("byte %d: %v", i, err)
			}
			if detected++; detected%200 == 0 && !wholeOrRebuilt(t, bad, want) {
				t.Errorf("byte %d: believed", i)
			}
			continue
		}
		if harmless++; harmless%100 == 0 { // in a free page or between records
			wholeOrRebuilt(t, bad, want)
		}
	}
	if detected == 0 {
		t.Error("no flip was detected")
	}
	t.Logf("%d detected, %d harmless", detected, harmless)
}

func TestZeroedAndSwappedPagesAreNeverBelieved(t *testing.T) {
	data, want := wholeState(t)
	page := os.Getpagesize()
	for i := range len(data) / page {
		zeroed := slices.Clone(data)
		clear(zeroed[i*page : (i+1)*page])
		swapped := slices.Clone(data)
		j := (i + 1) % (len(data) / page)
		copy(swapped[i*page:(i+1)*page], data[j*page:(j+1)*page])
		for _, bad := range [][]byte{zeroed, swapped} {
			wholeOrRebuilt(t, bad, want)
		}
	}
}

// The older of the two headers is an older state: bbolt alone would go back to it.
func TestStateWithOneBadHeaderIsRebuilt(t *testing.T) {
	data, want := wholeState(t)
	page, pageHeader := os.Getpagesize(), 16 // bytes before the header's own
	for _, at := range []int{pageHeader + 20, page + pageHeader + 20} {
		bad := slices.Clone(data)
		bad[at] ^= 1
		if !wholeOrRebuilt(t, bad, want) {
			t.Errorf("header at %d is bad and the state was believed", at)
		}
	}
}

func TestGarbageInPlaceOfTheStateIsRebuilt(t *testing.T) {
	for _, data := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("garbage!"), 10_000), make([]byte, 1<<16)} {
		if !wholeOrRebuilt(t, data, [32]byte{}) {
			t.Errorf("%d bytes of garbage were believed", len(data))
		}
	}
}

func FuzzCheckStateFile(f *testing.F) {
	data, _ := wholeState(f)
	f.Add(data, uint32(0), byte(0))
	f.Add(data, uint32(os.Getpagesize()*3+8), byte(1))
	f.Add([]byte{}, uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint32, flip byte) {
		if len(data) > 0 {
			data = slices.Clone(data)
			data[int(at)%len(data)] ^= flip
		}
		if _, err := checkPages(bytes.NewReader(data), int64(len(data))); err != nil && !errors.Is(err, ErrStateCorrupt) {
			t.Error(err)
		}
	})
}
