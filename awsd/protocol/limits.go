package protocol

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// limits are the constraints of a member. Lengths are in characters of a string, bytes of a blob, elements of a list or
// map: https://smithy.io/2.0/spec/constraint-traits.html
type limits struct {
	length, value *bounds
	pattern       *pattern
}

// bounds are inclusive; ±Inf where there is none.
type bounds struct{ min, max float64 }

func setLimit(l **limits, key, value string, patterns map[string]*pattern) (err error) {
	if *l == nil {
		*l = &limits{}
	}
	switch key {
	case "l":
		(*l).length, err = parseBounds(value)
	case "r":
		(*l).value, err = parseBounds(value)
	default:
		if (*l).pattern = patterns[value]; (*l).pattern == nil {
			return fmt.Errorf("no pattern %s", value)
		}
		err = (*l).pattern.compile()
	}
	return err
}

func parseBounds(s string) (*bounds, error) {
	low, high, ok := strings.Cut(s, "..")
	b := &bounds{math.Inf(-1), math.Inf(1)}
	for _, end := range []struct {
		text string
		into *float64
	}{{low, &b.min}, {high, &b.max}} {
		if end.text == "" {
			continue
		}
		n, err := strconv.ParseFloat(end.text, 64)
		if err != nil {
			return nil, err
		}
		*end.into = n
	}
	if !ok {
		return nil, fmt.Errorf("bounds %q", s)
	}
	return b, nil
}

// check gives the rules that a length or a value breaks, in AWS's words; what is "length" or "value".
func (b *bounds) check(what string, n float64) []string {
	switch {
	case b == nil:
		return nil
	case n > b.max:
		return []string{b.most(what)}
	case n < b.min:
		return []string{b.least(what)}
	}
	return nil
}

func (b *bounds) most(what string) string {
	return "Member must have " + what + " less than or equal to " + decimal(b.max)
}

func (b *bounds) least(what string) string {
	return "Member must have " + what + " greater than or equal to " + decimal(b.min)
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// text gives the rules that a string breaks.
func (l *limits) text(s string) []string {
	var rules []string
	if n := float64(len(s)); l.length != nil && (n > l.length.max || n < utf8.UTFMax*l.length.min) { // else any text of so many bytes will do
		rules = l.length.check("length", float64(utf8.RuneCountInString(s)))
	}
	if l.pattern != nil && !l.pattern.match(s) {
		rules = append(rules, l.patternRule())
	}
	return rules
}

func (l *limits) patternRule() string {
	return "Member must satisfy regular expression pattern: " + l.pattern.text
}

// all are the rules of elements, which AWS tells together.
func (l *limits) all() []string {
	var rules []string
	if l.length != nil && !math.IsInf(l.length.max, 1) {
		rules = append(rules, l.length.most("length"))
	}
	if l.length != nil && l.length.min > 0 {
		rules = append(rules, l.length.least("length"))
	}
	if l.value != nil && !math.IsInf(l.value.max, 1) {
		rules = append(rules, l.value.most("value"))
	}
	if l.value != nil && !math.IsInf(l.value.min, -1) {
		rules = append(rules, l.value.least("value"))
	}
	if l.pattern != nil {
		rules = append(rules, l.patternRule())
	}
	return rules
}
