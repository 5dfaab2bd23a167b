package fsm

import (
	"slices"
	"strings"
)

// Limits of identity providers, as in AWS ("IAM and AWS STS quotas").
const (
	MaxOIDCProviders   = 100 // of an account
	MaxOIDCClients     = 100 // of a provider
	MaxOIDCThumbprints = 5   // of a provider
	maxOIDCText        = 255 // bytes of an URL; AWS's limits of characters are the handlers'
	maxOIDCClient      = 1020
	maxOIDCKeys        = 64 << 10
)

// OIDCProvider is an OpenID Connect identity provider of an account. Its signing keys are recorded by an operator:
// nothing is ever fetched from it.
type OIDCProvider struct {
	Meta
	Account     AccountID `cbor:"1,keyasint"`
	URL         string    `cbor:"2,keyasint"` // without "https://", as in the ARN and in condition keys
	Created     int64     `cbor:"3,keyasint"` // Unix seconds
	Clients     []string  `cbor:"4,keyasint,omitempty"`
	Thumbprints []string  `cbor:"5,keyasint,omitempty"` // in the order given; kept and shown, compared with nothing
	Tags        []Tag     `cbor:"6,keyasint,omitempty"`
	Keys        string    `cbor:"7,keyasint,omitempty"` // JWKS (RFC 7517) of public keys, JSON; empty until an operator recorded them
	KeysAt      int64     `cbor:"8,keyasint,omitempty"` // Unix seconds of that
}

// ARN is arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH.
func (p OIDCProvider) ARN() string { return oidcARN(p.Account) + p.URL }

func oidcARN(account AccountID) string {
	return "arn:aws:iam::" + string(account) + ":oidc-provider/"
}

func (p OIDCProvider) resource() string { return "oidc-provider/" + p.ARN() }

func (p OIDCProvider) valid() bool {
	return p.Account.Valid() && validIAM(p.URL, maxOIDCText) && validTexts(p.Clients, maxOIDCClient) && validTexts(p.Thumbprints, maxIAMName)
}

// validTexts tells whether none of the texts is empty or longer than longest bytes.
func validTexts(texts []string, longest int) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return s == "" || len(s) > longest })
}

// oidcKey is an account, a zero byte and a provider's URL.
type oidcKey string

func keyOfOIDC(account AccountID, url string) oidcKey { return oidcKey(Key(string(account), url)) }

var oidcProviders = Table[oidcKey, OIDCProvider]{
	Name: "iam-oidc-provider", Watch: watchRecord[oidcKey]("OIDC Provider", func(p OIDCProvider) (AccountID, string, string) { return p.Account, p.ARN(), p.URL }),
}

// OIDCProviderByARN is an account's provider of that ARN, with its keys.
func OIDCProviderByARN(v *View, account AccountID, arn string) (OIDCProvider, bool) {
	url, ok := strings.CutPrefix(arn, oidcARN(account))
	if !ok || !validIAM(url, maxOIDCText) {
		return OIDCProvider{}, false
	}
	return oidcProviders.Get(v, keyOfOIDC(account, url))
}

// OIDCProvidersOf are an account's providers in order of URL.
func OIDCProvidersOf(v *View, account AccountID) []OIDCProvider {
	var out []OIDCProvider
	for _, p := range oidcProviders.Scan(v, keyOfOIDC(account, "")) {
		out = append(out, p)
	}
	return out
}

// recordKinds are the commands of what accounts and their users have beside entities and policies.
var recordKinds = []KindEntry{
	{240, Control, func() Command { return new(CreateOIDCProvider) }},
	{241, Control, func() Command { return new(UpdateOIDCProvider) }},
	{242, Control, func() Command { return new(DeleteOIDCProvider) }},
	{243, Control, func() Command { return new(PutProviderKeys) }},
	{244, Control, func() Command { return new(PutLoginProfile) }},
	{245, Control, func() Command { return new(DeleteLoginProfile) }},
	{246, Control, func() Command { return new(SetAccountAlias) }},
	{247, Control, func() Command { return new(SetPasswordPolicy) }},
	{248, Control, func() Command { return new(CreateMFADevice) }},
	{249, Control, func() Command { return new(UpdateMFADevice) }},
	{250, Control, func() Command { return new(DeleteMFADevice) }},
	{251, Control, func() Command { return new(PutJob) }},
	{252, Control, func() Command { return new(CreateCredential) }},
	{253, Control, func() Command { return new(UpdateCredential) }},
	{254, Control, func() Command { return new(DeleteCredential) }},
	{255, Control, func() Command { return new(CreateServerCertificate) }},
	{256, Control, func() Command { return new(UpdateServerCertificate) }},
	{257, Control, func() Command { return new(DeleteServerCertificate) }},
	{258, Control, func() Command { return new(PutSAMLProvider) }},
	{259, Control, func() Command { return new(DeleteSAMLProvider) }},
}

