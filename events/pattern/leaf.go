package pattern

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
)

// leaf takes or refuses one value.
type leaf struct {
	match  func(value any) bool
	exists bool // takes whatever is there
	absent bool // wants nothing there
}

func parseLeaves(values []any, path string) ([]leaf, error) {
	if len(values) == 0 {
		return nil, invalid("%s: an empty array takes nothing", name(path))
	}
	var out []leaf
	for _, v := range values {
		l, err := parseLeaf(v, path)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func parseLeaf(value any, path string) (leaf, error) {
	matcher, ok := value.(map[string]any)
	if !ok {
		if _, list := value.([]any); list {
			return leaf{}, invalid("%s: an array in an array", name(path))
		}
		return leaf{match: equals(value)}, nil
	}
	if len(matcher) != 1 {
		return leaf{}, invalid("%s: a matcher has exactly one name", name(path))
	}
	for kind, arg := range matcher {
		return parseMatcher(kind, arg, path)
	}
	return leaf{}, nil
}

func parseMatcher(kind string, arg any, path string) (leaf, error) {
	switch kind {
	case "exists":
		want, ok := arg.(bool)
		if !ok {
			return leaf{}, invalid("%s: exists is true or false", name(path))
		}
		return leaf{exists: want, absent: !want, match: func(any) bool { return want }}, nil
	case "anything-but":
		not, err := parseAnythingBut(arg, path)
		return leaf{match: func(v any) bool { return !not(v) }}, err
	case "numeric":
		test, err := parseNumeric(arg, path)
		return leaf{match: test}, err
	case "cidr":
		test, err := parseCIDR(arg, path)
		return leaf{match: test}, err
	}
	test, err := parseText(kind, arg, path)
	return leaf{match: test}, err
}

// equals takes a value that is the same: a number when it is written the same, as EventBridge says.
func equals(want any) func(any) bool {
	return func(v any) bool {
		switch want := want.(type) {
		case nil:
			return v == nil
		case string:
			s, ok := v.(string)
			return ok && s == want
		case bool:
			b, ok := v.(bool)
			return ok && b == want
		case json.Number:
			n, ok := v.(json.Number)
			return ok && n == want
		}
		return false
	}
}

// parseText reads the matchers of texts.
func parseText(kind string, arg any, path string) (func(any) bool, error) {
	fold := func(s string) string { return s }
	if kind == "prefix" || kind == "suffix" {
		if inner, ok := arg.(map[string]any); ok && len(inner) == 1 {
			if folded, ok := inner["equals-ignore-case"]; ok {
				arg, fold = folded, strings.ToLower
			}
		}
	}
	want, ok := arg.(string)
	if !ok {
		return nil, invalid("%s: %s takes a text", name(path), kind)
	}
	var test func(string) bool
	switch kind {
	case "prefix":
		test = func(s string) bool { return strings.HasPrefix(fold(s), fold(want)) }
	case "suffix":
		test = func(s string) bool { return strings.HasSuffix(fold(s), fold(want)) }
	case "equals-ignore-case":
		test = func(s string) bool { return strings.EqualFold(s, want) }
	case "wildcard":
		parts, err := parseWildcard(want, path)
		if err != nil {
			return nil, err
		}
		test = func(s string) bool { return matchParts(parts, s) }
	default:
		return nil, invalid("%s: there is no matcher %q", name(path), kind)
	}
	return func(v any) bool {
		s, ok := v.(string)
		return ok && test(s)
	}, nil
}

// parseAnythingBut reads what must not be: a value, values, or a matcher of texts with one or several of them.
func parseAnythingBut(arg any, path string) (func(any) bool, error) {
	switch arg := arg.(type) {
	case map[string]any:
		if len(arg) != 1 {
			return nil, invalid("%s: anything-but takes one matcher", name(path))
		}
		for kind, of := range arg {
			return anyOf(listOf(of), path, func(v any) (func(any) bool, error) { return parseText(kind, v, path) })
		}
	case nil, bool:
		return nil, invalid("%s: anything-but takes texts, numbers, or a matcher", name(path))
	}
	return anyOf(listOf(arg), path, func(v any) (func(any) bool, error) {
		switch v.(type) {
		case string, json.Number:
			return equals(v), nil
		}
		return nil, invalid("%s: anything-but takes texts or numbers", name(path))
	})
}

func listOf(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func anyOf(values []any, path string, parse func(any) (func(any) bool, error)) (func(any) bool, error) {
	if len(values) == 0 {
		return nil, invalid("%s: an empty array", name(path))
	}
	var tests []func(any) bool
	for _, v := range values {
		test, err := parse(v)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return func(v any) bool {
		for _, test := range tests {
			if test(v) {
				return true
			}
		}
		return false
	}, nil
}

var comparisons = map[string]func(a, b float64) bool{
	"=":  func(a, b float64) bool { return a == b },
	"<":  func(a, b float64) bool { return a < b },
	"<=": func(a, b float64) bool { return a <= b },
	">":  func(a, b float64) bool { return a > b },
	">=": func(a, b float64) bool { return a >= b },
}

// parseNumeric reads one comparison or two, as in [">", 0, "<=", 5]. All must hold.
func parseNumeric(arg any, path string) (func(any) bool, error) {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return nil, invalid(`%s: numeric takes a comparison and a number, once or twice: [">", 0, "<=", 5]`, name(path))
	}
	var tests []func(float64) bool
	for i := 0; i < len(list); i += 2 {
		op, _ := list[i].(string)
		compare, known := comparisons[op]
		number, isNumber := list[i+1].(json.Number)
		if !known || !isNumber {
			return nil, invalid("%s: numeric has the comparisons = < <= > >=, each with a number", name(path))
		}
		bound, err := number.Float64()
		if err != nil {
			return nil, invalid("%s: %s is out of range", name(path), number)
		}
		tests = append(tests, func(x float64) bool { return compare(x, bound) })
	}
	return func(v any) bool {
		number, ok := v.(json.Number)
		if !ok {
			return false
		}
		x, err := strconv.ParseFloat(string(number), 64)
		if err != nil {
			return false
		}
		for _, test := range tests {
			if !test(x) {
				return false
			}
		}
		return true
	}, nil
}

func parseCIDR(arg any, path string) (func(any) bool, error) {
	text, _ := arg.(string)
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, invalid("%s: cidr takes a range of addresses, such as 10.0.0.0/24", name(path))
	}
	return func(v any) bool {
		s, _ := v.(string)
		addr, err := netip.ParseAddr(s)
		return err == nil && prefix.Contains(addr)
	}, nil
}
