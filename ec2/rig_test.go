package ec2

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	"hive/awsd"
	"hive/awsd/ec2api"
	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/iam/principal"
	"hive/internal/fsmtest"
)

const (
	testRegion = "us-test-1"
	aliceID    = "111111111111"
	bobID      = "222222222222"
)

var (
	alice = &principal.Caller{Account: aliceID, ARN: "arn:aws:iam::" + aliceID + ":root", Root: true}
	bob   = &principal.Caller{Account: bobID, ARN: "arn:aws:iam::" + bobID + ":root", Root: true}
)

// twoUsers are keys of two accounts; everything is permitted to them.
type twoUsers struct{}

func (twoUsers) Lookup(_ context.Context, id, _ string) (string, principal.Caller, error) {
	switch id {
	case "AKIAALICE":
		return "secret", *alice, nil
	case "AKIABOB":
		return "secret", *bob, nil
	}
	return "", principal.Caller{}, iam.ErrNoSuchKey
}

func (twoUsers) Authorize(context.Context, *principal.Caller, []protocol.Access) error { return nil }

// rig is the service behind the front door, on a cluster of three nodes in two zones with 8 vCPUs and 8 GiB each.
type rig struct {
	t       testing.TB
	group   *fsmtest.Group
	service *Service
	client  *sdk.Client // alice's
	bob     *sdk.Client

	mu    sync.Mutex // guards nodes and clock
	nodes []NodeInfo
	clock time.Time
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, group: fsmtest.New(t, fsm.Control), clock: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	for i, zone := range []string{"us-test-1a", "us-test-1a", "us-test-1b"} {
		r.nodes = append(r.nodes, NodeInfo{
			ID: fsm.NodeID("n-node" + string(rune('1'+i))), Zone: zone, Caps: []string{CapEC2, CapEBS}, Alive: true, VCPUs: 8, MemoryMiB: 8192,
		})
	}
	r.found()
	r.service = New(Config{
		Region: testRegion, Node: "n-node1", Control: r.group, Nodes: r.gossip, Leader: func() bool { return true }, Replicas: 3,
		Console: func(context.Context, fsm.Instance) ([]byte, time.Time, error) { return []byte("login:"), r.now(), nil },
		Clock:   r.now, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Scratch: t.TempDir(),
	})
	door := awsd.New(awsd.Config{
		Region: testRegion, Keys: twoUsers{}, Authorizer: twoUsers{},
		Services: []awsd.Service{{API: ec2api.API(), Handlers: ec2api.Bind(r.service), Access: actions.New(testRegion, r.group.View).Access("ec2")}},
	})
	srv := httptest.NewServer(door)
	t.Cleanup(srv.Close)
	as := func(key string) *sdk.Client {
		return sdk.New(sdk.Options{
			Region: testRegion, BaseEndpoint: &srv.URL, RetryMaxAttempts: 1, HTTPClient: wholeBodies{}, Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
		})
	}
	r.client, r.bob = as("AKIAALICE"), as("AKIABOB")
	return r
}

// found makes the cluster's members and both accounts.
func (r *rig) found() {
	r.must(&fsm.InitCluster{
		Cluster: fsm.Cluster{ID: "c-00000001", Region: testRegion, TargetSize: 3},
		Member:  fsm.Member{ID: r.nodes[0].ID, Zone: r.nodes[0].Zone}, Token: fsm.Token{ID: "t", UsesLeft: 9, Expires: 1 << 40},
	})
	for i, n := range r.nodes[1:] {
		r.must(&fsm.AdmitMember{
			Member: fsm.Member{ID: n.ID, Zone: n.Zone}, TokenID: "t", Now: 1, Settings: fsm.Settings{Epoch: uint64(i + 1), Bundle: []byte("x")},
		})
	}
	for _, id := range []fsm.AccountID{aliceID, bobID} {
		r.must(&fsm.CreateAccount{Account: fsm.Account{ID: id}})
	}
}

// wholeBodies sends requests whose bodies are in memory: the SDK closes a request's body as soon as the answer begins, and
// net/http, if it has not yet seen the body's end by then, cuts the connection in the middle of the answer.
type wholeBodies struct{}

func (wholeBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return http.DefaultClient.Do(req)
}

func (r *rig) must(cmds ...fsm.Command) {
	r.t.Helper()
	for _, cmd := range cmds {
		if err := r.group.Propose(context.Background(), cmd); err != nil {
			r.t.Fatalf("%T: %v", cmd, err)
		}
	}
}

func (r *rig) view(fn func(*fsm.View)) {
	r.t.Helper()
	if err := r.group.View(func(v *fsm.View) error { fn(v); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) gossip() []NodeInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]NodeInfo(nil), r.nodes...)
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clock
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = r.clock.Add(d)
}

func (r *rig) kill(node int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[node].Alive = false
}

// image registers an image of 2 GiB of alice's and answers its id.
func (r *rig) image() string {
	r.t.Helper()
	const ami, snap, vol = "ami-0123456789abcdef0", "snap-0123456789abcdef0", "vol-0123456789abcdef0"
	r.must(
		&fsm.CreateVolume{Volume: fsm.Volume{ID: vol, Account: aliceID, Zone: "us-test-1a", Size: 2, Type: "gp3", Lineage: vol, Replicas: []fsm.NodeID{"n-node1"}}},
		&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: snap, Account: aliceID, Volume: vol, Started: 1}},
		&fsm.DeleteVolume{ID: vol, Account: aliceID},
		&fsm.RegisterImage{Image: fsm.Image{
			ID: ami, Account: aliceID, Name: "tiny", Arch: archX86, BootMode: "uefi", RootDevice: "/dev/sda1",
			Mappings: []fsm.BlockMapping{{Device: "/dev/sda1", Snapshot: snap, Size: 2, Type: "gp3", DeleteOnTermination: true}},
		}},
	)
	return ami
}

// observe says what the node of an instance would.
func (r *rig) observe(id, state string) {
	r.t.Helper()
	var i fsm.Instance
	r.view(func(v *fsm.View) { i, _ = fsm.Instances.Get(v, fsm.InstanceID(id)) })
	r.must(&fsm.ObserveInstance{ID: i.ID, Boot: i.Boot, State: state, Accel: "tcg", Now: r.now().UnixMilli()})
}

// run launches n instances of a type and answers their ids.
func (r *rig) run(ami, typ string, n int32) []string {
	r.t.Helper()
	out, err := r.client.RunInstances(r.t.Context(), launchOf(ami, typ, n, n))
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids
}

// wantCode fails unless err has the code of an answer; "" wants no error.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var answer smithy.APIError
	got := ""
	if errors.As(err, &answer) {
		got = answer.ErrorCode()
	}
	if got != code || err != nil && code == "" {
		t.Errorf("answered %v, want code %q", err, code)
	}
}

func str(s string) *string { return aws.String(s) }
