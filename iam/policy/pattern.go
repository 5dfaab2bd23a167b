package policy

import (
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

// part is a run of tokens, or a variable behind one.
type part struct {
	tokens   []rune
	literal  string // the text with which the tokens begin, for a quick no
	variable bool
	key      key
	fallback string
	optional bool // fallback stands for a key without a value
}

// patternSyntax says what a pattern may contain.
type patternSyntax struct{ wildcards, variables bool }

// compile reads a pattern. ${*}, ${?} and ${$} are those characters themselves.
func (y patternSyntax) compile(s string) (pattern, error) {
	var out pattern
	var run []rune
	for i := 0; i < len(s); {
		if !y.variables || !strings.HasPrefix(s[i:], "${") {
			r, size := utf8.DecodeRuneInString(s[i:])
			i += size
			run = append(run, y.token(r))
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return pattern{}, &MalformedError{legacy, "policy variable in " + quoted(s) + " has no end"}
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
		v.tokens, v.literal = run, newGlob(run).literal
		out.parts, run = append(out.parts, v), nil
	}
	if out.parts == nil {
		return pattern{glob: newGlob(run)}, nil
	}
	out.parts = append(out.parts, part{tokens: run})
	return out, nil
}

// token is a character of a pattern, or the wildcard that it means.
func (y patternSyntax) token(r rune) rune {
	switch {
	case y.wildcards && r == '*':
		return star
	case y.wildcards && r == '?':
		return question
	}
	return r
}

// newVariable reads what stands in ${}: a condition key, or a key and a default: aws:username, 'none'.
func newVariable(s string) (part, error) {
	name, fallback, optional := strings.Cut(s, ",")
	k, ok := newKey(strings.TrimSpace(name))
	if !ok {
		return part{}, &MalformedError{legacy, "policy variable ${" + s + "} is not supported"}
	}
	p := part{variable: true, key: k, optional: optional}
	if optional {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return part{}, &MalformedError{legacy, "the default of policy variable ${" + s + "} must stand in single quotes"}
		}
		p.fallback = fallback[1 : len(fallback)-1]
	}
	return p, nil
}

// match tells whether s matches. A pattern with a variable that has no value, or several, matches nothing.
// Source: "Policy variables with no value" in the IAM user guide.
func (p *pattern) match(e *evaluation, s string) bool {
	if p.parts == nil {
		return p.glob.match(s)
	}
	if !strings.HasPrefix(s, p.parts[0].literal) {
		return false
	}
	var space [128]rune
	tokens, ok := p.expand(e, space[:0])
	return ok && matchTokens(tokens, s)
}

// matchFolded is match whatever the case. The pattern has no wildcards.
func (p *pattern) matchFolded(e *evaluation, s string) bool {
	if p.parts == nil {
		return strings.EqualFold(s, p.glob.literal)
	}
	var space [128]rune
	tokens, ok := p.expand(e, space[:0])
	return ok && strings.EqualFold(s, string(tokens))
}

// expand appends the pattern's tokens, with the values of its variables.
func (p *pattern) expand(e *evaluation, tokens []rune) (_ []rune, ok bool) {
	for i := range p.parts {
		part := &p.parts[i]
		tokens = append(tokens, part.tokens...)
		if !part.variable {
			continue
		}
		v := e.values(&part.key)
		text := part.fallback
		switch {
		case v.count() == 1:
			text = v.at(0)
		case v.count() > 1 || !part.optional:
			return tokens, false
		}
		for _, r := range text {
			tokens = append(tokens, r)
		}
	}
	return tokens, true
}
