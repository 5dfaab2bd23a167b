package policy

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// condition is one key of one operator: its values are alternatives, and all conditions of a
// statement must hold.
type condition struct {
	key        key
	operator   operator
	ifExists   bool
	quantifier quantifier
	cost       cost
	operands   []operand
}

type quantifier uint8

const (
	single quantifier = iota
	forAll            // ForAllValues: every value of the request
	forAny            // ForAnyValue: at least one
)

// operand is one value of a condition, read for its operator.
type operand struct {
	pattern pattern
	arn     *arnPattern
	number  float64
	time    time.Time
	prefix  netip.Prefix
	bytes   string
	truth   bool
}

// operator is a family of condition operators and what tells its members apart.
type operator struct {
	family  family
	negated bool
	order   order // of numbers and dates
	wild    bool  // of texts: * and ? are wildcards
}

type family uint8

const (
	unknown family = iota
	ofText
	ofFoldedText
	ofNumber
	ofDate
	ofTruth
	ofAddress
	ofARNs
	ofBytes
	ofNull // values are "true" (the key must be absent) or "false"
)

// order is how a value of the request may stand to the operand.
type order uint8

const (
	less order = 1 << iota
	equal
	more
)

// operators are all that are understood. Source: "IAM JSON policy elements: Condition operators".
var operators = map[string]operator{
	"StringEquals":              {family: ofText},
	"StringNotEquals":           {family: ofText, negated: true},
	"StringEqualsIgnoreCase":    {family: ofFoldedText},
	"StringNotEqualsIgnoreCase": {family: ofFoldedText, negated: true},
	"StringLike":                {family: ofText, wild: true},
	"StringNotLike":             {family: ofText, wild: true, negated: true},
	"NumericEquals":             {family: ofNumber, order: equal},
	"NumericNotEquals":          {family: ofNumber, order: equal, negated: true},
	"NumericLessThan":           {family: ofNumber, order: less},
	"NumericLessThanEquals":     {family: ofNumber, order: less | equal},
	"NumericGreaterThan":        {family: ofNumber, order: more},
	"NumericGreaterThanEquals":  {family: ofNumber, order: more | equal},
	"DateEquals":                {family: ofDate, order: equal},
	"DateNotEquals":             {family: ofDate, order: equal, negated: true},
	"DateLessThan":              {family: ofDate, order: less},
	"DateLessThanEquals":        {family: ofDate, order: less | equal},
	"DateGreaterThan":           {family: ofDate, order: more},
	"DateGreaterThanEquals":     {family: ofDate, order: more | equal},
	"Bool":                      {family: ofTruth},
	"BinaryEquals":              {family: ofBytes},
	"IpAddress":                 {family: ofAddress},
	"NotIpAddress":              {family: ofAddress, negated: true},
	"ArnEquals":                 {family: ofARNs},
	"ArnLike":                   {family: ofARNs},
	"ArnNotEquals":              {family: ofARNs, negated: true},
	"ArnNotLike":                {family: ofARNs, negated: true},
	"Null":                      {family: ofNull},
}

func (d *dialect) conditions(raw any) ([]condition, error) {
	block, ok := raw.(*object)
	if !ok {
		return nil, d.syntax("Condition must be an object")
	}
	var out []condition
	for _, op := range block.members {
		c, err := d.operator(op.name)
		if err != nil {
			return nil, err
		}
		keys, ok := op.value.(*object)
		if !ok {
			return nil, d.syntax("Condition " + op.name + " must be an object")
		}
		for _, key := range keys.members {
			if err := d.fillCondition(&c, key.name, key.value); err != nil {
				return nil, err
			}
			c.cost = c.costs()
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b condition) int { return int(a.cost) - int(b.cost) }) // all must hold: the order is free
	return out, nil
}

// cost is how much work a condition is, roughly.
type cost uint8

const (
	cheap cost = iota // a look at the key, and a comparison
	fair
	dear // texts are put together
)

func (c *condition) costs() cost {
	switch c.operator.family {
	case ofNull, ofTruth:
		return cheap
	case ofARNs, ofFoldedText:
		return dear
	case ofText:
		of := cheap
		for i := range c.operands {
			switch p := &c.operands[i].pattern; {
			case p.filled != nil:
				return dear
			case p.glob.shape == general:
				of = fair
			}
		}
		return of
	}
	return fair
}

// operator reads the name of an operator, with what may stand before and behind it.
func (d *dialect) operator(name string) (c condition, err error) {
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		c.quantifier, base = forAll, rest
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		c.quantifier, base = forAny, rest
	}
	base, c.ifExists = strings.CutSuffix(base, "IfExists")
	c.operator = operators[base]
	if c.operator.family == unknown || c.operator.family == ofNull && name != base {
		if d.kind == Resource {
			return c, &MalformedError{"Invalid Condition type : " + name, ""}
		}
		return c, d.syntax("condition operator " + quoted(name) + " is not understood")
	}
	return c, nil
}

// fillCondition gives a condition its key and the key's values.
func (d *dialect) fillCondition(c *condition, name string, raw any) error {
	var ok bool
	if c.key, ok = newKey(name); !ok {
		switch {
		case d.kind == Resource:
			return &MalformedError{"Policy has an invalid condition key", name}
		case !strings.Contains(name, ":"):
			return &MalformedError{"Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", name}
		}
		return &MalformedError{"Condition key " + name + " is not supported.", ""}
	}
	texts, ok := scalars(raw)
	if !ok {
		return d.syntax("the values of condition key " + name + " must be strings")
	}
	c.operands = make([]operand, 0, len(texts))
	for _, text := range texts {
		o, err := d.operand(c.operator, text)
		if err != nil {
			return err
		}
		c.operands = append(c.operands, o)
	}
	return nil
}

// scalars are the values of a condition key as strings: one, or a list of at least one.
func scalars(raw any) ([]string, bool) {
	list, isList := raw.([]any)
	if !isList {
		list = []any{raw}
	}
	out := make([]string, len(list))
	for i, item := range list {
		switch v := item.(type) {
		case string:
			out[i] = v
		case json.Number:
			out[i] = v.String()
		case bool:
			out[i] = strconv.FormatBool(v)
		default:
			return nil, false
		}
	}
	return out, len(out) > 0
}
