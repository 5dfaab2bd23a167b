package protocol

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on a complaint: a request can break more rules than an answer should tell.
const (
	maxViolations = 50
	maxShownValue = 1024 // characters of a value
)

// violation is a rule of the model that a request breaks.
type violation struct {
	path   string // "tags.1.member.key"
	value  string // as the message shows it, with its quotes; "" for a secret one
	rule   string // "Member must not be null"
	member string // of the structure
	limits *limits
	of     bounds // what the value was held against, of EC2's message
	number bool   // a value out of its range
}

// Validate holds an input that Decode has made against the constraints of the model: required members, enums, lengths,
// ranges and patterns. The error is an *Error that tells all that is wrong, in the words of the service. S3 has none: its
// handlers answer for every value with a code of its own.
func (a *API) Validate(op *Operation, input any) error {
	if err := a.prepare(op); err != nil {
		return err
	}
	if !op.in.checked {
		return nil
	}
	v := validator{whole: a.lenient}
	v.structure(op.in, reflect.ValueOf(input).Elem(), 0)
	if len(v.found) == 0 {
		return nil
	}
	return a.dialect.invalid(v.found)
}

// step is a member on the way to a value.
type step struct {
	name  string
	index int // of the list's element that the member belongs to, from 1; 0 when it belongs to none
}

// validator walks an input along its shapes.
type validator struct {
	whole bool // required members and enums too: Decode left them
	found []violation
	way   [maxDepth + 1]step // to where it is
	depth int
}

// place is where the validator is, as AWS writes it: tags.1.member.key.
func (w *validator) place() string {
	var b strings.Builder
	for i, s := range w.way[:w.depth] {
		if i > 0 {
			b.WriteByte('.')
		}
		if s.index > 0 {
			b.WriteString(strconv.Itoa(s.index) + ".member.")
		}
		b.WriteString(lowerFirst(s.name))
	}
	return b.String()
}

func (w *validator) add(v violation) {
	if len(w.found) < maxViolations {
		w.found = append(w.found, v)
	}
}

func (w *validator) structure(c *codec, v reflect.Value, index int) {
	if w.depth == len(w.way) {
		return // no reader goes deeper
	}
	w.depth++
	defer func() { w.depth-- }()
	for i := range c.fields {
		f := &c.fields[i]
		if f.ignore || !f.checks(w.whole) {
			continue
		}
		fv := v.Field(f.index)
		w.way[w.depth-1] = step{f.name, index}
		if absent(f.codec, fv) {
			if w.whole && f.required != 0 && nullable(fv) {
				w.add(violation{path: w.place(), member: f.name, value: "null", rule: "Member must not be null"})
			}
			continue
		}
		w.member(f, reflect.Indirect(fv))
	}
}

// checks tells whether a value of the member can break a rule.
func (f *field) checks(whole bool) bool {
	return f.limits != nil || f.elem != nil || f.key != nil || f.codec.checked ||
		whole && (f.required != 0 || f.codec.kind == kindEnum && f.codec.enum != nil)
}

// absent tells whether a member was not sent.
func absent(c *codec, v reflect.Value) bool {
	if c.kind == kindEnum && v.Kind() == reflect.String {
		return v.Len() == 0
	}
	return nullable(v) && v.IsNil()
}

func nullable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return true
	case reflect.String: // an enum
		return true
	}
	return false
}

func (w *validator) member(f *field, v reflect.Value) {
	c := f.codec
	if f.limits != nil {
		w.limits(f, c, v)
	}
	switch c.kind {
	case kindEnum:
		w.enum(f, c, v)
	case kindStruct:
		w.structure(c, v, 0)
	case kindList:
		w.list(f, c, v)
	case kindMap:
		w.entries(f, c, v)
	case kindUnion:
		w.union(c, v)
	}
}

// limits holds a member against its own constraints.
func (w *validator) limits(f *field, c *codec, v reflect.Value) {
	l := f.limits
	switch c.kind {
	case kindString, kindEnum:
		for _, rule := range l.text(v.String()) {
			w.broken(f, violation{path: w.place(), value: shown(v.String()), rule: rule, limits: l})
		}
	case kindBlob, kindList, kindMap:
		for _, rule := range l.length.check("length", float64(v.Len())) {
			b := violation{path: w.place(), rule: rule, limits: l}
			if c.kind != kindBlob {
				b.value = shown(collection(v))
			}
			w.broken(f, b)
		}
	case kindInt, kindFloat:
		n := 0.0
		if c.kind == kindInt {
			n = float64(v.Int())
		} else {
			n = v.Float()
		}
		for _, rule := range l.value.check("value", n) {
			w.broken(f, violation{path: w.place(), value: shown(decimal(n)), rule: rule, limits: l, of: *l.value, number: true})
		}
	}
}

