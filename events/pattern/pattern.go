// Package pattern says whether an event is one of those that somebody asked for: by an EventBridge event pattern, or by
// a glob on the event's subject. It is pure: same pattern, same event, same answer.
package pattern

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrInvalid is a pattern that does not mean anything.
var ErrInvalid = errors.New("not an event pattern")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Bounds of a pattern. EventBridge takes 2048 characters.
const (
	maxLength = 16 << 10
	maxDepth  = 64
)

// Pattern is what somebody asked for.
type Pattern struct {
	glob []string // tokens of a glob; nil when it is a pattern over the event
	root object
}

// Parse reads an EventBridge event pattern ("Amazon EventBridge event patterns": a JSON object) or else a glob on the
// subject: words parted by dots, in which * stands for any characters of a word, ? for one, a word ** for any
// number of words, and > at the end for whatever follows. It answers ErrInvalid.
func Parse(text string) (*Pattern, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, invalid("it is empty")
	case len(text) > maxLength:
		return nil, invalid("it has more than %d characters", maxLength)
	case text[0] != '{':
		return parseGlob(text)
	}
	value, err := decode([]byte(text))
	if err != nil {
		return nil, invalid("%v", err)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, invalid("it is not a JSON object")
	}
	root, err := parseObject(fields, "", 0)
	if err != nil {
		return nil, err
	}
	return &Pattern{root: root}, nil
}

// Match tells whether an event is meant. Event is its JSON, of which a glob needs nothing; what is not JSON is not meant.
func (p *Pattern) Match(subject string, event []byte) bool {
	if p.glob != nil {
		return matchTokens(p.glob, strings.Split(subject, "."))
	}
	value, err := decode(event)
	if err != nil {
		return false
	}
	fields, ok := value.(map[string]any)
	return ok && p.root.match(fields)
}

// decode reads one JSON value whose numbers keep the form in which they are written.
func decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one JSON value")
	}
	return value, nil
}

// object is what the fields of an object must be: all of them, and one of each group of alternatives.
type object struct {
	fields map[string]field
	either [][]object // "$or"
}

// field is what one field must be: an object, or a value that one of the matchers takes.
type field struct {
	inside *object
	leaves []leaf
}

func parseObject(fields map[string]any, path string, depth int) (object, error) {
	out := object{fields: map[string]field{}}
	if len(fields) == 0 {
		return out, invalid("%s is empty", name(path))
	}
	if depth > maxDepth {
		return out, invalid("%s is too deep", name(path))
	}
	for key, value := range fields {
		at := strings.TrimPrefix(path+"."+key, ".")
		switch value := value.(type) {
		case map[string]any:
			inside, err := parseObject(value, at, depth+1)
			if err != nil {
				return out, err
			}
			out.fields[key] = field{inside: &inside}
		case []any:
			if alternatives, ok, err := parseOr(key, value, path, depth); ok || err != nil {
				if err != nil {
					return out, err
				}
				out.either = append(out.either, alternatives)
				continue
			}
			leaves, err := parseLeaves(value, at)
			if err != nil {
				return out, err
			}
			out.fields[key] = field{leaves: leaves}
		default:
			return out, invalid("%s must be an array of values, or an object", name(at))
		}
	}
	return out, nil
}

func name(path string) string {
	if path == "" {
		return "the pattern"
	}
	return fmt.Sprintf("%q", path)
}

// parseOr reads the alternatives of "$or": two or more objects.
func parseOr(key string, values []any, path string, depth int) ([]object, bool, error) {
	if key != "$or" {
		return nil, false, nil
	}
	if len(values) < 2 {
		return nil, false, invalid("$or needs two patterns or more")
	}
	var out []object
	for _, v := range values {
		fields, ok := v.(map[string]any)
		if !ok {
			return nil, false, invalid("$or takes patterns")
		}
		o, err := parseObject(fields, path, depth+1)
		if err != nil {
			return nil, false, err
		}
		out = append(out, o)
	}
	return out, true, nil
}

func (o *object) match(fields map[string]any) bool {
	for key, f := range o.fields {
		value, there := fields[key]
		if !f.match(value, there) {
			return false
		}
	}
	for _, alternatives := range o.either {
		if !anyMatches(alternatives, fields) {
			return false
		}
	}
	return true
}

func anyMatches(alternatives []object, fields map[string]any) bool {
	for i := range alternatives {
		if alternatives[i].match(fields) {
			return true
		}
	}
	return false
}

// match takes a field's value. An array is meant when one of its elements is; for a pattern over objects all of it must
// hold for the same element.
func (f *field) match(value any, there bool) bool {
	if f.inside != nil {
		return f.matchInside(value, there)
	}
	if _, isObject := value.(map[string]any); isObject {
		there = false // matchers are about values; EventBridge sees none under this name
	}
	for _, l := range f.leaves {
		if l.absent {
			if !there {
				return true
			}
			continue
		}
		if there && matchAny(l, value) {
			return true
		}
	}
	return false
}

func (f *field) matchInside(value any, there bool) bool {
	switch value := value.(type) {
	case map[string]any:
		return f.inside.match(value)
	case []any:
		for _, element := range value {
			if fields, ok := element.(map[string]any); ok && f.inside.match(fields) {
				return true
			}
		}
		return false
	}
	return f.inside.match(nil) // what it wants absent is
}

func matchAny(l leaf, value any) bool {
	list, isList := value.([]any)
	if !isList {
		return l.match(value)
	}
	if l.exists {
		return true
	}
	for _, element := range list {
		if matchAny(l, element) {
			return true
		}
	}
	return false
}
