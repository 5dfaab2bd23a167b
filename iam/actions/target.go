package actions

import (
	"fmt"
	"strings"

	"hive/fsm"
)

// kind is a type of resource, ready for use.
type kind struct {
	*resource
	service string // whose file declares it
	parts   []part // of its ARN
	values  int    // how many of them the request gives
	find    finder
}

// part is a piece of an ARN.
type part struct {
	text string // a constant, when slot is literal
	slot slot
}

type slot uint8

const (
	literal slot = iota
	account
	value
)

// newKind cuts an ARN's format at its ${…}.
func newKind(s *service, r *resource, region string) (*kind, error) {
	k := &kind{resource: r, service: s.name}
	rest := strings.ReplaceAll(r.arn, "${Region}", region)
	for rest != "" {
		before, after, found := strings.Cut(rest, "${")
		if before != "" {
			k.parts = append(k.parts, part{text: before})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%s is not closed", r.arn)
		}
		rest = tail
		if name == "Account" {
			k.parts = append(k.parts, part{slot: account})
			continue
		}
		k.parts = append(k.parts, part{slot: value})
		k.values++
	}
	if r.state == "" {
		return k, nil
	}
	var ok bool
	if k.find, ok = finders[r.state]; !ok {
		return nil, fmt.Errorf("resource %s: state=%s is not known", r.name, r.state)
	}
	return k, nil
}

// arnOf makes an ARN of an account's resource; values stand for the ${…} in order.
func (k *kind) arnOf(owner string, values ...string) string {
	size := 0
	for _, p := range k.parts {
		size += len(p.text) + len(owner)
	}
	for _, v := range values {
		size += len(v)
	}
	var b strings.Builder
	b.Grow(size)
	for _, p := range k.parts {
		switch p.slot {
		case literal:
			b.WriteString(p.text)
		case account:
			b.WriteString(owner)
		case value:
			if len(values) > 0 {
				b.WriteString(values[0])
				values = values[1:]
			}
		}
	}
	return b.String()
}

// any is the ARN that stands for each of the account's resources of the kind.
func (k *kind) any(e *env) target {
	if k == nil {
		return target{arn: "*"}
	}
	if k.pathed() {
		return target{arn: k.arnOf(e.caller.Account, "/", "*"), kind: k}
	}
	if k.values == 2 {
		owned, _, _ := strings.Cut(k.arnOf(e.caller.Account, "*", ""), "*")
		return target{arn: owned + "*", kind: k}
	}
	return target{arn: k.arnOf(e.caller.Account, "*"), kind: k}
}

// target is one resource that something is needed on.
type target struct {
	arn    string
	kind   *kind // nil: *
	action string
	record
	versioned bool
	more      []fact // condition keys besides those of the record
}

// targets is the resource part of a need: which resources of a request it means.
type targets struct {
	kind     *kind
	form     form
	args     []source
	byRecord bool // it asks the state
}

func (t *targets) each(e *env, dst []target) []target { return t.form(t, e, dst) }

func (t *targets) asksState() bool {
	for i := range t.args {
		if t.args[i].asksState() {
			return true
		}
	}
	return t.byRecord
}

// targets compiles a resource part.
func (b *builder) targets(r *resource, name string, args []string) (*targets, error) {
	t := &targets{kind: b.kinds[r]}
	f, ok := forms[name]
	if !ok {
		return nil, fmt.Errorf("no form %s", name)
	}
	if name == "" {
		f = plainForm(t.kind)
	}
	t.form = f.of
	for _, text := range args {
		s, err := b.source(text)
		if err != nil {
			return nil, err
		}
		t.args = append(t.args, s)
	}
	if len(args) < f.least || len(args) > f.most {
		return nil, fmt.Errorf("form %q has %d arguments, wants %d to %d", name, len(args), f.least, f.most)
	}
	t.byRecord = f.state || t.kind != nil && t.kind.state != "" && !f.blind && !t.starOnly()
	return t, nil
}

// starOnly tells whether the resources are never named.
func (t *targets) starOnly() bool {
	if len(t.args) != 1 || len(t.args[0].alts) != 1 || len(t.args[0].alts[0]) != 1 {
		return false
	}
	x := t.args[0].alts[0][0]
	return x.kind == ofText && x.text == "*"
}

// arg is the first value of an argument; "" when there is none.
func (t *targets) arg(e *env, i int) string {
	if i >= len(t.args) {
		return ""
	}
	v, _ := t.args[i].first(e)
	return v
}

// named is the target of a name or id, with what its record says.
func (k *kind) named(e *env, name string) target {
	x := target{kind: k}
	if name == "*" || name == "" {
		return k.any(e)
	}
	if !e.bare || k.pathed() {
		x.record = e.lookup(k, name)
	}
	if k.pathed() {
		if x.name == "" {
			x.path, x.name = "/", name
		}
		x.arn = k.arnOf(e.caller.Account, x.path, x.name)
		return x
	}
	if x.name != "" {
		name = x.name
	}
	x.arn = k.arnOf(e.caller.Account, name)
	return x
}

// pathed tells whether ARNs of the kind have a path before the name, which only the state knows.
func (k *kind) pathed() bool { return k.values == 2 && k.service == "iam" }

// seen is a record that was looked up for this request; requests name the same resource several times.
type seen struct {
	kind *kind
	name string
	record
}

// lookup is the record of a name or an id; none when there is none, or the state is not asked.
func (e *env) lookup(k *kind, name string) record {
	if e.view == nil || k.find.name == nil {
		return record{}
	}
	for _, s := range e.seen {
		if s.kind == k && s.name == name {
			return s.record
		}
	}
	r := only(k.find.name(e.view, e.account(), name))
	e.seen[e.next%len(e.seen)] = seen{k, name, r}
	e.next++
	return r
}

// only is the record that was found; none when it was not.
func only(r record, ok bool) record {
	if !ok {
		return record{}
	}
	return r
}

// exactly is the target of an ARN, with what its record says.
func (k *kind) exactly(e *env, arn string) target {
	x := target{kind: k, arn: arn}
	if e.view != nil && k != nil && k.find.arn != nil {
		x.record = only(k.find.arn(e.view, e.account(), arn))
	}
	return x
}

// record is what the state knows of a resource.
type record struct {
	path, name string // of IAM's entities, and the name of a key pair
	tags       []fsm.Tag
	boundary   string // ARN of an IAM entity's permissions boundary
	facts      []fact
}

// fact is a condition key, in lower case, and its value.
type fact struct{ key, value string }

// finder finds records: those of an account, or that an account may see.
type finder struct {
	name func(v *fsm.View, owner fsm.AccountID, name string) (record, bool)
	arn  func(v *fsm.View, owner fsm.AccountID, arn string) (record, bool)
}
