package actions

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"hive/fsm"
	"hive/iam/principal"
)

// env is one request while its needs are worked out.
type env struct {
	needs  *Needs
	view   *fsm.View // nil: no state is asked
	caller *principal.Caller
	op     string
	in     reflect.Value // the input struct
	elem   reflect.Value // of the list that a need goes through
	bare   bool          // only ARNs are asked for
	seen   [2]seen       // the records that were looked up last
	next   int           // where in seen the next goes
}

func (e *env) account() fsm.AccountID { return fsm.AccountID(e.caller.Account) }

// path leads to members of the input, through pointers and over the elements of lists.
type path struct {
	fields []int  // indexes of struct fields, from the input or from elem
	elem   bool   // it begins at the element
	except string // a value that does not count
}

// scope is what the members of a path are looked up in.
type scope struct {
	in   reflect.Type // the input struct
	loop string       // the list that a need goes through, if any
	elem reflect.Type // of its elements
}

func (s scope) path(text string) (*path, error) {
	name, except, _ := strings.Cut(text, "!")
	p := &path{except: except}
	at := s.in
	if s.loop != "" && strings.HasPrefix(name, s.loop+".") {
		p.elem, at, name = true, s.elem, name[len(s.loop)+1:]
	}
	for _, member := range strings.Split(name, ".") {
		f, ok := under(at).FieldByName(member)
		if !ok || len(f.Index) != 1 {
			return nil, fmt.Errorf("%s has no member %s (%s)", under(at).Name(), member, text)
		}
		p.fields, at = append(p.fields, f.Index[0]), f.Type
	}
	return p, nil
}

// under is the struct that pointers and lists of t lead to; a type without members when they lead to none.
func under(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return reflect.TypeFor[struct{}]()
	}
	return t
}

func (p *path) from(e *env) reflect.Value {
	if p.elem {
		return e.elem
	}
	return e.in
}

// text is a scalar as condition keys have it; false for what is none, and for an enum that is not set.
func text(v reflect.Value, given bool) (string, bool) {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		return s, given || s != ""
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int32, reflect.Int64, reflect.Int:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Float64, reflect.Float32:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t.UTC().Format(time.RFC3339), true
		}
	}
	return "", false
}

// first is the first scalar that the fields lead to.
func first(v reflect.Value, fields []int, given bool) (string, bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "", false
		}
		return first(v.Elem(), fields, true)
	case reflect.Slice:
		for i := range v.Len() {
			if s, ok := first(v.Index(i), fields, true); ok {
				return s, true
			}
		}
		return "", false
	}
	if len(fields) == 0 {
		return text(v, given)
	}
	return first(v.Field(fields[0]), fields[1:], false)
}

// every appends all scalars that the fields lead to.
func every(dst []string, v reflect.Value, fields []int, given bool) []string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return dst
		}
		return every(dst, v.Elem(), fields, true)
	case reflect.Slice:
		for i := range v.Len() {
			dst = every(dst, v.Index(i), fields, true)
		}
		return dst
	}
	if len(fields) == 0 {
		if s, ok := text(v, given); ok {
			dst = append(dst, s)
		}
		return dst
	}
	return every(dst, v.Field(fields[0]), fields[1:], false)
}

// there tells whether the fields lead to anything but nothing, false, an empty text and the value except.
func there(v reflect.Value, fields []int, except string) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && there(v.Elem(), fields, except)
	case reflect.Slice:
		for i := range v.Len() {
			if there(v.Index(i), fields, except) {
				return true
			}
		}
		return false
	case reflect.Map:
		return v.Len() > 0
	}
	if len(fields) > 0 {
		return there(v.Field(fields[0]), fields[1:], except)
	}
	s, ok := text(v, true)
	return !ok || s != "" && s != "false" && (except == "" || s != except)
}

// term is one part of a source.
type term struct {
	kind  termKind
	path  *path
	text  string
	named *targets
}

