package protocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// timeFormat is how a timestamp is written (https://smithy.io/2.0/spec/protocol-traits.html#timestampformat).
type timeFormat uint8

const (
	timeDefault timeFormat = iota // that of the place: http-date in a header, else date-time
	timeISO
	timeHTTP
	timeEpoch
	timeShort // as timeISO, without a fraction that is 0
)

func parseTimeFormat(s string) (timeFormat, error) {
	switch s {
	case "date-time":
		return timeISO, nil
	case "http-date":
		return timeHTTP, nil
	case "epoch-seconds":
		return timeEpoch, nil
	}
	return 0, fmt.Errorf("unknown timestamp format %q", s)
}

// errForm is a simple value that does not have the form of its type.
var errForm = errors.New("malformed value")

// settle gives the place that v, perhaps a nil pointer, stands for.
func settle(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return v.Elem()
}

// setScalar reads s into v, a field or element of c's type or a pointer to it.
func setScalar(c *codec, format timeFormat, s string, v reflect.Value) error {
	switch c.kind {
	case kindString:
		settle(v).SetString(s)
	case kindEnum:
		if !c.allows(s) {
			return errForm
		}
		settle(v).SetString(s)
	case kindBool:
		if !strings.EqualFold(s, "true") && !strings.EqualFold(s, "false") {
			return errForm
		}
		settle(v).SetBool(len(s) == len("true"))
	case kindInt:
		n, err := strconv.ParseInt(s, 10, c.typ.Bits())
		if err != nil {
			return errForm
		}
		settle(v).SetInt(n)
	case kindFloat:
		n, err := strconv.ParseFloat(s, c.typ.Bits())
		if err != nil {
			return errForm
		}
		settle(v).SetFloat(n)
	case kindTime:
		t, err := parseTime(format, s)
		if err != nil {
			return errForm
		}
		settle(v).Set(reflect.ValueOf(t))
	case kindBlob:
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return errForm
		}
		v.SetBytes(b)
	default:
		return errForm
	}
	return nil
}

// setForeign puts a value that its enum does not have into v, for Validate to refuse it, and tells whether it was one. The
// empty text is none: Validate would take it for an absent member.
func setForeign(c *codec, s string, v reflect.Value) bool {
	if c.kind != kindEnum || s == "" || c.allows(s) {
		return false
	}
	settle(v).SetString(s)
	return true
}

// isoForms are what AWS takes as a date-time beside RFC 3339.
var isoForms = [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "20060102T150405Z", "2006-01-02"}

func parseTime(format timeFormat, s string) (time.Time, error) {
	if format == timeHTTP {
		if t, err := http.ParseTime(s); err == nil {
			return t.UTC(), nil
		}
	}
	for _, form := range isoForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	if seconds, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(seconds) < 1<<40 {
		whole, fraction := math.Modf(seconds)
		return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
	}
	return time.Time{}, errForm
}

// isSet says whether v, a field of c's type, has a value to write. A number or truth value that cannot be
// absent is always one.
func isSet(c *codec, v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		return !v.IsNil()
	case reflect.String:
		return v.Len() > 0
	}
	return true
}

// appendScalar writes v, of c's type or a pointer to it, as it stands in a header or (unescaped) in XML.
func appendScalar(b []byte, c *codec, format timeFormat, v reflect.Value) []byte {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch c.kind {
	case kindString, kindEnum:
		return append(b, v.String()...)
	case kindBool:
		return strconv.AppendBool(b, v.Bool())
	case kindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		return appendFloat(b, v.Float(), c.typ.Bits())
	case kindTime:
		return appendTime(b, format, v)
	case kindBlob:
		return base64.StdEncoding.AppendEncode(b, v.Bytes())
	}
	return b
}

func appendFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	return strconv.AppendFloat(b, f, 'f', -1, bits)
}

// appendTime writes milliseconds in XML because that is what S3 and EC2 do; IAM and STS leave them out when there are none.
func appendTime(b []byte, format timeFormat, v reflect.Value) []byte {
	t := timeOf(v).UTC()
	switch format {
	case timeHTTP:
		return t.AppendFormat(b, http.TimeFormat)
	case timeEpoch:
		return strconv.AppendFloat(b, float64(t.UnixMilli())/1e3, 'f', -1, 64)
	}
	b = t.AppendFormat(b, time.RFC3339) // which time has a short way for
	ms := t.Nanosecond() / 1e6
	if format == timeShort && ms == 0 {
		return b
	}
	return append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// timeOf spares the copy that an interface would make, where it can.
func timeOf(v reflect.Value) time.Time {
	if v.CanAddr() {
		return *v.Addr().Interface().(*time.Time)
	}
	return v.Interface().(time.Time)
}

// formatScalar is appendScalar as a string.
func formatScalar(c *codec, format timeFormat, v reflect.Value) string {
	if c.kind == kindString || c.kind == kindEnum {
		return reflect.Indirect(v).String()
	}
	return string(appendScalar(nil, c, format, v))
}
