package awsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"hive/awsd/protocol"
	"hive/iam/principal"
	"hive/internal/pagetoken"
	"hive/internal/seal"
)

// Service is one AWS service: its wire format, the operations that have a handler, and what a caller must
// be permitted for a request. A nil Access asks for "service:Operation" on "*".
type Service struct {
	API      *protocol.API
	Handlers protocol.Handlers
	Access   func(c *principal.Caller, op string, input any) []protocol.Access
	// Unsigned are the operations that need no signature: their handlers find out by themselves who asks and whether they may.
	Unsigned []string
}

// Keys knows access keys.
type Keys interface {
	// Lookup returns the secret of an access key id and who it speaks for. token is the request's session token, "" when
	// it has none. Errors: iam.ErrNoSuchKey and iam.ErrInactiveKey, which the client gets as a wrong key, iam.ErrBadToken
	// and iam.ErrExpiredToken; any other is the server's fault.
	Lookup(ctx context.Context, accessKeyID, token string) (secret string, caller principal.Caller, err error)
}

// Authorizer decides whether a caller may do what a request needs.
type Authorizer interface {
	// Authorize returns nil, or a *protocol.Error (AccessDenied, 403).
	Authorize(ctx context.Context, c *principal.Caller, need []protocol.Access) error
}

// Config is what a Server needs. Region, Services, Keys and Authorizer must be given.
type Config struct {
	Region     string
	Services   []Service
	Keys       Keys
	Authorizer Authorizer
	// Pages seals the tokens of pages. Without it they are good at this server alone, while it lives.
	Pages pagetoken.Sealer
	// Limits is how many calls of an operation an account may make a second and at once; a rate of 0 is no limit. Unless
	// given, nothing is limited.
	Limits func(service, op string) (perSecond float64, burst int)
	// Audit is told of every call before it is answered; it may take the time to record it. Unless given, nobody is told.
	Audit func(context.Context, *protocol.Call)
	// Used is told who has proved a request to the service of a signing name. It must be quick.
	Used     func(c *principal.Caller, service string)
	Clock    func() time.Time // time.Now unless given
	Log      *slog.Logger     // access log and faults; slog.DiscardHandler unless given
	Rand     io.Reader        // of request ids; crypto/rand unless given
	Domains  []string         // a host below one of these names an S3 bucket: "s3.localhost"
	Progress time.Duration    // the longest that a client may keep us waiting; a minute unless given
	Drain    time.Duration    // how long Run waits for requests to end; 30 s unless given
}

// setDefaults fills in what was not given.
func (c *Config) setDefaults() {
	if c.Audit == nil {
		c.Audit = func(context.Context, *protocol.Call) {}
	}
	if c.Used == nil {
		c.Used = func(*principal.Caller, string) {}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Pages == nil {
		c.Pages = ownSealer(rand.Reader)
	}
	if c.Progress == 0 {
		c.Progress = time.Minute
	}
	if c.Drain == 0 {
		c.Drain = 30 * time.Second
	}
}

// ownSealer is a sealer under a new key of its own.
func ownSealer(random io.Reader) pagetoken.Sealer {
	key := make([]byte, seal.KeySize)
	_, err := io.ReadFull(random, key)
	box, err2 := seal.New(key, random)
	if err = errors.Join(err, err2); err != nil {
		panic(fmt.Sprintf("awsd: no key for page tokens: %v", err)) // nothing else could be random either
	}
	return box
}
