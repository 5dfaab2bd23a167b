package peer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/cluster"
	"hive/internal/peer"
)

// net of nodes under one authority.
type network struct {
	ca    *cluster.Authority
	mu    sync.Mutex // guards addrs
	addrs map[fsm.NodeID]string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	ca, err := cluster.NewAuthority("c-01234567", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &network{ca: ca, addrs: map[fsm.NodeID]string{}}
}

func (n *network) identity(t *testing.T, node fsm.NodeID, under *cluster.Authority) *peer.Identity {
	t.Helper()
	key, err := cluster.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	spki, _, err := cluster.PublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := under.Issue(node, pub, cluster.CertNames(node), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := cluster.Chain(pem, key, under.PEM())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(n.ca.Cert)
	return peer.NewIdentity(node, cert, roots)
}

// start runs a node's port; members says who is admitted.
func (n *network) start(t *testing.T, node fsm.NodeID, under *cluster.Authority, members func(fsm.NodeID) bool) (*peer.Port, net.Listener) {
	t.Helper()
	p, err := peer.Listen("127.0.0.1:0", peer.Config{
		Identity: n.identity(t, node, under), Admit: members, Public: []string{"/join"},
		Resolve: func(id fsm.NodeID) (string, bool) {
			n.mu.Lock()
			defer n.mu.Unlock()
			addr, ok := n.addrs[id]
			return addr, ok
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	raft := p.Stream("hive-raft/control")
	n.mu.Lock()
	n.addrs[node] = p.Addr().String()
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- p.Run(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from, _ := peer.Node(r)
			fmt.Fprintf(w, "%s asked %s", from, node)
		}))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, raft
}

func everyone(fsm.NodeID) bool { return true }

func get(t *testing.T, p *peer.Port, url string) (int, string, error) {
	t.Helper()
	resp, err := p.Client().Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(body)), err
}

func TestNodesSpeakByIdAndKnowWhoAsks(t *testing.T) {
	n := newNetwork(t)
	a, _ := n.start(t, "n-a", n.ca, everyone)
	_, raft := n.start(t, "n-b", n.ca, everyone)
	if _, body, err := get(t, a, "https://n-b/x"); err != nil || body != "n-a asked n-b" {
		t.Errorf("%q %v", body, err)
	}
	go func() {
		conn, err := a.Dial(t.Context(), "n-b", "hive-raft/control")
		if err == nil {
			_, err = conn.Write([]byte("hello"))
		}
		if err != nil {
			t.Error(err)
		}
	}()
	conn, err := raft.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
}

func TestANodeAtAnothersAddressIsNotBelieved(t *testing.T) {
	n := newNetwork(t)
	a, _ := n.start(t, "n-a", n.ca, everyone)
	n.start(t, "n-b", n.ca, everyone)
	n.mu.Lock()
	n.addrs["n-c"] = n.addrs["n-b"]
	n.mu.Unlock()
	if _, _, err := get(t, a, "https://n-c/x"); !errors.Is(err, peer.ErrWrongNode) {
		t.Errorf("error %v", err)
	}
	if _, _, err := get(t, a, "https://n-d/x"); !errors.Is(err, peer.ErrUnknownNode) {
		t.Errorf("error %v", err)
	}
}

func TestWhoeverIsNoMemberIsTurnedAway(t *testing.T) {
	n := newNetwork(t)
	other, err := cluster.NewAuthority("c-76543210", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := n.start(t, "n-a", n.ca, func(id fsm.NodeID) bool { return id != "n-removed" })
	removed, _ := n.start(t, "n-removed", n.ca, everyone)
	stranger, _ := n.start(t, "n-a2", other, everyone)
	if status, _, err := get(t, removed, "https://n-a/x"); err != nil || status != http.StatusForbidden {
		t.Errorf("a removed node: %d %v", status, err)
	}
	if _, _, err := get(t, stranger, "https://n-a/x"); err == nil {
		t.Error("a certificate of another authority was taken")
	}
	anonymous := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for path, want := range map[string]int{"/shard/x": http.StatusUnauthorized, "/join": http.StatusOK} {
		resp, err := anonymous.Get("https://" + a.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s without a certificate: %d, want %d", path, resp.StatusCode, want)
		}
	}
	if conn, err := removed.Dial(t.Context(), "n-a", "hive-raft/control"); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a removed node was let into a Raft group")
		}
	}
}

func TestRandomBytesDoNotStopThePort(t *testing.T) {
	n := newNetwork(t)
	a, _ := n.start(t, "n-a", n.ca, everyone)
	b, _ := n.start(t, "n-b", n.ca, everyone)
	for i := range 50 {
		conn, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(strings.Repeat(string(rune(i)), i*40))); err != nil {
			t.Log(err) // the port may have hung up already
		}
		conn.Close()
	}
	if _, body, err := get(t, b, "https://n-a/x"); err != nil || body != "n-b asked n-a" {
		t.Errorf("%q %v", body, err)
	}
}
