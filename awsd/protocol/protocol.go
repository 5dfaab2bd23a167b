// Package protocol is the runtime under the generated AWS tables: it turns an HTTP request into the input
// struct of aws-sdk-go-v2 that an operation takes, and an output struct or an error into the answer that
// AWS's own clients understand. It speaks ec2Query, awsQuery, restXml, restJson1
// and awsJson1_1.
//
// It never verifies a signature, never decides whether a caller may do something, and knows no resource:
// what an operation means is its handler's business.
package protocol

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"hive/iam/principal"
)

// Handler answers one operation. input is a pointer to the SDK's input struct (for example
// *s3.PutObjectInput), output a pointer to its output struct. An error that holds an *Error is what the
// client gets; any other error is the server's fault.
type Handler func(ctx context.Context, c *principal.Caller, input any) (output any, err error)

// Handlers are the operations of a service that have a handler, by operation name.
type Handlers map[string]Handler

// Access is one permission that a request needs, for example
// {"s3:GetObject", "arn:aws:s3:::bucket/key"}.
type Access struct {
	Action   string
	Resource string
	// Context are the condition keys that the operation's input decides, by name in lower case, for
	// example {"s3:prefix": {"home/"}}. A key that the request does not have is left out.
	Context map[string][]string
}

// Body is a request's payload as a handler reads it: already de-chunked. Its signature and its declared
// checksums are verified while it is read; a mismatch is the read's error (an *Error) instead of io.EOF.
type Body interface {
	io.Reader
	// Size is the decoded length in bytes, -1 when the client did not say.
	Size() int64
	// Checksums are, after io.EOF, the verified checksums: header-name suffix ("crc32", "crc32c",
	// "crc64nvme", "sha1", "sha256") to base64.
	Checksums() map[string]string
}

// Error is the answer a client gets: AWS's code, the HTTP status, and a message that tells what to do.
type Error struct {
	Code    string
	Message string
	Status  int
	Fields  []Field     // extra elements of the answer, for example BucketName
	Header  http.Header // extra headers of the answer
}

// Field is one extra element of an error's answer.
type Field struct{ Name, Value string }

// Errorf makes an Error. status is an HTTP status, code one of AWS's error codes.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: status}
}

// Error renders the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Call is a request that was answered, for whoever keeps a record of it.
type Call struct {
	Service string // signing name
	Op      string
	Caller  *principal.Caller
	Input   any // pointer to the SDK's input struct
	Output  any // likewise; nil when it was refused
	Access  []Access
	Err     error // why it was refused
}
