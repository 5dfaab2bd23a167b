package compat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// scope is what ${} can name: texts, answers, and lets.
type scope map[string]any

// let is a value of a file, whose own references are replaced where it is used. Those in answers are not.
type let struct{ value any }

// expand replaces the references in v.
func (s scope) expand(v any) (any, error) {
	switch x := v.(type) {
	case string:
		if isReference(x) {
			return s.value(x[2 : len(x)-1])
		}
		return s.text(x)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			var err error
			if out[i], err = s.expand(x[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		if n, of, ok := times(x); ok {
			return s.repeated(n, of)
		}
		out := map[string]any{}
		for key, value := range x {
			name, err := s.text(key)
			if err != nil {
				return nil, err
			}
			if out[name], err = s.expand(value); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// times reads {"${*N}": of}.
func times(v any) (n int, of any, ok bool) {
	object, ok := v.(map[string]any)
	if !ok || len(object) != 1 {
		return 0, nil, false
	}
	for key, value := range object {
		if !strings.HasPrefix(key, "${*") || !strings.HasSuffix(key, "}") {
			return 0, nil, false
		}
		n, err := strconv.Atoi(key[3 : len(key)-1])
		return n, value, err == nil
	}
	return 0, nil, false
}

func (s scope) repeated(n int, of any) (any, error) {
	out := make([]any, n)
	for i := range out {
		one, err := s.with("i", strconv.Itoa(i+1)).expand(of)
		if err != nil {
			return nil, err
		}
		out[i] = one
	}
	return out, nil
}

func (s scope) with(name string, v any) scope {
	out := scope{name: v}
	for key, value := range s {
		if key != name {
			out[key] = value
		}
	}
	return out
}

// text replaces the references in a string by texts.
func (s scope) text(in string) (string, error) {
	var failed error
	out := reference.ReplaceAllStringFunc(in, func(ref string) string {
		v, err := s.value(ref[2 : len(ref)-1])
		if err != nil {
			failed = err
		}
		switch x := v.(type) {
		case map[string]any, []any:
			raw, err := json.Marshal(x)
			if err != nil {
				failed = err
			}
			return string(raw)
		}
		return fmt.Sprint(v)
	})
	return out, failed
}

var repeated = regexp.MustCompile(`^(.+)\*(\d+)$`)

// value is what one reference names.
func (s scope) value(ref string) (any, error) {
	if m := repeated.FindStringSubmatch(ref); m != nil {
		n, err := strconv.Atoi(m[2])
		return strings.Repeat(m[1], n), err
	}
	if text, ok := strings.CutPrefix(ref, "aws:"); ok {
		return "${aws:" + text + "}", nil // a policy variable
	}
	parts := strings.Split(ref, ".")
	v, ok := s[parts[0]]
	if !ok {
		return nil, fmt.Errorf("${%s}: nothing is called %s", ref, parts[0])
	}
	if l, is := v.(let); is {
		var err error
		if v, err = s.expand(l.value); err != nil {
			return nil, err
		}
	}
	for _, part := range parts[1:] {
		switch x := v.(type) {
		case map[string]any:
			v, ok = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			if ok = err == nil && i >= 0 && i < len(x); ok {
				v = x[i]
			}
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("${%s}: the answer has no %s", ref, part)
		}
	}
	return v, nil
}

// match tells how an answer differs from what is expected, nil when it does not. Exact forbids members that are not expected.
func match(want, got any, exact bool) error {
	switch w := want.(type) {
	case nil:
		return fmt.Errorf("is %s, want nothing", short(got))
	case string:
		return matchText(w, got)
	case map[string]any:
		if text, ok := got.(string); ok {
			return matchDocument(w, text)
		}
		return matchMembers(w, got, exact)
	case []any:
		if text, ok := got.(string); ok {
			return matchDocument(w, text)
		}
		return matchList(w, got, exact)
	}
	if fmt.Sprint(want) != fmt.Sprint(got) || got == nil {
		return fmt.Errorf("is %s, want %v", short(got), want)
	}
	return nil
}

func short(v any) string {
	if v == nil {
		return "absent"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(raw) > 600 {
		return string(raw[:600]) + " and so on"
	}
	return string(raw)
}

func matchMembers(want map[string]any, got any, exact bool) error {
	object, ok := got.(map[string]any)
	if !ok {
		return fmt.Errorf("is %s, want members", short(got))
	}
	var errs []error
	for _, name := range sortedKeys(want) {
		value, there := object[name]
		if want[name] == nil && !there {
			continue
		}
		if err := match(want[name], value, exact); err != nil {
			errs = append(errs, fmt.Errorf(".%s %w", name, err))
		}
	}
	for _, name := range sortedKeys(object) {
		if _, expected := want[name]; exact && !expected {
			errs = append(errs, fmt.Errorf(".%s is %s, want nothing", name, short(object[name])))
		}
	}
	return errors.Join(errs...)
}

func matchList(want []any, got any, exact bool) error {
	list, ok := got.([]any)
	if !ok {
		return fmt.Errorf("is %s, want a list", short(got))
	}
	if len(want) > 0 && want[0] == "…" {
		return matchSome(want[1:], list, exact)
	}
	if len(list) != len(want) {
		return fmt.Errorf("has %d elements, want %d: %s", len(list), len(want), short(got))
	}
	var errs []error
	for i := range want {
		if err := match(want[i], list[i], exact); err != nil {
			errs = append(errs, fmt.Errorf("[%d]%w", i, err))
		}
	}
	return errors.Join(errs...)
}

// matchSome finds each of want somewhere in list.
func matchSome(want, list []any, exact bool) error {
	var errs []error
next:
	for _, w := range want {
		for _, got := range list {
			if match(w, got, exact) == nil {
				continue next
			}
		}
		errs = append(errs, fmt.Errorf("has no %s: %s", short(w), short(list)))
	}
	return errors.Join(errs...)
}

var idPattern = regexp.MustCompile(`^<id:([A-Z]{4})>$`)

func matchText(want string, got any) error {
	if n, ok := strings.CutPrefix(want, "#"); ok {
		if list, isList := got.([]any); isList {
			if strconv.Itoa(len(list)) != n {
				return fmt.Errorf("has %d elements, want %s: %s", len(list), n, short(got))
			}
			return nil
		}
	}
	text, ok := got.(string)
	if !ok {
		return fmt.Errorf("is %s, want %q", short(got), want)
	}
	var pattern *regexp.Regexp
	switch m := idPattern.FindStringSubmatch(want); {
	case want == "<time>":
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("is %q, want a time", text)
		}
		return nil
	case want == "<secret>":
		pattern = regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`)
	case m != nil && (m[1] == "AKIA" || m[1] == "ASIA"):
		pattern = regexp.MustCompile("^" + m[1] + "[A-Z2-7]{16}$")
	case m != nil:
		pattern = regexp.MustCompile("^" + m[1] + "[A-Z2-7]{17}$")
	default:
		pattern = wildcard(want)
	}
	if !pattern.MatchString(text) {
		return fmt.Errorf("is %q, want %q", text, want)
	}
	return nil
}

// wildcard is a text in which … stands for any.
func wildcard(text string) *regexp.Regexp {
	return regexp.MustCompile("(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*") + "$")
}

// matchDocument compares a text that is JSON, URL-encoded or not, with what it must be.
func matchDocument(want any, text string) error {
	if strings.HasPrefix(text, "%7B") || strings.HasPrefix(text, "%5B") {
		var err error
		if text, err = url.PathUnescape(text); err != nil {
			return err
		}
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var got any
	if err := dec.Decode(&got); err != nil {
		return fmt.Errorf("is %q, want JSON", text)
	}
	return match(want, got, true)
}
