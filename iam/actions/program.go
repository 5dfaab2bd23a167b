package actions

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"hive/awsd/protocol"
)

// program is a row compiled for an input type.
type program struct {
	row      *Row
	in       reflect.Type // the input struct
	steps    []step
	byRecord bool              // it asks the state
	fixed    []protocol.Access // of a row whose needs no input changes; shared
	fallback protocol.Access   // of a row whose needs all fall away
}

// step is a need, compiled.
type step struct {
	action, versioned string
	loop              *path // to a list that it goes through
	when, unless      *source
	targets           *targets
	base              map[string][]string // keys that are the same in each request; shared
	keys              []keySource
	tags              []tagSource
	attributes        attributes
}

// keySource is a condition key, in lower case, and where its values come from.
type keySource struct {
	name string
	from source
}

// builder compiles the needs of one row.
type builder struct {
	*Needs
	home  *service // of the row
	scope scope
}

// compile makes the program of a row for an input type.
func (n *Needs) compile(row *Row, in reflect.Type) (*program, error) {
	p := &program{row: row, in: in}
	home := n.all.services[row.Service]
	p.fallback = protocol.Access{Action: home.prefix + ":" + row.Operation, Resource: "*", Context: n.base(home.all)}
	for i := range row.Needs {
		b := &builder{Needs: n, home: home, scope: scope{in: in}}
		s, err := b.step(&row.Needs[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", row.Operation, err)
		}
		p.steps = append(p.steps, s)
		p.byRecord = p.byRecord || s.asksState()
	}
	p.fix()
	return p, nil
}

// base is the keys whose value is the region.
func (n *Needs) base(all []keyText) map[string][]string {
	if len(all) == 0 {
		return nil
	}
	out := map[string][]string{}
	for _, k := range all {
		out[strings.ToLower(k.name)] = []string{n.region}
	}
	return out
}

func (b *builder) step(n *Need) (s step, err error) {
	t := &n.text
	s.action, s.versioned = n.Action, n.Versioned
	if t.loop != "" {
		if s.loop, err = b.scope.path(t.loop); err != nil {
			return s, err
		}
		b.scope.loop, b.scope.elem = t.loop, under(memberType(b.scope, s.loop))
	}
	if s.targets, err = b.targets(t.kind, t.form, t.args); err != nil {
		return s, err
	}
	if s.when, err = b.condition(t.when); err != nil {
		return s, err
	}
	if s.unless, err = b.condition(t.unless); err != nil {
		return s, err
	}
	if t.attributes {
		s.attributes = attributesOf(b.scope.in)
	}
	for _, k := range t.tags {
		x, err := b.tagSource(k, n.Resource)
		if err != nil {
			return s, err
		}
		s.tags = append(s.tags, x)
	}
	return s, b.keys(&s, t.keys)
}

func (b *builder) condition(text string) (*source, error) {
	if text == "" {
		return nil, nil
	}
	s, err := b.source(text)
	return &s, err
}

// keys compiles condition keys; those that are the same in each request become the step's base.
func (b *builder) keys(s *step, keys []keyText) error {
	var fixed []keyText
	for _, k := range keys {
		if k.value == "region" {
			fixed = append(fixed, k)
			continue
		}
		from, err := b.source(k.value)
		if err != nil {
			return err
		}
		s.keys = append(s.keys, keySource{strings.ToLower(k.name), from})
	}
	s.base = b.Needs.base(fixed)
	return nil
}

func (s *step) asksState() bool {
	for i := range s.keys {
		if s.keys[i].from.asksState() {
			return true
		}
	}
	return s.targets.asksState()
}

// fix works out a row that no input changes once and for all.
func (p *program) fix() {
	for _, s := range p.steps {
		if s.targets.kind != nil || len(s.targets.args) > 0 || len(s.keys)+len(s.tags)+len(s.attributes) > 0 || s.when != nil || s.unless != nil {
			return
		}
	}
	p.fixed = make([]protocol.Access, 0, len(p.steps))
	for _, s := range p.steps {
		p.fixed = append(p.fixed, protocol.Access{Action: s.action, Resource: "*", Context: s.base})
	}
}

// run works out what a request needs.
func (p *program) run(e *env) []protocol.Access {
	out := make([]protocol.Access, 0, len(p.steps))
	for i := range p.steps {
		s := &p.steps[i]
		if s.loop == nil {
			out = s.add(out, e)
			continue
		}
		list := listAt(e.in, s.loop.fields)
		if !list.IsValid() {
			continue
		}
		for j := range list.Len() {
			e.elem = list.Index(j)
			out = s.add(out, e)
		}
	}
	if len(out) == 0 {
		out = append(out, p.fallback)
	}
	return out
}

// add appends what one need asks for.
func (s *step) add(out []protocol.Access, e *env) []protocol.Access {
	if s.when != nil && !s.when.there(e) || s.unless != nil && s.unless.there(e) {
		return out
	}
	var room [2]target
	for _, t := range s.targets.each(e, room[:0]) {
		a := protocol.Access{Action: s.action, Resource: t.arn}
		if t.versioned && s.versioned != "" {
			a.Action = s.versioned
		}
		if t.action != "" {
			a.Action = t.action
		}
		a.Context = s.context(e, &t)
		out = append(out, a)
	}
	return out
}

// context is the condition keys of a need on one resource.
func (s *step) context(e *env, t *target) map[string][]string {
	if len(s.keys)+len(s.tags)+len(s.attributes)+len(t.more)+len(t.facts)+len(t.tags) == 0 {
		return s.base
	}
	c := make(map[string][]string, len(s.base)+len(s.keys)+len(t.facts)+len(t.more)+2*len(t.tags)+2)
	maps.Copy(c, s.base)
	for _, f := range t.facts {
		c[f.key] = append(c[f.key], e.needs.inPlace(e.caller.Account, f.value))
	}
	t.resourceTags(c)
	for i := range s.keys {
		k := &s.keys[i]
		if values := k.from.values(e, t.boundary); len(values) > 0 {
			c[k.name] = values
		}
	}
	var room [8]fact
	more := append(room[:0], t.more...)
	for i := range s.tags {
		more = s.tags[i].facts(more, e)
	}
	for _, f := range s.attributes.facts(more, e) {
		c[f.key] = append(c[f.key], f.value)
	}
	return c
}

// resourceTags gives the tags of a resource: to every service as aws:ResourceTag, and under its own name to EC2 and to
// IAM's users and roles.
func (t *target) resourceTags(c map[string][]string) {
	own := ""
	switch {
	case t.kind == nil:
	case t.kind.service == "ec2":
		own = "ec2:resourcetag/"
	case t.kind.service == "iam" && (t.kind.resource.name == "user" || t.kind.resource.name == "role"):
		own = "iam:resourcetag/"
	}
	for _, tag := range t.tags {
		key := strings.ToLower(tag.Key)
		c["aws:resourcetag/"+key] = append(c["aws:resourcetag/"+key], tag.Value)
		if own != "" {
			c[own+key] = append(c[own+key], tag.Value)
		}
	}
}
