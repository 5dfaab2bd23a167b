package protocol

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// Bounds on an XML request. The largest that S3 takes is a CompleteMultipartUpload of 10,000 parts with
// every checksum.
const (
	maxXMLBytes    = 8 << 20
	maxXMLElements = 300_000
	maxXMLDepth    = 32
	maxXMLList     = 10_000
)

// xmlReader reads a document along the shapes. As S3 does, it refuses an element that the schema does not
// have: a setting that would be overlooked is worse than an error. A DOCTYPE is refused, so that there are no
// entities but XML's own five.
type xmlReader struct {
	dialect  dialect
	tokens   *xml.Decoder
	elements int
}

var utf8BOM = []byte("\xef\xbb\xbf")

// readXML reads doc, whose root element is root, into v of c's type.
func readXML(d dialect, doc []byte, root string, c *codec, v reflect.Value) error {
	x := &xmlReader{dialect: d, tokens: xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(doc, utf8BOM)))}
	start, err := x.next()
	if err != nil {
		return err
	}
	begin, ok := start.(xml.StartElement)
	if !ok || begin.Name.Local != root {
		return d.malformed("the root element must be " + root)
	}
	if err := x.value(c, timeDefault, begin, 1, v); err != nil {
		return err
	}
	return x.end()
}

// end sees to it that nothing but white space and comments follows the root element.
func (x *xmlReader) end() error {
	for {
		t, err := x.tokens.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return x.dialect.malformed(err.Error())
		}
		switch t := t.(type) {
		case xml.Comment, xml.ProcInst:
			continue
		case xml.CharData:
			if len(bytes.TrimSpace(t)) == 0 {
				continue
			}
		}
		return x.dialect.malformed("something follows the root element")
	}
}

// next is the next start, end or text of the document; text of white space alone counts as text.
func (x *xmlReader) next() (xml.Token, error) {
	for {
		t, err := x.tokens.Token()
		if err != nil {
			return nil, x.dialect.malformed(err.Error())
		}
		switch t := t.(type) {
		case xml.StartElement:
			if x.elements++; x.elements > maxXMLElements {
				return nil, x.dialect.malformed("it has more than " + strconv.Itoa(maxXMLElements) + " elements")
			}
			return t, nil
		case xml.EndElement:
			return t, nil
		case xml.CharData:
			if x.elements > 0 || len(bytes.TrimSpace(t)) > 0 {
				return t, nil
			}
		case xml.Directive:
			return nil, x.dialect.malformed("a document type declaration is not allowed")
		}
	}
}

// value reads the element that start opened, to its end, into v.
func (x *xmlReader) value(c *codec, format timeFormat, start xml.StartElement, depth int, v reflect.Value) error {
	if depth > maxXMLDepth {
		return x.dialect.malformed("it is nested more than " + strconv.Itoa(maxXMLDepth) + " deep")
	}
	switch c.kind {
	case kindStruct:
		return x.structure(c, start, depth, settle(v))
	case kindUnion:
		return x.union(c, start, depth, v)
	case kindList:
		return x.list(c, format, start, depth, v)
	case kindMap, kindStream:
		return x.dialect.malformed("the element " + start.Name.Local + " is not allowed here")
	}
	text, err := x.text(start)
	if err != nil {
		return err
	}
	if c.kind != kindString {
		text = strings.TrimSpace(text)
	}
	if c.kind == kindEnum && text == "" {
		return nil // an empty element is an absent choice
	}
	if setScalar(c, format, text, v) != nil {
		return x.dialect.malformed("the value of " + start.Name.Local + " is not valid. " + c.expectation())
	}
	return nil
}

// text is all of an element that may hold nothing else.
func (x *xmlReader) text(start xml.StartElement) (string, error) {
	var text []byte // comments may cut it in many pieces
	for {
		t, err := x.next()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			text = append(text, t...)
		case xml.EndElement:
			return string(text), nil
		default:
			return "", x.dialect.malformed("the element " + start.Name.Local + " holds a plain value")
		}
	}
}

