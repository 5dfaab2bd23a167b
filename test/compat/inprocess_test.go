package compat

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"hive/awsd"
	"hive/awsd/iamapi"
	"hive/awsd/stsapi"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/internal/fsmtest"
	"hive/internal/seal"
)

const region = "ap-southeast-2"

// inProcess is a world of one front door over a group without Raft, with a clock that only goes on when it is told to.
type inProcess struct {
	*World
	t     *testing.T
	group *fsmtest.Group
	box   *seal.Box
	users *iam.Service

	mu  sync.Mutex // guards now
	now time.Time
}

func newInProcess(t *testing.T, provider *rsa.PrivateKey, now time.Time) *inProcess {
	t.Helper()
	p := &inProcess{t: t, group: fsmtest.New(t, fsm.Control), now: now}
	var err error
	if p.box, err = seal.New(bytes.Repeat([]byte{7}, seal.KeySize), rand.Reader); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p.front())
	t.Cleanup(server.Close)
	p.World = &World{
		Region: region, Clock: p.clock, Advance: p.advance, Endpoint: func() string { return server.URL }, Provider: provider,
		Account: p.account, OIDCKeys: p.oidcKeys,
	}
	return p
}

func (p *inProcess) front() http.Handler {
	log := slog.New(slog.DiscardHandler)
	p.users = iam.New(iam.Config{Group: p.group, Sealer: p.box, Clock: p.clock, Rand: rand.Reader, Log: log})
	authorizer := iam.NewAuthorizer(p.group, p.box, p.clock)
	tokens := iam.NewSTS(iam.STSConfig{Group: p.group, Sealer: p.box, Authorizer: authorizer, MFA: p.users.VerifyMFA, Clock: p.clock, Rand: rand.Reader, Log: log})
	needs := actions.New(region, p.group.View)
	return awsd.New(awsd.Config{
		Region: region, Keys: iam.NewKeys(p.group, p.box, p.clock), Authorizer: authorizer, Clock: p.clock, Log: log, Pages: p.box,
		Services: []awsd.Service{
			{API: iamapi.API(), Handlers: iamapi.Bind(p.users), Access: needs.Access("iam")},
			{API: stsapi.API(), Handlers: stsapi.Bind(tokens), Access: needs.Access("sts"), Unsigned: iam.UnsignedSTS()},
		},
	})
}

// oidcKeys is what an operator does who knows a provider's keys.
func (p *inProcess) oidcKeys(ctx context.Context, account, url string, jwks []byte) error {
	_, err := p.users.RecordProviderKeys(ctx, fsm.AccountID(account), url, jwks)
	return err
}

func (p *inProcess) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *inProcess) advance(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func (p *inProcess) account(ctx context.Context) (Account, error) {
	made, err := iam.Bootstrap(iam.BootstrapOptions{Sealer: p.box, Now: p.clock(), Rand: rand.Reader})
	if err != nil {
		return Account{}, err
	}
	for _, cmd := range made.Commands {
		if err := p.group.Propose(ctx, cmd); err != nil {
			return Account{}, err
		}
	}
	return Account{string(made.AccountID), Credentials{ID: made.AccessKeyID, Secret: made.SecretAccessKey}}, nil
}
