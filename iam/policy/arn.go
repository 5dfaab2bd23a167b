package policy

import "strings"

// arn is an ARN, cut into its six parts; the last keeps its colons.
type arn struct {
	parts [6]string
	front string // the first five parts, with their colons
}

func splitARN(s string) (a arn, ok bool) {
	if !strings.HasPrefix(s, "arn:") {
		return a, false
	}
	rest := s
	for i := range 5 {
		if a.parts[i], rest, ok = strings.Cut(rest, ":"); !ok {
			return a, false
		}
	}
	a.parts[5], a.front = rest, s[:len(s)-len(rest)]
	return a, true
}

// arnPattern is a pattern of ARNs, matched part by part: a wildcard does not reach from one part of the ARN into the
// next, but in the last part it crosses slashes and colons.
type arnPattern struct {
	last  pattern
	front string      // the first five parts, where they are plain text
	first *[5]pattern // else
}

// newARNPattern compiles six parts, each by its own syntax.
func newARNPattern(raw []string, syntax func(i int) patternSyntax) (out arnPattern, err error) {
	var first [5]pattern
	plain := true
	for i, part := range raw[:5] {
		if first[i], err = syntax(i).compile(part); err != nil {
			return out, err
		}
		plain = plain && first[i].filled == nil && first[i].glob.shape == exact
	}
	if out.last, err = syntax(5).compile(raw[5]); err != nil {
		return out, err
	}
	if plain {
		out.front = strings.Join(raw[:5], ":") + ":"
	} else {
		out.first = &first
	}
	return out, nil
}

func (p *arnPattern) match(e *evaluation, a *arn) bool {
	if p.first == nil && p.last.filled != nil {
		return p.front == a.front && p.last.match(e, a.parts[5])
	}
	if !p.last.match(e, a.parts[5]) { // which tells resources apart soonest
		return false
	}
	if p.first == nil {
		return p.front == a.front
	}
	for i := range p.first {
		if !p.first[i].match(e, a.parts[i]) {
			return false
		}
	}
	return true
}

// eachPattern visits the patterns of the parts.
func (p *arnPattern) eachPattern(visit func(*pattern)) {
	for i := 0; p.first != nil && i < len(p.first); i++ {
		visit(&p.first[i])
	}
	visit(&p.last)
}
