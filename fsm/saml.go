package fsm

import "strings"

// AWS's quotas of SAML providers of an account, and of a provider's private keys.
const (
	MaxSAMLProviders = 100
	MaxSAMLKeys      = 2
)

// maxSAMLMetadata is less than AWS takes (10,000,000 characters): a record goes through the log of every node.
const maxSAMLMetadata = 2 << 20

// SAMLProvider is a SAML identity provider of an account.
type SAMLProvider struct {
	Meta
	Account    AccountID `cbor:"1,keyasint"`
	Name       string    `cbor:"2,keyasint"`
	Created    int64     `cbor:"3,keyasint"`           // Unix seconds
	ValidUntil int64     `cbor:"4,keyasint"`           // Unix seconds, of its metadata
	Metadata   string    `cbor:"5,keyasint"`           // XML, as it was given
	UUID       string    `cbor:"6,keyasint"`           // what AWS calls the provider's unique identifier
	Encryption string    `cbor:"7,keyasint,omitempty"` // "Required" or "Allowed": assertions' encryption
	Keys       []SAMLKey `cbor:"8,keyasint,omitempty"` // to decrypt assertions with, the newest first
	Tags       []Tag     `cbor:"9,keyasint,omitempty"`
}

// SAMLKey is a private key of a SAML provider.
type SAMLKey struct {
	ID     string `cbor:"1,keyasint"`
	Added  int64  `cbor:"2,keyasint"` // Unix seconds
	Secret []byte `cbor:"3,keyasint"` // PEM, sealed for "saml-key/" and the id
}

// SealContext is what a key is sealed for.
func (k SAMLKey) SealContext() string { return "saml-key/" + k.ID }

// ARN is arn:aws:iam::ACCOUNT:saml-provider/NAME.
func (p SAMLProvider) ARN() string { return samlPrefix(p.Account) + p.Name }

func samlPrefix(account AccountID) string {
	return "arn:aws:iam::" + string(account) + ":saml-provider/"
}

func (p SAMLProvider) resource() string { return "saml-provider/" + p.ARN() }

// samlKey is an account, a zero byte and a provider's name.
type samlKey string

func keyOfSAML(account AccountID, name string) samlKey { return samlKey(Key(string(account), name)) }

var samlProviders = Table[samlKey, SAMLProvider]{
	Name: "iam-saml-provider", Watch: watchRecord[samlKey]("SAML Provider", func(p SAMLProvider) (AccountID, string, string) { return p.Account, p.ARN(), p.UUID }),
}

// SAMLProviderByARN is an account's provider of that ARN.
func SAMLProviderByARN(v *View, account AccountID, arn string) (SAMLProvider, bool) {
	name, ok := strings.CutPrefix(arn, samlPrefix(account))
	if !ok || !validIAM(name, maxIAMName) {
		return SAMLProvider{}, false
	}
	return samlProviders.Get(v, keyOfSAML(account, name))
}

// SAMLProvidersOf are an account's providers in order of name.
func SAMLProvidersOf(v *View, account AccountID) []SAMLProvider {
	var out []SAMLProvider
	for _, p := range samlProviders.Scan(v, keyOfSAML(account, "")) {
		out = append(out, p)
	}
	return out
}

// PutSAMLProvider makes a provider, or replaces one. Then Provider.Rev is that of the record which the decision was made on.
type PutSAMLProvider struct {
	Provider SAMLProvider `cbor:"1,keyasint"`
	Make     bool         `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *PutSAMLProvider) Kind() Kind { return 258 }

// Check refuses an unknown account (ErrNotFound), to make one that is there (ErrExists), to replace one that is not
// (ErrNotFound) or was changed since (ErrConflict), and one provider too many (ErrLimit).
func (c *PutSAMLProvider) Check(v *View) error {
	p := c.Provider
	if !p.Account.Valid() || !validIAM(p.Name, maxIAMName) || p.Metadata == "" {
		return Errorf(ErrInvalid, p.resource())
	}
	if len(p.Metadata) > maxSAMLMetadata {
		return Errorf(ErrLimit, "quota/SAMLMetadataSize: %d", maxSAMLMetadata)
	}
	if len(p.Keys) > MaxSAMLKeys {
		return Errorf(ErrLimit, "quota/PrivateKeysPerSAMLProvider: %d", MaxSAMLKeys)
	}
	if !accounts.Has(v, p.Account) {
		return Errorf(ErrNotFound, "account/"+string(p.Account))
	}
	have, ok := samlProviders.Get(v, keyOfSAML(p.Account, p.Name))
	if err := checkPut(c.Make, ok, have.Rev, p.Rev, p.resource()); err != nil {
		return err
	}
	if c.Make && len(SAMLProvidersOf(v, p.Account)) >= MaxSAMLProviders {
		return Errorf(ErrLimit, "quota/SAMLProvidersPerAccount: %d", MaxSAMLProviders)
	}
	return nil
}

// Record writes the provider.
func (c *PutSAMLProvider) Record(w *Writer) {
	samlProviders.Put(w, keyOfSAML(c.Provider.Account, c.Provider.Name), c.Provider)
}

// DeleteSAMLProvider removes a provider.
type DeleteSAMLProvider struct {
	Account AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteSAMLProvider) Kind() Kind { return 259 }

// Check refuses a provider that is not there (ErrNotFound).
func (c *DeleteSAMLProvider) Check(v *View) error {
	if p := (SAMLProvider{Account: c.Account, Name: c.Name}); !validIAM(c.Name, maxIAMName) || !samlProviders.Has(v, keyOfSAML(c.Account, c.Name)) {
		return Errorf(ErrNotFound, p.resource())
	}
	return nil
}

// Record removes the provider.
func (c *DeleteSAMLProvider) Record(w *Writer) { samlProviders.Delete(w, keyOfSAML(c.Account, c.Name)) }
