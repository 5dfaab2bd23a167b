package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
)

func oidc(a fsm.AccountID, url string) fsm.OIDCProvider {
	return fsm.OIDCProvider{Account: a, URL: url, Created: 1, Clients: []string{"c"}}
}

func (g iamGroup) oidc(a fsm.AccountID, arn string) (p fsm.OIDCProvider, ok bool) {
	g.t.Helper()
	g.view(func(v *fsm.View) { p, ok = fsm.OIDCProviderByARN(v, a, arn) })
	return p, ok
}

func TestOIDCProviderIsItsAccountsAndFoundByARN(t *testing.T) {
	g := newIAM(t)
	g.must(&fsm.CreateOIDCProvider{Provider: oidc(accountA, "id.example.com/t")})
	g.must(&fsm.CreateOIDCProvider{Provider: oidc(accountB, "id.example.com/t")})
	g.refused(&fsm.CreateOIDCProvider{Provider: oidc(accountA, "id.example.com/t")}, fsm.ErrExists)
	g.refused(&fsm.CreateOIDCProvider{Provider: oidc("999999999999", "id.example.com")}, fsm.ErrNotFound)
	const arn = "arn:aws:iam::111111111111:oidc-provider/id.example.com/t"
	if p, ok := g.oidc(accountA, arn); !ok || p.ARN() != arn || p.Account != accountA {
		t.Errorf("%+v, %v", p, ok)
	}
	for _, c := range []struct {
		a   fsm.AccountID
		arn string
	}{{accountB, arn}, {accountA, "arn:aws:iam::111111111111:oidc-provider/"}, {accountA, arn + "\x00"}, {accountA, arn + "/"}, {accountA, ""}} {
		if p, ok := g.oidc(c.a, c.arn); ok {
			t.Errorf("%s has %q: %+v", c.a, c.arn, p)
		}
	}
	g.must(&fsm.DeleteOIDCProvider{Account: accountA, URL: "id.example.com/t"})
	g.refused(&fsm.DeleteOIDCProvider{Account: accountA, URL: "id.example.com/t"}, fsm.ErrNotFound)
	if _, ok := g.oidc(accountB, "arn:aws:iam::222222222222:oidc-provider/id.example.com/t"); !ok {
		t.Error("the other account's provider went too")
	}
}

func TestOIDCProviderChangesOnlyAsItWasRead(t *testing.T) {
	g := newIAM(t)
	const arn = "arn:aws:iam::111111111111:oidc-provider/id.example.com"
	g.must(&fsm.CreateOIDCProvider{Provider: oidc(accountA, "id.example.com")})
	g.must(&fsm.PutProviderKeys{Account: accountA, URL: "id.example.com", Keys: `{"keys":[]}`, At: 7})
	p, _ := g.oidc(accountA, arn)
	p.Clients, p.Thumbprints, p.Tags, p.Created, p.Keys = []string{"d"}, []string{"t"}, []fsm.Tag{{Key: "k"}}, 99, "other"
	g.must(&fsm.UpdateOIDCProvider{Provider: p})
	g.refused(&fsm.UpdateOIDCProvider{Provider: p}, fsm.ErrConflict)
	got, _ := g.oidc(accountA, arn)
	if !slices.Equal(got.Clients, p.Clients) || len(got.Thumbprints) != 1 || len(got.Tags) != 1 || got.Created != 1 || got.Keys != `{"keys":[]}` || got.KeysAt != 7 {
		t.Errorf("%+v", got)
	}
	g.refused(&fsm.UpdateOIDCProvider{Provider: oidc(accountB, "id.example.com")}, fsm.ErrNotFound)
	g.refused(&fsm.PutProviderKeys{Account: accountB, URL: "id.example.com", Keys: "{}"}, fsm.ErrNotFound)
	g.refused(&fsm.PutProviderKeys{Account: accountA, URL: "id.example.com", Keys: strings.Repeat("x", 1<<17)}, fsm.ErrLimit)
}

func TestOIDCProvidersHaveLimits(t *testing.T) {
	g := newIAM(t)
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint(i))
		}
		return out
	}
	for i := range fsm.MaxOIDCProviders {
		g.must(&fsm.CreateOIDCProvider{Provider: oidc(accountA, fmt.Sprint(i, ".example.com"))})
	}
	g.refused(&fsm.CreateOIDCProvider{Provider: oidc(accountA, "more.example.com")}, fsm.ErrLimit)
	p := oidc(accountB, "id.example.com")
	p.Clients = many(fsm.MaxOIDCClients + 1)
	g.refused(&fsm.CreateOIDCProvider{Provider: p}, fsm.ErrLimit)
	p.Clients, p.Thumbprints = many(fsm.MaxOIDCClients), many(fsm.MaxOIDCThumbprints+1)
	g.refused(&fsm.CreateOIDCProvider{Provider: p}, fsm.ErrLimit)
	p.Thumbprints = nil
	g.must(&fsm.CreateOIDCProvider{Provider: p})
	p, _ = g.oidc(accountB, p.ARN())
	p.Clients = append(p.Clients, "more")
	g.refused(&fsm.UpdateOIDCProvider{Provider: p}, fsm.ErrLimit)
}

func TestOIDCProviderThatIsNotWellFormedIsRefused(t *testing.T) {
	g := newIAM(t)
	bad := oidc(accountA, "id.example.com")
	bad.Clients = []string{""}
	keyed := oidc(accountA, "id.example.com")
	keyed.Keys = "{}"
	for _, p := range []fsm.OIDCProvider{oidc("x", "id.example.com"), oidc(accountA, ""), oidc(accountA, "a b"), oidc(accountA, strings.Repeat("x", 256)), bad, keyed} {
		g.refused(&fsm.CreateOIDCProvider{Provider: p}, fsm.ErrInvalid)
	}
	g.refused(&fsm.UpdateOIDCProvider{Provider: bad}, fsm.ErrInvalid)
	if err := g.Failure(); err != nil {
		t.Error(err)
	}
}
