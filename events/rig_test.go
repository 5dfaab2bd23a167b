package events_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hive/events"
	"hive/fsm"
	"hive/internal/fsmtest"
)

const (
	region                 = "eu-1"
	alice    fsm.AccountID = "111111111111"
	bob      fsm.AccountID = "222222222222"
	patience               = 30 * time.Second // for what is to happen; nothing is judged by it
)

// rig is a cluster of bridges over one state, as if every node had applied all of it.
type rig struct {
	t       *testing.T
	control *fsmtest.Group
	index   *fsmtest.Group
	ca      *authority
	timing  events.Timing

	mu    sync.Mutex // guards what is below
	nodes []*node
}

// node is one bridge, with its server.
type node struct {
	id     fsm.NodeID
	rig    *rig
	bridge *events.Bridge
	host   string // an address of this machine that nobody else uses
	route  string // as the others reach it; "" for where it listens
	end    func()

	alive bool // guarded by rig.mu
}

// newRig has the accounts alice and bob, each with a bucket.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, control: fsmtest.New(t, fsm.Control), index: fsmtest.New(t, fsm.Index), ca: newAuthority(t),
		timing: events.Timing{
			Look: 20 * time.Millisecond, Settle: 300 * time.Millisecond, Hold: 500 * time.Millisecond,
			Sync: 300 * time.Millisecond, Retry: 20 * time.Millisecond,
		},
	}
	for _, id := range []fsm.AccountID{alice, bob} {
		r.control.Propose(t.Context(), &fsm.CreateAccount{Account: fsm.Account{ID: id, Name: "a" + string(id), Created: 1}})
		r.propose(r.index, &fsm.OpenGate{Name: bucketOf(id), Owner: id, Born: 1, Seq: 1})
	}
	return r
}

func bucketOf(id fsm.AccountID) fsm.BucketName { return fsm.BucketName("bucket-" + string(id)) }

func (r *rig) propose(g *fsmtest.Group, cmd fsm.Command) {
	r.t.Helper()
	if err := g.Propose(r.t.Context(), cmd); err != nil {
		r.t.Fatal(err)
	}
}

// object puts an object and so makes an event of the index group.
func (r *rig) object(owner fsm.AccountID, key string) {
	r.t.Helper()
	o := fsm.Object{}
	o.Size, o.Modified = 7, 1
	r.propose(r.index, &fsm.PutObject{Bucket: bucketOf(owner), Born: 1, Key: key, Object: o})
}

// keyPair makes an event of the control group.
func (r *rig) keyPair(owner fsm.AccountID, name string) {
	r.t.Helper()
	r.propose(r.control, &fsm.PutKeyPair{Key: fsm.KeyPair{ID: "key-" + name, Account: owner, Name: name}})
}

func (r *rig) groups() []events.Group {
	return []events.Group{
		{ID: fsm.ControlGroup, View: r.control.View, Changed: r.control.Changed},
		{ID: "index-0", View: r.index.View, Changed: r.index.Changed},
	}
}

// Nodes is the cluster as all of them see it.
func (r *rig) Nodes() []events.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []events.Node
	for _, n := range r.nodes {
		view := events.Node{ID: n.id, Alive: n.alive, Serves: true}
		view.Clients, view.Route = n.host+":4222", n.host+":6222"
		if n.route != "" {
			view.Route = n.route
		}
		out = append(out, view)
	}
	return out
}

func (r *rig) config(id fsm.NodeID, host string) events.Config {
	cert := r.ca.issue(r.t, string(id), host)
	return events.Config{
		Node: id, Realm: events.Realm{Cluster: "c-01234567", Region: region}, Groups: r.groups(), Propose: r.control.Propose, Nodes: r.Nodes,
		Serve: true, Secret: []byte("the secret of the whole cluster!"), CA: r.ca.pem,
		Listen: host + ":4222", RouteListen: host + ":6222", Advertise: host + ":4222", RouteAdvertise: host + ":6222",
		Certificate: func() *tls.Certificate { return &cert }, Roots: r.ca.roots,
		External: func() string { return "" }, Clock: time.Now, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(testWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Timing: r.timing,
	}
}

// testWriter is the test's log, which ends with the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// add makes a node that does not run yet.
func (r *rig) add(id fsm.NodeID) *node {
	var at [3]byte
	if _, err := rand.Read(at[:]); err != nil {
		r.t.Fatal(err)
	}
	n := &node{id: id, rig: r, host: fmt.Sprintf("127.%d.%d.%d", at[0]|1, at[1], at[2]|1), end: func() {}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = append(r.nodes, n)
	return n
}

// start begins n, or begins it again.
func (n *node) start(change ...func(*events.Config)) {
	n.rig.t.Helper()
	cfg := n.rig.config(n.id, n.host)
	if n.route != "" {
		cfg.RouteAdvertise = n.route
	}
	for _, c := range change {
		c(&cfg)
	}
	bridge, err := events.New(cfg)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	n.rig.mu.Lock()
	n.bridge, n.alive = bridge, true
	n.rig.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bridge.Run(ctx) }()
	n.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.rig.t.Error(err)
		}
	})
	n.rig.t.Cleanup(func() { n.end() })
}

// kill ends n, and the others see that it is gone.
func (n *node) kill() {
	n.end()
	n.rig.mu.Lock()
	defer n.rig.mu.Unlock()
	n.alive = false
}

