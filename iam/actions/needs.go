package actions

import (
	"fmt"
	"reflect"
	"sync/atomic"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Needs tells what requests need. It is safe for concurrent use.
type Needs struct {
	region   string
	view     func(func(*fsm.View) error) error
	all      *catalogue
	kinds    map[*resource]*kind
	types    map[string]*kind // EC2's, by name
	ids      map[string]*kind // EC2's, by what ids begin with
	entities map[string]*kind // IAM's, by name
	ops      map[string]map[string]*operation
}

// operation is a row and its program, which is made when it is first asked for.
type operation struct {
	row     *Row
	program atomic.Pointer[program]
}

// New reads the rows for a region. view reads the control group's state, in which the paths of IAM's entities and the tags
// of resources are looked up.
func New(region string, view func(func(*fsm.View) error) error) *Needs {
	n, err := build(region, view)
	if err != nil {
		panic("actions: " + err.Error()) // the files are a part of the program, and a test reads them
	}
	return n
}

func build(region string, view func(func(*fsm.View) error) error) (*Needs, error) {
	all, err := parseAll()
	if err != nil {
		return nil, err
	}
	n := &Needs{region: region, view: view, all: all, kinds: map[*resource]*kind{}, ops: map[string]map[string]*operation{},
		types: map[string]*kind{}, ids: map[string]*kind{}, entities: map[string]*kind{}}
	for name, s := range all.services {
		n.ops[name] = map[string]*operation{}
		for i := range s.rows {
			row := &s.rows[i]
			if n.ops[name][row.Operation] != nil {
				return nil, fmt.Errorf("%s: %s has two rows", name, row.Operation)
			}
			n.ops[name][row.Operation] = &operation{row: row}
		}
		if err := n.addKinds(s); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return n, nil
}

func (n *Needs) addKinds(s *service) error {
	for _, r := range s.resources {
		k, err := newKind(s, r, n.region)
		if err != nil {
			return err
		}
		n.kinds[r] = k
		switch s.name {
		case "ec2":
			n.types[r.name], n.ids[r.id] = k, k
		case "iam":
			n.entities[r.name] = k
		}
	}
	return nil
}

// Row is the row of an operation, and whether there is one.
func (n *Needs) Row(service, op string) (Row, bool) {
	o := n.ops[service][op]
	if o == nil {
		return Row{}, false
	}
	return *o.row, true
}

// Access is what a request needs to be permitted: an awsd.Service's Access, for a signing name. What it answers is shared
// and must not be changed. Resources are looked up in this node's state; where it lags, or cannot be read, a resource is
// like one that is not there, which the handler finds out. An operation without a row needs its action on everything.
func (n *Needs) Access(service string) func(c *principal.Caller, op string, input any) []protocol.Access {
	ops := n.ops[service]
	return func(c *principal.Caller, op string, input any) []protocol.Access {
		o := ops[op]
		if o == nil {
			return n.unknown(service, op)
		}
		return n.of(o, c, input)
	}
}

// Of is Access of one operation.
func (n *Needs) Of(service, op string) func(c *principal.Caller, input any) []protocol.Access {
	access := n.Access(service)
	return func(c *principal.Caller, input any) []protocol.Access { return access(c, op, input) }
}

func (n *Needs) unknown(service, op string) []protocol.Access {
	prefix := service
	var all []keyText
	if s := n.all.services[service]; s != nil {
		prefix, all = s.prefix, s.all
	}
	return []protocol.Access{{Action: prefix + ":" + op, Resource: "*", Context: n.base(all)}}
}

func (n *Needs) of(o *operation, c *principal.Caller, input any) []protocol.Access {
	v := reflect.ValueOf(input)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return n.unknown(o.row.Service, o.row.Operation)
	}
	p := o.program.Load()
	if p == nil || p.in != v.Type().Elem() {
		var err error
		if p, err = n.compile(o.row, v.Type().Elem()); err != nil { // the input of another operation
			return n.unknown(o.row.Service, o.row.Operation)
		}
		o.program.Store(p)
	}
	if p.fixed != nil {
		return p.fixed
	}
	e := &env{needs: n, caller: c, op: o.row.Operation, in: v.Elem()}
	if !p.byRecord {
		return p.run(e)
	}
	return n.inState(p, e)
}

// inState runs a program that looks resources up.
func (n *Needs) inState(p *program, e *env) []protocol.Access {
	var out []protocol.Access
	err := n.view(func(v *fsm.View) error {
		e.view = v
		out = p.run(e)
		return nil
	})
	if err != nil {
		e.view = nil
		return p.run(e)
	}
	return out
}
