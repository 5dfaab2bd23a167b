package protocol

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// pattern is a regular expression that a whole value must match. It is compiled when it is first needed. Nearly all of
// AWS's are one class of characters repeated, over texts of up to 128 KiB: those are matched without package regexp, of
// which a character costs 20 times as much.
type pattern struct {
	re2  string
	text string // as the model words it: for messages

	once  sync.Once
	class *class
	full  *regexp.Regexp
	err   error
}

func parsePattern(cells string) (*pattern, error) {
	re2, text, differs := strings.Cut(cells, "\t")
	p := &pattern{}
	var err error
	if p.re2, err = strconv.Unquote(re2); err != nil {
		return nil, err
	}
	p.text = p.re2
	if differs {
		p.text, err = strconv.Unquote(text)
	}
	return p, err
}

// compile is done before anything is matched, so that a bad pattern is an error of the table and not of a request.
func (p *pattern) compile() error {
	p.once.Do(func() {
		var tree *syntax.Regexp
		if tree, p.err = syntax.Parse(p.re2, syntax.Perl); p.err != nil {
			return
		}
		if p.class = newClass(tree.Simplify()); p.class == nil {
			p.full, p.err = regexp.Compile(`\A(?:` + p.re2 + `)\z`)
		}
	})
	if p.err != nil {
		return fmt.Errorf("protocol: pattern %s: %w", p.text, p.err)
	}
	return nil
}

// match tells whether the pattern holds for the whole of s. compile has gone before.
func (p *pattern) match(s string) bool {
	if p.class != nil {
		return p.class.match(s)
	}
	return p.full.MatchString(s)
}

// class is the pattern [...]* or [...]+.
type class struct {
	least  int
	ascii  [256]bool // bytes from 128 on are false
	ranges []rune    // pairs of first and last, sorted, as syntax.Regexp has them
}

// newClass is nil when tree is more than one class that is repeated.
func newClass(tree *syntax.Regexp) *class {
	for (tree.Op == syntax.OpConcat || tree.Op == syntax.OpCapture) && len(tree.Sub) > 0 {
		tree = withoutAnchors(tree)
		if tree == nil {
			return nil
		}
	}
	if tree.Op != syntax.OpStar && tree.Op != syntax.OpPlus {
		return nil
	}
	c := &class{}
	if tree.Op == syntax.OpPlus {
		c.least = 1
	}
	switch of := tree.Sub[0]; of.Op {
	case syntax.OpCharClass:
		c.ranges = of.Rune
	case syntax.OpAnyChar:
		c.ranges = []rune{0, utf8.MaxRune}
	case syntax.OpAnyCharNotNL:
		c.ranges = []rune{0, '\n' - 1, '\n' + 1, utf8.MaxRune}
	default:
		return nil
	}
	for r := range rune(utf8.RuneSelf) {
		c.ascii[r] = c.holds(r)
	}
	return c
}

// withoutAnchors is the one part of a concatenation that is no anchor; nil when there are several.
func withoutAnchors(tree *syntax.Regexp) *syntax.Regexp {
	var rest *syntax.Regexp
	for i, sub := range tree.Sub {
		switch {
		case sub.Op == syntax.OpBeginText && i == 0, sub.Op == syntax.OpEndText && i == len(tree.Sub)-1:
		case rest != nil:
			return nil
		default:
			rest = sub
		}
	}
	return rest
}

func (c *class) holds(r rune) bool {
	i := sort.Search(len(c.ranges)/2, func(i int) bool { return c.ranges[2*i+1] >= r })
	return 2*i < len(c.ranges) && c.ranges[2*i] <= r
}

func (c *class) match(s string) bool {
	if len(s) < c.least {
		return false
	}
	for i := 0; i < len(s); {
		if c.ascii[s[i]] {
			i++
			continue
		}
		r, width := utf8.DecodeRuneInString(s[i:])
		if !c.holds(r) {
			return false
		}
		i += width
	}
	return true
}
