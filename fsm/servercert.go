package fsm

import (
	"slices"
	"strings"
)

// MaxServerCertificates is AWS's default quota of server certificates of an account.
const MaxServerCertificates = 20

// maxCertificateText bounds a certificate, its chain and its sealed key together.
const maxCertificateText = 2<<20 + 64<<10

// ServerCertificate is a certificate with its private key that an account keeps in IAM. Nothing of Hive serves it yet.
type ServerCertificate struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`           // ASCA…
	Name    string    `cbor:"3,keyasint"`           // in the case it was given; one per account whatever its case
	Path    string    `cbor:"4,keyasint"`           // begins and ends with a slash
	Created int64     `cbor:"5,keyasint"`           // Unix seconds
	Expires int64     `cbor:"6,keyasint"`           // Unix seconds
	Body    string    `cbor:"7,keyasint"`           // PEM
	Chain   string    `cbor:"8,keyasint,omitempty"` // PEM
	Key     []byte    `cbor:"9,keyasint"`           // PEM, sealed for SealContext
	Tags    []Tag     `cbor:"10,keyasint,omitempty"`
}

// ARN is arn:aws:iam::ACCOUNT:server-certificate/PATH/NAME.
func (c ServerCertificate) ARN() string {
	return "arn:aws:iam::" + string(c.Account) + ":server-certificate" + c.Path + c.Name
}

// SealContext is what the private key is sealed for.
func (c ServerCertificate) SealContext() string { return "server-certificate/" + string(c.ID) }

func (c ServerCertificate) resource() string { return "server-certificate/" + c.Name }

func (c ServerCertificate) valid() bool {
	return c.Account.Valid() && validIAM(string(c.ID), maxIAMName) && validIAM(c.Name, maxIAMName) && validIAM(c.Path, maxIAMPath) &&
		strings.HasPrefix(c.Path, "/") && strings.HasSuffix(c.Path, "/") && c.Body != "" && len(c.Key) > 0 &&
		len(c.Body)+len(c.Chain)+len(c.Key) <= maxCertificateText
}

// certNameKey is an account, a zero byte and a certificate's name in lower case.
type certNameKey string

func keyOfCert(account AccountID, name string) certNameKey {
	return certNameKey(Key(string(account), strings.ToLower(name)))
}

var serverCertificates = Table[certNameKey, ServerCertificate]{
	Name:  "iam-server-certificate",
	Watch: watchRecord[certNameKey]("Server Certificate", func(c ServerCertificate) (AccountID, string, string) { return c.Account, c.ARN(), string(c.ID) }),
}

// ServerCertificateByName is a server certificate of an account, by its name in any case.
func ServerCertificateByName(v *View, account AccountID, name string) (ServerCertificate, bool) {
	return serverCertificates.Get(v, keyOfCert(account, name))
}

// ServerCertificatesOf are an account's server certificates in order of name (in lower case).
func ServerCertificatesOf(v *View, account AccountID) []ServerCertificate {
	var out []ServerCertificate
	for _, c := range serverCertificates.Scan(v, keyOfCert(account, "")) {
		out = append(out, c)
	}
	return out
}

// CreateServerCertificate keeps a certificate.
type CreateServerCertificate struct {
	Certificate ServerCertificate `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateServerCertificate) Kind() Kind { return 255 }

// Check refuses an unknown account (ErrNotFound), a name that is taken (ErrExists) and one certificate too many (ErrLimit).
func (c *CreateServerCertificate) Check(v *View) error {
	n := c.Certificate
	if !n.valid() {
		return Errorf(ErrInvalid, n.resource())
	}
	if !accounts.Has(v, n.Account) {
		return Errorf(ErrNotFound, "account/"+string(n.Account))
	}
	if serverCertificates.Has(v, keyOfCert(n.Account, n.Name)) {
		return Errorf(ErrExists, n.resource())
	}
	if len(ServerCertificatesOf(v, n.Account)) >= MaxServerCertificates {
		return Errorf(ErrLimit, "quota/ServerCertificatesPerAccount: %d", MaxServerCertificates)
	}
	return nil
}

// Record writes the certificate.
func (c *CreateServerCertificate) Record(w *Writer) {
	serverCertificates.Put(w, keyOfCert(c.Certificate.Account, c.Certificate.Name), c.Certificate)
}

// UpdateServerCertificate changes a certificate's name, path and tags.
type UpdateServerCertificate struct {
	Account AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"` // as it is now
	Rev     uint64    `cbor:"3,keyasint"` // of the record that the decision was made on
	NewName string    `cbor:"4,keyasint"`
	NewPath string    `cbor:"5,keyasint"`
	Tags    []Tag     `cbor:"6,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *UpdateServerCertificate) Kind() Kind { return 256 }

// Check refuses a certificate that is gone (ErrNotFound) or was changed since (ErrConflict), and a name that another has
// (ErrExists).
func (c *UpdateServerCertificate) Check(v *View) error {
	have, ok := ServerCertificateByName(v, c.Account, c.Name)
	if !ok {
		return Errorf(ErrNotFound, "server-certificate/"+c.Name)
	}
	if have.Rev != c.Rev {
		return Errorf(ErrConflict, have.resource())
	}
	have.Name, have.Path = c.NewName, c.NewPath
	if !have.valid() {
		return Errorf(ErrInvalid, have.resource())
	}
	if other, taken := ServerCertificateByName(v, c.Account, c.NewName); taken && other.ID != have.ID {
		return Errorf(ErrExists, other.resource())
	}
	return nil
}

// Record writes the certificate.
func (c *UpdateServerCertificate) Record(w *Writer) {
	have, _ := ServerCertificateByName(&w.View, c.Account, c.Name)
	serverCertificates.Delete(w, keyOfCert(c.Account, c.Name))
	have.Name, have.Path, have.Tags = c.NewName, c.NewPath, slices.Clone(c.Tags)
	serverCertificates.Put(w, keyOfCert(c.Account, c.NewName), have)
}

// DeleteServerCertificate removes a certificate with its key.
type DeleteServerCertificate struct {
	Account AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteServerCertificate) Kind() Kind { return 257 }

// Check refuses a certificate that is not there (ErrNotFound).
func (c *DeleteServerCertificate) Check(v *View) error {
	if !validIAM(c.Name, maxIAMName) || !serverCertificates.Has(v, keyOfCert(c.Account, c.Name)) {
		return Errorf(ErrNotFound, "server-certificate/"+c.Name)
	}
	return nil
}

// Record removes the certificate.
func (c *DeleteServerCertificate) Record(w *Writer) {
	serverCertificates.Delete(w, keyOfCert(c.Account, c.Name))
}
