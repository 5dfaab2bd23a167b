package protocol

import (
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// restReader reads a restXml, restJson1 or awsJson1_1 request: https://smithy.io/2.0/aws/protocols/aws-restxml-protocol.html,
// https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
type restReader struct {
	api    *API
	op     *Operation
	r      *http.Request
	body   Body
	query  []pair
	labels []pair // of the path
}

func (a *API) decodeREST(op *Operation, r *http.Request, body Body, in reflect.Value) (err error) {
	d := &restReader{api: a, op: op, r: r, body: body}
	if d.query, err = parseQuery(r.URL.RawQuery); err != nil {
		if a.SpeaksJSON() {
			err = asJSON(a.dialect, err)
		}
		return err
	}
	if d.labels, err = a.routes.labels(op, r); err != nil {
		return err
	}
	if err := d.unbound(in); err != nil {
		return err
	}
	var missing []string
	for i := range op.in.fields {
		f := &op.in.fields[i]
		if f.ignore {
			continue
		}
		ok, err := d.member(f, in.Field(f.index))
		if err != nil {
			return err
		}
		if !ok && f.required != 0 && f.loc != inBody { // awsJson1_1 has none such
			missing = append(missing, f.wireName())
		}
	}
	if len(missing) > 0 {
		return a.dialect.missing(missing)
	}
	return nil
}

// wireName is what the member is called where it travels.
func (f *field) wireName() string {
	if f.wire != "" {
		return strings.ToLower(f.wire)
	}
	return f.name
}

// member reads one member; ok says whether it was sent.
func (d *restReader) member(f *field, v reflect.Value) (ok bool, err error) {
	switch f.loc {
	case inHeader:
		return d.header(f, v)
	case inPrefix:
		return d.prefixed(f, v)
	case inQuery:
		s, ok := lookup(d.query, f.wire)
		if !ok {
			return false, nil
		}
		return true, d.scalar(f, s, v)
	case inLabel:
		return d.label(f, v)
	case inPayload:
		return d.payload(f, v)
	}
	return true, nil // read by unbound
}

func (d *restReader) scalar(f *field, s string, v reflect.Value) error {
	if setScalar(f.codec, f.time, s, v) != nil {
		return d.api.dialect.badValue(f.wireName(), s, f.codec)
	}
	return nil
}

func (d *restReader) label(f *field, v reflect.Value) (bool, error) {
	s, _ := lookup(d.labels, f.name)
	if s == "" {
		return false, nil
	}
	return true, d.scalar(f, s, v)
}

func (d *restReader) header(f *field, v reflect.Value) (bool, error) {
	if f.wire == "Content-Length" {
		return d.contentLength(f, v)
	}
	values := d.r.Header[f.wire]
	if len(values) == 0 {
		return false, nil
	}
	if f.codec.kind == kindList {
		return true, d.headerList(f, values, v)
	}
	s := strings.Join(values, ",")
	if s == "" && f.codec.kind != kindString {
		return false, nil // an empty header is an absent one
	}
	if setScalar(f.codec, f.time, s, v) == nil {
		return true, nil
	}
	if f.wire == "If-Modified-Since" || f.wire == "If-Unmodified-Since" {
		return false, nil // RFC 9110, 13.1.3: one that is not a date is no condition
	}
	return false, d.api.dialect.badValue(f.wireName(), s, f.codec)
}

// contentLength is the payload's decoded length: net/http keeps the header out of Header, and a chunked
// signature makes it another number.
func (d *restReader) contentLength(f *field, v reflect.Value) (bool, error) {
	n := d.r.ContentLength
	if d.body != nil {
		n = d.body.Size()
	}
	if n < 0 {
		return false, nil
	}
	return true, d.scalar(f, strconv.FormatInt(n, 10), v)
}

// headerList reads a comma-separated header; none of S3's lists holds dates or quoted strings.
func (d *restReader) headerList(f *field, values []string, v reflect.Value) error {
	out := reflect.MakeSlice(f.codec.typ, 0, 4)
	for _, value := range values {
		for s := range strings.SplitSeq(value, ",") {
			if out.Len() == maxXMLList {
				return d.api.dialect.badValue(f.wireName(), "", f.codec)
			}
			e := reflect.New(f.codec.elem.typ).Elem()
			if s = strings.TrimSpace(s); setScalar(f.codec.elem, f.time, s, e) != nil {
				return d.api.dialect.badValue(f.wireName(), s, f.codec.elem)
			}
			out = reflect.Append(out, e)
		}
	}
	v.Set(out)
	return nil
}

// prefixed reads user metadata. Names are lower-case, as S3 stores them.
func (d *restReader) prefixed(f *field, v reflect.Value) (bool, error) {
	var found map[string]string
	for name, values := range d.r.Header {
		if rest, ok := strings.CutPrefix(name, f.wire); ok && rest != "" {
			if found == nil {
				found = map[string]string{}
			}
			found[strings.ToLower(rest)] = strings.Join(values, ",")
		}
	}
	if found == nil {
		return false, nil
	}
	v.Set(reflect.ValueOf(found))
	return true, nil
}

func (d *restReader) payload(f *field, v reflect.Value) (bool, error) {
	switch f.codec.kind {
	case kindStream:
		if d.body == nil {
			return false, nil
		}
		v.Set(reflect.ValueOf(d.body))
		return true, nil
	case kindString, kindBlob:
		doc, err := d.readBody()
		if err != nil || len(doc) == 0 {
			return d.emptyPayload(f, err)
		}
		if f.codec.kind == kindBlob {
			v.SetBytes(doc)
			return true, nil
		}
		settle(v).SetString(string(doc))
		return true, nil
	}
	doc, err := d.readBody()
	if err != nil || len(doc) == 0 {
		return d.emptyPayload(f, err)
	}
	return true, d.document(doc, f.root(), f.codec, v)
}

// root is the document's element when the member is the payload.
func (f *field) root() string {
	if f.named {
		return f.xml
	}
	return f.codec.root
}

func (d *restReader) emptyPayload(f *field, err error) (bool, error) {
	if err == nil && f.required != 0 {
		err = Errorf(http.StatusBadRequest, "MissingRequestBodyError", "Request Body is empty")
	}
	return false, err
}

// unbound reads the members that have no place of their own: together they are the document.
func (d *restReader) unbound(in reflect.Value) error {
	c := d.op.in
	var required, all bool
	for i := range c.fields {
		if f := &c.fields[i]; f.loc == inBody {
			all, required = true, required || f.required != 0
		}
	}
	if !all {
		return nil
	}
	doc, err := d.readBody()
	if err != nil {
		return err
	}
	if len(doc) == 0 {
		if required {
			return d.noBody(c)
		}
		return nil
	}
	return d.document(doc, c.root, c, in)
}

// document reads XML or JSON.
func (d *restReader) document(doc []byte, root string, c *codec, v reflect.Value) error {
	if d.api.SpeaksJSON() {
		return readJSON(d.api.dialect, d.api.lenient, doc, c, v)
	}
	return readXML(d.api.dialect, doc, root, c, v)
}

// noBody answers a request without the document that it needs.
func (d *restReader) noBody(c *codec) error {
	if d.api.SpeaksJSON() {
		return readJSON(d.api.dialect, d.api.lenient, []byte("{}"), c, reflect.New(c.typ).Elem())
	}
	return Errorf(http.StatusBadRequest, "MissingRequestBodyError", "Request Body is empty")
}

// readBody reads all of a document, to its end: only there are signature and checksums known to be right.
func (d *restReader) readBody() ([]byte, error) {
	if d.body == nil {
		return nil, nil
	}
	if d.body.Size() > maxXMLBytes {
		return nil, tooLong()
	}
	doc, err := io.ReadAll(io.LimitReader(d.body, maxXMLBytes+1))
	if err == nil && len(doc) > maxXMLBytes {
		err = tooLong()
	}
	return doc, err
}

func tooLong() *Error {
	return Errorf(http.StatusBadRequest, "MaxMessageLengthExceeded", "Your request was too big: a document has at most %d bytes", maxXMLBytes)
}
