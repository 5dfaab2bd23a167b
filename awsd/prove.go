package awsd

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"

	"hive/awsd/protocol"
	"hive/awsd/sigv4"
	"hive/iam"
	"hive/iam/principal"
)

// lookup is Keys.Lookup in sigv4's words.
func (s *Server) lookup(ctx context.Context, accessKeyID, token string) (string, principal.Caller, error) {
	secret, caller, err := s.Keys.Lookup(ctx, accessKeyID, token)
	switch {
	case errors.Is(err, iam.ErrNoSuchKey), errors.Is(err, iam.ErrInactiveKey):
		return "", principal.Caller{}, sigv4.ErrUnknownKey
	case errors.Is(err, iam.ErrBadToken):
		return "", principal.Caller{}, sigv4.ErrBadToken
	case errors.Is(err, iam.ErrExpiredToken):
		return "", principal.Caller{}, sigv4.ErrExpiredToken
	}
	caller.AccessKey = accessKeyID
	return secret, caller, err
}

// prove finds out who sent a request, and makes the reader of its payload. A request without a signature passes where some
// operation needs none: which it asks for is not known yet.
func (x *exchange) prove(r *http.Request, claim *sigv4.Claim) (*principal.Caller, *sigv4.Body, error) {
	service := x.service.API.Service
	caller := principal.Caller{Anonymous: true}
	switch {
	case x.as != nil:
		var err error
		if caller, err = x.as(r.Context()); err != nil {
			return nil, nil, err
		}
	case !claim.Unsigned() || len(x.service.Unsigned) == 0:
		return x.verifier.Verify(r, claim, service)
	}
	body, err := x.verifier.Open(r, service)
	return &caller, body, err
}

// checkUnsigned refuses a request without a signature for an operation that needs one.
func (x *exchange) checkUnsigned(r *http.Request, claim *sigv4.Claim, form url.Values) error {
	if !x.caller.Anonymous || len(x.service.Unsigned) == 0 || slices.Contains(x.service.Unsigned, form.Get("Action")) {
		return nil
	}
	_, _, err := x.verifier.Verify(r, claim, x.service.API.Service) // words the refusal
	return err
}

// authorize asks the Authorizer, but for what needs no signature: that decides by itself. Before it denies, the Authorizer
// has caught up with every acknowledged write: what the request needs, which names resources as this node knew them, is
// then worked out again.
func (x *exchange) authorize(ctx context.Context, c *protocol.Call) error {
	if c.Caller.Anonymous && slices.Contains(x.service.Unsigned, c.Op) {
		return nil
	}
	err := x.Authorizer.Authorize(ctx, c.Caller, c.Access)
	if denial := (*protocol.Error)(nil); !errors.As(err, &denial) {
		return err
	}
	need := x.service.access(c.Caller, c.Op, c.Input)
	if reflect.DeepEqual(need, c.Access) {
		return err
	}
	c.Access = need
	return x.Authorizer.Authorize(ctx, c.Caller, c.Access)
}
