package session

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"hive/iam/principal"
	"hive/internal/seal"
)

func codec(t testing.TB, key byte) *Codec { return codecOf(t, key, rand.Reader) }

func codecOf(t testing.TB, key byte, random io.Reader) *Codec {
	t.Helper()
	box, err := seal.New(bytes.Repeat([]byte{key}, seal.KeySize), random)
	if err != nil {
		t.Fatal(err)
	}
	return New(box)
}

func full() Credentials {
	at := time.Unix(1_700_000_000, 0).UTC()
	return Credentials{Account: "123456789012", AccessKey: "ASIAIOSFODNN7EXAMPLE", Secret: "another secret of 40 characters", Session: principal.Session{
		Kind: principal.RoleSession, Name: "s", Issuer: "AROA1", IssuerARN: "arn:aws:iam::123456789012:role/x", Issued: at,
		Expires: at.Add(time.Hour), MFA: at.Add(-time.Minute), Restricted: true, Policies: []string{`{"a":1}`},
		PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, Tags: []principal.Tag{{Key: "k", Value: "v"}},
		Transitive: []string{"k"}, SourceIdentity: "me", Provider: "arn:p", Claims: []principal.Tag{{Key: "x.y:aud", Value: "z"}},
		Instance: "i-1",
	}}
}

func TestTokenSaysAllThatWasSealed(t *testing.T) {
	c := codec(t, 1)
	want := full()
	for name, creds := range map[string]Credentials{"full": want, "least": {Account: "000000000001", AccessKey: "ASIA", Secret: "a secret of 40 characters",
		Session: principal.Session{Kind: principal.UserSession, Issued: want.Session.Issued, Expires: want.Session.Expires}}} {
		token, err := c.Seal(creds, 0)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(token, creds.Secret) {
			t.Error("the token shows the secret")
		}
		for range 2 { // the second by readers that were used before
			got, err := c.Open(token)
			if err != nil || !reflect.DeepEqual(got, creds) {
				t.Errorf("%s: %+v, %v, want %+v", name, got, err, creds)
			}
		}
	}
	// Every field of a session travels: a new one must be put into the token too.
	v := reflect.ValueOf(want.Session)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the example does not fill %s", v.Type().Field(i).Name)
		}
	}
}

func TestTokenOpensOnlyAsItWasSealed(t *testing.T) {
	c := codec(t, 1)
	token, err := c.Seal(full(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := codec(t, 2).Open(token); !errors.Is(err, ErrToken) {
		t.Errorf("another cluster's key: %v", err)
	}
	for i := range len(token) {
		b := []byte(token)
		b[i] ^= 1
		if _, err := c.Open(string(b)); !errors.Is(err, ErrToken) {
			t.Fatalf("character %d altered: %v", i, err)
		}
	}
	sealed, err := c.sealer.Seal([]byte{1, 0xa0}, "access-key/AKIA")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", token[:len(token)-1], token + "A", strings.Repeat("A", MaxToken+1), base64.RawURLEncoding.EncodeToString(sealed)} {
		if _, err := c.Open(bad); !errors.Is(err, ErrToken) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestTokenHasItsLeastSizeAndItsBounds(t *testing.T) {
	c := codec(t, 1)
	for _, least := range []int{0, 1, 500, 1000, 4000, 4095, 4096} {
		token, err := c.Seal(full(), least)
		if err != nil || len(token) < least-1 || len(token) > MaxToken {
			t.Errorf("least %d: %d characters, %v", least, len(token), err)
		}
		if _, err := c.Open(token); err != nil {
			t.Error(err)
		}
	}
	creds := full()
	var noise [3000]byte
	if _, err := rand.Read(noise[:]); err != nil {
		t.Fatal(err)
	}
	creds.Session.Policies = []string{base64.StdEncoding.EncodeToString(noise[:])}
	if p, err := c.Percent(&creds.Session); err != nil || p <= 100 {
		t.Errorf("%d %%, %v", p, err)
	}
	if _, err := c.Seal(creds, 0); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	creds.Session.Policies = []string{strings.Repeat("x", maxPlain+1)}
	if _, err := c.Seal(creds, 0); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if p, err := c.Percent(&principal.Session{}); p != 0 || err != nil {
		t.Errorf("nothing takes %d %%, %v", p, err)
	}
}

func TestKeyTellsItsAccount(t *testing.T) {
	for _, account := range []string{"000000000000", "123456789012", "999999999999"} {
		id, secret, err := Draw(account, rand.Reader)
		if err != nil || len(id) != 20 || len(secret) != 40 {
			t.Fatalf("%q %q %v", id, secret, err)
		}
		if got, ok := AccountOf(id); !ok || got != account {
			t.Errorf("%s: %q, want %q", id, got, account)
		}
	}
	// Published by AWS's customers as examples of the layout.
	if got, ok := AccountOf("ASIAQNZGKIQY56JQ7WML"); !ok || got != "029608264753" {
		t.Errorf("%q %v", got, ok)
	}
	for _, bad := range []string{"", "ASIA", "AKIAQNZGKIQY56JQ7WML", "ASIAANZGKIQY56JQ7WML", "ASIAQNZGKIQY56JQ7WM1", "ASIAQNZGKIQY56JQ7WMLAAAA"} {
		if got, ok := AccountOf(bad); ok {
			t.Errorf("%q has the account %q", bad, got)
		}
	}
	if _, _, err := Draw("x", rand.Reader); err == nil {
		t.Error("an account that is no number")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzOpenToken(f *testing.F) {
	c := codecOf(f, 1, zeros{}) // so that all of the fuzzer's processes make the same token
	token, err := c.Seal(full(), 0)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		f.Fatal(err)
	}
	opened, err := c.sealer.Open(plain, sealedFor)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token, opened)
	f.Add("", []byte{wireFormat, 0xa1, 0x10, 0x41, 0xff})
	f.Fuzz(func(t *testing.T, text string, plain []byte) {
		if _, err := c.Open(text); err == nil && text != token {
			t.Fatal("a token that nobody made opens")
		}
		// What lies below the seal is read carefully too: an older version may have made it.
		sealed, err := c.sealer.Seal(plain, sealedFor)
		if err != nil {
			t.Fatal(err)
		}
		if creds, err := c.Open(base64.RawURLEncoding.EncodeToString(sealed)); err == nil {
			if _, err := c.Seal(creds, 0); err != nil && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	c := codec(b, 1)
	plain := full()
	plain.Session.Policies, plain.Session.PolicyARNs, plain.Session.Tags, plain.Session.Transitive = nil, nil, nil, nil
	for name, creds := range map[string]Credentials{"plain": plain, "narrowed": full()} {
		b.Run(name, func(b *testing.B) {
			token, err := c.Seal(creds, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Open(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
