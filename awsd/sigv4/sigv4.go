// Package sigv4 proves who sent a request: it verifies AWS Signature Version 4 (and for S3 also Version 2) in
// the Authorization header and in presigned URLs, and turns the payload, in every form that a client sends it, into a reader that
// fails instead of ending when a signature, a checksum or a length does not hold.
//
// It never decides what a caller may do, keeps no keys (it asks a Lookup for each request), and answers no
// request itself. What the forms mean is told in "AWS Signature Version 4 for API requests" (IAM User
// Guide) and in "Authenticating Requests (AWS Signature Version 4)" (S3 API Reference).
package sigv4

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"hive/iam/principal"
)

// Limits of AWS's.
const (
	MaxSkew    = 15 * time.Minute   // between a request's date and our clock
	MaxExpires = 7 * 24 * 60 * 60   // seconds that a presigned URL may live
	algorithm  = "AWS4-HMAC-SHA256" // the one that we verify
	terminator = "aws4_request"     // the end of every credential scope
	globalHome = "us-east-1"        // where clients sign for IAM and STS, which have one home per partition
	serviceS3  = "s3"               // the one service with its own rules
	serviceEBS = "ebs"              // the EBS direct APIs
	stampForm  = "20060102T150405Z" // of X-Amz-Date
	emptyHash  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	maxForm    = 1 << 20 // bytes of a query service's payload
	lineBuffer = 4096    // of an aws-chunked reader; also the longest line of its framing
)

var (
	// ErrUnknownKey is what a Lookup answers for a key that does not exist or is not active.
	ErrUnknownKey = errors.New("sigv4: no such access key")
	// ErrBadToken is what a Lookup answers for a session token that does not belong to the key.
	ErrBadToken = errors.New("sigv4: session token is not valid for the access key")
	// ErrExpiredToken is what a Lookup answers for a session that is over.
	ErrExpiredToken = errors.New("sigv4: session token has expired")
)

// Lookup finds the secret of an access key and who it speaks for. token is the request's session token, ""
// when it has none; a Lookup must refuse one that it does not know. Errors: ErrUnknownKey, ErrBadToken,
// ErrExpiredToken; any other is the server's fault and is handed on.
type Lookup func(ctx context.Context, accessKeyID, token string) (secret string, caller principal.Caller, err error)

// Config is what a Verifier needs.
type Config struct {
	Region string           // the one region that scopes may name
	Lookup Lookup           // asked once for each signed request
	Clock  func() time.Time // the server's clock

	// Bucket is the bucket that a Host header names, "" when it names none. Signature Version 2 signs it;
	// nil when no host does.
	Bucket func(host string) string
}

// Verifier verifies requests. It is safe for use by many goroutines.
type Verifier struct {
	Config
	keys    keyCache
	scratch sync.Pool // *scratch
	readers sync.Pool // *bufio.Reader of lineBuffer bytes
}

// New returns a Verifier.
func New(c Config) *Verifier {
	v := &Verifier{Config: c}
	v.scratch.New = func() any { return new(scratch) }
	v.readers.New = func() any { return bufio.NewReaderSize(nil, lineBuffer) }
	return v
}

// Verify proves the claim that Read found in r, as a request to service ("s3", "ec2", "iam", …), and
// returns the caller and the payload. Of the caller only what the Lookup told is filled, and Anonymous for
// an S3 request without a signature.
//
// For S3 the payload is a stream that verifies itself. For other services it is read here, at most 1 MiB,
// and is at hand in Body.Buffered. On success r.Header and r.ContentLength speak of the decoded payload
// (aws-chunked is gone from Content-Encoding), and of a presigned URL r.URL.RawQuery keeps what the request
// is about: the signature's parameters are gone, and for S3 those that stand for headers are headers.
//
// Errors are *protocol.Error as the service answers them, or what the Lookup failed with.
func (v *Verifier) Verify(r *http.Request, c *Claim, service string) (*principal.Caller, *Body, error) {
	d := dialectOf(service)
	caller, body, err := v.verify(r, c, service, d)
	return caller, body, d.reword(err)
}

