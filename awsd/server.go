// Package awsd is the front door: it turns an HTTP request of an AWS client into a call of the handler that
// a service has for it, and the handler's answer into what the client understands. On the way it proves who
// asks (sigv4), asks whether they may (an Authorizer), and writes the access log.
//
// It knows no resource and holds no state of the cluster: what an operation means is its service's business.
package awsd

import (
	"context"
	"errors"
	"io"
	"net/http"

	"hive/awsd/protocol"
	"hive/awsd/sigv4"
	"hive/iam/principal"
)

// Server answers AWS clients. It is safe for concurrent use.
type Server struct {
	Config
	verifier *sigv4.Verifier
	all      *front
	throttle *throttle
}

// New returns a Server that answers every service at ServeHTTP, and at the listeners that Run is given.
func New(c Config) *Server {
	c.setDefaults()
	s := &Server{Config: c}
	s.verifier = sigv4.New(sigv4.Config{Region: c.Region, Clock: c.Clock, Lookup: s.lookup,
		Bucket: func(host string) string { return bucketOf(host, c.Domains) }})
	s.throttle = newThrottle(c.Limits, c.Clock)
	s.all = s.newFront(nil)
	return s
}

// ServeHTTP answers one request to any of the services.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.all.ServeHTTP(w, r) }

// ServeAs answers requests to the service of a signing name without looking at signatures: as tells who asks. It is for
// a door that lets nobody else in, such as a socket that only its owner can open.
func (s *Server) ServeAs(service string, as func(context.Context) (principal.Caller, error)) http.Handler {
	f := s.newFront([]string{service})
	f.as = as
	return f
}

// front is the server as one listener offers it.
type front struct {
	*Server
	as       func(context.Context) (principal.Caller, error) // who asks; nil: a signature tells
	services map[string]*Service                             // by signing name
	fallback *Service                                        // whose words are used when a request does not tell its service
}

// ServeHTTP answers one request and logs it.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isHealth(r) {
		f.answerHealth(w)
		return
	}
	x := f.begin(w, r)
	defer x.end()
	if err := x.serve(&x.request); err != nil {
		x.fail(&x.request, err)
	}
}

// serve is the way of every request, from its first byte to the last of its answer.
func (x *exchange) serve(r *http.Request) error {
	claim := sigv4.Read(r)
	if err := x.choose(r, claim); err != nil {
		return err
	}
	if err := checkHeaders(r); err != nil {
		return err
	}
	caller, body, err := x.prove(r, claim)
	if err != nil {
		return err
	}
	x.admit(caller, r, claim)
	bucketFromHost(r, x.service, x.Domains)
	form, err := formOf(x.service.API, r, body)
	if err != nil {
		return err
	}
	if err := x.checkUnsigned(r, claim, form); err != nil {
		return err
	}
	op, err := x.route(r, form)
	if err != nil {
		return err
	}
	handler := x.service.Handlers[op.Name]
	if handler == nil {
		return unsupported(x.service.API, op.Name)
	}
	if x.as == nil { // whoever holds the node may ask as often as he likes
		if err := x.throttle.allow(x.service.API, caller.Account, op.Name); err != nil {
			return err
		}
	}
	if err := expectMD5(r, op, body); err != nil {
		return err
	}
	input, err := x.service.API.Decode(op, r, form, body)
	if err != nil {
		return err
	}
	if err := x.service.API.Validate(op, input); err != nil {
		return err
	}
	pages, err := x.openPage(caller, op, input)
	if err != nil {
		return err
	}
	output, err := x.call(r.Context(), handler, &protocol.Call{
		Service: x.service.API.Service, Op: op.Name, Caller: caller, Input: input, Access: x.service.access(caller, op.Name, input),
	})
	if err != nil {
		return err
	}
	if err := pages.seal(output); err != nil {
		return err
	}
	return x.service.API.Encode(&x.answer, op, x.id, output)
}

// errPanicked is what a call came to whose handler has panicked: what it had changed is not known.
var errPanicked = errors.New("the handler has panicked")

// call has a handler answer a call that its caller is permitted, and the call recorded, also when the handler panics.
func (x *exchange) call(ctx context.Context, handler protocol.Handler, c *protocol.Call) (any, error) {
	defer x.Audit(ctx, c)
	if c.Err = x.authorize(ctx, c); c.Err == nil {
		c.Err = errPanicked
		c.Output, c.Err = handler(ctx, c.Caller, c.Input)
	}
	return c.Output, c.Err
}

// admit fills in what the request itself tells of its caller.
func (x *exchange) admit(c *principal.Caller, r *http.Request, claim *sigv4.Claim) {
	c.SourceIP, c.Secure, c.TLS = x.remote, x.tls != "", x.tls
	c.UserAgent, c.Referer, c.Signing = r.UserAgent(), r.Referer(), claim.Signing(r)
	c.RequestID, c.Region = x.id, x.Region
	x.caller = c
	x.Used(c, x.service.API.Service)
}

// access is what the caller must be permitted.
func (s *Service) access(c *principal.Caller, op string, input any) []protocol.Access {
	if s.Access == nil {
		return []protocol.Access{{Action: s.API.Service + ":" + op, Resource: "*"}}
	}
	return s.Access(c, op, input)
}

// fail answers a request that has come to nothing. When the answer has begun already the client must not
// take what it has for the whole: the connection is cut.
func (x *exchange) fail(r *http.Request, err error) {
	var refusal *protocol.Error
	if !errors.As(err, &refusal) {
		x.fault = err
		refusal = internalError(x.service.API)
	}
	x.code = refusal.Code
	if x.answer.status != 0 {
		x.cut = true
		return
	}
	if r.Context().Err() != nil && x.fault != nil {
		x.code, x.cut = "ClientGone", true
		return
	}
	x.finishReading()
	x.service.API.EncodeError(&x.answer, r, x.id, refusal)
}

// maxFinish is how much of a refused request's body is read, in bytes.
const maxFinish = 8 << 20

// finishReading reads what is left of the body of a request that is refused, if it is not much. net/http reads 256 KiB and
// then closes the connection, under which a client that is still sending may lose the answer. It is so with clients that
// ask before they send, too: Go's sends all the same when the answer comes at the wrong moment.
func (x *exchange) finishReading() {
	if x.wire == nil || x.request.ContentLength-x.wire.total > maxFinish {
		return
	}
	if _, err := io.CopyN(io.Discard, x.wire, maxFinish); err != nil && !errors.Is(err, io.EOF) {
		x.Log.Debug("the rest of a refused request did not come", "request", x.id, "err", err) // the answer may still reach it
	}
}
