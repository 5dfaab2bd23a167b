package awsd

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"hive/awsd/protocol"
	"hive/awsd/sigv4"
	"hive/iam"
	"hive/iam/principal"
)

// setDefaults fills in what was not given.
func (c *Config) setDefaults() {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Progress == 0 {
		c.Progress = time.Minute
	}
	if c.Drain == 0 {
		c.Drain = 30 * time.Second
	}
}

// lookup is Keys.Lookup in sigv4's words. The keys that Keys knows are long-lived ones: with any session
// token a request is refused.
func (s *Server) lookup(ctx context.Context, accessKeyID, token string) (string, principal.Caller, error) {
	secret, caller, err := s.Keys.Lookup(ctx, accessKeyID)
	switch {
	case errors.Is(err, iam.ErrNoSuchKey), errors.Is(err, iam.ErrInactiveKey):
		return "", principal.Caller{}, sigv4.ErrUnknownKey
	case err == nil && token != "":
		return "", principal.Caller{}, sigv4.ErrBadToken
	}
	caller.AccessKey = accessKeyID
	return secret, caller, err
}

// unsupported answers an operation of the model that has no handler. Sources: "Error codes for the Amazon
// EC2 API", "Common errors" of the IAM API, "Error responses" of the S3 API.
func unsupported(api *protocol.API, op string) *protocol.Error {
	switch api.Service {
	case "s3":
		return protocol.Errorf(http.StatusNotImplemented, "NotImplemented", "%s is functionality that is not implemented.", op)
	case "ec2":
		return protocol.Errorf(http.StatusBadRequest, "UnsupportedOperation", "The operation %s is not supported.", op)
	}
	return protocol.Errorf(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", op, api.Version)
}

// internalError answers for a fault of ours, which the log tells and the client does not get to see.
func internalError(api *protocol.API) *protocol.Error {
	code := "InternalError"
	if api.Service != "s3" && api.Service != "ec2" {
		code = "InternalFailure"
	}
	return protocol.Errorf(http.StatusInternalServerError, code, "We encountered an internal error. Please try again.")
}

func errMalformedForm() *protocol.Error {
	return protocol.Errorf(http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error.")
}

func errPostPolicy() *protocol.Error {
	return protocol.Errorf(http.StatusNotImplemented, "NotImplemented",
		"Uploads by an HTML form with a POST policy are not supported; use PutObject or a presigned PUT URL.")
}

// isHealth tells whether a request asks for the server's own health. No bucket is called "-".
func isHealth(r *http.Request) bool {
	return r.URL.Path == "/-/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// answerHealth says that requests are being answered.
func (f *front) answerHealth(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, `{"status":"ok"}`+"\n") // a client that has gone needs no answer
}
