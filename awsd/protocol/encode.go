package protocol

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// maxKeptBuffer is the largest buffer that is used again: one large answer must not stay in memory.
const maxKeptBuffer = 256 << 10

func (a *API) writer() *xmlWriter {
	x := &xmlWriter{whole: a.protocol == "awsQuery"}
	if b, ok := a.buffers.Get().(*[]byte); ok {
		x.buf = (*b)[:0]
	}
	return x
}

func (a *API) release(x *xmlWriter) {
	if b := x.buf; cap(b) <= maxKeptBuffer {
		a.buffers.Put(&b)
	}
}

// Encode answers a request with output, a pointer to the SDK's output struct of op: status, headers and
// body. A body that is an io.ReadCloser is streamed and closed; a Content-Range that is set means 206.
// When a stream's reading fails the status has long been sent: the caller must then cut the connection.
func (a *API) Encode(w http.ResponseWriter, op *Operation, requestID string, output any) error {
	if err := a.prepare(op); err != nil {
		return err
	}
	v := reflect.ValueOf(output)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Type().Elem() != op.out.typ {
		return fmt.Errorf("protocol: %s answered with a %T, want a *%v", op.Name, output, op.out.typ)
	}
	setRequestID(w.Header(), a.protocol, requestID)
	if a.routes != nil {
		return a.encodeREST(w, op, v.Elem())
	}
	x := a.writer()
	defer a.release(x)
	x.buf = append(x.buf, xmlHeader...)
	if a.protocol == "ec2Query" {
		a.encodeEC2(x, op, requestID, v.Elem())
	} else {
		a.encodeQuery(x, op, requestID, v.Elem())
	}
	return send(w, op.status, contentType(a.protocol), x.buf)
}

func setRequestID(h http.Header, protocol, requestID string) {
	if protocol == "restXml" {
		h["X-Amz-Request-Id"] = []string{requestID}
		h["X-Amz-Id-2"] = []string{requestID}
		return
	}
	h["X-Amzn-Requestid"] = []string{requestID}
}

func contentType(protocol string) string {
	switch protocol {
	case "ec2Query":
		return "text/xml;charset=UTF-8"
	case "awsQuery":
		return "text/xml"
	case protocolRESTJSON:
		return "application/json"
	case protocolJSON:
		return "application/x-amz-json-1.1"
	}
	return "application/xml"
}

