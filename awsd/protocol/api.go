package protocol

import (
	"net/http"
	"net/url"
)

// API is one AWS service as its model describes it. Generated packages make one each.
type API struct {
	Service string // signing name: "s3", "ec2", "iam", "sts"
	Version string // "2006-03-01"
}

// Operation is one operation of an API.
type Operation struct {
	Name string // "PutObject"
}

// Route finds the operation that a request asks for. The query protocols read Action from form; restXml
// goes by method, path and query, and form is nil. Errors are *Error.
func (a *API) Route(r *http.Request, form url.Values) (*Operation, error) {
	return nil, Errorf(http.StatusNotImplemented, "NotImplemented", "%s answers no operation", a.Service)
}

// Decode makes the input of op: a pointer to the SDK's input struct. For S3 the bucket is the first
// segment of the path. Errors are *Error.
func (a *API) Decode(op *Operation, r *http.Request, form url.Values, body Body) (input any, err error) {
	return nil, Errorf(http.StatusNotImplemented, "NotImplemented", "%s answers no operation", a.Service)
}

// Encode answers a request with output, a pointer to the SDK's output struct of op: status, headers and
// body. A body that is an io.ReadCloser is streamed and closed; a Content-Range that is set means 206.
func (a *API) Encode(w http.ResponseWriter, op *Operation, requestID string, output any) error {
	return Errorf(http.StatusNotImplemented, "NotImplemented", "%s answers no operation", a.Service)
}

// EncodeError answers a request with an error. A HEAD request and a 304 get no body.
func (a *API) EncodeError(w http.ResponseWriter, r *http.Request, requestID string, err *Error) {
	w.WriteHeader(err.Status)
}
