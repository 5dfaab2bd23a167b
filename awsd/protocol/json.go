package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// jsonReader reads a document of restJson1 or awsJson1_1 along the shapes. As AWS does, it overlooks members that the schema does
// not have, and takes null for an absent one. https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
type jsonReader struct {
	dialect dialect
	lenient bool // what is absent or no value of its enum is left to Validate
}

// readJSON reads doc into v of c's type: of a structure that is an operation's input the members that have no other
// place in the request.
func readJSON(d dialect, lenient bool, doc []byte, c *codec, v reflect.Value) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return d.malformed("it is not JSON: " + err.Error())
	}
	if dec.More() {
		return d.malformed("something follows the JSON document")
	}
	return jsonReader{d, lenient}.value(c, timeDefault, c.name, value, v)
}

// value reads one JSON value, which is called name in messages, into v.
func (j jsonReader) value(c *codec, format timeFormat, name string, value any, v reflect.Value) error {
	switch c.kind {
	case kindStruct:
		object, ok := value.(map[string]any)
		if !ok {
			return j.dialect.malformed(name + " must be an object")
		}
		return j.structure(c, object, settle(v))
	case kindList:
		list, ok := value.([]any)
		if !ok {
			return j.dialect.malformed(name + " must be an array")
		}
		return j.list(c, format, name, list, v)
	case kindMap:
		object, ok := value.(map[string]any)
		if !ok {
			return j.dialect.malformed(name + " must be an object")
		}
		return j.mapping(c, format, name, object, v)
	case kindUnion, kindStream:
		return j.dialect.malformed(name + " cannot stand in a JSON document")
	}
	text, ok := scalarText(c, value)
	if ok && j.lenient && setForeign(c, text, v) {
		return nil
	}
	if !ok || setScalar(c, format, text, v) != nil {
		return j.dialect.badValue(name, text, c)
	}
	return nil
}

// scalarText is a simple value as text, if its JSON type is one that c may have.
func scalarText(c *codec, value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, c.kind == kindString || c.kind == kindEnum || c.kind == kindTime || c.kind == kindBlob ||
			c.kind == kindFloat && slices.Contains([]string{"NaN", "Infinity", "-Infinity"}, value)
	case bool:
		return strconv.FormatBool(value), c.kind == kindBool
	case json.Number:
		return value.String(), c.kind == kindInt || c.kind == kindFloat || c.kind == kindTime
	}
	return "", false
}

func (j jsonReader) structure(c *codec, object map[string]any, v reflect.Value) error {
	var missing []string
	for i := range c.fields {
		f := &c.fields[i]
		if f.ignore || f.loc != inBody {
			continue
		}
		value := object[f.xml]
		if value == nil {
			if f.required != 0 {
				missing = append(missing, f.xml)
			}
			continue
		}
		if err := j.value(f.codec, f.time, f.xml, value, v.Field(f.index)); err != nil {
			return err
		}
	}
	if len(missing) > 0 && !j.lenient {
		return j.dialect.missing(missing)
	}
	return nil
}

func (j jsonReader) list(c *codec, format timeFormat, name string, list []any, v reflect.Value) error {
	out := reflect.MakeSlice(c.typ, 0, len(list))
	for _, value := range list {
		e := reflect.New(c.typ.Elem()).Elem()
		if value != nil {
			if err := j.value(c.elem, format, name, value, e); err != nil {
				return err
			}
		}
		out = reflect.Append(out, e)
	}
	v.Set(out)
	return nil
}

func (j jsonReader) mapping(c *codec, format timeFormat, name string, object map[string]any, v reflect.Value) error {
	out := reflect.MakeMapWithSize(c.typ, len(object))
	for key, value := range object {
		if value == nil {
			continue
		}
		e := reflect.New(c.typ.Elem()).Elem()
		if err := j.value(c.elem, format, name, value, e); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key).Convert(c.typ.Key()), e)
	}
	v.Set(out)
	return nil
}

// appendJSON writes v of c's type. Of a structure it leaves out what is not set and what has another place in the
// answer; format is that of times which have none of their own.
func appendJSON(b []byte, c *codec, format timeFormat, v reflect.Value) []byte {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch c.kind {
	case kindStruct:
		return appendObject(b, c, v)
	case kindList:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, c.elem, format, v.Index(i))
		}
		return append(b, ']')
	case kindMap:
		return appendMap(b, c, format, v)
	case kindString, kindEnum:
		return appendText(b, v.String())
	case kindBlob:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case kindTime:
		if format == timeEpoch {
			return appendScalar(b, c, format, v)
		}
		return append(appendScalar(append(b, '"'), c, format, v), '"')
	case kindFloat:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return append(appendScalar(append(b, '"'), c, format, v), '"')
		}
	}
	return appendScalar(b, c, format, v)
}

