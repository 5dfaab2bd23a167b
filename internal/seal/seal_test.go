package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func newBox(t testing.TB, key byte) *Box {
	t.Helper()
	b, err := New(bytes.Repeat([]byte{key}, KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpenGivesBackWhatWasSealed(t *testing.T) {
	b := newBox(t, 1)
	for _, plain := range []string{"", "s", strings.Repeat("secret", 1000)} {
		sealed, err := b.Seal([]byte(plain), "access-key/AKIA1")
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 4 && bytes.Contains(sealed, []byte(plain[:5])) {
			t.Error("the secret can be read in the sealed value")
		}
		got, err := b.Open(sealed, "access-key/AKIA1")
		if err != nil || string(got) != plain {
			t.Errorf("opened %q, %v", got, err)
		}
	}
}

func TestSealedValueOpensOnlyForItsRecordAndKey(t *testing.T) {
	sealed, err := newBox(t, 1).Seal([]byte("secret"), "access-key/AKIA1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newBox(t, 1).Open(sealed, "access-key/AKIA2"); !errors.Is(err, ErrSealed) {
		t.Errorf("for another record: %v", err)
	}
	if _, err := newBox(t, 2).Open(sealed, "access-key/AKIA1"); !errors.Is(err, ErrSealed) {
		t.Errorf("under another key: %v", err)
	}
}

func TestAlteredOrCutValueDoesNotOpen(t *testing.T) {
	b := newBox(t, 1)
	sealed, err := b.Seal([]byte("secret"), "x")
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) * 8 {
		bad := slices.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := b.Open(bad, "x"); !errors.Is(err, ErrSealed) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range sealed {
		if _, err := b.Open(sealed[:n], "x"); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestSameSecretIsSealedDifferentlyEachTime(t *testing.T) {
	b := newBox(t, 1)
	one, err1 := b.Seal([]byte("secret"), "x")
	two, err2 := b.Seal([]byte("secret"), "x")
	if err1 != nil || err2 != nil || bytes.Equal(one, two) {
		t.Errorf("%x, %x, %v, %v", one, two, err1, err2)
	}
}

func TestWrongKeySizeAndEmptyRandomnessAreRefused(t *testing.T) {
	if _, err := New(make([]byte, 16), rand.Reader); err == nil {
		t.Error("a key of 16 bytes was accepted")
	}
	b, err := New(make([]byte, KeySize), strings.NewReader("short"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Seal(nil, "x"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("nonce from nothing: %v", err)
	}
}

func BenchmarkOpenSecretKey(b *testing.B) {
	box := newBox(b, 1)
	sealed, err := box.Seal(make([]byte, 40), "access-key/AKIAIOSFODNN7EXAMPLE")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := box.Open(sealed, "access-key/AKIAIOSFODNN7EXAMPLE"); err != nil {
			b.Fatal(err)
		}
	}
}