func (w *validator) broken(f *field, v violation) {
	v.member = f.name
	if f.secret {
		v.value = ""
	}
	w.add(v)
}

func (w *validator) enum(f *field, c *codec, v reflect.Value) {
	if w.whole && !c.allows(v.String()) {
		w.broken(f, violation{path: w.place(), value: shown(v.String()), rule: enumRule(c)})
	}
}

func enumRule(c *codec) string {
	return "Member must satisfy enum value set: [" + strings.Join(c.enum, ", ") + "]"
}

func (w *validator) list(f *field, c *codec, v reflect.Value) {
	e := c.elem
	switch {
	case e.kind == kindStruct && e.checked:
		for i := range v.Len() {
			if item := reflect.Indirect(v.Index(i)); item.IsValid() {
				w.structure(e, item, i+1)
			}
		}
	case e.kind == kindEnum && w.whole && e.enum != nil:
		for i := range v.Len() {
			if !e.allows(v.Index(i).String()) {
				w.broken(f, violation{path: w.place(), value: shown(collection(v)), rule: "Member must satisfy constraint: [" + enumRule(e) + "]"})
				return
			}
		}
	}
	if f.elem == nil {
		return
	}
	for i := range v.Len() {
		if !f.elem.holds(reflect.Indirect(v.Index(i))) {
			w.broken(f, violation{path: w.place(), value: shown(collection(v)), limits: f.elem,
				rule: "Member must satisfy constraint: [" + strings.Join(f.elem.all(), ", ") + "]"})
			return
		}
	}
}

func (w *validator) entries(f *field, c *codec, v reflect.Value) {
	for _, part := range []struct {
		limits *limits
		words  string
		of     func(*reflect.MapIter) reflect.Value
	}{{f.key, "Map keys must satisfy constraint: [", (*reflect.MapIter).Key}, {f.elem, "Map value must satisfy constraint: [", (*reflect.MapIter).Value}} {
		if part.limits == nil {
			continue
		}
		for it := v.MapRange(); it.Next(); {
			if !part.limits.holds(reflect.Indirect(part.of(it))) {
				w.broken(f, violation{path: w.place(), value: shown(collection(v)), limits: part.limits,
					rule: part.words + strings.Join(part.limits.all(), ", ") + "]"})
				break
			}
		}
	}
}

func (w *validator) union(c *codec, v reflect.Value) {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	for i, variant := range c.variants {
		if f := &c.fields[i]; v.IsValid() && v.Type() == variant && f.checks(w.whole) {
			if fv := v.Field(f.index); !absent(f.codec, fv) {
				w.unionMember(f, reflect.Indirect(fv))
			}
		}
	}
}

func (w *validator) unionMember(f *field, v reflect.Value) {
	if w.depth == len(w.way) {
		return
	}
	w.way[w.depth] = step{name: f.name}
	w.depth++
	w.member(f, v)
	w.depth--
}

// holds tells whether an element breaks no rule.
func (l *limits) holds(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return len(l.text(v.String())) == 0
	case reflect.Int32, reflect.Int64:
		return len(l.value.check("value", float64(v.Int()))) == 0
	case reflect.Float32, reflect.Float64:
		return len(l.value.check("value", v.Float())) == 0
	}
	return true
}

// shown is a value in quotes, as messages have it.
func shown(s string) string {
	if len(s) > maxShownValue && utf8.RuneCountInString(s) > maxShownValue {
		s = string([]rune(s)[:maxShownValue]) + "..."
	}
	return "'" + s + "'"
}

// collection is a list or map as Java prints it, as far as it holds plain values.
func collection(v reflect.Value) string {
	var parts []string
	plain := func(v reflect.Value) string {
		if v = reflect.Indirect(v); v.IsValid() && v.Kind() != reflect.Struct && v.CanInterface() {
			return fmt.Sprint(v.Interface())
		}
		return "..."
	}
	switch v.Kind() {
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			parts = append(parts, plain(it.Key())+"="+plain(it.Value()))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, plain(v.Index(i)))
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
