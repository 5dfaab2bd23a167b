package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Versions of the policy language. Variables are text in the older one, which is the default.
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// maxDepth is deeper than any policy.
const maxDepth = 8

// dialect is what the kind of document and its version make of its elements.
type dialect struct {
	kind      Kind
	variables bool
}

// Parse reads a policy of a kind. Errors are *MalformedError.
func Parse(text []byte, kind Kind) (*Document, error) {
	root, err := readJSON(text)
	if err != nil {
		return nil, err
	}
	top, err := members(root, "Version", "Id", "Statement")
	if err != nil {
		return nil, err
	}
	version := version2008
	if v, ok := top["Version"]; ok {
		if version, ok = v.(string); !ok || version != version2008 && version != version2012 {
			return nil, malformed("Policy document must be version 2012-10-17 or 2008-10-17.")
		}
	}
	if id, ok := top["Id"]; ok {
		if _, ok := id.(string); !ok {
			return nil, malformed("Syntax errors in policy. Id must be a string.")
		}
	}
	return (&dialect{kind: kind, variables: version == version2012}).document(top["Statement"])
}

func (d *dialect) document(raw any) (*Document, error) {
	list, isList := raw.([]any)
	if !isList && raw != nil {
		list = []any{raw}
	}
	if len(list) == 0 {
		return nil, malformed("Syntax errors in policy. A policy must contain a statement.")
	}
	doc := &Document{kind: d.kind, statements: make([]statement, len(list))}
	seen := map[string]bool{}
	for i, item := range list {
		s, err := d.statement(item)
		if err != nil {
			return nil, err
		}
		if s.id == "" {
			s.id = fmt.Sprintf("#%d", i+1)
		} else if seen[s.id] {
			return nil, malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		seen[s.id] = true
		doc.statements[i] = s
	}
	return doc, nil
}

func (d *dialect) statement(raw any) (s statement, err error) {
	m, err := members(raw, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
	if err != nil {
		return s, err
	}
	if s.id, err = sid(m); err != nil {
		return s, err
	}
	switch m["Effect"] {
	case "Allow":
	case "Deny":
		s.deny = true
	case nil:
		return s, malformed("Missing required field Effect.")
	default:
		return s, malformed("Invalid effect: %v.", m["Effect"])
	}
	if err = d.readPrincipals(m, &s); err != nil {
		return s, err
	}
	actions, not, err := oneOf(m, "Action", "NotAction", "Policy statement must contain actions.")
	if err != nil {
		return s, err
	}
	s.notAction = not
	for _, a := range actions {
		g, err := action(a)
		if err != nil {
			return s, err
		}
		if !d.actionFits(a, g) {
			return s, malformed("AssumeRole policy may only specify STS AssumeRole actions.")
		}
		s.actions = append(s.actions, g)
	}
	if d.kind == Trust {
		if m["Resource"] != nil || m["NotResource"] != nil {
			return s, malformed("Has prohibited field Resource")
		}
		m["Resource"] = "*"
	}
	resources, not, err := oneOf(m, "Resource", "NotResource", "Policy statement must contain resources.")
	if err != nil {
		return s, err
	}
	s.notResource = not
	for _, r := range resources {
		compiled, err := d.resource(r)
		if err != nil {
			return s, err
		}
		s.resources = append(s.resources, compiled)
	}
	if block, ok := m["Condition"]; ok {
		s.conditions, err = d.conditions(block)
	}
	return s, err
}

func sid(m map[string]any) (string, error) {
	raw, ok := m["Sid"]
	if !ok {
		return "", nil
	}
	s, ok := raw.(string)
	if !ok || strings.ContainsFunc(s, func(r rune) bool { return !alphanumeric(r) }) {
		return "", malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*.")
	}
	return s, nil
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// oneOf reads the strings of an element or of its negation: one of the two must be there.
func oneOf(m map[string]any, name, negation, missing string) (values []string, negated bool, err error) {
	raw, plain := m[name]
	if other, not := m[negation]; not {
		if plain {
			return nil, false, malformed("Syntax errors in policy. A statement has either %s or %s.", name, negation)
		}
		raw, negated = other, true
	}
	values, ok := stringList(raw)
	if !ok {
		return nil, false, malformed("Syntax errors in policy. %s must be a string or a list of strings.", name)
	}
	if len(values) == 0 {
		return nil, false, malformed("%s", missing)
	}
	return values, negated, nil
}

// stringList is a string, or a list of strings, or none where raw is nil.
func stringList(raw any) ([]string, bool) {
	switch v := raw.(type) {
	case nil:
		return nil, true
	case string:
		return []string{v}, true
	case []any:
		out := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			out[i] = s
		}
		return out, true
	default:
		return nil, false
	}
}

// action reads "*" or "vendor:Name" with wildcards in the name; case does not count.
func action(s string) (glob, error) {
	vendor, name, ok := strings.Cut(s, ":")
	if s == "*" || s == "*:*" {
		return newGlob([]rune{star}), nil
	}
	if !ok || vendor == "" {
		return glob{}, malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	}
	if strings.ContainsFunc(vendor, func(r rune) bool { return !alphanumeric(r) && r != '-' }) {
		return glob{}, malformed("Vendor %s is not valid.", vendor)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && r != '*' && r != '?' }) {
		return glob{}, malformed("Action %s is not valid.", s)
	}
	p, err := patternSyntax{wildcards: true}.compile(strings.ToLower(s))
	return p.glob, err
}

// assumeActions are what a trust policy may speak of, in lower case.
var assumeActions = []string{
	"sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity", "sts:tagsession", "sts:setsourceidentity", "sts:setcontext",
}

// actionFits tells whether a document of this kind may speak of an action.
func (d *dialect) actionFits(text string, g glob) bool {
	if d.kind != Trust {
		return true
	}
	return text != "*" && slices.ContainsFunc(assumeActions, g.match)
}

// A JSON object, with its members in order. Names are unique.
type object []member

type member struct {
	name  string
	value any
}

// members are an object's members by name. Any name that is not among known is refused.
func members(raw any, known ...string) (map[string]any, error) {
	obj, ok := raw.(object)
	if !ok {
		return nil, malformed("Syntax errors in policy.")
	}
	out := make(map[string]any, len(obj))
	for _, m := range obj {
		if !slices.Contains(known, m.name) {
			return nil, malformed("Syntax errors in policy. Element %q is not understood.", m.name)
		}
		if m.value == nil {
			return nil, malformed("Syntax errors in policy. Element %s is null.", m.name)
		}
		out[m.name] = m.value
	}
	return out, nil
}

// readJSON reads one JSON value strictly: no name twice in an object, which encoding/json would
// overlook, and nothing behind the value. Numbers are json.Number.
func readJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, malformed("The policy is not in the valid JSON format.")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	value, err := readValue(dec, 0)
	if err == nil {
		_, trailing := dec.Token()
		if errors.Is(trailing, io.EOF) {
			return value, nil
		}
	}
	if bad := (*MalformedError)(nil); errors.As(err, &bad) {
		return nil, err
	}
	return nil, malformed("The policy is not in the valid JSON format.")
}

func readValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, malformed("Syntax errors in policy.")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return readObject(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			item, err := readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err = dec.Token()
		return list, err
	}
	return token, nil
}

func readObject(dec *json.Decoder, depth int) (any, error) {
	obj, seen := object{}, map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok || seen[name] {
			return nil, malformed("Syntax errors in policy. Name %v stands twice.", token)
		}
		seen[name] = true
		value, err := readValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		obj = append(obj, member{name, value})
	}
	_, err := dec.Token()
	return obj, err
}
