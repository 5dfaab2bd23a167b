package policy

import "strings"

// segment is what stands between two stars of a pattern with variables. Only its last part may be without a variable.
type segment []part

// newSegments cuts parts at their stars; nil when there is a question mark, which segments do not know.
func newSegments(parts []part) []segment {
	out := []segment{nil}
	for _, p := range parts {
		if strings.IndexByte(p.text, question) >= 0 {
			return nil
		}
		texts := strings.Split(p.text, starText)
		for i, text := range texts {
			if i > 0 {
				out = append(out, nil)
			}
			piece := part{text: text}
			if i == len(texts)-1 {
				piece.variable = p.variable
			}
			if text != "" || piece.variable != nil {
				out[len(out)-1] = append(out[len(out)-1], piece)
			}
		}
	}
	return out
}

// matchSegments matches the first segment at the beginning, the last at the end, and those between them each at its
// leftmost place, which leaves the most for the next.
func matchSegments(e *evaluation, segments []segment, s string) bool {
	rest, ok := segments[0].cut(e, s)
	if !ok || len(segments) == 1 {
		return ok && rest == ""
	}
	for _, g := range segments[1 : len(segments)-1] {
		if rest, ok = g.find(e, rest); !ok {
			return false
		}
	}
	last := segments[len(segments)-1]
	switch {
	case len(last) == 0:
		return true
	case len(last) == 1 && last[0].variable == nil:
		return strings.HasSuffix(rest, last[0].text)
	}
	length, ok := last.length(e)
	if !ok || length > len(rest) {
		return false
	}
	_, ok = last.cut(e, rest[len(rest)-length:])
	return ok
}

// cut tells whether s begins with the segment, and what is behind it.
func (g segment) cut(e *evaluation, s string) (rest string, ok bool) {
	for i := range g {
		if s, ok = strings.CutPrefix(s, g[i].text); !ok {
			return "", false
		}
		if v := g[i].variable; v != nil {
			value, known := v.value(e)
			if !known {
				return "", false
			}
			if s, ok = strings.CutPrefix(s, value); !ok {
				return "", false
			}
		}
	}
	return s, true
}

// find looks for the segment in s, and tells what is behind it.
func (g segment) find(e *evaluation, s string) (rest string, ok bool) {
	for len(g) > 0 {
		at := strings.Index(s, g[0].text)
		if at < 0 {
			return "", false
		}
		if rest, ok = g.cut(e, s[at:]); ok {
			return rest, true
		}
		if at == len(s) {
			return "", false
		}
		s = s[at+1:]
	}
	return s, true
}

// length is how long the segment is; ok is false when a variable has no value.
func (g segment) length(e *evaluation) (n int, ok bool) {
	for i := range g {
		n += len(g[i].text)
		if v := g[i].variable; v != nil {
			value, known := v.value(e)
			if !known {
				return 0, false
			}
			n += len(value)
		}
	}
	return n, true
}
