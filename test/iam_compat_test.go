package test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/internal/admin"
	"hive/test/compat"
	"hive/test/rig"
)

// between is clients that hold on while a node is being killed: each call goes to nodes that serve, a scenario to all of them.
type between struct {
	cluster *rig.Cluster
	turn    atomic.Int64
	made    atomic.Int64 // accounts

	mu    sync.RWMutex // guards nodes; held for reading during a call
	nodes []*rig.Node
}

// client is one of the clients, with the endpoint chosen when its call may begin.
type client struct {
	*between
	inner compat.Client
}

// Do sends a call to the next node.
func (c client) Do(ctx context.Context, call compat.Call) (map[string]any, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	call.Endpoint = c.next().Endpoint()
	return c.inner.Do(ctx, call)
}

func (b *between) next() *rig.Node { return b.nodes[int(b.turn.Add(1))%len(b.nodes)] }

// admin asks the next node what only its operator can.
func (b *between) admin(ctx context.Context, method, path string, in, out any) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.next().Admin().Do(ctx, method, path, in, out)
}

func (b *between) account(ctx context.Context) (compat.Account, error) {
	var key admin.RootKey
	err := b.admin(ctx, http.MethodPost, "/v1/accounts", admin.NewAccount{Name: fmt.Sprintf("scenario-%d", b.made.Add(1))}, &key)
	return compat.Account{ID: string(key.AccountID), Root: compat.Credentials{ID: key.AccessKey, Secret: key.Secret}}, err
}

func (b *between) oidcKeys(ctx context.Context, account, url string, jwks []byte) error {
	return b.admin(ctx, http.MethodPut, "/v1/accounts/"+account+"/oidc-keys", admin.ProviderKeys{Provider: url, JWKS: string(jwks)}, nil)
}

// killLeading ends the node that leads the control group, between calls, and goes on with the others.
func (b *between) killLeading(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	leader, err := b.cluster.Leader(ctx, "control")
	if err != nil {
		return err
	}
	if err := leader.Kill(); err != nil {
		return err
	}
	if _, err := b.cluster.Leader(ctx, "control"); err != nil {
		return err
	}
	var left []*rig.Node
	for _, n := range b.nodes {
		if n != leader {
			left = append(left, n)
		}
	}
	b.nodes = left
	return nil
}

// work is one scenario through one client.
type work struct {
	name     string
	client   compat.Client
	scenario compat.Scenario
}

// byTheCLI are the scenarios that the aws CLI runs too: it takes most of a second for a call.
var byTheCLI = map[string]bool{"aws_iam_role_policy_attachment": true, "aws_iam_instance_profile": true, "aws_iam_openid_connect_provider": true}

// scenariosGoOn runs the scenarios of IAM and STS by boto3, the Go SDK and the aws CLI over all three nodes, a call to each in
// turn. In the middle the leader is killed: what has begun goes on with the other two, and what follows succeeds.
func scenariosGoOn(t *testing.T, c *rig.Cluster) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	boto, err := compat.NewBoto()
	must(t, err)
	t.Cleanup(func() {
		if err := boto.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &between{cluster: c, nodes: c.Nodes}
	world := &compat.World{Region: rig.Region, Account: b.account, Clock: time.Now, Endpoint: func() string { return "" }, Provider: key, OIDCKeys: b.oidcKeys}
	all := b.share(t, boto)
	queue := make(chan work, len(all)) // the kill, too, is in it: between the calls of whoever takes it
	for _, w := range all {
		queue <- w
	}
	close(queue)
	var begun atomic.Int64
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for w := range queue {
				if begun.Add(1) == int64(len(all)/2) {
					if err := b.killLeading(t.Context()); err != nil {
						return err
					}
				}
				if err := compat.Run(t.Context(), world, w.client, &w.scenario); err != nil {
					t.Errorf("%q by %s: %v", w.scenario.Title, w.name, err)
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	must(t, c.StartAll(soon(t)))
	t.Logf("%d scenarios, %d accounts", len(all), b.made.Load())
}

// share gives each scenario to a client: Terraform's to both, some of them to the CLI too.
func (b *between) share(t *testing.T, boto *compat.Boto) []work {
	t.Helper()
	scenarios, err := compat.All()
	must(t, err)
	sdk := client{b, &compat.SDK{HTTP: http.DefaultClient, Clock: time.Now}}
	python := client{b, boto}
	var all []work
	clis := 0
	for i, s := range scenarios {
		if s.NeedsClock() || s.NeedsForms() || s.Large() {
			continue // they run in test/compat
		}
		both, known := s.File == "terraform", s.Knows(boto.Knows)
		if known && (both || i%2 == 0) {
			all = append(all, work{"boto3", python, s})
		}
		if !known || both || i%2 == 1 {
			all = append(all, work{"the Go SDK", sdk, s})
		}
		if byTheCLI[s.Title] {
			all = append(all, work{"the aws CLI", client{b, compat.CLI{}}, s})
			clis++
		}
	}
	if clis != len(byTheCLI) {
		t.Errorf("%d scenarios for the CLI, want %d", clis, len(byTheCLI))
	}
	return all
}

// denialsAreDecoded: what EC2 says to a user without permission is opened by STS, for the same account only.
func denialsAreDecoded(t *testing.T, c *rig.Cluster) {
	k, n := root(c), c.Nodes
	made := user(t, n[0], k, "curious")
	out, err := tryAWS(t, n[1], made, "ec2", "describe-vpcs")
	refused(t, out, err, "UnauthorizedOperation", "Encoded authorization failure message:")
	_, message, _ := strings.Cut(out, "Encoded authorization failure message: ")
	message, _, _ = strings.Cut(message, " ")
	message = strings.TrimSpace(message)
	text := awsCLI(t, n[2], k, "sts", "decode-authorization-message", "--encoded-message", message, "--query", "DecodedMessage", "--output", "text")
	var decoded struct {
		Allowed      bool
		ExplicitDeny bool
		Context      struct {
			Principal struct{ Arn string }
			Action    string
		}
	}
	must(t, json.Unmarshal([]byte(text), &decoded))
	if decoded.Allowed || decoded.ExplicitDeny || decoded.Context.Action != "ec2:DescribeVpcs" || !strings.HasSuffix(decoded.Context.Principal.Arn, ":user/curious") {
		t.Errorf("decoded: %s", text)
	}
	_, stranger := tenant(t, n[0], "stranger")
	out, err = tryAWS(t, n[0], stranger, "sts", "decode-authorization-message", "--encoded-message", message)
	refused(t, out, err, "InvalidAuthorizationMessageException")
}
