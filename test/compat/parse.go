package compat

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Parse reads a file of scenarios. What it does not understand is an error, and so is a label or a let that nothing uses.
func Parse(name, text string) ([]Scenario, error) {
	p := &parser{name: name, rest: text, line: 1, lets: map[string]any{}, inLets: map[string][]string{}, used: map[string]bool{}}
	for p.rest != "" {
		if err := p.next(); err != nil {
			return nil, fmt.Errorf("%s: %w", p.where(), err)
		}
	}
	if err := p.endScenario(); err != nil {
		return nil, err
	}
	for name := range p.lets {
		if !p.used[name] {
			return nil, fmt.Errorf("%s: nothing uses ${%s}", p.name, name)
		}
	}
	if len(p.all) == 0 {
		return nil, fmt.Errorf("%s has no scenario", name)
	}
	return p.all, nil
}

type parser struct {
	name, rest string
	line       int
	all        []Scenario
	open       bool // a scenario has begun
	lets       map[string]any
	inLets     map[string][]string // the labels that lets refer to
	labels     map[string]string   // of the open scenario, to where they stand
	used       map[string]bool     // names in ${} and before ':'
}

func (p *parser) where() string { return fmt.Sprintf("%s:%d", path.Base(p.name), p.line) }

// take is what stands before the end of the line.
func (p *parser) take() string {
	line, rest, _ := strings.Cut(p.rest, "\n")
	p.rest = rest
	p.line++
	return strings.TrimSpace(line)
}

// json reads one JSON value, which may go on over lines.
func (p *parser) json() (any, error) {
	dec := json.NewDecoder(strings.NewReader(p.rest))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	raw := p.rest[:dec.InputOffset()]
	if err := duplicates(raw); err != nil {
		return nil, err
	}
	p.rest = p.rest[dec.InputOffset():]
	p.line += strings.Count(raw, "\n")
	for _, m := range reference.FindAllStringSubmatch(raw, -1) {
		p.use(m[1])
	}
	return v, nil
}

// end is nothing but the end of the line.
func (p *parser) end() error {
	if left := p.take(); left != "" {
		p.line--
		return fmt.Errorf("%q is left over", left)
	}
	return nil
}

var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// use notes that a reference is used, and with a let what it refers to; a path's first part is the label.
func (p *parser) use(ref string) {
	first, _, _ := strings.Cut(ref, ".")
	p.used[first] = true
	for _, inner := range p.inLets[first] {
		p.used[inner] = true
	}
}

