package actions

import (
	"fmt"
	"slices"
	"strings"
)

// resource is a type of resource as its file declares it.
type resource struct {
	name  string // "instance"
	arn   string // "arn:aws:ec2:${Region}:${Account}:instance/${Id}"
	id    string // what ids of this type begin with, without the dash: "i"
	state string // how its record is found; "": it is not
}

// service is one file.
type service struct {
	name      string
	prefix    string // of its actions: "ec2", "tag"
	all       []keyText
	lets      map[string][]string
	resources map[string]*resource
	ids       map[string]*resource // by what their ids begin with
	rows      []Row
}

// catalogue is all files.
type catalogue struct{ services map[string]*service }

// needText is a need as its line says it.
type needText struct {
	home         *service // whose file it stands in
	kind         *resource
	form         string
	args         []string
	keys         []keyText
	tags         []keyText // name is tags, tagkeys or objecttags
	attributes   bool
	loop         string
	when, unless string
}

// keyText is a condition key and where its value comes from.
type keyText struct{ name, value string }

var levels = map[string]Level{"List": List, "Read": Read, "Write": Write, "Permissions": Permissions, "Tagging": Tagging}

// mustParse reads all files. That they can be read is a test's to prove.
func mustParse() *catalogue {
	c, err := parseAll()
	if err != nil {
		panic("actions: " + err.Error())
	}
	return c
}

