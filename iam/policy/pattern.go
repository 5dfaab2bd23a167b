package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// glob is a pattern without variables: literal text, * for any text, ? for any one character.
type glob struct {
	shape   shape
	literal string // the text before the first wildcard
	tokens  []rune // all of it, where the shape is general
}

type shape uint8

const (
	exact   shape = iota // literal only
	prefix               // literal, then one *
	general              // anything else
)

// Wildcards as tokens of a glob.
const (
	star     rune = -1
	question rune = -2
)

func newGlob(tokens []rune) glob {
	n := 0
	for n < len(tokens) && tokens[n] >= 0 {
		n++
	}
	g := glob{literal: string(tokens[:n])}
	switch {
	case n == len(tokens):
		g.shape = exact
	case n == len(tokens)-1 && tokens[n] == star:
		g.shape = prefix
	default:
		g.shape, g.tokens = general, tokens
	}
	return g
}

func (g *glob) match(s string) bool {
	switch g.shape {
	case exact:
		return s == g.literal
	case prefix:
		return strings.HasPrefix(s, g.literal)
	default:
		return strings.HasPrefix(s, g.literal) && matchTokens(g.tokens, s)
	}
}

// matchTokens goes over s once, and back only to the last *: at worst len(tokens) × len(s) steps.
func matchTokens(tokens []rune, s string) bool {
	p, back, mark := 0, -1, 0 // place in tokens; token after the last *; place in s that it tried last
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case p < len(tokens) && tokens[p] == star:
			p++
			back, mark = p, i
		case p < len(tokens) && (tokens[p] == question || tokens[p] == r):
			p++
			i += size
		case back >= 0:
			_, size = utf8.DecodeRuneInString(s[mark:])
			mark += size
			p, i = back, mark
		default:
			return false
		}
	}
	for p < len(tokens) && tokens[p] == star {
		p++
	}
	return p == len(tokens)
}

// pattern is a glob in which variables may stand. Their values count as literal text.
type pattern struct {
	glob  glob // when there are no variables
	parts []part
}

// part is a run of tokens, or a variable.
type part struct {
	tokens   []rune
	variable string // condition key in lower case
	fallback string
	optional bool // fallback stands for a key without a value
}

// patternSyntax says what a pattern may contain.
type patternSyntax struct{ wildcards, variables bool }

// compile reads a pattern. ${*}, ${?} and ${$} are those characters themselves.
func (y patternSyntax) compile(s string) (pattern, error) {
	var out pattern
	var run []rune
	variables := false
	for i := 0; i < len(s); {
		if y.variables && strings.HasPrefix(s[i:], "${") {
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return pattern{}, malformed("Policy variable in %q has no end.", s)
			}
			name := s[i+2 : i+end]
			i += end + 1
			if name == "*" || name == "?" || name == "$" {
				run = append(run, rune(name[0]))
				continue
			}
			v, err := newVariable(name)
			if err != nil {
				return pattern{}, err
			}
			variables = true
			out.parts = append(out.parts, part{tokens: run}, v)
			run = nil
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if y.wildcards && r == '*' {
			r = star
		} else if y.wildcards && r == '?' {
			r = question
		}
		run = append(run, r)
	}
	if !variables {
		return pattern{glob: newGlob(run)}, nil
	}
	out.parts = append(out.parts, part{tokens: run})
	return out, nil
}

// newVariable reads what stands in ${}: a condition key, or a key and a default: aws:username, 'none'.
func newVariable(s string) (part, error) {
	key, fallback, optional := strings.Cut(s, ",")
	p := part{variable: strings.ToLower(strings.TrimSpace(key)), optional: optional}
	if optional {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return part{}, malformed("The default of policy variable ${%s} must stand in single quotes.", s)
		}
		p.fallback = fallback[1 : len(fallback)-1]
	}
	if !knownKey(p.variable) {
		return part{}, malformed("Policy variable ${%s} is not supported.", s)
	}
	return p, nil
}

// match tells whether s matches; known is false when a variable has no value in this request.
func (p *pattern) match(e *evaluation, s string) (matched, known bool) {
	if p.parts == nil {
		return p.glob.match(s), true
	}
	var tokens []rune
	for _, part := range p.parts {
		tokens = append(tokens, part.tokens...)
		if part.variable == "" {
			continue
		}
		values := e.values(part.variable)
		switch {
		case len(values) == 1:
			tokens = append(tokens, []rune(values[0])...)
		case len(values) == 0 && part.optional:
			tokens = append(tokens, []rune(part.fallback)...)
		default:
			return false, false
		}
	}
	return matchTokens(tokens, s), true
}

// resource is a pattern of ARNs, matched part by part: a wildcard does not reach from one part of
// the ARN into the next, but in the last part it crosses slashes and colons.
type resource struct {
	any   bool // "*"
	parts [6]pattern
}

var partitions = []string{"aws", "aws-cn", "aws-us-gov", "*"}

func (d *dialect) resource(s string) (resource, error) {
	if s == "*" {
		return resource{any: true}, nil
	}
	raw := strings.SplitN(s, ":", 6)
	if raw[0] != "arn" || len(raw) < 3 {
		return resource{}, malformed("Resource %s must be in ARN format or \"*\".", s)
	}
	if !slices.Contains(partitions, raw[1]) {
		return resource{}, malformed("Partition %q is not valid for resource %q.", raw[1], s)
	}
	if raw[2] == "" || strings.ContainsAny(raw[2], "*?$") && raw[2] != "*" {
		return resource{}, malformed("Vendor %q is not valid for resource %q.", raw[2], s)
	}
	for len(raw) < 6 { // AWS completes a short ARN so
		raw = append(raw, "*")
	}
	var out resource
	for i, part := range raw {
		syntax := patternSyntax{wildcards: true, variables: d.variables && i == 5}
		if i < 5 && strings.Contains(part, "${") {
			return resource{}, malformed("Policy variables are not allowed in this part of resource %q.", s)
		}
		var err error
		if out.parts[i], err = syntax.compile(part); err != nil {
			return resource{}, err
		}
	}
	return out, nil
}

func (r *resource) match(e *evaluation) (matched, known bool) {
	if r.any {
		return true, true
	}
	if !e.isARN {
		return false, true
	}
	return matchARN(&r.parts, e, &e.arn)
}

func matchARN(parts *[6]pattern, e *evaluation, arn *[6]string) (matched, known bool) {
	known = true
	for i := 5; i >= 0; i-- { // the last part tells resources apart soonest
		m, k := parts[i].match(e, arn[i])
		if known = known && k; !m && k {
			return false, true
		}
	}
	return known, known
}

// MalformedError is a document that is not a policy, or that says something this package does not
// understand. Its message tells which and is safe to show.
type MalformedError struct{ Message string }

// Error is the message.
func (e *MalformedError) Error() string { return "malformed policy document: " + e.Message }

func malformed(format string, args ...any) error {
	return &MalformedError{Message: fmt.Sprintf(format, args...)}
}