var (
	repeat = regexp.MustCompile(`^\*(\d+)$`)
	word   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*$`)
	errAns = regexp.MustCompile(`^(\d{3}) ([A-Za-z][A-Za-z0-9.]*)(?: (.*))?$`)
)

// next reads one line, with what belongs to it.
func (p *parser) next() error {
	line, _, _ := strings.Cut(p.rest, "\n")
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" || strings.HasPrefix(trimmed, "#"):
		p.take()
		return nil
	case strings.HasPrefix(line, "=== "):
		return p.begin(strings.TrimPrefix(p.take(), "=== "))
	case strings.HasPrefix(line, "let "):
		return p.let()
	case !p.open:
		return fmt.Errorf("%q stands before the first scenario", trimmed)
	case strings.HasPrefix(trimmed, "=> "), strings.HasPrefix(trimmed, "== "), strings.HasPrefix(trimmed, "!> "):
		return p.want(trimmed[:2])
	}
	return p.step()
}

func (p *parser) begin(title string) error {
	where := p.where()
	if err := p.endScenario(); err != nil {
		return err
	}
	p.open, p.labels = true, map[string]string{}
	base, _, _ := strings.Cut(path.Base(p.name), ".")
	p.all = append(p.all, Scenario{Title: title, File: base, Where: where, lets: p.lets})
	return nil
}

// endScenario checks what can be checked without a world.
func (p *parser) endScenario() error {
	if !p.open {
		return nil
	}
	s := &p.all[len(p.all)-1]
	if len(s.Steps) == 0 {
		return fmt.Errorf("%s: %q has no steps", s.Where, s.Title)
	}
	for label, where := range p.labels {
		if !p.used[label] {
			return fmt.Errorf("%s: nothing uses the label %s", where, label)
		}
		delete(p.used, label)
	}
	for i := range s.Steps {
		if err := s.Steps[i].check(); err != nil {
			return fmt.Errorf("%s: %w", s.Steps[i].Where, err)
		}
	}
	return nil
}

func (p *parser) let() error {
	p.rest = strings.TrimPrefix(p.rest, "let ")
	name, rest, ok := strings.Cut(p.rest, "=")
	name = strings.TrimSpace(name)
	if !ok || !word.MatchString(name) {
		return fmt.Errorf("let NAME = JSON")
	}
	if _, twice := p.lets[name]; twice {
		return fmt.Errorf("let %s stands twice", name)
	}
	p.rest = rest
	v, err := p.json()
	if err != nil {
		return err
	}
	raw := rest[:len(rest)-len(p.rest)]
	for _, m := range reference.FindAllStringSubmatch(raw, -1) {
		label, _, _ := strings.Cut(m[1], ".")
		p.inLets[name] = append(p.inLets[name], label)
	}
	p.lets[name] = v
	return p.end()
}

// want is what the step before must come to.
func (p *parser) want(sign string) error {
	s := &p.all[len(p.all)-1]
	if len(s.Steps) == 0 {
		return fmt.Errorf("no step stands before %s", sign)
	}
	step := &s.Steps[len(s.Steps)-1]
	if step.Verb != "call" && step.Verb != "form" || step.Want.Answer != nil || step.Want.Status != 0 {
		return fmt.Errorf("the step before %s cannot be expected to come to that, or twice", sign)
	}
	_, p.rest, _ = strings.Cut(p.rest, sign)
	if sign != "!>" {
		v, err := p.json()
		if err != nil {
			return err
		}
		step.Want.Answer, step.Want.Exact = v, sign == "=="
		return p.end()
	}
	m := errAns.FindStringSubmatch(p.take())
	if m == nil {
		return fmt.Errorf("!> STATUS CODE MESSAGE")
	}
	for _, ref := range reference.FindAllStringSubmatch(m[3], -1) {
		p.use(ref[1])
	}
	status, err := strconv.Atoi(m[1])
	step.Want.Status, step.Want.Code, step.Want.Message = status, m[2], m[3]
	return err
}

// token takes the next word of the line.
func (p *parser) token() string {
	p.rest = strings.TrimLeft(p.rest, " \t")
	n := strings.IndexAny(p.rest, " \t\n")
	if n < 0 {
		n = len(p.rest)
	}
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

func (p *parser) step() error {
	s := Step{Where: p.where(), Who: "root"}
	t := p.token()
	if m := repeat.FindStringSubmatch(t); m != nil {
		s.Times, _ = strconv.Atoi(m[1]) // digits only; what overflows is refused as too many
		if s.Times < 1 || s.Times > 10_000 {
			return fmt.Errorf("%s times", m[1])
		}
		t = p.token()
	}
	if who, ok := strings.CutSuffix(t, ":"); ok {
		if s.Who = who; who != "root" && who != "other" && who != "anonymous" && p.labels[who] == "" {
			return fmt.Errorf("nobody is called %s", who)
		}
		p.used[who] = true
		t = p.token()
	}
	after := strings.TrimLeft(p.rest, " \t")
	if strings.HasPrefix(after, "= ") {
		s.Label, p.rest = t, after[2:]
		t = p.token()
	}
	if err := p.verb(&s, t); err != nil {
		return err
	}
	if s.Label != "" {
		if p.labels[s.Label] != "" || p.lets[s.Label] != nil || !word.MatchString(s.Label) || reserved[s.Label] {
			return fmt.Errorf("the label %s cannot be, or stands twice", s.Label)
		}
		p.labels[s.Label] = s.Where
	}
	steps := &p.all[len(p.all)-1].Steps
	*steps = append(*steps, s)
	return p.end()
}

var reserved = map[string]bool{"root": true, "other": true, "anonymous": true, "account": true, "region": true, "i": true}

// verb reads what stands behind label and principal.
func (p *parser) verb(s *Step, t string) (err error) {
	s.Verb = t
	switch t {
	case "advance":
		s.For, err = time.ParseDuration(p.token())
		return err
	case "creds", "totp", "jwt", "cert":
		if s.Label == "" {
			return fmt.Errorf("%s needs a label", t)
		}
		s.Params, err = p.json()
		return err
	case "oidc-keys":
		s.Params, err = p.json()
		return err
	case "form":
		s.Service = p.token()
		s.Params, err = p.json()
		return err
	}
	s.Verb, s.Service, s.Op = "call", t, p.token()
	if strings.HasPrefix(strings.TrimLeft(p.rest, " \t"), "{") {
		s.Params, err = p.json()
	}
	return err
}

// duplicates refuses an object with a member twice: one of them would count for nothing.
func duplicates(raw string) error {
	dec := json.NewDecoder(strings.NewReader(raw))
	_, err := member(dec)
	return err
}

// member reads one value.
func member(dec *json.Decoder) (json.Token, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		seen := map[json.Token]bool{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			if seen[key] {
				return nil, fmt.Errorf("the member %q stands twice", key)
			}
			seen[key] = true
			if _, err := member(dec); err != nil {
				return nil, err
			}
		}
		return dec.Token()
	case json.Delim('['):
		for dec.More() {
			if _, err := member(dec); err != nil {
				return nil, err
			}
		}
		return dec.Token()
	}
	return t, nil
}
