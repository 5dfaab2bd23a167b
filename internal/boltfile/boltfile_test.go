package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// grown is a bbolt file with small and large records, removed ones, and an inline bucket.
func grown(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bolt.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		err := db.Update(func(tx *bbolt.Tx) error {
			small, err := tx.CreateBucketIfNotExists([]byte("small"))
			if err != nil {
				return err
			}
			big, err := tx.CreateBucketIfNotExists([]byte("big"))
			if err != nil {
				return err
			}
			for i := range 400 {
				if err := big.Put(fmt.Appendf(nil, "%06d", i*3+round), bytes.Repeat([]byte{byte(i)}, i%300)); err != nil {
					return err
				}
			}
			if err := big.Put([]byte("overflow"), bytes.Repeat([]byte("x"), 20_000)); err != nil {
				return err
			}
			return errors.Join(small.Put([]byte("a"), []byte{byte(round)}), big.Delete([]byte("000006")))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func read(raw []byte) (map[string]string, error) {
	got := map[string]string{}
	err := Check(bytes.NewReader(raw), int64(len(raw)), func(bucket, k, v []byte) error {
		got[string(bucket)+"/"+string(k)] = string(v)
		return nil
	})
	return got, err
}

func TestWholeFileIsReadAsBboltReadsIt(t *testing.T) {
	got, err := read(grown(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1201 || got["small/a"] != "\x02" || len(got["big/overflow"]) != 20_000 {
		t.Errorf("%d records", len(got))
	}
}

func TestVisitorsErrorEndsTheCheck(t *testing.T) {
	raw, want := grown(t), errors.New("enough")
	err := Check(bytes.NewReader(raw), int64(len(raw)), func(_, _, _ []byte) error { return want })
	if !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
}

func TestTruncatedFileIsToldFromACorruptOne(t *testing.T) {
	raw := grown(t)
	for _, size := range []int{0, 1, 4095, 8191, 3 * 4096, 10 * 4096} {
		if _, err := read(raw[:size]); !errors.Is(err, ErrTruncated) || errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for _, at := range []int{16, 4096 + 20} {
		bad := bytes.Clone(raw)
		bad[at] ^= 1
		if _, err := read(bad); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

func TestAlteredHeadsOfPagesNeverLoseARecordUnnoticed(t *testing.T) {
	raw := grown(t)
	whole, err := read(raw)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		bad := bytes.Clone(raw)
		for range rapid.IntRange(1, 3).Draw(t, "flips") {
			page := rapid.IntRange(0, len(bad)/4096-1).Draw(t, "page")
			bad[page*4096+rapid.IntRange(0, 47).Draw(t, "at")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		}
		got, err := read(bad)
		if err == nil && len(got) != len(whole) {
			t.Fatalf("%d records of %d, and no error", len(got), len(whole))
		}
	})
}

func FuzzCheck(f *testing.F) {
	raw := grown(f)
	f.Add(raw[:12<<10], 5000, byte(3))
	f.Fuzz(func(t *testing.T, head []byte, at int, b byte) {
		bad := append(bytes.Clone(head), raw[min(len(head), len(raw)):]...)
		if at >= 0 && at < len(bad) {
			bad[at] ^= b
		}
		if _, err := read(bad); err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v", err)
		}
	})
}