type termKind uint8

const (
	ofMember  termKind = iota
	ofText             // a constant
	ofCaller           // the name of the user who asks, the ARN of another caller
	ofRegion           //
	ofTargets          // the ARNs of resources
	ofState            // what the resource's record says
)

// source is where values come from: the first alternative that has any, each the union of its terms.
type source struct {
	alts     [][]term
	optional bool // without a value nothing is needed
}

// source reads alternatives ("|") of unions ("+"): members, 'constants', *, caller, region, @, TYPE(ARGS). A ? at the
// end makes it optional.
func (b *builder) source(text string) (source, error) {
	var s source
	text, s.optional = strings.CutSuffix(text, "?")
	for _, alt := range splitTop(text, '|') {
		var terms []term
		for _, t := range splitTop(alt, '+') {
			x, err := b.term(t)
			if err != nil {
				return s, err
			}
			terms = append(terms, x)
		}
		s.alts = append(s.alts, terms)
	}
	return s, nil
}

func (b *builder) term(t string) (x term, err error) {
	switch {
	case t == "*":
		return term{kind: ofText, text: "*"}, nil
	case t == "@":
		return term{kind: ofState}, nil
	case t == "caller":
		return term{kind: ofCaller}, nil
	case t == "region":
		return term{kind: ofRegion}, nil
	case strings.HasPrefix(t, "'") && strings.HasSuffix(t, "'") && len(t) >= 2:
		return term{kind: ofText, text: t[1 : len(t)-1]}, nil
	case strings.Contains(t, "("):
		kind, form, args, err := b.all.call(b.home, t)
		if err != nil {
			return x, err
		}
		named, err := b.targets(kind, form, args)
		return term{kind: ofTargets, named: named}, err
	}
	p, err := b.scope.path(t)
	return term{kind: ofMember, path: p}, err
}

// values appends what the term gives; state is of the key that is asked for.
func (t *term) values(dst []string, e *env, state string) []string {
	switch t.kind {
	case ofMember:
		return every(dst, t.path.from(e), t.path.fields, false)
	case ofText:
		return append(dst, t.text)
	case ofCaller:
		if e.caller.UserName != "" {
			return append(dst, e.caller.UserName)
		}
		return append(dst, e.caller.ARN)
	case ofRegion:
		return append(dst, e.needs.region)
	case ofTargets:
		e.bare = true
		for _, x := range t.named.each(e, nil) {
			if !strings.HasSuffix(x.arn, "*") {
				dst = append(dst, x.arn)
			}
		}
		e.bare = false
	case ofState:
		if state != "" {
			dst = append(dst, state)
		}
	}
	return dst
}

// values are all that the source gives.
func (s *source) values(e *env, state string) []string {
	for i := range s.alts {
		var out []string
		for j := range s.alts[i] {
			out = s.alts[i][j].values(out, e, state)
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// first is the first value that the source gives.
func (s *source) first(e *env) (string, bool) {
	for i := range s.alts {
		for j := range s.alts[i] {
			t := &s.alts[i][j]
			if t.kind == ofMember {
				if v, ok := first(t.path.from(e), t.path.fields, false); ok {
					return v, true
				}
				continue
			}
			if v := t.values(nil, e, ""); len(v) > 0 {
				return v[0], true
			}
		}
	}
	return "", false
}

// there tells whether the request has any of the source's members.
func (s *source) there(e *env) bool {
	for _, alt := range s.alts {
		for _, t := range alt {
			if t.kind != ofMember || there(t.path.from(e), t.path.fields, t.path.except) {
				return true
			}
		}
	}
	return false
}

// asksState tells whether the source needs the state.
func (s *source) asksState() bool {
	for _, alt := range s.alts {
		for _, t := range alt {
			if t.kind == ofState || t.kind == ofTargets && t.named.asksState() {
				return true
			}
		}
	}
	return false
}
