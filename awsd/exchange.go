package awsd

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

// maxLoggedPath is what the log tells of a path: a bucket and the longest key.
const maxLoggedPath = 1100

// exchange is one request on its way, and what the access log will say of it.
type exchange struct {
	*front
	request http.Request // a copy: net/http goes by its own when it looks whether a body was read
	answer  answer
	wire    *wireBody // nil: the request has no body
	random  [16]byte
	id      string
	service *Service
	op      string
	caller  *principal.Caller // nil until proved
	path    string            // as it was sent
	remote  string
	tls     string // version; "" when it is plain
	code    string // of the refusal
	fault   error  // of ours
	cut     bool   // the connection is to be cut
	began   time.Time
}

// begin starts an exchange.
func (f *front) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{front: f, request: *r, service: f.fallback, path: r.URL.Path, began: f.Clock()}
	x.answer.ResponseWriter = w
	x.remote, x.tls = remoteIP(r), tlsOf(r)
	if _, err := io.ReadFull(f.Rand, x.random[:]); err != nil {
		x.fault = fmt.Errorf("making a request id: %w", err)
	}
	if r.ContentLength == 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		// net/http asks for no empty body. But botocore takes a final answer without a 100 for a refusal, and then
		// waits in vain for its next answer on the same connection.
		w.WriteHeader(http.StatusContinue)
	}
	if r.Body != nil && r.Body != http.NoBody {
		x.wire = newWireBody(w, r.Body, f.Progress)
		x.request.Body = x.wire
	}
	return x
}

// setID words the request id as the service does: S3 has 16 digits, the others a UUID.
func (x *exchange) setID() {
	b := x.random
	if x.service.API.Service == "s3" {
		var digits [16]byte
		hex.Encode(digits[:], b[:8])
		x.id = string(bytes.ToUpper(digits[:]))
		return
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var u [36]byte
	hex.Encode(u[0:8], b[0:4])
	hex.Encode(u[9:13], b[4:6])
	hex.Encode(u[14:18], b[6:8])
	hex.Encode(u[19:23], b[8:10])
	hex.Encode(u[24:36], b[10:16])
	u[8], u[13], u[18], u[23] = '-', '-', '-', '-'
	x.id = string(u[:])
}

// route finds the operation.
func (x *exchange) route(r *http.Request, form url.Values) (*protocol.Operation, error) {
	if isPostPolicy(r) {
		return nil, errPostPolicy()
	}
	op, err := x.service.API.Route(r, form)
	if err == nil {
		x.op = op.Name
	}
	return op, err
}

// end ends an exchange: a panic of a handler becomes an answer, and the log gets its line.
func (x *exchange) end() {
	if p := recover(); p != nil {
		x.recovered(p)
	}
	x.log()
	if x.cut {
		panic(http.ErrAbortHandler) // net/http closes the connection and logs nothing
	}
}

// recovered answers for a handler that has panicked. The connection lives if nothing was answered yet.
func (x *exchange) recovered(p any) {
	if p == http.ErrAbortHandler {
		x.cut = true
		return
	}
	x.fault = fmt.Errorf("panic: %v", p)
	x.Log.Error("a handler panicked", "request", x.id, "op", x.op, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	refusal := internalError(x.service.API)
	x.code = refusal.Code
	if x.answer.status != 0 {
		x.cut = true
		return
	}
	x.service.API.EncodeError(&x.answer, &x.request, x.id, refusal)
}

// log writes the exchange's line of the access log. It never tells a query string, for a presigned one is
// as good as a key, nor a header.
func (x *exchange) log() {
	level := slog.LevelInfo
	if x.fault != nil {
		level = slog.LevelError
	}
	ctx := x.request.Context()
	if !x.Log.Enabled(ctx, level) {
		return
	}
	var caller principal.Caller
	if x.caller != nil {
		caller = *x.caller
	}
	attrs := [16]slog.Attr{
		slog.String("request", x.id), slog.String("service", x.service.API.Service), slog.String("op", x.op),
		slog.String("method", x.request.Method), slog.String("path", x.path[:min(len(x.path), maxLoggedPath)]),
		slog.String("account", caller.Account), slog.String("principal", caller.ARN), slog.String("key", caller.AccessKey),
		slog.String("remote", x.remote), slog.Bool("secure", x.tls != ""),
		slog.Int("status", x.answer.status), slog.String("code", x.code),
		slog.Int64("in", x.wire.count()), slog.Int64("out", x.answer.count), slog.Duration("took", x.Clock().Sub(x.began)),
	}
	n := 15
	if x.fault != nil {
		attrs[n] = slog.String("err", x.fault.Error())
		n++
	}
	x.Log.LogAttrs(ctx, level, "request", attrs[:n]...)
}

// answer is a ResponseWriter that remembers what it has said.
type answer struct {
	http.ResponseWriter
	status int
	count  int64
}

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.count += int64(n)
	return n, err
}

// ReadFrom leaves copying to net/http, whose buffers are used again.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := io.Copy(a.ResponseWriter, r)
	a.count += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// remoteIP is the client's address without the port.
func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// tlsOf is the version of TLS that a request came over, "1.3"; "" when it came in plain.
func tlsOf(r *http.Request) string {
	state := r.TLS
	if c, ok := r.Context().Value(connKey{}).(*dualConn); ok && state == nil {
		if t := c.secure.Load(); t != nil {
			of := t.ConnectionState()
			state = &of
		}
	}
	if state == nil {
		return ""
	}
	return strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
}
