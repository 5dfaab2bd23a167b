package policy

import "slices"

// ContextKeys are the condition keys that the document names, in conditions and variables, as it writes them,
// each once and sorted.
func (d *Document) ContextKeys() []string {
	var out []string
	d.eachKey(func(k *key) { out = append(out, k.text) })
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *Document) eachKey(visit func(*key)) {
	for i := range d.statements {
		d.statements[i].eachKey(visit)
	}
}

func (s *statement) eachKey(visit func(*key)) {
	ofPattern := func(p *pattern) {
		for i := 0; p.filled != nil && i < len(p.filled.parts); i++ {
			if v := p.filled.parts[i].variable; v != nil {
				visit(&v.key)
			}
		}
	}
	for i := range s.resources {
		s.resources[i].arn.eachPattern(ofPattern)
	}
	for i := range s.conditions {
		c := &s.conditions[i]
		visit(&c.key)
		for j := range c.operands {
			ofPattern(&c.operands[j].pattern)
			if a := c.operands[j].arn; a != nil {
				a.eachPattern(ofPattern)
			}
		}
	}
}

// Principal is one that a document names: Kind is "AWS", "Federated", "Service" or "CanonicalUser", or "" for the
// bare "*".
type Principal struct{ Kind, Value string }

// Principals are those that the document names in Principal and NotPrincipal, each once, in order.
func (d *Document) Principals() []Principal {
	var out []Principal
	for i := range d.statements {
		for _, p := range d.statements[i].principals {
			if named := (Principal{p.kind, p.text}); !slices.Contains(out, named) {
				out = append(out, named)
			}
		}
	}
	return out
}

// Resources are the patterns of Resource and NotResource, each once, in order.
func (d *Document) Resources() []string {
	var out []string
	for i := range d.statements {
		for _, r := range d.statements[i].resources {
			if !slices.Contains(out, r.text) {
				out = append(out, r.text)
			}
		}
	}
	return out
}
