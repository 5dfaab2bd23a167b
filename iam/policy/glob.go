package policy

import (
	"strings"
	"unicode/utf8"
)

// glob is a pattern without variables: literal text, * for any text, ? for any one character.
// It is small: hundreds are passed by for a decision.
type glob struct {
	shape shape
	head  string // the text before the first wildcard
	tail  string // the text behind the last one
	rest  *rest  // nil where the shape is exact or around
}

// rest is the part of a glob that is not looked at before head and tail match.
type rest struct {
	middle []string // the texts between stars, where the shape is stars
	text   string   // all of it, where the shape is general
}

type shape uint8

const (
	exact   shape = iota // head only
	around               // head, one *, tail
	stars                // head, *, texts with * between them, *, tail
	general              // anything else: there is a ?
)

// Wildcards as bytes of a pattern that is ready for matching: none of the two is a byte of UTF-8.
const (
	star     = '\xff'
	question = '\xfe'
)

const starText = "\xff"

// newGlob takes a pattern whose wildcards are such bytes.
func newGlob(text string) glob {
	first := indexWildcard(text)
	if first < 0 {
		return glob{head: text}
	}
	last := len(text) - 1
	for text[last] < question {
		last--
	}
	g := glob{shape: around, head: text[:first], tail: text[last+1:]}
	switch {
	case strings.IndexByte(text, question) >= 0:
		g.shape, g.rest = general, &rest{text: text}
	case first != last:
		g.shape, g.rest = stars, &rest{middle: strings.Split(text[first+1:last], starText)}
	}
	return g
}

func indexWildcard(s string) int {
	for i := range len(s) {
		if s[i] >= question {
			return i
		}
	}
	return -1
}

func (g *glob) match(s string) bool {
	if g.shape == exact {
		return s == g.head
	}
	if len(s) < len(g.head)+len(g.tail) || !strings.HasPrefix(s, g.head) || !strings.HasSuffix(s, g.tail) {
		return false
	}
	switch g.shape {
	case around:
		return true
	case stars: // the leftmost place of each text leaves the most for the next
		s = s[len(g.head) : len(s)-len(g.tail)]
		for _, text := range g.rest.middle {
			at := strings.Index(s, text)
			if at < 0 {
				return false
			}
			s = s[at+len(text):]
		}
		return true
	}
	return matchBytes(g.rest.text, s)
}

// matchBytes goes over s once, and back only to the last *: at worst len(pattern) × len(s) steps.
func matchBytes[P string | []byte](pattern P, s string) bool {
	p, back, mark := 0, -1, 0 // place in pattern; what follows the last *; place in s that it tried last
	for i := 0; i < len(s); {
		switch {
		case p < len(pattern) && pattern[p] == s[i] && s[i] < question:
			p++
			i++
		case p < len(pattern) && pattern[p] == star:
			p++
			back, mark = p, i
		case p < len(pattern) && pattern[p] == question:
			_, size := utf8.DecodeRuneInString(s[i:])
			p++
			i += size
		case back >= 0:
			mark++
			for mark < len(s) && !utf8.RuneStart(s[mark]) {
				mark++
			}
			p, i = back, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == star {
		p++
	}
	return p == len(pattern)
}
