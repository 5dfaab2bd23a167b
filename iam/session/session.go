// Package session makes temporary credentials: an access key, its secret, and the session token that says all about
// them. A token is self-contained: it is sealed under the cluster's key, so any node opens it, and no record is kept.
// This package decides nothing: whether who stands behind a session still exists and what it may do is iam's to ask.
package session

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"hive/iam/principal"
	"strings"
)

// Causes of errors.
var (
	// ErrToken is a text that is no session token of this cluster.
	ErrToken = errors.New("not a session token")
	// ErrTooLarge is a session whose policies and tags do not fit a token.
	ErrTooLarge = errors.New("session policies and tags do not fit a session token")
)

// Bounds of a session.
const (
	MaxToken   = 4096     // characters of a token
	MaxPacked  = 2048     // bytes of policies, policies' ARNs and tags, packed
	maxPlain   = 64 << 10 // bytes of the same before packing: 2,048 characters and 50 tags of 384 are less
	sealedFor  = "session-token"
	wireFormat = 1
)

// Sealer keeps what it seals unreadable and unalterable; context names what it is.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Credentials are temporary credentials, without the token that they are in.
type Credentials struct {
	Account   string // 12 digits
	AccessKey string // ASIA…
	Secret    string
	Session   principal.Session
}

// Codec seals sessions into tokens and opens them. It may be used by many goroutines.
type Codec struct {
	sealer  Sealer
	readers sync.Pool // of *unpacker
}

// New is a Codec under a sealer's key.
func New(sealer Sealer) *Codec { return &Codec{sealer: sealer} }

var (
	encoder = must(cbor.CoreDetEncOptions().EncMode())
	decoder = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxArrayElements: 1024, MaxMapPairs: 64, MaxNestedLevels: 8,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants: a test would not get past package initialisation
	}
	return v
}

// A token is, in base64 of URLs without padding, what the Sealer makes of
//
//	byte 0    format, 1
//	bytes 1-  head in CBOR; where it says that there are narrows, they follow it, deflated
//
// and zeros behind it up to the size that was asked for.
type head struct {
	Account   string `cbor:"1,keyasint"`
	AccessKey string `cbor:"2,keyasint"`
	Secret    string `cbor:"3,keyasint"`
	Kind      string `cbor:"4,keyasint"`
	Name      string `cbor:"5,keyasint,omitempty"`
	Issuer    string `cbor:"6,keyasint,omitempty"`
	IssuerARN string `cbor:"7,keyasint,omitempty"`
	Issued    int64  `cbor:"8,keyasint"` // Unix seconds, as Expires and MFA
	Expires   int64  `cbor:"9,keyasint"`
	MFA       int64  `cbor:"10,keyasint,omitempty"`
	Source    string `cbor:"11,keyasint,omitempty"`
	Provider  string `cbor:"12,keyasint,omitempty"`
	Claims    []tag  `cbor:"13,keyasint,omitempty"`
	Instance  string `cbor:"14,keyasint,omitempty"`
	Narrowed  bool   `cbor:"15,keyasint,omitempty"` // Restricted
	Packed    []byte `cbor:"16,keyasint,omitempty"` // narrows
	Padding   []byte `cbor:"17,keyasint,omitempty"`
}

// narrows is the part of a session that a request can make large.
type narrows struct {
	Policies   []string `cbor:"1,keyasint,omitempty"`
	PolicyARNs []string `cbor:"2,keyasint,omitempty"`
	Tags       []tag    `cbor:"3,keyasint,omitempty"`
	Transitive []string `cbor:"4,keyasint,omitempty"`
}

type tag struct {
	_     struct{} `cbor:",toarray"`
	Key   string
	Value string
}

// Percent is how much of the room for session policies and tags a session takes, from 0. Over 100 it cannot be sealed.
func (c *Codec) Percent(s *principal.Session) (int, error) {
	packed, err := c.pack(s)
	if err != nil {
		return 0, err
	}
	return (len(packed)*100 + MaxPacked - 1) / MaxPacked, nil
}

