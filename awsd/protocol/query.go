package protocol

import (
	"cmp"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Bounds on a query request. AWS's largest lists have a thousand elements of a few members.
const (
	maxParams = 20_000 // parameters of one request
	maxDepth  = 32     // segments of one name: shapes may hold themselves

	maxMissing = 20 // names in one complaint
)

// param is one parameter of a query request.
type param struct{ key, value string }

// queryReader reads the two query protocols:
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html and …/aws-ec2-query-protocol.html.
// It walks sorted parameters along the shapes, so what it allocates is in proportion to what was sent, never
// to a number in a name.
type queryReader struct {
	dialect dialect
	flat    bool // ec2Query: lists have no element name
	lenient bool // what is absent or no value of its enum is left to Validate
	missing []string
}

func (a *API) decodeQuery(op *Operation, form url.Values, in reflect.Value) error {
	q := &queryReader{dialect: a.dialect, flat: a.protocol == "ec2Query", lenient: a.lenient}
	params, err := q.params(form)
	if err != nil {
		return err
	}
	if err := q.structure(op.in, params, 0, 0, in); err != nil {
		return err
	}
	if len(q.missing) > 0 {
		return a.dialect.missing(q.missing)
	}
	return nil
}

// params sorts so that everything below one name stands together: '.' before all other bytes.
func (q *queryReader) params(form url.Values) ([]param, error) {
	if len(form) > maxParams {
		return nil, q.dialect.malformed("it has more than " + strconv.Itoa(maxParams) + " parameters")
	}
	params := make([]param, 0, len(form))
	for key, values := range form {
		if isProtocolParam(key) {
			continue
		}
		if len(values) != 1 {
			return nil, q.dialect.malformed("the parameter " + key + " is given " + strconv.Itoa(len(values)) + " times")
		}
		params = append(params, param{key, values[0]})
	}
	slices.SortFunc(params, func(a, b param) int { return compareNames(a.key, b.key) })
	return params, nil
}

// isProtocolParam says whether a parameter belongs to the protocol or to a signature in the query.
func isProtocolParam(key string) bool {
	switch key {
	case "Action", "Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp",
		"Expires", "SecurityToken":
		return true
	}
	return len(key) >= 6 && strings.EqualFold(key[:6], "X-Amz-")
}

func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '.':
			return -1
		case b[i] == '.':
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// group is the parameters that share a name's next segment.
type group struct {
	segment string
	params  []param
	at      int // where the segment's successor begins in their names
}

// exact is the value of the group when it is one plain parameter.
func (g group) exact() (string, bool) {
	if len(g.params) == 1 && len(g.params[0].key) < g.at {
		return g.params[0].value, true
	}
	return "", false
}

// name is the group's name in the request, for messages.
func (g group) name() string { return g.params[0].key[:g.at-1] }

// cut takes the first group off params, whose names agree before at.
func cut(params []param, at int) (g group, rest []param) {
	first := params[0].key
	end := len(first)
	if i := strings.IndexByte(first[at:], '.'); i >= 0 {
		end = at + i
	}
	n := 1
	for n < len(params) && hasSegment(params[n].key, first[:end]) {
		n++
	}
	return group{first[at:end], params[:n], end + 1}, params[n:]
}

func hasSegment(key, prefix string) bool {
	return strings.HasPrefix(key, prefix) && (len(key) == len(prefix) || key[len(prefix)] == '.')
}

// below is nil when the group is of parameters under its name, and of none at the name itself.
func (q *queryReader) below(g group, depth int) error {
	if depth > maxDepth {
		return q.dialect.malformed("a parameter's name has more than " + strconv.Itoa(maxDepth) + " parts")
	}
	if len(g.params[0].key) < g.at {
		return q.dialect.malformed("the parameter " + g.name() + " holds others and cannot have a value")
	}
	return nil
}

func (q *queryReader) structure(c *codec, params []param, at, depth int, v reflect.Value) error {
	var seen uint64
	prefix := ""
	if len(params) > 0 {
		prefix = params[0].key[:at]
	}
	for len(params) > 0 {
		var g group
		g, params = cut(params, at)
		i, ok := c.byQuery[g.segment]
		if !ok {
			if err := q.dialect.unknown(g.params[0].key); err != nil {
				return err
			}
			continue
		}
		f := &c.fields[i]
		seen |= f.required
		if f.ignore {
			continue
		}
		if err := q.value(f.codec, f, g, depth+1, v.Field(f.index)); err != nil {
			return err
		}
	}
	q.require(c, seen, prefix)
	return nil
}

func (q *queryReader) require(c *codec, seen uint64, prefix string) {
	if seen == c.required || q.lenient {
		return
	}
	for i := range c.fields {
		if f := &c.fields[i]; f.required&^seen != 0 && len(q.missing) < maxMissing {
			q.missing = append(q.missing, prefix+f.query)
		}
	}
}

// value reads a group into v, of c's type or a pointer to it. f is the member that it belongs to.
func (q *queryReader) value(c *codec, f *field, g group, depth int, v reflect.Value) error {
	switch c.kind {
	case kindStruct:
		if err := q.below(g, depth); err != nil {
			return err
		}
		return q.structure(c, g.params, g.at, depth, settle(v))
	case kindUnion:
		return q.union(c, g, depth, v)
	case kindList:
		return q.list(c, f, g, depth, v)
	case kindMap:
		return q.mapping(c, f, g, depth, v)
	}
	s, ok := g.exact()
	if !ok {
		return q.stray(g)
	}
	if q.lenient && setForeign(c, s, v) {
		return nil
	}
	if setScalar(c, f.time, s, v) != nil {
		return q.dialect.badValue(g.name(), s, c)
	}
	return nil
}

// stray answers parameters below one that holds a plain value.
func (q *queryReader) stray(g group) error {
	name := g.params[len(g.params)-1].key
	if err := q.dialect.unknown(name); err != nil {
		return err
	}
	return q.dialect.malformed("the parameter " + name + " is below one that holds a plain value")
}

func (q *queryReader) union(c *codec, g group, depth int, v reflect.Value) error {
	if err := q.below(g, depth); err != nil {
		return err
	}
	g2, rest := cut(g.params, g.at)
	i, ok := c.byQuery[g2.segment]
	if !ok || len(rest) > 0 {
		return q.dialect.malformed("the parameter " + g.name() + " takes exactly one of its members")
	}
	variant := reflect.New(c.variants[i])
	f := &c.fields[i]
	if err := q.value(f.codec, f, g2, depth+1, variant.Elem().Field(f.index)); err != nil {
		return err
	}
	v.Set(variant)
	return nil
}

// list reads elements numbered from 1; gaps close, in the order of the numbers. `List=` is an empty list.
func (q *queryReader) list(c *codec, f *field, g group, depth int, v reflect.Value) error {
	if s, ok := g.exact(); ok && s == "" {
		v.Set(reflect.MakeSlice(c.typ, 0, 0))
		return nil
	}
	elements, err := q.elements(g, q.flat || f.flat, c.item, depth)
	if err != nil {
		return err
	}
	out := reflect.MakeSlice(c.typ, len(elements), len(elements))
	for i, e := range elements {
		if err := q.value(c.elem, f, e.group, depth+2, out.Index(i)); err != nil {
			return err
		}
	}
	v.Set(out)
	return nil
}

type element struct {
	group
	number int
}

// elements are the groups List.N, or List.item.N, by their numbers.
func (q *queryReader) elements(g group, flat bool, item string, depth int) ([]element, error) {
	if err := q.below(g, depth+1); err != nil {
		return nil, err
	}
	params, at := g.params, g.at
	if !flat {
		inner, rest := cut(params, at)
		if inner.segment != item || len(rest) > 0 || len(inner.params[0].key) < inner.at {
			return nil, q.badIndex(g)
		}
		params, at = inner.params, inner.at
	}
	var elements []element
	for len(params) > 0 {
		var e group
		e, params = cut(params, at)
		n, err := strconv.Atoi(e.segment)
		if err != nil || n < 1 || e.segment[0] == '0' || e.segment[0] == '+' {
			return nil, q.badIndex(e)
		}
		elements = append(elements, element{e, n})
	}
	slices.SortFunc(elements, func(a, b element) int { return cmp.Compare(a.number, b.number) })
	return elements, nil
}

func (q *queryReader) badIndex(g group) error {
	name := g.params[0].key
	if err := q.dialect.unknown(name); err != nil {
		return err
	}
	return q.dialect.malformed("the parameter " + name + " is not numbered as a list's element")
}

// mapping reads Map.entry.N.key and Map.entry.N.value.
func (q *queryReader) mapping(c *codec, f *field, g group, depth int, v reflect.Value) error {
	out := reflect.MakeMap(c.typ)
	v.Set(out)
	if s, ok := g.exact(); ok && s == "" {
		return nil
	}
	entries, err := q.elements(g, f.flat, "entry", depth)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := q.entry(c, f, e.group, depth+2, out); err != nil {
			return err
		}
	}
	return nil
}

func (q *queryReader) entry(c *codec, f *field, g group, depth int, out reflect.Value) error {
	if err := q.below(g, depth); err != nil {
		return err
	}
	key, value := reflect.New(c.typ.Key()).Elem(), reflect.New(c.typ.Elem()).Elem()
	keyed := false
	params := g.params
	for len(params) > 0 {
		var part group
		part, params = cut(params, g.at)
		switch s, ok := part.exact(); {
		case part.segment == c.key && ok:
			key.SetString(s)
			keyed = true
		case part.segment == c.value:
			if err := q.value(c.elem, f, part, depth+1, value); err != nil {
				return err
			}
		default:
			return q.stray(part)
		}
	}
	if !keyed && len(q.missing) < maxMissing {
		q.missing = append(q.missing, g.name()+"."+c.key)
	}
	out.SetMapIndex(key, value)
	return nil
}
