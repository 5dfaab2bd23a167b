// Package principal names who sent a request. It is a leaf: it decides nothing, looks nothing up and
// imports nothing of Hive, so that every room may speak of a caller without knowing how one is proved.
package principal

import "time"

// Caller is who sent a request and how, established by awsd before any handler runs.
type Caller struct {
	Account   string // 12 digits; "" when anonymous
	ARN       string // arn:aws:iam::123456789012:user/x, …:root, arn:aws:sts::…:assumed-role/ROLE/SESSION, …:federated-user/NAME
	UserID    string // AIDA…; the account id for root; AROA…:SESSION of a role's session; ACCOUNT:NAME of a federated user
	UserName  string // of an IAM user, also in its sessions; "" for others
	AccessKey string // AKIA… or ASIA…
	Root      bool   // the root user, also in its sessions
	Anonymous bool
	SourceIP  string
	Secure    bool
	TLS       string // version of the connection, "1.3"; "" when it is plain
	UserAgent string
	Referer   string
	Signing   Signing
	RequestID string
	Region    string
	Session   *Session // of temporary credentials; nil for long-term keys
}

// Signing is how a request is signed.
type Signing struct {
	Place   string    // "REST-HEADER" or "REST-QUERY-STRING"; "" when it is not signed
	Version string    // "AWS4-HMAC-SHA256", or "AWS" for Signature Version 2
	Time    time.Time // when it was signed; zero when it does not tell
	Payload string    // its X-Amz-Content-Sha256: a hash, "UNSIGNED-PAYLOAD", "STREAMING-…"; "" when it has none
}

// SessionKind is whose temporary credentials they are.
type SessionKind string

// Kinds of session.
const (
	RoleSession      SessionKind = "role"      // AssumeRole…, instance profiles
	UserSession      SessionKind = "user"      // GetSessionToken, of a user or the root user
	FederatedSession SessionKind = "federated" // GetFederationToken
)

// Session is what temporary credentials say of their holder, as it was when they were issued.
type Session struct {
	Kind           SessionKind
	Name           string    // RoleSessionName, or the federated user's name; "" of a UserSession
	Issuer         string    // id of the entity that it stands on: AROA… of the role, AIDA… of the user, "" of the root user
	IssuerARN      string    // of the role or user: what aws:PrincipalArn and policies call it
	Issued         time.Time // aws:TokenIssueTime
	Expires        time.Time
	MFA            time.Time // when a second factor was proved; zero: it was not
	Restricted     bool      // Policies and PolicyARNs narrow what it may, also when both are empty
	Policies       []string  // documents of session policies, JSON
	PolicyARNs     []string  // managed policies as session policies
	Tags           []Tag     // session tags: aws:PrincipalTag, over the entity's own
	Transitive     []string  // keys of Tags that chained roles keep
	SourceIdentity string    // aws:SourceIdentity
	Provider       string    // ARN of the OIDC provider of AssumeRoleWithWebIdentity: aws:FederatedProvider
	Claims         []Tag     // condition keys that the identity token gave, in lower case: "issuer.example:aud"
	Instance       string    // i-… when an instance profile delivered them: ec2:SourceInstanceARN
}

// Tag is a key and a value.
type Tag struct{ Key, Value string }
