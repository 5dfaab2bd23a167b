package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// unchecked are the members whose constraints the service words itself, with a code of its own: the handlers answer for
// them. S3 as a whole is such a service.
var unchecked = map[string]string{
	"CopyImageRequest.Name":                          "InvalidAMIName.Malformed",
	"CreateImageRequest.Name":                        "InvalidAMIName.Malformed",
	"RegisterImageRequest.Name":                      "InvalidAMIName.Malformed",
	"CreateLaunchTemplateRequest.LaunchTemplateName": "InvalidLaunchTemplateName.MalformedException",
}

// rewritten are patterns that RE2 cannot take as they are, by hand in its words.
var rewritten = map[string]string{
	// no two hyphens in a row; the length is a constraint beside it
	`^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`: `[a-z0-9]+(-[a-z0-9]+)*`,
	// the look-ahead holds the length from 20 to 2048, which RE2 cannot count: it is not checked
	`^(?=.{20,2048}$)arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[a-zA-Z0-9/_+=.@-]+`: `arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[a-zA-Z0-9/_+=.@-]+`,
	// the second anchor can never hold
	`^arn:aws([a-z-]+)?:ec2:[a-z\d-]+:\d{12}:placement-group/^.{1,255}$`: `arn:aws([a-z-]+)?:ec2:[a-z\d-]+:\d{12}:placement-group/.{1,255}`,
	// meant are all characters of XML; Java reads \u10000 as \u1000 and 0
	`[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`: `[\x{9}\x{A}\x{D}\x{20}-\x{7E}\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]+`,
}

// limits are the constraint traits of a member, or of what its list or map holds.
type limits struct {
	Length, Range *struct{ Min, Max *json.Number }
	Pattern       string
}

func limitsOf(t traits) (l limits, err error) {
	for name, into := range map[string]any{"smithy.api#length": &l.Length, "smithy.api#range": &l.Range, "smithy.api#pattern": &l.Pattern} {
		if raw, ok := t[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return l, fmt.Errorf("trait %s: %w", name, err)
			}
		}
	}
	return l, nil
}

// parts are where a member's cell has constraints: its own, its elements', its keys'.
var parts = []struct{ mark, trait string }{{"", ""}, {"e", "hive.note#element"}, {"k", "hive.note#key"}}

func (m *member) limits(trait string) (limits, error) {
	if trait == "" {
		return limitsOf(m.Traits)
	}
	var inner traits
	if raw, ok := m.Traits[trait]; ok {
		if err := json.Unmarshal(raw, &inner); err != nil {
			return limits{}, fmt.Errorf("trait %s: %w", trait, err)
		}
	}
	return limitsOf(inner)
}

// findInputs finds the structures that requests hold: of no other are constraints written down. And it numbers the
// patterns among them.
func (t *table) findInputs() error {
	t.inputs = map[string]bool{}
	if t.service.protocol == "restXml" {
		return nil
	}
	for _, op := range t.ops {
		t.reach(op.shape.Input.Target)
	}
	for id := range t.inputs {
		for _, m := range t.model.Shapes[id].Members {
			for _, p := range parts {
				l, err := m.limits(p.trait)
				if err != nil {
					return fmt.Errorf("%s.%s: %w", id, m.Name, err)
				}
				if l.Pattern != "" && !slices.Contains(t.patterns, l.Pattern) {
					t.patterns = append(t.patterns, l.Pattern)
				}
			}
		}
	}
	slices.Sort(t.patterns)
	return nil
}

func (t *table) reach(id string) {
	s := t.model.Shapes[id]
	if s == nil || t.inputs[id] {
		return
	}
	switch s.Type {
	case "structure", "union":
		t.inputs[id] = true
		for _, m := range s.Members {
			t.reach(m.Target)
		}
	case "list":
		t.reach(s.Member.Target)
	case "map":
		t.reach(s.Value.Target)
	}
}

// constraints are the marks of a member's cell: see awsd/protocol/table.go.
func (t *table) constraints(shapeID string, m *member) (string, error) {
	if !t.inputs[shapeID] || unchecked[local(shapeID)+"."+m.Name] != "" {
		return "", nil
	}
	var b strings.Builder
	for _, p := range parts {
		l, err := m.limits(p.trait)
		if err != nil {
			return "", fmt.Errorf("%s.%s: %w", shapeID, m.Name, err)
		}
		for _, bound := range []struct {
			mark string
			of   *struct{ Min, Max *json.Number }
		}{{"l", l.Length}, {"r", l.Range}} {
			if bound.of != nil {
				fmt.Fprintf(&b, "|%s%s=%s..%s", p.mark, bound.mark, number(bound.of.Min), number(bound.of.Max))
			}
		}
		if l.Pattern != "" {
			fmt.Fprintf(&b, "|%sm=%d", p.mark, slices.Index(t.patterns, l.Pattern))
		}
	}
	if target := t.model.Shapes[m.Target]; m.Traits.has("sensitive") || target != nil && target.Traits.has("sensitive") {
		b.WriteString("|secret")
	}
	return b.String(), nil
}

func number(n *json.Number) string {
	if n == nil {
		return ""
	}
	return n.String()
}

// patternLines are the patterns by number, in RE2's words and, where they differ, as the model has them.
func (t *table) patternLines() ([]string, error) {
	var lines []string
	for i, p := range t.patterns {
		re2, err := translate(p)
		if err != nil {
			return nil, fmt.Errorf("%s: pattern %s: %w", t.service.name, p, err)
		}
		cells := []string{"pattern", strconv.Itoa(i), strconv.Quote(re2)}
		if re2 != p {
			cells = append(cells, strconv.Quote(p))
		}
		if rewritten[p] != "" {
			t.rewritten = append(t.rewritten, p)
		}
		lines = append(lines, columns(cells...))
	}
	return lines, nil
}

// translate gives a Java regular expression in the words of RE2. What it does not know is an error, and then a case for
// rewritten.
func translate(p string) (string, error) {
	if by := rewritten[p]; by != "" {
		p = by
	}
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := unicodeEscape(p[i:])
		switch {
		case n > 0:
			fmt.Fprintf(&b, `\x{%X}`, r)
		case p[i] == '\\' && i+1 < len(p):
			b.WriteString(p[i : i+2])
			n = 2
		default:
			b.WriteByte(p[i])
			n = 1
		}
		i += n
	}
	if strings.Contains(p, "&&") || nestedClass(p) {
		return "", fmt.Errorf("a class within a class means something else in Java")
	}
	if _, err := syntax.Parse(b.String(), syntax.Perl); err != nil {
		return "", err
	}
	_, err := regexp.Compile(`\A(?:` + b.String() + `)\z`)
	return b.String(), err
}

// unicodeEscape reads \uXXXX, or two of them that are one character, from the start of p.
func unicodeEscape(p string) (r rune, length int) {
	one := func(p string) (rune, bool) {
		if len(p) < 6 || p[0] != '\\' || p[1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(p[2:6], 16, 16)
		return rune(n), err == nil
	}
	r, ok := one(p)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if low, ok := one(p[6:]); ok {
			return utf16.DecodeRune(r, low), 12
		}
	}
	return r, 6
}

// nestedClass tells whether a bracket stands unescaped within brackets.
func nestedClass(p string) bool {
	inside := false
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '[':
			if inside {
				return true
			}
			inside = true
		case ']':
			inside = false
		}
	}
	return false
}
