package policy

import (
	"net/netip"
	"strings"
	"time"
)

// holds tells whether the condition is met. A key that the request does not have meets negated operators,
// IfExists and ForAllValues, and no others.
func (c *condition) holds(e *evaluation) bool {
	v := e.values(&c.key)
	if c.cost == dear { // variables may take its place
		own := *v
		v = &own
	}
	if c.operator.family == ofNull {
		return c.holdsNull(v)
	}
	n := v.count()
	switch {
	case n == 0 && c.ifExists:
		return true
	case c.quantifier != single:
		if v.empty() {
			return c.quantifier == forAll
		}
	case n == 0:
		return c.operator.negated
	case n == 1:
		return c.meets(e, v.at(0))
	}
	if c.quantifier == forAny || c.quantifier == single && !c.operator.negated {
		return c.anyMeets(e, v)
	}
	return c.allMeet(e, v)
}

// holdsNull tells whether the key is there, or is not, as one of the operands wants it. A key whose values are empty
// counts as not there: it is what Null is to guard against where ForAllValues would be met by nothing.
// Source: "Set operators for multivalued context keys" in the IAM user guide.
func (c *condition) holdsNull(v *values) bool {
	for i := range c.operands {
		if c.operands[i].truth == v.empty() {
			return true
		}
	}
	return false
}

func (c *condition) anyMeets(e *evaluation, v *values) bool {
	for i := range v.count() {
		if c.meets(e, v.at(i)) {
			return true
		}
	}
	return false
}

func (c *condition) allMeet(e *evaluation, v *values) bool {
	for i := range v.count() {
		if !c.meets(e, v.at(i)) {
			return false
		}
	}
	return true
}

// meets tells whether one value of the request meets the operator: one of the operands, or none under a negated one.
func (c *condition) meets(e *evaluation, value string) bool {
	return c.matches(e, value) != c.operator.negated
}

// matches tells whether a value is one of the operands. A value that cannot be read as the operator wants it is none.
func (c *condition) matches(e *evaluation, value string) bool {
	switch c.operator.family {
	case ofNumber:
		return c.matchesNumber(value)
	case ofDate:
		return c.matchesDate(e, value)
	case ofAddress:
		return c.matchesAddress(e, value)
	case ofBytes:
		return c.matchesBytes(value)
	case ofARNs:
		return c.matchesARN(e, value)
	}
	for i := range c.operands {
		o := &c.operands[i]
		switch c.operator.family {
		case ofText:
			if o.pattern.match(e, value) {
				return true
			}
		case ofFoldedText:
			if o.pattern.matchFolded(e, value) {
				return true
			}
		case ofTruth:
			if o.truth && strings.EqualFold(value, "true") || !o.truth && strings.EqualFold(value, "false") {
				return true
			}
		}
	}
	return false
}

func (c *condition) matchesNumber(value string) bool {
	n, ok := plainNumber(value)
	if !ok {
		return false
	}
	for i := range c.operands {
		o := equal
		if n < c.operands[i].number {
			o = less
		} else if n > c.operands[i].number {
			o = more
		}
		if c.operator.order&o != 0 {
			return true
		}
	}
	return false
}

func (c *condition) matchesDate(e *evaluation, value string) bool {
	if e.date.text != value {
		t, ok := parseDate(value)
		e.date = memo[time.Time]{value, t, ok}
	}
	if !e.date.ok {
		return false
	}
	for i := range c.operands {
		o := equal
		switch e.date.value.Compare(c.operands[i].time) {
		case -1:
			o = less
		case 1:
			o = more
		}
		if c.operator.order&o != 0 {
			return true
		}
	}
	return false
}

func (c *condition) matchesAddress(e *evaluation, value string) bool {
	if e.address.text != value {
		addr, err := netip.ParseAddr(value)
		e.address = memo[netip.Addr]{value, addr.Unmap().WithZone(""), err == nil}
	}
	if !e.address.ok {
		return false
	}
	for i := range c.operands {
		if c.operands[i].prefix.Contains(e.address.value) {
			return true
		}
	}
	return false
}

// matchesBytes compares byte by byte. The request's value comes in base64 as the policy's does.
func (c *condition) matchesBytes(value string) bool {
	b, ok := parseBytes(value)
	if !ok {
		return false
	}
	for i := range c.operands {
		if c.operands[i].bytes == b {
			return true
		}
	}
	return false
}

func (c *condition) matchesARN(e *evaluation, value string) bool {
	a, ok := splitARN(value)
	if !ok {
		return false
	}
	for i := range c.operands {
		if c.operands[i].arn.match(e, &a) {
			return true
		}
	}
	return false
}