// pack deflates what a request can make large; nothing when there is nothing.
func (c *Codec) pack(s *principal.Session) ([]byte, error) {
	if len(s.Policies)+len(s.PolicyARNs)+len(s.Tags)+len(s.Transitive) == 0 {
		return nil, nil
	}
	plain, err := encoder.Marshal(narrows{s.Policies, s.PolicyARNs, tagsIn(s.Tags), s.Transitive})
	if err != nil {
		return nil, fmt.Errorf("pack session: %w", err)
	}
	if len(plain) > maxPlain {
		return nil, ErrTooLarge
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("pack session: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("pack session: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack session: %w", err)
	}
	return out.Bytes(), nil
}

// Seal is the token of credentials, at least of least characters (at most MaxToken). Times are kept to the second.
// Errors: ErrTooLarge.
func (c *Codec) Seal(creds Credentials, least int) (string, error) {
	s := &creds.Session
	h := head{
		Account: creds.Account, AccessKey: creds.AccessKey, Secret: creds.Secret, Kind: string(s.Kind), Name: s.Name,
		Issuer: s.Issuer, IssuerARN: s.IssuerARN, Issued: s.Issued.Unix(), Expires: s.Expires.Unix(), MFA: unix(s.MFA),
		Source: s.SourceIdentity, Provider: s.Provider, Claims: tagsIn(s.Claims), Instance: s.Instance, Narrowed: s.Restricted,
	}
	var err error
	if h.Packed, err = c.pack(s); err != nil {
		return "", err
	}
	if len(h.Packed) > MaxPacked {
		return "", ErrTooLarge
	}
	token, err := c.seal(&h)
	if err == nil && len(token) < least && len(token) <= MaxToken {
		// Each 3 bytes are 4 characters; a few more than needed do no harm.
		h.Padding = make([]byte, (min(least, MaxToken)-len(token))*3/4)
		token, err = c.seal(&h)
		for err == nil && len(token) > MaxToken && len(h.Padding) > 0 { // what says how long the padding is takes room too
			h.Padding = h.Padding[1:]
			token, err = c.seal(&h)
		}
	}
	if err == nil && len(token) > MaxToken {
		err = ErrTooLarge
	}
	if err != nil {
		return "", err
	}
	return token, nil
}

func (c *Codec) seal(h *head) (string, error) {
	body, err := encoder.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("seal session: %w", err)
	}
	sealed, err := c.sealer.Seal(append([]byte{wireFormat}, body...), sealedFor)
	if err != nil {
		return "", fmt.Errorf("seal session: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open is what a token says, expired or not. Errors: ErrToken.
func (c *Codec) Open(token string) (Credentials, error) {
	if len(token) == 0 || len(token) > MaxToken || strings.ContainsAny(token, "\r\n") { // which base64 would overlook
		return Credentials{}, ErrToken
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return Credentials{}, ErrToken
	}
	plain, err := c.sealer.Open(sealed, sealedFor)
	if err != nil || len(plain) == 0 || plain[0] != wireFormat {
		return Credentials{}, ErrToken
	}
	var h head
	if err := decoder.Unmarshal(plain[1:], &h); err != nil {
		return Credentials{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	var n narrows
	if len(h.Packed) > 0 {
		if err := c.unpack(h.Packed, &n); err != nil {
			return Credentials{}, fmt.Errorf("%w: %w", ErrToken, err)
		}
	}
	return Credentials{Account: h.Account, AccessKey: h.AccessKey, Secret: h.Secret, Session: principal.Session{
		Kind: principal.SessionKind(h.Kind), Name: h.Name, Issuer: h.Issuer, IssuerARN: h.IssuerARN,
		Issued: time.Unix(h.Issued, 0).UTC(), Expires: time.Unix(h.Expires, 0).UTC(), MFA: moment(h.MFA),
		Restricted: h.Narrowed, Policies: n.Policies, PolicyARNs: n.PolicyARNs, Tags: tagsOut(n.Tags), Transitive: n.Transitive,
		SourceIdentity: h.Source, Provider: h.Provider, Claims: tagsOut(h.Claims), Instance: h.Instance,
	}}, nil
}

// unpacker is a reader that is used again: a new one costs more than what it reads.
type unpacker struct {
	in  bytes.Reader
	out bytes.Buffer
	r   io.ReadCloser
}

func (c *Codec) unpack(packed []byte, n *narrows) error {
	u, _ := c.readers.Get().(*unpacker)
	if u == nil {
		u = &unpacker{}
		u.r = flate.NewReader(&u.in)
	}
	defer c.readers.Put(u)
	u.in.Reset(packed)
	u.out.Reset()
	if err := u.r.(flate.Resetter).Reset(&u.in, nil); err != nil { //nolint:forcetypeassert // flate's documentation says so
		return err
	}
	if _, err := io.Copy(&u.out, io.LimitReader(u.r, maxPlain+1)); err != nil {
		return err
	}
	if u.out.Len() > maxPlain {
		return ErrTooLarge
	}
	return decoder.Unmarshal(u.out.Bytes(), n)
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func moment(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

func tagsIn(tags []principal.Tag) []tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]tag, len(tags))
	for i, t := range tags {
		out[i] = tag{Key: t.Key, Value: t.Value}
	}
	return out
}

func tagsOut(tags []tag) []principal.Tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]principal.Tag, len(tags))
	for i, t := range tags {
		out[i] = principal.Tag{Key: t.Key, Value: t.Value}
	}
	return out
}
