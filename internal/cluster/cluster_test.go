package cluster

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/internal/seal"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// founded is a cluster of one node that waits for others.
type founded struct {
	*Door
	group *fsmtest.Group
	token JoinToken
	key   []byte // SPKI of a joiner
}

func found(t *testing.T, target int) founded {
	t.Helper()
	sealKey := make([]byte, seal.KeySize)
	box, err := seal.New(sealKey, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := fsm.Member{ID: "n-node1", Addr: "127.0.0.1:8443", Gossip: "127.0.0.1:7946", Zone: "ap-southeast-2a", Caps: AllCaps}
	f, err := Found("c-0123abcd", Founding{
		Region: "ap-southeast-2", Target: target, IndexGroups: 1, Partitions: 16, Self: self,
		TokenLife: time.Hour, Now: now, Random: rand.Reader,
	}, box)
	if err != nil {
		t.Fatal(err)
	}
	group := fsmtest.New(t, fsm.Control)
	if err := group.Propose(t.Context(), &f.Command); err != nil {
		t.Fatal(err)
	}
	key, err := NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	spki, _, err := PublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	reg := &Registry{Group: group, Sealer: box, Clock: func() time.Time { return now }}
	return founded{Door: &Door{Registry: reg, Sealer: box, SealKey: sealKey}, group: group, token: f.Token, key: spki}
}

func (f founded) request() JoinRequest {
	return JoinRequest{
		Announcement: Announcement{
			ClusterID: f.token.Cluster, NodeID: "n-node2", Addr: "127.0.0.2:8443", Version: "0.1.0", Caps: []string{"s3"}, TS: now.Unix(),
		},
		Region: "ap-southeast-2", Zone: "ap-southeast-2a", Gossip: "127.0.0.2:7946",
		Secret: f.token.Secret[:], PublicKey: f.key,
	}
}

func (f founded) digest(t *testing.T) [32]byte {
	t.Helper()
	_, sum, err := f.group.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestAJoinIsAnsweredWithEverythingANodeNeeds(t *testing.T) {
	f := found(t, 3)
	answer, err := f.join(t.Context(), f.request())
	if err != nil {
		t.Fatal(err)
	}
	b, err := VerifyBundle([]byte(answer.Bundle), answer.SigningKey)
	if err != nil {
		t.Fatal(err)
	}
	if b.Epoch != 2 || len(b.Members) != 2 || b.Members[1].NodeID != "n-node2" {
		t.Errorf("bundle %+v", b)
	}
	cert, err := ParseCert(answer.Cert)
	if err != nil || cert.Subject.CommonName != "n-node2" {
		t.Errorf("certificate %v %v", cert, err)
	}
	if len(answer.GossipKey) != 32 || !bytes.Equal(answer.SealKey, f.SealKey) {
		t.Error("keys are missing")
	}
}

func TestAJoinThatWasInterruptedIsResumedWithTheSameKeyOnly(t *testing.T) {
	f := found(t, 2) // one use
	if _, err := f.join(t.Context(), f.request()); err != nil {
		t.Fatal(err)
	}
	before := f.digest(t)
	if _, err := f.join(t.Context(), f.request()); err != nil {
		t.Errorf("the same node again: %v", err)
	}
	if f.digest(t) != before {
		t.Error("a resumed join changed the state")
	}
	other := f.request()
	key, err := NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	if other.PublicKey, _, err = PublicKey(key); err != nil {
		t.Fatal(err)
	}
	if _, err := f.join(t.Context(), other); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "taken") {
		t.Errorf("another machine under the same name: %v", err)
	}
}

func TestAJoinBeforeTheFoundingIsToldToAskAgain(t *testing.T) {
	f := found(t, 3)
	f.Registry.Group = fsmtest.New(t, fsm.Control) // the founding has not arrived here
	if _, err := f.join(t.Context(), f.request()); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want an error that is no refusal", err)
	}
}

func TestAJoinIsRefusedWithItsOwnMessageAndChangesNothing(t *testing.T) {
	cases := map[string]struct {
		edit func(*founded, *JoinRequest)
		want string
	}{
		"wrong secret":  {func(_ *founded, r *JoinRequest) { r.Secret = make([]byte, 16) }, "token is wrong"},
		"no secret":     {func(_ *founded, r *JoinRequest) { r.Secret = nil }, "token is wrong"},
		"wrong cluster": {func(_ *founded, r *JoinRequest) { r.ClusterID = "c-ffffffff" }, "this is cluster"},
		"wrong region":  {func(_ *founded, r *JoinRequest) { r.Region = "us-east-1" }, "region is ap-southeast-2"},
		"clock behind":  {func(_ *founded, r *JoinRequest) { r.TS -= 301 }, "clock is 5m1s off"},
		"clock ahead":   {func(_ *founded, r *JoinRequest) { r.TS += 3600 }, "clock is 1h0m0s off"},
		"name taken":    {func(_ *founded, r *JoinRequest) { r.NodeID = "n-node1" }, "is taken"},
		"bad name":      {func(_ *founded, r *JoinRequest) { r.NodeID = "n-Node 2" }, "node id"},
		"no name":       {func(_ *founded, r *JoinRequest) { r.NodeID = "" }, "node id"},
		"bad zone":      {func(_ *founded, r *JoinRequest) { r.Zone = "us-east-1a" }, "availability zone"},
		"bad cap":       {func(_ *founded, r *JoinRequest) { r.Caps = []string{"sqs"} }, "capability"},
		"bad address":   {func(_ *founded, r *JoinRequest) { r.Addr = "nowhere" }, "address"},
		"bad key":       {func(_ *founded, r *JoinRequest) { r.PublicKey = []byte("x") }, "public key"},
		"expired": {func(f *founded, r *JoinRequest) {
			f.Registry.Clock = func() time.Time { return now.Add(2 * time.Hour) }
			r.TS += 7200
		}, "expired"},
		"revoked": {func(f *founded, _ *JoinRequest) {
			if err := f.group.Propose(context.Background(), &fsm.RevokeToken{ID: f.token.ID()}); err != nil {
				panic(err)
			}
		}, "revoked"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := found(t, 3)
			req := f.request()
			c.edit(&f, &req)
			before := f.digest(t)
			_, err := f.join(t.Context(), req)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if f.digest(t) != before {
				t.Error("a refused join changed the state")
			}
		})
	}
}