func send(w http.ResponseWriter, status int, contentType string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// encodeEC2 writes <OpResponse><requestId/>…</OpResponse>. Where the model has no output EC2 says
// <return>true</return>.
func (a *API) encodeEC2(x *xmlWriter, op *Operation, requestID string, v reflect.Value) {
	root := op.Name + "Response"
	x.open(root, ` xmlns="`+a.namespace+`"`)
	x.leaf("requestId", requestID)
	if op.output == "-" {
		x.leaf("return", "true")
	}
	x.members(op.out, v)
	x.close(root)
}

// encodeQuery writes <OpResponse><OpResult>…</OpResult><ResponseMetadata/></OpResponse>.
func (a *API) encodeQuery(x *xmlWriter, op *Operation, requestID string, v reflect.Value) {
	root, result := op.Name+"Response", op.Name+"Result"
	x.open(root, ` xmlns="`+a.namespace+`"`)
	if op.output != "-" {
		x.open(result, "")
		x.members(op.out, v)
		x.close(result)
	}
	x.open("ResponseMetadata", "")
	x.leaf("RequestId", requestID)
	x.close("ResponseMetadata")
	x.close(root)
}

func (a *API) encodeREST(w http.ResponseWriter, op *Operation, v reflect.Value) error {
	if op.events {
		return Errorf(http.StatusNotImplemented, "NotImplemented", "%s answers with an event stream, which is not supported", op.Name)
	}
	payload, bodied := a.writeHeaders(w.Header(), op, v)
	status := op.status
	if len(w.Header()["Content-Range"]) > 0 {
		status = http.StatusPartialContent
	}
	switch {
	case payload != nil:
		return a.writePayload(w, status, payload, v.Field(payload.index))
	case bodied && a.SpeaksJSON(), a.protocol == protocolJSON:
		return send(w, status, contentType(a.protocol), appendJSON(nil, op.out, timeEpoch, v))
	case bodied:
		x := a.writer()
		defer a.release(x)
		x.buf = append(x.buf, xmlHeader...)
		a.writeDocument(x, op, v)
		return send(w, status, contentType(a.protocol), x.buf)
	}
	w.WriteHeader(status)
	return nil
}

// writeHeaders sets the headers of the members that travel there. It gives the payload member, if there is
// one, and says whether other members make up a body.
func (a *API) writeHeaders(h http.Header, op *Operation, v reflect.Value) (payload *field, bodied bool) {
	for i := range op.out.fields {
		f := &op.out.fields[i]
		if f.ignore {
			continue
		}
		fv := v.Field(f.index)
		switch f.loc {
		case inPayload:
			payload = f
		case inBody:
			bodied = true
		case inHeader:
			if isSet(f.codec, fv) {
				h[f.wire] = []string{headerValue(f, fv)}
			}
		case inPrefix:
			for entries := fv.MapRange(); entries.Next(); { // in lower case, as S3: boto keeps the name's case
				h[strings.ToLower(f.wire+entries.Key().String())] = []string{entries.Value().String()}
			}
		}
	}
	return payload, bodied
}

func headerValue(f *field, v reflect.Value) string {
	if f.codec.kind != kindList {
		return formatScalar(f.codec, f.time, v)
	}
	var b []byte
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendScalar(b, f.codec.elem, f.time, v.Index(i))
	}
	return string(b)
}

func (a *API) writeDocument(x *xmlWriter, op *Operation, v reflect.Value) {
	namespace := ` xmlns="` + a.namespace + `"`
	if op.unwrapped {
		f := &op.out.fields[0]
		x.element(f.xml, f.codec, f.time, namespace, v.Field(f.index))
		return
	}
	x.element(op.out.root, op.out, timeDefault, namespace, v)
}

func (a *API) writePayload(w http.ResponseWriter, status int, f *field, v reflect.Value) error {
	switch f.codec.kind {
	case kindStream:
		return writeStream(w, status, v)
	case kindString:
		return writeText(w, status, f, v)
	}
	if !isSet(f.codec, v) {
		w.WriteHeader(status)
		return nil
	}
	if a.protocol == "restJson1" {
		return send(w, status, contentType(a.protocol), appendJSON(nil, f.codec, timeEpoch, v))
	}
	x := a.writer()
	defer a.release(x)
	x.buf = append(x.buf, xmlHeader...)
	x.element(f.root(), f.codec, f.time, ` xmlns="`+a.namespace+`"`, v)
	return send(w, status, contentType(a.protocol), x.buf)
}

// writeText answers with a document that is not ours to write: a bucket's policy.
func writeText(w http.ResponseWriter, status int, f *field, v reflect.Value) error {
	var doc []byte
	if isSet(f.codec, v) {
		doc = appendScalar(nil, f.codec, f.time, v)
	}
	return send(w, status, "application/json", doc)
}

func writeStream(w http.ResponseWriter, status int, v reflect.Value) (err error) {
	if len(w.Header()["Content-Type"]) == 0 {
		w.Header()["Content-Type"] = []string{"binary/octet-stream"} // as S3; net/http would guess
	}
	if v.IsNil() {
		w.WriteHeader(status)
		return nil
	}
	body, ok := v.Interface().(io.Reader)
	if !ok {
		return fmt.Errorf("protocol: a stream of type %v cannot be read", v.Type())
	}
	if c, ok := body.(io.Closer); ok {
		defer func() {
			if e := c.Close(); err == nil {
				err = e
			}
		}()
	}
	w.WriteHeader(status)
	_, err = io.Copy(w, body) // by io.WriterTo where body has it
	return err
}
