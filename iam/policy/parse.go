package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Versions of the policy language. Variables are text in the older one, which is the default.
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// dialect is what the kind of document and its version make of its elements.
type dialect struct {
	kind      Kind
	variables bool
	text      []byte
}

// Parse reads a policy of a kind. Errors are *MalformedError.
func Parse(text []byte, kind Kind) (*Document, error) {
	d := &dialect{kind: kind, text: text}
	root, err := d.readJSON(text)
	if err != nil {
		return nil, err
	}
	top, err := d.members(root, "Version", "Id", "Statement")
	if err != nil {
		return nil, err
	}
	if err := d.version(top); err != nil {
		return nil, err
	}
	if id, ok := top["Id"]; ok {
		if _, ok := id.(string); !ok {
			return nil, d.syntax("Id must be a string")
		}
	}
	return d.document(top["Statement"])
}

func (d *dialect) version(top map[string]any) error {
	raw, given := top["Version"]
	switch {
	case given && raw != version2008 && raw != version2012:
		if d.kind == Resource {
			return &MalformedError{"The policy must contain a valid version string", fmt.Sprint(raw)}
		}
		return d.syntax(fmt.Sprintf("version %v is not known", raw))
	case d.kind == Managed && raw != version2012:
		return &MalformedError{"Policy document must be version 2012-10-17 or greater.", ""}
	}
	d.variables = raw == version2012
	return nil
}

func (d *dialect) document(raw any) (*Document, error) {
	list, isList := raw.([]any)
	if !isList && raw != nil {
		list = []any{raw}
	}
	if len(list) == 0 {
		return nil, d.syntax("a policy must contain a statement")
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
			return nil, &MalformedError{"Statement IDs (SID) in a single policy must be unique.", s.id}
		}
		seen[s.id] = true
		doc.statements[i] = s
	}
	return doc, nil
}

func (d *dialect) statement(raw any) (s statement, err error) {
	m, err := d.members(raw, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
	if err != nil {
		return s, err
	}
	at := raw.(*object)
	s.start, s.end = position(d.text, at.start), position(d.text, at.end)
	for _, read := range []func(map[string]any, *statement) error{d.sid, d.effect, d.readPrincipals, d.readActions, d.readResources} {
		if err := read(m, &s); err != nil {
			return s, err
		}
	}
	if block, ok := m["Condition"]; ok {
		if s.conditions, err = d.conditions(block); err != nil {
			return s, err
		}
	}
	if d.kind == Resource {
		err = fitBucket(&s)
	}
	return s, err
}

// sid reads a statement's name. That of a bucket's policy may be any text.
func (d *dialect) sid(m map[string]any, s *statement) error {
	raw, ok := m["Sid"]
	if !ok {
		return nil
	}
	if s.id, ok = raw.(string); !ok {
		return d.syntax("Sid must be a string")
	}
	if d.kind != Resource && strings.ContainsFunc(s.id, notAlphanumeric) {
		return &MalformedError{"Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*", s.id}
	}
	return nil
}

func (d *dialect) effect(m map[string]any, s *statement) error {
	text, isText := m["Effect"].(string)
	switch {
	case text == "Allow":
	case text == "Deny":
		s.deny = true
	case m["Effect"] == nil && (d.kind == Trust || d.kind == Resource):
		return &MalformedError{"Missing required field Effect", ""}
	case isText && d.kind == Resource:
		return &MalformedError{"Invalid effect: " + text, ""}
	case strings.EqualFold(text, "Allow"), strings.EqualFold(text, "Deny"):
		return &MalformedError{legacy, "effect " + quoted(text)}
	default:
		return d.syntax("Effect must be Allow or Deny")
	}
	return nil
}

func (d *dialect) readActions(m map[string]any, s *statement) error {
	actions, not, err := d.oneOf(m, "Action", "NotAction")
	if err != nil {
		return err
	}
	if len(actions) == 0 {
		if d.kind == Trust || d.kind == Resource {
			return &MalformedError{"Missing required field Action", ""}
		}
		return &MalformedError{"Policy statement must contain actions.", ""}
	}
	s.notAction = not
	for _, text := range actions {
		g, err := d.action(text)
		if err != nil {
			return err
		}
		if d.kind == Trust && (not || text == "*" || !slices.ContainsFunc(assumeActions, g.match)) {
			return &MalformedError{"AssumeRole policy may only specify STS AssumeRole actions.", text}
		}
		s.actions = append(s.actions, g)
	}
	return nil
}

// assumeActions are what a trust policy may speak of, in lower case.
var assumeActions = []string{
	"sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity", "sts:tagsession", "sts:setsourceidentity", "sts:setcontext",
}

// action reads "*" or "vendor:Name" with wildcards in the name; case does not count.
func (d *dialect) action(s string) (glob, error) {
	if s == "*" || s == "*:*" {
		return newGlob(starText), nil
	}
	vendor, name, ok := strings.Cut(s, ":")
	switch {
	case !ok || vendor == "":
		return glob{}, &MalformedError{"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", s}
	case strings.Contains(name, ":"):
		return glob{}, &MalformedError{"Actions/Condition can contain only one colon.", s}
	case strings.ContainsFunc(vendor, func(r rune) bool { return !alphanumeric(r) && r != '-' && r != '.' }):
		return glob{}, &MalformedError{"Vendor " + vendor + " is not valid", ""}
	case d.kind == Resource && !strings.EqualFold(vendor, "s3"):
		return glob{}, &MalformedError{"Policy has invalid action", s}
	case name == "", strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("*?-_", r) }):
		return glob{}, d.syntax("action " + quoted(s))
	}
	p, err := patternSyntax{wildcards: true}.compile(strings.ToLower(s))
	return p.glob, err
}

func (d *dialect) readResources(m map[string]any, s *statement) error {
	resources, not, err := d.oneOf(m, "Resource", "NotResource")
	switch {
	case d.kind == Trust && (m["Resource"] != nil || m["NotResource"] != nil):
		return &MalformedError{"Has prohibited field Resource", ""}
	case d.kind == Trust: // it speaks of its role
		s.resources = []resource{{any: true, text: "*"}}
		return nil
	case err != nil:
		return err
	case len(resources) == 0 && d.kind == Resource:
		return &MalformedError{"Missing required field Resource", ""}
	case len(resources) == 0:
		return &MalformedError{"Policy statement must contain resources.", ""}
	}
	s.notResource = not
	for _, text := range resources {
		r, err := d.resource(text)
		if err != nil {
			return err
		}
		s.resources = append(s.resources, r)
		s.dear = s.dear || r.arn.last.filled != nil || r.arn.last.glob.shape == general
	}
	return nil
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

func notAlphanumeric(r rune) bool { return !alphanumeric(r) }

// oneOf reads the strings of an element or of its negation. None of the two makes no values.
func (d *dialect) oneOf(m map[string]any, name, negation string) (values []string, negated bool, err error) {
	raw, plain := m[name]
	if other, not := m[negation]; not {
		if plain {
			return nil, false, d.syntax("a statement has either " + name + " or " + negation)
		}
		raw, negated = other, true
	}
	values, ok := stringList(raw)
	if !ok {
		return nil, false, d.syntax(name + " must be a string or a list of strings")
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