// three starts nodes a, b and c, joined to each other.
func (r *rig) three() (a, b, c *node) {
	r.t.Helper()
	a, b, c = r.add("n-a"), r.add("n-b"), r.add("n-c")
	for _, n := range []*node{a, b, c} {
		n.start()
	}
	for _, n := range []*node{a, b, c} {
		eventually(r.t, "routes of "+string(n.id), func() bool { return n.routes() >= 2 })
	}
	return a, b, c
}

func (n *node) routes() int {
	if s := n.bridge.Status().Server; s != nil {
		return s.Routes
	}
	return 0
}

// eventually waits until something has happened.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !happened() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("never came: %s", what)
		}
	}
}

// client is somebody who has subscribed.
type client struct {
	t    *testing.T
	conn *nats.Conn

	mu     sync.Mutex // guards what is below
	events []events.Event
	seen   map[string]int // by event id
	more   chan struct{}  // closed when another comes
	errs   []error
}

// connect opens a connection with an account's credentials to the servers of nodes, which are tried in this order.
func (r *rig) connect(account string, nodes ...*node) (*client, error) {
	r.t.Helper()
	eventually(r.t, "servers", func() bool { return nodes[0].bridge.Status().Server != nil })
	cred, err := nodes[0].bridge.Credentials(r.t.Context(), events.CredentialsRequest{Account: account})
	if err != nil {
		return nil, err
	}
	return r.connectAs(cred.User, cred.Password, nodes...)
}

func (r *rig) connectAs(user, password string, nodes ...*node) (*client, error) {
	r.t.Helper()
	var urls []string
	for _, n := range nodes {
		urls = append(urls, "tls://"+n.host+":4222")
	}
	c := &client{t: r.t, seen: map[string]int{}, more: make(chan struct{})}
	var err error
	c.conn, err = nats.Connect(strings.Join(urls, ","), nats.UserInfo(user, password), nats.Secure(&tls.Config{RootCAs: r.ca.roots}),
		nats.DontRandomize(), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.MaxReconnects(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errs = append(c.errs, err)
		}))
	if err == nil {
		r.t.Cleanup(c.conn.Close)
	}
	return c, err
}

// subscriber is a client that has its account's events.
func (r *rig) subscriber(account fsm.AccountID, nodes ...*node) *client {
	r.t.Helper()
	c, err := r.connect(string(account), nodes...)
	if err != nil {
		r.t.Fatal(err)
	}
	c.subscribe("hive." + region + "." + string(account) + ".>")
	return c
}

func (c *client) subscribe(subject string) {
	c.t.Helper()
	_, err := c.conn.Subscribe(subject, c.take)
	if err = errors.Join(err, c.conn.Flush()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) take(m *nats.Msg) {
	var e events.Event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		c.t.Errorf("%s: %v: %s", m.Subject, err, m.Data)
		return
	}
	if e.Subject() != m.Subject || m.Header.Get("Nats-Msg-Id") != e.ID {
		c.t.Errorf("event %s of %s came on %s with id %s", e.ID, e.Subject(), m.Subject, m.Header.Get("Nats-Msg-Id"))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[e.ID]++
	if c.seen[e.ID] == 1 {
		c.events = append(c.events, e)
	}
	close(c.more)
	c.more = make(chan struct{})
}

// firsts are the events in the order in which they first came.
func (c *client) firsts() []events.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]events.Event(nil), c.events...)
}

// has waits until n different events have come.
func (c *client) has(n int) []events.Event {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		have, more := len(c.events), c.more
		c.mu.Unlock()
		if have >= n {
			return c.firsts()
		}
		select {
		case <-more:
		case <-deadline:
			c.t.Fatalf("%d events have come, want %d", have, n)
		}
	}
}

// inOrder checks that events of each group first came in the order of the group's log, and that it is all of want (by
// what names them: key pair or object key).
func (c *client) inOrder(want []string) {
	c.t.Helper()
	got := c.has(len(want))
	last := map[fsm.GroupID]events.Place{}
	names := map[string]bool{}
	for _, e := range got {
		at := last[e.Hive.Group]
		if e.Hive.Index < at.Index || e.Hive.Index == at.Index && e.Hive.Seq <= at.Seq {
			c.t.Errorf("%v came after %v", e.Hive, at)
		}
		last[e.Hive.Group] = e.Hive
		names[nameOf(e)] = true
	}
	for _, name := range want {
		if !names[name] {
			c.t.Errorf("%s is lost", name)
		}
	}
	if len(got) != len(want) {
		c.t.Errorf("%d events, want %d", len(got), len(want))
	}
}

func nameOf(e events.Event) string {
	if object, ok := e.Detail["object"].(map[string]any); ok {
		return fmt.Sprint(object["key"])
	}
	return strings.TrimPrefix(fmt.Sprint(e.Detail["id"]), "key-")
}

// refused waits for an error that the server has sent, and forgets it.
func (c *client) refused(what string) {
	c.t.Helper()
	eventually(c.t, "refusal of "+what, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, err := range c.errs {
			if strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				c.errs = append(c.errs[:i], c.errs[i+1:]...)
				return true
			}
		}
		return false
	})
}

// authority signs the certificates of nodes.
type authority struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	pem   []byte
	roots *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: cert, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), roots: x509.NewCertPool()}
	a.roots.AddCert(cert)
	return a
}

func (a *authority) issue(t *testing.T, name, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.ParseIP(host)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}
