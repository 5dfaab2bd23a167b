package ebs

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"hive/fsm"
)

func somePage() *page {
	a := fsm.BlobRef{ID: fsm.BlobID{1}, Partition: 3, K: 2, M: 1, Size: 1 << 20}
	b := fsm.BlobRef{ID: fsm.BlobID{2}, Partition: 4, K: 2, M: 1, Size: 512}
	return &page{chunks: []fsm.BlobRef{a, b}, extents: []extent{{0, 8, 0, 0}, {8, 1, 1, 0}, {300, 100, 0, 8}, {pageSector - 1, 1, 0, 2047}}}
}

// The bytes of maps are kept for ever: a change of these is a change of format.
func TestMapsKeepTheirFormat(t *testing.T) {
	r := &root{pages: []rootEntry{{0, fsm.BlobRef{ID: fsm.BlobID{9}, Partition: 5, K: 2, M: 1, Size: 100}}, {16383, fsm.BlobRef{ID: fsm.BlobID{8}, K: 1, Size: 60}}}}
	got, err := decodeRoot(r.encode())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("root: %+v, %v", got, err)
	}
	p, err := decodePage(somePage().encode())
	if err != nil || !reflect.DeepEqual(p, somePage()) {
		t.Errorf("page: %+v, %v", p, err)
	}
	const wantRoot = "6876565201000000020000000000000009000000000000000000000000000000050002016400000000000000" +
		"ff3f000008000000000000000000000000000000000001003c00000000000000463dd0e0"
	if s := hex.EncodeToString(r.encode()); s != wantRoot {
		t.Errorf("root is %s", s)
	}
	const wantPage = "6876565001000000020000000400000001000000000000000000000000000000030002010000100000000000" +
		"020000000000000000000000000000000400020100020000000000000008000000010100a302640008effc7f0100ff0f06b37ebb"
	if s := hex.EncodeToString(somePage().encode()); s != wantPage {
		t.Errorf("page is %s", s)
	}
}

// Whatever bit of a map is wrong, it is not believed.
func TestDamagedMapsAreRefused(t *testing.T) {
	for name, whole := range map[string][]byte{"page": somePage().encode(), "root": (&root{pages: []rootEntry{{7, somePage().chunks[0]}}}).encode()} {
		decode := func(b []byte) (err error) {
			if name == "page" {
				_, err = decodePage(b)
			} else {
				_, err = decodeRoot(b)
			}
			return err
		}
		if err := decode(whole); err != nil {
			t.Fatal(name, err)
		}
		for i := range whole {
			if err := decode(whole[:i]); !errors.Is(err, errMap) {
				t.Fatalf("%s cut at %d: %v", name, i, err)
			}
			for bit := range 8 {
				b := append([]byte(nil), whole...)
				b[i] ^= 1 << bit
				if err := decode(b); !errors.Is(err, errMap) {
					t.Fatalf("%s with bit %d of byte %d wrong: %v", name, bit, i, err)
				}
			}
		}
	}
}

// FuzzDecodePage: bytes with a good checksum, as only a bug could write them, never crash who reads them.
func FuzzDecodePage(f *testing.F) {
	good := somePage().encode()
	f.Add(good[:len(good)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePage(seal(b))
		if err != nil {
			return
		}
		end := uint32(0)
		for _, e := range p.extents {
			if e.start < end || e.n == 0 || int(e.chunk) >= len(p.chunks) {
				t.Fatalf("extent %+v after %d", e, end)
			}
			end = e.end()
		}
	})
}