func parseAll() (*catalogue, error) {
	c := &catalogue{services: map[string]*service{}}
	for _, name := range Services() {
		s := &service{name: name, prefix: name, lets: map[string][]string{}, resources: map[string]*resource{}, ids: map[string]*resource{}}
		c.services[name] = s
		for at, line := range lines(fileOf(name)) {
			if err := s.header(line); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", name, at, err)
			}
		}
	}
	for _, name := range Services() {
		if err := c.rows(c.services[name], fileOf(name)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// lines yields the lines that say something, with their numbers.
func lines(text string) func(func(int, string) bool) {
	return func(yield func(int, string) bool) {
		for i, line := range strings.Split(text, "\n") {
			if t := strings.TrimSpace(line); t != "" && t[0] != '#' && !yield(i+1, line) {
				return
			}
		}
	}
}

// header reads a line that is none of a row.
func (s *service) header(line string) error {
	f := strings.Fields(line)
	switch f[0] {
	case "actions":
		s.prefix = f[1]
	case "all":
		for _, t := range f[1:] {
			k, err := readKey(t)
			if err != nil {
				return err
			}
			s.all = append(s.all, k)
		}
	case "let":
		s.lets[f[1]] = f[2:]
	case "resource":
		r := &resource{name: f[1], arn: f[2]}
		for _, t := range f[3:] {
			switch name, value, _ := strings.Cut(t, "="); name {
			case "id":
				r.id = value
			case "state":
				r.state = value
			default:
				return fmt.Errorf("resource %s: %q", r.name, t)
			}
		}
		s.resources[r.name] = r
		if r.id != "" {
			s.ids[r.id] = r
		}
	}
	return nil
}

func isHeader(line string) bool {
	first, _, _ := strings.Cut(line, " ")
	return slices.Contains([]string{"actions", "all", "let", "resource"}, first)
}

// rows reads the rows of a file. A line that begins with white space goes on with the row above.
func (c *catalogue) rows(s *service, text string) error {
	for at, line := range lines(text) {
		if isHeader(line) {
			continue
		}
		tokens := strings.Fields(line)
		if line[0] != ' ' {
			if len(tokens) < 3 || levels[tokens[1]] == "" {
				return fmt.Errorf("%s, line %d: a row is an operation, a level and a need", s.name, at)
			}
			s.rows = append(s.rows, Row{Service: s.name, Operation: tokens[0], Level: levels[tokens[1]]})
			tokens = tokens[2:]
		}
		row := &s.rows[len(s.rows)-1]
		if len(tokens) == 1 && tokens[0] == "-" {
			continue
		}
		n, err := c.need(s, row.Operation, tokens)
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", s.name, at, err)
		}
		row.Needs = append(row.Needs, n)
	}
	return nil
}

// need reads: [action[|action]] resource [key=source…] [tags=…] [for=…] [if=…] [unless=…].
func (c *catalogue) need(s *service, op string, tokens []string) (Need, error) {
	n := Need{Action: s.prefix + ":" + op, text: needText{home: s}}
	if strings.Contains(tokens[0], ":") && !strings.ContainsAny(tokens[0], "(=") {
		n.Action, n.Versioned, _ = strings.Cut(tokens[0], "|")
		tokens = tokens[1:]
	}
	if len(tokens) == 0 {
		return n, fmt.Errorf("%s names no resource", op)
	}
	if err := c.target(s, &n, tokens[0]); err != nil {
		return n, err
	}
	var rest []string
	for _, t := range tokens[1:] {
		if name, ok := strings.CutPrefix(t, "&"); ok {
			if s.lets[name] == nil {
				return n, fmt.Errorf("&%s stands for nothing", name)
			}
			rest = append(rest, s.lets[name]...)
			continue
		}
		rest = append(rest, t)
	}
	for _, t := range rest {
		if err := n.clause(t); err != nil {
			return n, err
		}
	}
	for _, home := range c.services {
		if strings.HasPrefix(n.Action, home.prefix+":") {
			n.text.keys = append(slices.Clone(home.all), n.text.keys...)
		}
	}
	n.tell()
	return n, nil
}

// target reads the resource of a need: *, TYPE(ARGS), SERVICE/TYPE.FORM(ARGS).
func (c *catalogue) target(s *service, n *Need, text string) error {
	kind, form, args, err := c.call(s, text)
	if err != nil {
		return err
	}
	n.text.kind, n.text.form, n.text.args = kind, form, args
	n.Resource, n.ARN = "*", "*"
	if kind != nil {
		n.Resource, n.ARN = kind.name, kind.arn
	}
	return nil
}

func (c *catalogue) call(s *service, text string) (kind *resource, form string, args []string, err error) {
	name, rest, called := strings.Cut(text, "(")
	if called {
		inner, ok := strings.CutSuffix(rest, ")")
		if !ok {
			return nil, "", nil, fmt.Errorf("%q is not closed", text)
		}
		args = splitTop(inner, ',')
	}
	if other, rest, ok := strings.Cut(name, "/"); ok {
		if s = c.services[other]; s == nil {
			return nil, "", nil, fmt.Errorf("%q: no service %s", text, other)
		}
		name = rest
	}
	name, form, _ = strings.Cut(name, ".")
	if name == "*" {
		return nil, form, args, nil
	}
	if kind = s.resources[name]; kind == nil {
		return nil, "", nil, fmt.Errorf("%q: no resource type %s", text, name)
	}
	return kind, form, args, nil
}

// clause reads what follows a need's resource.
func (n *Need) clause(t string) error {
	if t == "attributes" {
		n.text.attributes = true
		return nil
	}
	k, err := readKey(t)
	if err != nil {
		return err
	}
	switch k.name {
	case "for":
		n.text.loop = k.value
	case "if":
		n.text.when = k.value
	case "unless":
		n.text.unless = k.value
	case "tags", "tagkeys", "objecttags":
		n.text.tags = append(n.text.tags, k)
	default:
		if !strings.Contains(k.name, ":") {
			return fmt.Errorf("%q is no condition key", k.name)
		}
		n.text.keys = append(n.text.keys, k)
	}
	return nil
}

func readKey(t string) (keyText, error) {
	name, value, ok := strings.Cut(t, "=")
	if !ok || name == "" || value == "" {
		return keyText{}, fmt.Errorf("%q is not a name and a source", t)
	}
	return keyText{name, value}, nil
}

// tell fills in what readers of the row see of the clauses.
func (n *Need) tell() {
	t := &n.text
	for _, k := range t.keys {
		n.Keys = append(n.Keys, k.name)
	}
	for _, k := range t.tags {
		n.Keys = append(n.Keys, tagKeysOf[k.name]...)
	}
	if t.attributes {
		n.Keys = append(n.Keys, "ec2:Attribute", "ec2:Attribute/${AttributeName}")
	}
	switch t.form {
	case "made":
		n.Keys = append(n.Keys, "ec2:CreateAction", "aws:RequestTag/${TagKey}", "aws:TagKeys")
	case "tagged", "untagged":
		n.Action = ""
	}
	optional := len(t.args) == 1 && strings.HasSuffix(t.args[0], "?")
	n.Sometimes = optional || t.when != "" || t.unless != "" || t.loop != "" || slices.Contains([]string{"made", "profile"}, t.form)
}

var tagKeysOf = map[string][]string{
	"tags":       {"aws:RequestTag/${TagKey}", "aws:TagKeys"},
	"tagkeys":    {"aws:TagKeys"},
	"objecttags": {"s3:RequestObjectTag/${TagKey}", "s3:RequestObjectTagKeys"},
}

// splitTop cuts at a separator outside of parentheses and quotes.
func splitTop(s string, sep byte) []string {
	var out []string
	start, depth, quoted := 0, 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == sep && depth == 0:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}
