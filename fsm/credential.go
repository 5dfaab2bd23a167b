package fsm

// CredentialType is what a user proves itself with beside access keys and its password.
type CredentialType string

// Types of credentials. Their names are those of refusals' resources.
const (
	SSHPublicKey       CredentialType = "ssh-public-key"
	SigningCertificate CredentialType = "signing-certificate"
	ServiceSpecific    CredentialType = "service-specific-credential"
)

// Limits of credentials per user, as in AWS.
const (
	MaxSSHKeysPerUser              = 5
	MaxSigningCertificatesPerUser  = 2
	MaxServiceSpecificCredsPerUser = 2 // and service
	maxCredentialBody              = 32 << 10
)

// UserCredential is a credential of a user that Hive keeps and shows; no service of it takes one as proof.
type UserCredential struct {
	Meta
	Account     AccountID      `cbor:"1,keyasint"`
	User        EntityID       `cbor:"2,keyasint"`
	Type        CredentialType `cbor:"3,keyasint"`
	ID          string         `cbor:"4,keyasint"` // "APKA…" of an SSH key, 24 characters and more of a certificate, "ACCA…" of a service's
	Created     int64          `cbor:"5,keyasint"` // Unix seconds
	Inactive    bool           `cbor:"6,keyasint,omitempty"`
	Body        string         `cbor:"7,keyasint,omitempty"`  // the public key as it was given, the certificate's PEM, or the service's name
	Fingerprint string         `cbor:"8,keyasint,omitempty"`  // of an SSH key: MD5, pairs of digits; else SHA-256 of the certificate
	Name        string         `cbor:"9,keyasint,omitempty"`  // the user name at the service
	Secret      []byte         `cbor:"10,keyasint,omitempty"` // the password at the service: sealed for SealContext
	Expires     int64          `cbor:"11,keyasint,omitempty"` // Unix seconds; 0: never
}

// SealContext is what the secret is sealed for.
func (c UserCredential) SealContext() string { return string(c.Type) + "/" + c.ID }

func (c UserCredential) resource() string { return string(c.Type) + "/" + c.ID }

func (c UserCredential) valid() bool {
	known := c.Type == SSHPublicKey || c.Type == SigningCertificate || c.Type == ServiceSpecific
	return known && validIAM(c.ID, maxIAMName) && c.Body != "" && len(c.Body) <= maxCredentialBody
}

func (c UserCredential) key() userPartKey {
	return keyOfUserPart(c.Account, c.User, string(c.Type), c.ID)
}

var userCredentials = Table[userPartKey, UserCredential]{
	Name: "iam-credential", Watch: watchOwned[userPartKey]("Credential", func(c UserCredential) (AccountID, EntityID, string) { return c.Account, c.User, c.ID }),
}

// CredentialOf is a user's credential.
func CredentialOf(v *View, account AccountID, user EntityID, kind CredentialType, id string) (UserCredential, bool) {
	return userCredentials.Get(v, keyOfUserPart(account, user, string(kind), id))
}

// CredentialsOf are a user's credentials in order of type and id.
func CredentialsOf(v *View, account AccountID, user EntityID) []UserCredential {
	var out []UserCredential
	for _, c := range userCredentials.Scan(v, keyOfUserPart(account, user, "")) {
		out = append(out, c)
	}
	return out
}

// CreateCredential gives a user a credential.
type CreateCredential struct {
	Credential UserCredential `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateCredential) Kind() Kind { return 252 }

// Check refuses a user that is not there (ErrNotFound), an id or a body that the user has (ErrExists) and one too many
// (ErrLimit).
func (c *CreateCredential) Check(v *View) error {
	n := c.Credential
	if !n.valid() {
		return Errorf(ErrInvalid, n.resource())
	}
	if _, ok := UserByID(v, n.Account, n.User); !ok {
		return Errorf(ErrNotFound, "user/"+string(n.User))
	}
	count := 0
	for _, have := range CredentialsOf(v, n.Account, n.User) {
		if have.Type != n.Type || n.Type == ServiceSpecific && have.Body != n.Body {
			continue
		}
		if have.ID == n.ID || n.Type != ServiceSpecific && have.Fingerprint == n.Fingerprint {
			return Errorf(ErrExists, n.resource())
		}
		count++
	}
	name, most := n.limit()
	if count >= most {
		return Errorf(ErrLimit, "quota/%s: %d", name, most)
	}
	return nil
}

func (c UserCredential) limit() (name string, most int) {
	switch c.Type {
	case SSHPublicKey:
		return "SSHPublicKeysPerUser", MaxSSHKeysPerUser
	case SigningCertificate:
		return "CertificatesPerUser", MaxSigningCertificatesPerUser
	default:
		return "ServiceSpecificCredentialsPerUser", MaxServiceSpecificCredsPerUser
	}
}

// Record writes the credential.
func (c *CreateCredential) Record(w *Writer) {
	userCredentials.Put(w, c.Credential.key(), c.Credential)
}

// UpdateCredential switches a user's credential on or off, or gives it another secret.
type UpdateCredential struct {
	Account  AccountID      `cbor:"1,keyasint"`
	User     EntityID       `cbor:"2,keyasint"`
	Type     CredentialType `cbor:"3,keyasint"`
	ID       string         `cbor:"4,keyasint"`
	Inactive bool           `cbor:"5,keyasint,omitempty"`
	Secret   []byte         `cbor:"6,keyasint,omitempty"` // empty: it stays as it is, and Inactive is recorded; else only this is
}

// Kind is the command's number in the log.
func (c *UpdateCredential) Kind() Kind { return 253 }

// Check refuses a credential that the user does not have (ErrNotFound).
func (c *UpdateCredential) Check(v *View) error {
	return checkCredential(v, UserCredential{Account: c.Account, User: c.User, Type: c.Type, ID: c.ID})
}

func checkCredential(v *View, c UserCredential) error {
	if !userCredentials.Has(v, c.key()) {
		return Errorf(ErrNotFound, c.resource())
	}
	return nil
}

// Record writes the credential.
func (c *UpdateCredential) Record(w *Writer) {
	have, _ := CredentialOf(&w.View, c.Account, c.User, c.Type, c.ID)
	if len(c.Secret) > 0 {
		have.Secret = c.Secret
	} else {
		have.Inactive = c.Inactive
	}
	userCredentials.Put(w, have.key(), have)
}

// DeleteCredential takes a credential from a user.
type DeleteCredential struct {
	Account AccountID      `cbor:"1,keyasint"`
	User    EntityID       `cbor:"2,keyasint"`
	Type    CredentialType `cbor:"3,keyasint"`
	ID      string         `cbor:"4,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteCredential) Kind() Kind { return 254 }

// Check refuses a credential that the user does not have (ErrNotFound).
func (c *DeleteCredential) Check(v *View) error {
	return checkCredential(v, UserCredential{Account: c.Account, User: c.User, Type: c.Type, ID: c.ID})
}

// Record removes the credential.
func (c *DeleteCredential) Record(w *Writer) {
	userCredentials.Delete(w, keyOfUserPart(c.Account, c.User, string(c.Type), c.ID))
}
