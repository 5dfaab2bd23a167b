package protocol

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// xmlWriter appends a document along the shapes.
type xmlWriter struct {
	buf []byte
	// whole says that a list which is required is written even when it is nil, as an empty element: IAM's
	// clients count on its being there.
	whole bool
}

func (x *xmlWriter) open(name, attributes string) {
	x.buf = append(x.buf, '<')
	x.buf = append(x.buf, name...)
	x.buf = append(x.buf, attributes...)
	x.buf = append(x.buf, '>')
}

func (x *xmlWriter) close(name string) {
	x.buf = append(x.buf, '<', '/')
	x.buf = append(x.buf, name...)
	x.buf = append(x.buf, '>')
}

func (x *xmlWriter) leaf(name, text string) {
	x.open(name, "")
	x.buf = appendEscaped(x.buf, text)
	x.close(name)
}

// members writes what a structure holds in the body, without an element around it.
func (x *xmlWriter) members(c *codec, v reflect.Value) {
	for i := range c.fields {
		if f := &c.fields[i]; f.loc == inBody && !f.attr && !f.ignore {
			x.member(f, v.Field(f.index))
		}
	}
}

func (x *xmlWriter) member(f *field, v reflect.Value) {
	switch {
	case isSet(f.codec, v):
	case x.whole && f.required != 0 && f.codec.kind == kindList && !f.flat:
		x.open(f.xml, "")
		x.close(f.xml)
		return
	default:
		return
	}
	switch {
	case f.flat && f.codec.kind == kindList:
		for i := range v.Len() {
			x.element(f.xml, f.codec.elem, f.time, f.namespace, v.Index(i))
		}
	case f.flat && f.codec.kind == kindMap:
		x.entries(f.codec, f.xml, v)
	default:
		x.element(f.xml, f.codec, f.time, f.namespace, v)
	}
}

// element writes <name>v</name>.
func (x *xmlWriter) element(name string, c *codec, format timeFormat, namespace string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	attributes := namespace
	if c.attrs {
		attributes += x.attributes(c, v)
	}
	x.open(name, attributes)
	switch c.kind {
	case kindStruct:
		x.members(c, v)
	case kindUnion:
		x.union(c, v)
	case kindList:
		for i := range v.Len() {
			x.element(c.item, c.elem, format, "", v.Index(i))
		}
	case kindMap:
		x.entries(c, "entry", v)
	case kindString, kindEnum:
		x.buf = appendEscaped(x.buf, v.String())
	default:
		x.buf = appendScalar(x.buf, c, format, v)
	}
	x.close(name)
}

func (x *xmlWriter) attributes(c *codec, v reflect.Value) string {
	var b []byte
	for i := range c.fields {
		f := &c.fields[i]
		if fv := v.Field(f.index); f.attr && isSet(f.codec, fv) {
			b = append(b, ' ')
			b = append(b, f.xml...)
			b = append(b, '=', '"')
			b = appendEscaped(b, formatScalar(f.codec, f.time, fv))
			b = append(b, '"')
		}
	}
	return string(b)
}

// entries writes a map in the order of its keys.
func (x *xmlWriter) entries(c *codec, name string, v reflect.Value) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		x.open(name, "")
		x.leaf(c.key, k.String())
		x.element(c.value, c.elem, timeDefault, "", v.MapIndex(k))
		x.close(name)
	}
}

func (x *xmlWriter) union(c *codec, v reflect.Value) {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	v = reflect.Indirect(v)
	if i := slices.Index(c.variants, v.Type()); i >= 0 {
		f := &c.fields[i]
		x.member(f, v.Field(f.index))
	}
}

// appendEscaped writes text for an element or an attribute. Characters that XML 1.0 has no place for become
// references, as in S3's answers: a key may hold them, and `encoding-type=url` is the way to list such keys.
// A byte that is no UTF-8 becomes U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c > '>' && c < utf8.RuneSelf || c >= '\'' && c < '<' { // most of all text
			i++
			continue
		}
		esc, width := escape(s[i:])
		if esc != "" {
			b = append(b, s[start:i]...)
			b = append(b, esc...)
			start = i + width
		}
		i += width
	}
	return append(b, s[start:]...)
}

// escape is the reference for the first character of s, "" when it stands for itself, and its width.
func escape(s string) (string, int) {
	c := s[0]
	switch {
	case c < ' ':
		return controls[c], 1
	case c < utf8.RuneSelf:
		switch c {
		case '&':
			return "&amp;", 1
		case '<':
			return "&lt;", 1
		case '>':
			return "&gt;", 1
		case '"':
			return "&quot;", 1
		}
		return "", 1
	}
	r, width := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && width == 1:
		return "\uFFFD", 1
	case r == 0xFFFE:
		return "&#xFFFE;", width
	case r == 0xFFFF:
		return "&#xFFFF;", width
	}
	return "", width
}

// controls are the references of the characters below the space; a line feed stands for itself.
var controls = [' ']string{
	"&#x0;", "&#x1;", "&#x2;", "&#x3;", "&#x4;", "&#x5;", "&#x6;", "&#x7;", "&#x8;", "&#x9;", "", "&#xB;", "&#xC;", "&#xD;",
	"&#xE;", "&#xF;", "&#x10;", "&#x11;", "&#x12;", "&#x13;", "&#x14;", "&#x15;", "&#x16;", "&#x17;", "&#x18;", "&#x19;",
	"&#x1A;", "&#x1B;", "&#x1C;", "&#x1D;", "&#x1E;", "&#x1F;",
}
