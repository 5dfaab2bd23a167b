package pagetoken_test

import (
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"

	"hive/internal/pagetoken"
	"hive/internal/seal"
)

func box(t testing.TB, key byte) *seal.Box {
	t.Helper()
	b, err := seal.New([]byte(strings.Repeat(string(key), seal.KeySize)), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealed(t testing.TB, bound []string, after string) string {
	t.Helper()
	token, err := pagetoken.Seal(box(t, 'k'), bound, after)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenOpensOnEveryHolderOfTheKeyAndTellsNothing(t *testing.T) {
	bound := []string{"123456789012", "ListUsers"}
	for _, after := range []string{"", "a", "vol-0123", "line\nfeed \x00 ü", strings.Repeat("k", 1024)} {
		token := sealed(t, bound, after)
		if got, err := pagetoken.Open(box(t, 'k'), bound, token); err != nil || got != after {
			t.Errorf("opened %q, %v", got, err)
		}
		if url.QueryEscape(token) != token {
			t.Errorf("%s does not stand in a URL as it is", token)
		}
		if len(after) > 3 && strings.Contains(token, after) {
			t.Errorf("%s tells %s", token, after)
		}
		if token == sealed(t, bound, after) {
			t.Error("the same place gave the same token twice")
		}
	}
}

func TestATokenOpensForNoOtherRequest(t *testing.T) {
	bound := []string{"123456789012", "ListUsers", "x"}
	token := sealed(t, bound, "after")
	for _, other := range [][]string{
		nil, {}, {"123456789012", "ListUsers"}, {"123456789012", "ListUsers", "x", ""}, {"123456789012", "ListUsersx"},
		{"123456789013", "ListUsers", "x"}, {"123456789012", "ListRoles", "x"}, {"123456789012", "ListUsers", "y"}, {"1", "23456789012", "ListUsers", "x"},
	} {
		if _, err := pagetoken.Open(box(t, 'k'), other, token); !errors.Is(err, pagetoken.ErrInvalid) {
			t.Errorf("bound to %q: %v", other, err)
		}
	}
	if _, err := pagetoken.Open(box(t, 'l'), bound, token); !errors.Is(err, pagetoken.ErrInvalid) {
		t.Errorf("under another key: %v", err)
	}
}

func TestWhatIsNoTokenIsInvalid(t *testing.T) {
	bound := []string{"a"}
	token := sealed(t, bound, "after")
	changed := []byte(token)
	changed[10] ^= 1
	for _, bad := range []string{"", "x", "!", token[:len(token)-2], token + token, string(changed), strings.ToLower(token), strings.Repeat("A", 1<<16)} {
		if _, err := pagetoken.Open(box(t, 'k'), bound, bad); !errors.Is(err, pagetoken.ErrInvalid) {
			t.Errorf("%.80q: %v", bad, err)
		}
	}
}

func TestASealerThatFailsIsTold(t *testing.T) {
	b, err := seal.New(make([]byte, seal.KeySize), strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pagetoken.Seal(b, nil, "x"); err == nil {
		t.Error("no error without randomness")
	}
}

// request is like an input of the SDK.
type request struct {
	PathPrefix, Marker *string
	MaxItems           *int32
}

func TestARequestIsTheSameFromPageToPage(t *testing.T) {
	hash := func(in request) string {
		h, err := pagetoken.Request(&in, "Marker", "MaxItems")
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := hash(request{PathPrefix: new("/a/"), MaxItems: new(int32(10))})
	if next := hash(request{PathPrefix: new("/a/"), MaxItems: new(int32(20)), Marker: new("m")}); next != first {
		t.Error("the next page's request is another")
	}
	if hash(request{PathPrefix: new("/b/")}) == first || hash(request{}) == first {
		t.Error("another request is the same")
	}
	if _, err := pagetoken.Request(make(chan int)); err == nil {
		t.Error("a channel is a request")
	}
	if _, err := pagetoken.Request(1); err == nil {
		t.Error("a number is a request")
	}
}

func FuzzOpen(f *testing.F) {
	bound := []string{"123456789012", "ListUsers"}
	f.Add(sealed(f, bound, "after"))
	f.Add("AAAA")
	b := box(f, 'k')
	f.Fuzz(func(t *testing.T, token string) {
		if after, err := pagetoken.Open(b, bound, token); err == nil && after != "after" {
			t.Errorf("%q opened as %q", token, after)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	sealer, bound := box(b, 'k'), []string{"123456789012", "ListUsers"}
	for b.Loop() {
		if _, err := pagetoken.Seal(sealer, bound, "AIDAIOSFODNN7EXAMPLE"); err != nil {
			b.Fatal(err)
		}
	}
}
