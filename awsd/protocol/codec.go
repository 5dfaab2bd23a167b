package protocol

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// kind is how a value is written, decided by its Go type.
type kind uint8

const (
	kindString kind = iota
	kindEnum
	kindBool
	kindInt
	kindFloat
	kindTime
	kindBlob
	kindStream
	kindStruct
	kindList
	kindMap
	kindUnion
)

// codec is a shape joined with the Go type that it fills: what the readers and writers walk along.
type codec struct {
	kind kind
	typ  reflect.Type // never a pointer
	name string       // of the shape, for messages
	root string       // XML name as a document

	fields   []field        // struct and union, in the model's order
	byQuery  map[string]int // wire name to field
	byXML    map[string]int // local XML name to field
	required uint64         // all bits of required fields
	attrs    bool           // a field is an XML attribute
	checked  bool           // Validate has something to look at here or below

	item       string // list: XML name of an element
	key, value string // map: XML names
	elem       *codec // list and map

	enum     []string       // sorted; nil: any value
	variants []reflect.Type // union: the member structs, along fields
}

// maxFields is how many members a structure may have; EC2's largest has half as many.
const maxFields = 256

type codecKey struct {
	shape string
	typ   reflect.Type
}

// joiner builds codecs. One codec serves every place where the same shape fills the same type, so a shape
// that holds itself ends.
type joiner struct {
	table *table
	ec2   bool
	whole bool // Validate sees to required members and enums
	// shortTimes: timestamps have no fraction that is 0
	shortTimes bool
	unions     map[string]reflect.Type // by name
	done       map[codecKey]*codec
	enums      map[string][]string // by Go type
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// simpleKind is the kind of a type that holds one value.
func simpleKind(t reflect.Type) (kind, bool) {
	switch t.Kind() {
	case reflect.String:
		if t.Name() != "string" {
			return kindEnum, true
		}
		return kindString, true
	case reflect.Bool:
		return kindBool, true
	case reflect.Int32, reflect.Int64:
		return kindInt, true
	case reflect.Float32, reflect.Float64:
		return kindFloat, true
	}
	switch t {
	case timeType:
		return kindTime, true
	case bytesType:
		return kindBlob, true
	}
	return 0, false
}

// codec of shape (named as in the table, "" for a simple type) filling t.
func (j *joiner) codec(shape string, t reflect.Type) (*codec, error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	key := codecKey{shape, t}
	if c, ok := j.done[key]; ok {
		return c, nil
	}
	c := &codec{typ: t, name: shape, checked: true} // until it is known: a shape may hold itself
	j.done[key] = c
	if err := j.fill(c); err != nil {
		delete(j.done, key)
		return nil, err
	}
	c.checked = j.checks(c)
	return c, nil
}

func (j *joiner) fill(c *codec) error {
	if c.name == "*stream" {
		c.kind = kindStream
		return nil
	}
	if k, ok := simpleKind(c.typ); ok {
		c.kind = k
		if k == kindEnum {
			c.enum = j.enumValues(c.typ.Name())
		}
		return nil
	}
	cells := strings.Split(j.table.lines[c.name], "\t")
	switch j.table.kinds[c.name] {
	case "struct":
		c.kind = kindStruct
		return j.fillStruct(c, cells)
	case "union":
		c.kind = kindUnion
		return j.fillUnion(c, cells)
	case "list":
		c.kind, c.item = kindList, cells[0]
		return j.fillElem(c, cells, 1)
	case "map":
		c.kind, c.key, c.value = kindMap, cells[0], cells[1]
		return j.fillElem(c, cells, 2)
	}
	if c.typ.Kind() == reflect.Struct && c.name == "-" {
		c.kind = kindStruct // an operation without input or output
		return nil
	}
	return fmt.Errorf("protocol: no shape %q for %v", c.name, c.typ)
}

// checks tells whether Validate has something to look at in a value of c.
func (j *joiner) checks(c *codec) bool {
	switch c.kind {
	case kindList, kindMap:
		return c.elem.checked || j.whole && c.elem.kind == kindEnum && c.elem.enum != nil
	case kindStruct, kindUnion:
		return slices.ContainsFunc(c.fields, func(f field) bool { return !f.ignore && f.checks(j.whole) })
	}
	return false
}

func (j *joiner) enumValues(goType string) []string {
	values, ok := j.enums[goType]
	if !ok {
		if line := j.table.enums[goType]; line != "" {
			values = strings.Split(line, "\t")
		}
		j.enums[goType] = values
	}
	return values
}

func (j *joiner) fillElem(c *codec, cells []string, at int) (err error) {
	shape := ""
	if len(cells) > at {
		shape = cells[at]
	}
	c.elem, err = j.codec(shape, c.typ.Elem())
	return err
}

func (j *joiner) fillStruct(c *codec, cells []string) error {
	if err := j.parseFields(c, cells); err != nil {
		return err
	}
	for i := range c.fields {
		f := &c.fields[i]
		if f.ignore {
			continue
		}
		sf, ok := c.typ.FieldByName(f.name)
		if !ok || len(sf.Index) != 1 {
			return fmt.Errorf("protocol: %v has no field %s", c.typ, f.name)
		}
		f.index = sf.Index[0]
		if err := j.fillField(c, f, sf.Type); err != nil {
			return err
		}
		if j.shortTimes && f.time == timeDefault && f.codec.kind == kindTime {
			f.time = timeShort
		}
	}
	return nil
}

// fillUnion: the value of member M lies in the field Value of the struct UnionMemberM.
func (j *joiner) fillUnion(c *codec, cells []string) error {
	if err := j.parseFields(c, cells); err != nil {
		return err
	}
	for i := range c.fields {
		f := &c.fields[i]
		variant, ok := j.unions[c.typ.Name()+"Member"+f.name]
		if !ok {
			return fmt.Errorf("protocol: union %v has no member %s", c.typ, f.name)
		}
		value, ok := variant.FieldByName("Value")
		if !ok {
			return fmt.Errorf("protocol: %v has no field Value", variant)
		}
		f.index = value.Index[0]
		c.variants = append(c.variants, variant)
		if err := j.fillField(c, f, value.Type); err != nil {
			return err
		}
	}
	return nil
}

func (j *joiner) parseFields(c *codec, cells []string) error {
	c.root = c.name
	if cells[0] != "" {
		c.root = cells[0]
	}
	if len(cells) < 2 {
		return nil
	}
	if len(cells)-1 > maxFields {
		return fmt.Errorf("protocol: %s has more than %d members", c.name, maxFields)
	}
	c.fields = make([]field, len(cells)-1)
	c.byQuery, c.byXML = make(map[string]int, len(c.fields)), make(map[string]int, len(c.fields))
	next := uint64(1)
	for i, cell := range cells[1:] {
		f, err := parseField(cell, j.ec2, j.table.patterns)
		if err != nil {
			return err
		}
		if f.required != 0 {
			if next == 0 {
				return fmt.Errorf("protocol: %s has more than 64 required members", c.name)
			}
			f.required, next = next, next<<1
			c.required |= f.required
		}
		c.fields[i] = f
		c.byQuery[f.query] = i
		c.byXML[f.xml[strings.IndexByte(f.xml, ':')+1:]] = i
		c.attrs = c.attrs || f.attr
	}
	return nil
}

func (j *joiner) fillField(c *codec, f *field, t reflect.Type) (err error) {
	if f.codec, err = j.codec(f.target, t); err != nil {
		return fmt.Errorf("%s.%s: %w", c.name, f.name, err)
	}
	if f.loc == inHeader || f.loc == inPrefix {
		f.wire = http.CanonicalHeaderKey(f.wire)
		if f.time == timeDefault {
			f.time = timeHTTP
		}
	}
	return nil
}

// allows says whether an enum has the value.
func (c *codec) allows(value string) bool {
	if c.enum == nil {
		return true
	}
	_, ok := slices.BinarySearch(c.enum, value)
	return ok
}

func newJoiner(t *table, a *API) *joiner {
	j := &joiner{
		table: t, ec2: a.protocol == "ec2Query", whole: a.lenient, shortTimes: a.protocol == "awsQuery", unions: map[string]reflect.Type{},
		done: map[codecKey]*codec{}, enums: map[string][]string{},
	}
	for _, u := range a.unions {
		variant := reflect.TypeOf(u).Elem()
		j.unions[variant.Name()] = variant
	}
	return j
}