// children calls each for every element below start, to start's end.
func (x *xmlReader) children(start xml.StartElement, each func(xml.StartElement) error) error {
	for {
		t, err := x.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := each(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return x.dialect.malformed("text is not allowed in the element " + start.Name.Local)
			}
		}
	}
}

func (x *xmlReader) structure(c *codec, start xml.StartElement, depth int, v reflect.Value) error {
	seen, met, err := x.attributes(c, start, v)
	if err != nil {
		return err
	}
	err = x.children(start, func(child xml.StartElement) error {
		i, ok := c.byXML[child.Name.Local]
		if !ok || c.fields[i].attr || c.fields[i].loc != inBody {
			return x.unexpected(child, start)
		}
		f := &c.fields[i]
		seen |= f.required
		fv := v.Field(f.index)
		if f.flat && f.codec.kind == kindList {
			return x.element(f.codec, f.time, child, depth, fv)
		}
		if met[i/64]&(1<<(i%64)) != 0 {
			return x.dialect.malformed("the element " + child.Name.Local + " is given twice")
		}
		met[i/64] |= 1 << (i % 64)
		return x.value(f.codec, f.time, child, depth+1, fv)
	})
	if err != nil || seen == c.required {
		return err
	}
	for i := range c.fields {
		if f := &c.fields[i]; f.loc == inBody && f.required&^seen != 0 {
			return x.dialect.malformed("the element " + start.Name.Local + " must hold " + f.xml)
		}
	}
	return nil
}

// fieldSet marks members of a structure that were met.
type fieldSet [maxFields / 64]uint64

func (x *xmlReader) attributes(c *codec, start xml.StartElement, v reflect.Value) (seen uint64, met fieldSet, err error) {
	if !c.attrs {
		return 0, met, nil
	}
	for _, a := range start.Attr {
		i, ok := c.byXML[a.Name.Local]
		if !ok || !c.fields[i].attr || a.Name.Space == "xmlns" {
			continue
		}
		f := &c.fields[i]
		if setScalar(f.codec, f.time, a.Value, v.Field(f.index)) != nil {
			return 0, met, x.dialect.malformed("the value of " + f.xml + " is not valid. " + f.codec.expectation())
		}
		seen |= f.required
	}
	return seen, met, nil
}

func (x *xmlReader) unexpected(child, parent xml.StartElement) error {
	return x.dialect.malformed("the element " + child.Name.Local + " is not allowed in " + parent.Name.Local)
}

// element appends what child holds to the list v.
func (x *xmlReader) element(c *codec, format timeFormat, child xml.StartElement, depth int, v reflect.Value) error {
	n := v.Len()
	if n == maxXMLList {
		return x.dialect.malformed("it has more than " + strconv.Itoa(maxXMLList) + " elements " + child.Name.Local)
	}
	v.Set(reflect.Append(v, reflect.Zero(c.typ.Elem())))
	return x.value(c.elem, format, child, depth+1, v.Index(n))
}

func (x *xmlReader) list(c *codec, format timeFormat, start xml.StartElement, depth int, v reflect.Value) error {
	v.Set(reflect.MakeSlice(c.typ, 0, 0))
	return x.children(start, func(child xml.StartElement) error {
		if child.Name.Local != c.item {
			return x.unexpected(child, start)
		}
		return x.element(c, format, child, depth, v)
	})
}

func (x *xmlReader) union(c *codec, start xml.StartElement, depth int, v reflect.Value) error {
	err := x.children(start, func(child xml.StartElement) error {
		i, ok := c.byXML[child.Name.Local]
		if !ok || !v.IsNil() {
			return x.unexpected(child, start)
		}
		variant := reflect.New(c.variants[i])
		f := &c.fields[i]
		if err := x.value(f.codec, f.time, child, depth+1, variant.Elem().Field(f.index)); err != nil {
			return err
		}
		v.Set(variant)
		return nil
	})
	if err == nil && v.IsNil() {
		return x.dialect.malformed("the element " + start.Name.Local + " must hold one of its members")
	}
	return err
}