func appendObject(b []byte, c *codec, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	for i := range c.fields {
		f := &c.fields[i]
		if f.ignore || f.loc != inBody || !isSet(f.codec, v.Field(f.index)) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		format := f.time
		if format == timeDefault {
			format = timeEpoch
		}
		b = append(appendText(b, f.xml), ':')
		b = appendJSON(b, f.codec, format, v.Field(f.index))
	}
	return append(b, '}')
}

func appendMap(b []byte, c *codec, format timeFormat, v reflect.Value) []byte {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, key.String()), ':')
		b = appendJSON(b, c.elem, format, v.MapIndex(key))
	}
	return append(b, '}')
}

// appendText writes a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendText(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // which a string never gives
		return append(b, `""`...)
	}
	return append(b, text...)
}

// sendJSONError answers with the message, and the code in a header and as __type. restJson1's services write Message,
// those of awsJson1_1 message.
func sendJSONError(w http.ResponseWriter, protocol string, status int, e *Error) error {
	w.Header()["X-Amzn-Errortype"] = []string{e.Code}
	b := append([]byte(`{"__type":`), appendText(nil, e.Code)...)
	name := `,"Message":`
	if protocol == protocolJSON {
		name = `,"message":`
	}
	b = append(append(b, name...), appendText(nil, e.Message)...)
	for _, f := range e.Fields {
		b = append(append(append(append(b, ','), appendText(nil, f.Name)...), ':'), appendText(nil, f.Value)...)
	}
	return send(w, status, contentType(protocol), append(b, '}'))
}

// jsonDialect is that of the EBS direct APIs ("ValidationException" with a Reason in their reference).
type jsonDialect struct{}

func (jsonDialect) missingAction() *Error {
	return Errorf(http.StatusNotFound, "UnknownOperationException", "There is no operation at this method and path.")
}

func (d jsonDialect) unknownAction(string, string, string) *Error { return d.missingAction() }

func (jsonDialect) badValue(name, value string, c *codec) *Error {
	e := Errorf(http.StatusBadRequest, "ValidationException", "Invalid value '%s' at '%s'. %s", value, lowerFirst(name), c.expectation())
	e.Fields = []Field{{"Reason", "INVALID_PARAMETER_VALUE"}}
	return e
}

func (jsonDialect) missing(names []string) *Error {
	e := queryDialect{}.missing(names)
	e.Code, e.Fields = "ValidationException", []Field{{"Reason", "INVALID_PARAMETER_VALUE"}}
	return e
}

// ebsReasons are the reasons of a ValidationException that name a member of their own. Source: ValidationExceptionReason in
// the EBS direct APIs' reference.
var ebsReasons = map[string]string{
	"SnapshotId": "INVALID_SNAPSHOT_ID", "FirstSnapshotId": "INVALID_SNAPSHOT_ID", "SecondSnapshotId": "INVALID_SNAPSHOT_ID",
	"ParentSnapshotId": "INVALID_SNAPSHOT_ID", "BlockIndex": "INVALID_BLOCK", "StartingBlockIndex": "INVALID_BLOCK",
	"BlockToken": "INVALID_BLOCK_TOKEN", "NextToken": "INVALID_PAGE_TOKEN", "VolumeSize": "INVALID_VOLUME_SIZE",
	"Key": "INVALID_TAG", "Value": "INVALID_TAG", "KmsKeyArn": "INVALID_CUSTOMER_KEY",
}

func (jsonDialect) invalid(found []violation) *Error {
	e := Errorf(http.StatusBadRequest, "ValidationException", "%s", aggregated(found))
	reason := ebsReasons[found[0].member]
	if reason == "" {
		reason = "INVALID_PARAMETER_VALUE"
	}
	e.Fields = []Field{{"Reason", reason}}
	return e
}

func (jsonDialect) unknown(string) *Error { return nil }

func (jsonDialect) malformed(why string) *Error {
	return Errorf(http.StatusBadRequest, "SerializationException", "The request cannot be read: %s", why)
}

// asJSON words an error about the request itself as services of JSON do.
func asJSON(d dialect, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Code == "InvalidURI" {
		return d.malformed(e.Message)
	}
	return err
}