func TestATokenHasItsUsesAndCapabilities(t *testing.T) {
	f := found(t, 2)
	if _, err := f.join(t.Context(), f.request()); err != nil {
		t.Fatal(err)
	}
	third := f.request()
	third.NodeID = "n-node3"
	if _, err := f.join(t.Context(), third); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("one use too many: %v", err)
	}
	token, err := NewJoinToken("c-0123abcd", []byte("ca"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Registry.NewToken(t.Context(), token, time.Hour, 1, []string{"ebs"}); err != nil {
		t.Fatal(err)
	}
	third.Secret = token.Secret[:]
	if _, err := f.join(t.Context(), third); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "capability s3") {
		t.Errorf("a capability too many: %v", err)
	}
}

func TestTheClusterIsFormedAtItsTargetSize(t *testing.T) {
	f := found(t, 2)
	formed := func() (out bool) {
		if err := f.group.View(func(v *fsm.View) error { c, _ := fsm.TheCluster(v); out = c.Formed; return nil }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if formed() {
		t.Error("formed with one of two")
	}
	if _, err := f.join(t.Context(), f.request()); err != nil {
		t.Fatal(err)
	}
	if !formed() {
		t.Error("not formed with two of two")
	}
}

func TestEveryBitOfABundleIsCoveredByItsSignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewBundle("c-0123abcd", 3, 7, []fsm.Member{{ID: "n-a", Addr: "a:8443", Caps: []string{"s3"}}}).Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	want, err := VerifyBundle(s.Bundle, public)
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Bundle {
		for _, flip := range []byte{1, 0x20} {
			bad := bytes.Clone(s.Bundle)
			bad[i] ^= flip
			got, err := VerifyBundle(bad, public)
			if err != nil {
				continue
			}
			// What is still believed must say the same: white space, or a name's letter case.
			if gotText, err := json.Marshal(got); err != nil || !bytes.Equal(gotText, wantText) {
				t.Errorf("byte %d ^ %#x is believed: %s", i, flip, gotText)
			}
		}
	}
	if _, err := VerifyBundle(append(bytes.Clone(s.Bundle), "{}"...), public); err == nil {
		t.Error("a second document is believed")
	}
}

func TestAJoinTokenComesBackAsItWasAndNoOtherTextDoes(t *testing.T) {
	token, err := NewJoinToken("c-0123abcd", []byte("certificate"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := token.String()
	back, err := ParseJoinToken(" " + strings.ToUpper(text[:0]) + text + "\n")
	if err != nil || back != token {
		t.Fatalf("%v %v", back, err)
	}
	if back.Pin != sha256.Sum256([]byte("certificate")) {
		t.Error("pin")
	}
	for i := range text {
		bad := []byte(text)
		bad[i] = 'a' + (bad[i]-'a'+1)%26
		if got, err := ParseJoinToken(string(bad)); err == nil {
			t.Errorf("letter %d changed: read as %v", i, got)
		}
	}
	for _, bad := range []string{"", "hive1.", text[:len(text)-1], text + "a", "hive2." + text[6:]} {
		if _, err := ParseJoinToken(bad); !errors.Is(err, ErrBadToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseJoinToken(f *testing.F) {
	f.Add("hive1.abcd")
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := ParseJoinToken(text); err == nil {
			if back, err := ParseJoinToken(token.String()); err != nil || back != token {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func FuzzVerifyBundle(f *testing.F) {
	public, private, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		f.Fatal(err)
	}
	s, err := NewBundle("c-0123abcd", 1, 1, nil).Sign(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Bundle)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := VerifyBundle(raw, public); err == nil && b.ClusterID != "c-0123abcd" {
			t.Error("a bundle that was never signed is believed")
		}
	})
}

func TestAKeeperWritesEachEpochAndBelievesNoLowerOne(t *testing.T) {
	f := found(t, 3)
	written := make(chan uint64, 4)
	keep := func(from uint64) {
		ctx, cancel := context.WithCancel(t.Context())
		k := &Keeper{
			Group: f.group, Node: "n-node1", Epoch: from,
			Write: func([]byte) error { return nil }, Written: func(b Bundle) { written <- b.Epoch },
		}
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	keep(0)
	if got := <-written; got != 1 {
		t.Errorf("epoch %d", got)
	}
	keep(2) // as if it had been told of the second epoch before its state was lost
	if _, err := f.join(t.Context(), f.request()); err != nil {
		t.Fatal(err)
	}
	if got := <-written; got != 2 {
		t.Errorf("epoch %d", got)
	}
	third := f.request()
	third.NodeID = "n-node3"
	if _, err := f.join(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	if a, b := <-written, <-written; a != 3 || b != 3 {
		t.Errorf("epochs %d and %d, want the third twice", a, b)
	}
}