func (v *Verifier) verify(r *http.Request, c *Claim, service string, d dialect) (*principal.Caller, *Body, error) {
	switch {
	case c.version2 && d != dialectS3:
		return nil, nil, d.unsupported(scheme2)
	case c.fault != nil:
		return nil, nil, c.fault(d)
	case c.Form == Anonymous:
		return v.anonymous(r, d)
	case c.version2:
		return v.verify2(r, c)
	}
	if err := v.checkScope(c, service); err != nil {
		return nil, nil, err
	}
	if err := v.checkTime(c, d); err != nil {
		return nil, nil, err
	}
	secret, caller, err := v.secret(r, c, d)
	if err != nil {
		return nil, nil, err
	}
	plan, err := v.payload(r, c, d)
	if err != nil {
		return nil, nil, err
	}
	key := v.keys.get(keyScope{c.KeyID, c.Date, c.Region, c.Service}, secret)
	err = v.checkSignature(r, c, d, plan.hash, key)
	if err != nil && d == dialectJSON && r.Method == http.MethodPut && strings.Contains(";"+c.signedHeaders+";", ";x-amz-checksum;") {
		// PutSnapshotBlock: its payload may be left out of the signature, for the signed x-amz-Checksum tells what it
		// is, and clients do so without a header that says it.
		err = v.checkSignature(r, c, d, unsignedPayload, key)
	}
	if err != nil {
		return nil, nil, err
	}
	if c.Form == Query {
		adoptParameters(r, c, d)
	}
	body, err := plan.open(v, r, c, key)
	if err != nil {
		return nil, nil, err
	}
	return &caller, body, nil
}

// secret looks up the claim's key, and words a refusal.
func (v *Verifier) secret(r *http.Request, c *Claim, d dialect) (string, principal.Caller, error) {
	secret, caller, err := v.Lookup(r.Context(), c.KeyID, c.token)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return "", caller, d.unknownKey(c.KeyID)
	case errors.Is(err, ErrBadToken):
		return "", caller, d.badToken(c.token)
	case errors.Is(err, ErrExpiredToken):
		return "", caller, d.expiredToken(c.token)
	case err != nil:
		return "", caller, fmt.Errorf("looking up access key %s: %w", c.KeyID, err)
	}
	return secret, caller, nil
}

// anonymous lets an unsigned request through to S3, where a bucket may be public, and refuses it elsewhere.
func (v *Verifier) anonymous(r *http.Request, d dialect) (*principal.Caller, *Body, error) {
	if d != dialectS3 {
		return nil, nil, d.missing()
	}
	body, err := v.openUnsigned(r, &Claim{Form: Anonymous}, d)
	if err != nil {
		return nil, nil, err
	}
	return &principal.Caller{Anonymous: true}, body, nil
}

// Open is the payload of a request to service whose sender is proved otherwise than by a signature. Errors are
// *protocol.Error.
func (v *Verifier) Open(r *http.Request, service string) (*Body, error) {
	d := dialectOf(service)
	body, err := v.openUnsigned(r, &Claim{Form: Anonymous}, d)
	return body, d.reword(err)
}

// openUnsigned makes the reader of a payload that no signature of Version 4 covers.
func (v *Verifier) openUnsigned(r *http.Request, c *Claim, d dialect) (*Body, error) {
	plan, err := v.payload(r, c, d)
	if err != nil {
		return nil, err
	}
	if plan.signed {
		return nil, errUnsignedChunks()
	}
	return plan.open(v, r, c, signingKey{})
}

// checkScope holds the claim's scope against where the request has come to.
func (v *Verifier) checkScope(c *Claim, service string) error {
	d := dialectOf(service)
	if c.Service != service {
		return d.wrongService(c, service)
	}
	global := service == "iam" || service == "sts"
	if c.Region != v.Region && !(global && c.Region == globalHome) {
		return d.wrongRegion(c, v.Region)
	}
	if c.stamp[:8] != c.Date {
		return d.wrongDate(c)
	}
	return nil
}

// checkTime refuses what was signed too long ago, or is not yet valid.
func (v *Verifier) checkTime(c *Claim, d dialect) error {
	now := v.Clock()
	if c.Form == Header {
		if age := now.Sub(c.time); age > MaxSkew || age < -MaxSkew {
			return d.skewed(c, now)
		}
		return nil
	}
	if c.time.Sub(now) > MaxSkew && !c.version2 {
		return d.notYet(c, now)
	}
	if now.After(c.time.Add(c.expires)) {
		return d.expired(c, now)
	}
	return nil
}

// readForm reads the whole payload of a query service.
func readForm(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > maxForm {
		return nil, errFormTooLarge()
	}
	size := max(r.ContentLength, 0)
	b := make([]byte, 0, size+1)
	limited := io.LimitReader(r.Body, maxForm+1)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := limited.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > maxForm:
			return nil, errFormTooLarge()
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, readError(err)
		}
	}
}
