package policy

import "strings"

// pattern is a glob in which variables may stand. Their values count as literal text.
type pattern struct {
	glob   glob    // when there are no variables
	filled *filled // when there are
}

// filled is a pattern with variables, which the request's values fill.
type filled struct {
	parts    []part
	segments []segment // the parts, where there is no ?
}

// part is a piece of a pattern with variables: text, in which wildcards are bytes as in glob, and the variable behind it,
// if there is one.
type part struct {
	text     string
	variable *variable
}

// variable is what stands in ${}.
type variable struct {
	key      key
	fallback string
	optional bool // fallback stands for a key without a value
}

// patternSyntax says what a pattern may contain.
type patternSyntax struct{ wildcards, variables bool }

// compile reads a pattern, which is UTF-8. ${*}, ${?} and ${$} are those characters themselves.
func (y patternSyntax) compile(s string) (pattern, error) {
	var parts []part
	var run []byte
	for i := 0; i < len(s); i++ {
		if !y.variables || !strings.HasPrefix(s[i:], "${") {
			run = append(run, y.token(s[i]))
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return pattern{}, &MalformedError{legacy, "policy variable in " + quoted(s) + " has no end"}
		}
		name := s[i+2 : i+end]
		i += end
		if name == "*" || name == "?" || name == "$" {
			run = append(run, name[0])
			continue
		}
		v, err := newVariable(name)
		if err != nil {
			return pattern{}, err
		}
		parts, run = append(parts, part{string(run), v}), nil
	}
	if parts == nil {
		return pattern{glob: newGlob(string(run))}, nil
	}
	parts = append(parts, part{text: string(run)})
	return pattern{filled: &filled{parts, newSegments(parts)}}, nil
}

// token is a byte of a pattern, or the wildcard that it means.
func (y patternSyntax) token(b byte) byte {
	switch {
	case y.wildcards && b == '*':
		return star
	case y.wildcards && b == '?':
		return question
	}
	return b
}

// newVariable reads what stands in ${}: a condition key, or a key and a default: aws:username, 'none'.
func newVariable(s string) (*variable, error) {
	name, fallback, optional := strings.Cut(s, ",")
	k, ok := newKey(strings.TrimSpace(name))
	if !ok {
		return nil, &MalformedError{legacy, "policy variable ${" + s + "} is not supported"}
	}
	v := &variable{key: k, optional: optional}
	if optional {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return nil, &MalformedError{legacy, "the default of policy variable ${" + s + "} must stand in single quotes"}
		}
		v.fallback = fallback[1 : len(fallback)-1]
	}
	return v, nil
}

// value is what stands for the variable in this request; ok is false when it has no value, or several.
func (v *variable) value(e *evaluation) (text string, ok bool) {
	found := e.values(&v.key)
	switch found.count() {
	case 0:
		return v.fallback, v.optional
	case 1:
		return found.at(0), true
	}
	return "", false
}

// match tells whether s matches. A pattern with a variable that has no value, or several, matches nothing.
// Source: "Policy variables with no value" in the IAM user guide.
func (p *pattern) match(e *evaluation, s string) bool {
	if p.filled == nil {
		return p.glob.match(s)
	}
	if p.filled.segments != nil {
		return matchSegments(e, p.filled.segments, s)
	}
	var space [256]byte
	text, ok := p.filled.expand(e, space[:0])
	return ok && matchBytes(text, s)
}

// matchFolded is match whatever the case. The pattern has no wildcards.
func (p *pattern) matchFolded(e *evaluation, s string) bool {
	if p.filled == nil {
		return strings.EqualFold(s, p.glob.head)
	}
	var space [256]byte
	text, ok := p.filled.expand(e, space[:0])
	return ok && strings.EqualFold(s, string(text))
}

// expand appends the pattern's parts, with the values of their variables. A value that is not UTF-8 is like none, for it
// could be taken for a wildcard.
func (p *filled) expand(e *evaluation, text []byte) (_ []byte, ok bool) {
	for i := range p.parts {
		part := &p.parts[i]
		text = append(text, part.text...)
		if part.variable == nil {
			continue
		}
		value, ok := part.variable.value(e)
		if !ok || indexWildcard(value) >= 0 {
			return text, false
		}
		text = append(text, value...)
	}
	return text, true
}