// CreateOIDCProvider makes a provider.
type CreateOIDCProvider struct {
	Provider OIDCProvider `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateOIDCProvider) Kind() Kind { return 240 }

// Check refuses an unknown account (ErrNotFound), a URL that the account has (ErrExists; the resource names it) and
// one provider, client or thumbprint too many (ErrLimit).
func (c *CreateOIDCProvider) Check(v *View) error {
	p := c.Provider
	if !p.valid() || p.Keys != "" {
		return Errorf(ErrInvalid, p.resource())
	}
	if !accounts.Has(v, p.Account) {
		return Errorf(ErrNotFound, "account/"+string(p.Account))
	}
	if oidcProviders.Has(v, keyOfOIDC(p.Account, p.URL)) {
		return Errorf(ErrExists, "oidc-provider/https://"+p.URL)
	}
	if len(OIDCProvidersOf(v, p.Account)) >= MaxOIDCProviders {
		return Errorf(ErrLimit, "quota/OpenIdConnectProvidersPerAccount: %d", MaxOIDCProviders)
	}
	return p.checkLimits()
}

func (p OIDCProvider) checkLimits() error {
	if len(p.Clients) > MaxOIDCClients {
		return Errorf(ErrLimit, "quota/ClientIdsPerOpenIdConnectProvider: %d", MaxOIDCClients)
	}
	if len(p.Thumbprints) > MaxOIDCThumbprints {
		return Errorf(ErrLimit, "quota/ThumbprintsPerOpenIdConnectProvider: %d", MaxOIDCThumbprints)
	}
	return nil
}

// Record writes the provider.
func (c *CreateOIDCProvider) Record(w *Writer) {
	oidcProviders.Put(w, keyOfOIDC(c.Provider.Account, c.Provider.URL), c.Provider)
}

// UpdateOIDCProvider replaces a provider's clients, thumbprints and tags. Provider.Rev is that of the record which the
// decision was made on.
type UpdateOIDCProvider struct {
	Provider OIDCProvider `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateOIDCProvider) Kind() Kind { return 241 }

// Check refuses a provider that is gone (ErrNotFound) or was changed since (ErrConflict), and one client or
// thumbprint too many (ErrLimit).
func (c *UpdateOIDCProvider) Check(v *View) error {
	p := c.Provider
	if !p.valid() {
		return Errorf(ErrInvalid, p.resource())
	}
	have, ok := oidcProviders.Get(v, keyOfOIDC(p.Account, p.URL))
	if !ok {
		return Errorf(ErrNotFound, p.resource())
	}
	if have.Rev != p.Rev {
		return Errorf(ErrConflict, p.resource())
	}
	return p.checkLimits()
}

// Record writes the provider. Its time of creation and keys stay.
func (c *UpdateOIDCProvider) Record(w *Writer) {
	key := keyOfOIDC(c.Provider.Account, c.Provider.URL)
	have, _ := oidcProviders.Get(&w.View, key)
	have.Clients, have.Thumbprints, have.Tags = c.Provider.Clients, c.Provider.Thumbprints, c.Provider.Tags
	oidcProviders.Put(w, key, have)
}

// DeleteOIDCProvider removes a provider with its keys.
type DeleteOIDCProvider struct {
	Account AccountID `cbor:"1,keyasint"`
	URL     string    `cbor:"2,keyasint"` // without "https://"
}

// Kind is the command's number in the log.
func (c *DeleteOIDCProvider) Kind() Kind { return 242 }

// Check refuses a provider that is not there (ErrNotFound).
func (c *DeleteOIDCProvider) Check(v *View) error { return checkOIDC(v, c.Account, c.URL) }

func checkOIDC(v *View, account AccountID, url string) error {
	if p := (OIDCProvider{Account: account, URL: url}); !p.valid() || !oidcProviders.Has(v, keyOfOIDC(account, url)) {
		return Errorf(ErrNotFound, p.resource())
	}
	return nil
}

// Record removes the provider.
func (c *DeleteOIDCProvider) Record(w *Writer) { oidcProviders.Delete(w, keyOfOIDC(c.Account, c.URL)) }

// PutProviderKeys records the keys that a provider's tokens are proved with, over those that were there. Without keys
// no token of it is believed.
type PutProviderKeys struct {
	Account AccountID `cbor:"1,keyasint"`
	URL     string    `cbor:"2,keyasint"`           // without "https://"
	Keys    string    `cbor:"3,keyasint,omitempty"` // JWKS of public keys, JSON
	At      int64     `cbor:"4,keyasint"`           // Unix seconds
}

// Kind is the command's number in the log.
func (c *PutProviderKeys) Kind() Kind { return 243 }

// Check refuses a provider that is not there (ErrNotFound) and keys longer than 64 KiB (ErrLimit).
func (c *PutProviderKeys) Check(v *View) error {
	if len(c.Keys) > maxOIDCKeys {
		return Errorf(ErrLimit, "quota/ProviderKeysSize: %d", maxOIDCKeys)
	}
	return checkOIDC(v, c.Account, c.URL)
}

// Record writes the keys.
func (c *PutProviderKeys) Record(w *Writer) {
	key := keyOfOIDC(c.Account, c.URL)
	p, _ := oidcProviders.Get(&w.View, key)
	p.Keys, p.KeysAt = c.Keys, c.At
	oidcProviders.Put(w, key, p)
}
