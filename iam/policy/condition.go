package policy

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// condition is one key of one operator: its values are alternatives, and all conditions of a
// statement must hold.
type condition struct {
	key        string // in lower case
	test       test
	negated    bool
	ifExists   bool
	null       bool // Null: values are "true" (the key must be absent) or "false"
	quantifier quantifier
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
	arn     [6]pattern
	number  float64
	time    time.Time
	prefix  netip.Prefix
	truth   bool
}

// operator is how a family of condition operators reads its values and tests them.
type operator struct {
	read    func(d *dialect, s string) (operand, error)
	test    test
	negated bool
}

// test tells whether a value of the request satisfies an operand; known is false when the operand
// has a variable without a value.
type test func(e *evaluation, o *operand, value string) (ok, known bool)

// operators are all that are understood. Source: "IAM JSON policy elements: Condition operators".
var operators = map[string]operator{
	"StringEquals":              {readText(false, false), testPattern, false},
	"StringNotEquals":           {readText(false, false), testPattern, true},
	"StringEqualsIgnoreCase":    {readText(false, true), testFolded, false},
	"StringNotEqualsIgnoreCase": {readText(false, true), testFolded, true},
	"StringLike":                {readText(true, false), testPattern, false},
	"StringNotLike":             {readText(true, false), testPattern, true},
	"NumericEquals":             {readNumber, testNumber(func(c int) bool { return c == 0 }), false},
	"NumericNotEquals":          {readNumber, testNumber(func(c int) bool { return c == 0 }), true},
	"NumericLessThan":           {readNumber, testNumber(func(c int) bool { return c < 0 }), false},
	"NumericLessThanEquals":     {readNumber, testNumber(func(c int) bool { return c <= 0 }), false},
	"NumericGreaterThan":        {readNumber, testNumber(func(c int) bool { return c > 0 }), false},
	"NumericGreaterThanEquals":  {readNumber, testNumber(func(c int) bool { return c >= 0 }), false},
	"DateEquals":                {readDate, testDate(func(c int) bool { return c == 0 }), false},
	"DateNotEquals":             {readDate, testDate(func(c int) bool { return c == 0 }), true},
	"DateLessThan":              {readDate, testDate(func(c int) bool { return c < 0 }), false},
	"DateLessThanEquals":        {readDate, testDate(func(c int) bool { return c <= 0 }), false},
	"DateGreaterThan":           {readDate, testDate(func(c int) bool { return c > 0 }), false},
	"DateGreaterThanEquals":     {readDate, testDate(func(c int) bool { return c >= 0 }), false},
	"Bool":                      {readBool, testBool, false},
	"IpAddress":                 {readPrefix, testPrefix, false},
	"NotIpAddress":              {readPrefix, testPrefix, true},
	"ArnEquals":                 {readARN, testARN, false},
	"ArnLike":                   {readARN, testARN, false},
	"ArnNotEquals":              {readARN, testARN, true},
	"ArnNotLike":                {readARN, testARN, true},
}

func (d *dialect) conditions(raw any) ([]condition, error) {
	block, ok := raw.(object)
	if !ok {
		return nil, malformed("Syntax errors in policy. Condition must be an object.")
	}
	var out []condition
	for _, op := range block {
		keys, ok := op.value.(object)
		if !ok {
			return nil, malformed("Syntax errors in policy. Condition %s must be an object.", op.name)
		}
		for _, key := range keys {
			c, err := d.condition(op.name, key.name, key.value)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func (d *dialect) condition(name, key string, raw any) (condition, error) {
	c := condition{key: strings.ToLower(key)}
	if !knownKey(c.key) {
		return c, malformed("Condition key %s is not supported.", key)
	}
	values, ok := scalars(raw)
	if !ok {
		return c, malformed("Syntax errors in policy. The values of condition key %s must be strings.", key)
	}
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		c.quantifier, base = forAll, rest
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		c.quantifier, base = forAny, rest
	}
	base, c.ifExists = strings.CutSuffix(base, "IfExists")
	op := operators[base]
	if base == "Null" && name == base {
		c.null, op = true, operators["Bool"]
	}
	if op.test == nil {
		return c, malformed("Invalid Condition type : %s.", name)
	}
	c.test, c.negated = op.test, op.negated
	for _, v := range values {
		o, err := op.read(d, v)
		if err != nil {
			return c, err
		}
		c.operands = append(c.operands, o)
	}
	return c, nil
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

// holds tells whether the condition is met. A key that the request does not have meets negated
// operators, IfExists and ForAllValues, and no others.
func (c *condition) holds(e *evaluation, deny bool) bool {
	values := e.values(c.key)
	if c.null {
		return slices.ContainsFunc(c.operands, func(o operand) bool { return o.truth == (len(values) == 0) })
	}
	if len(values) == 0 {
		return c.ifExists || c.quantifier == forAll || c.negated && c.quantifier == single
	}
	met := func(v string) bool { return c.meets(e, v, deny) }
	switch {
	case c.quantifier == forAny, c.quantifier == single && !c.negated:
		return slices.ContainsFunc(values, met)
	default:
		return !slices.ContainsFunc(values, func(v string) bool { return !met(v) })
	}
}

// meets tells whether one value of the request meets the operator. Under a negated operator a policy
// variable without a value makes an Allow not apply and a Deny apply.
func (c *condition) meets(e *evaluation, value string, deny bool) bool {
	for i := range c.operands {
		ok, known := c.test(e, &c.operands[i], value)
		if ok || !known && c.negated && !deny {
			return !c.negated
		}
	}
	return c.negated
}

func readText(wildcards, fold bool) func(*dialect, string) (operand, error) {
	return func(d *dialect, s string) (o operand, err error) {
		if fold { // names of variables and their defaults do not depend on case either
			s = strings.ToLower(s)
		}
		o.pattern, err = patternSyntax{wildcards: wildcards, variables: d.variables}.compile(s)
		return o, err
	}
}

func testPattern(e *evaluation, o *operand, value string) (ok, known bool) {
	return o.pattern.match(e, value)
}

func testFolded(e *evaluation, o *operand, value string) (ok, known bool) {
	folded := *e
	folded.fold = true
	return o.pattern.match(&folded, strings.ToLower(value))
}

func plainNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "-0123456789.") != "" { // strconv takes 0x10, 1_0, Inf and NaN too
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func readNumber(_ *dialect, s string) (operand, error) {
	n, ok := plainNumber(s)
	if !ok {
		return operand{}, malformed("Value %q of a condition is not a number.", s)
	}
	return operand{number: n}, nil
}

func testNumber(accept func(int) bool) test {
	return func(_ *evaluation, o *operand, value string) (ok, known bool) {
		n, isNumber := plainNumber(value)
		if !isNumber {
			return false, true
		}
		switch {
		case n < o.number:
			return accept(-1), true
		case n > o.number:
			return accept(1), true
		default:
			return accept(0), true
		}
	}
}

// dateLayouts are the profiles of ISO 8601 that W3C's note allows.
var dateLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006"}

func parseDate(s string) (time.Time, bool) {
	if len(s) > 4 && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		return time.Unix(n, 0), err == nil
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func readDate(_ *dialect, s string) (operand, error) {
	t, ok := parseDate(s)
	if !ok {
		return operand{}, malformed("Value %q of a condition is not a date.", s)
	}
	return operand{time: t}, nil
}

func testDate(accept func(int) bool) test {
	return func(_ *evaluation, o *operand, value string) (ok, known bool) {
		t, isDate := parseDate(value)
		return isDate && accept(t.Compare(o.time)), true
	}
}

func readBool(_ *dialect, s string) (operand, error) {
	switch strings.ToLower(s) {
	case "true":
		return operand{truth: true}, nil
	case "false":
		return operand{}, nil
	}
	return operand{}, malformed("Value %q of a condition is neither true nor false.", s)
}

func testBool(_ *evaluation, o *operand, value string) (ok, known bool) {
	return strings.EqualFold(value, strconv.FormatBool(o.truth)), true
}

func readPrefix(_ *dialect, s string) (operand, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return operand{}, malformed("Value %q of a condition is not an IP address or CIDR.", s)
		}
		return operand{prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return operand{}, malformed("Value %q of a condition is not an IP address or CIDR.", s)
	}
	return operand{prefix: p.Masked()}, nil
}

func testPrefix(_ *evaluation, o *operand, value string) (ok, known bool) {
	addr, err := netip.ParseAddr(value)
	return err == nil && o.prefix.Contains(addr.Unmap().WithZone("")), true
}

func readARN(d *dialect, s string) (operand, error) {
	var o operand
	syntax := patternSyntax{wildcards: true, variables: d.variables}
	raw := splitOutsideVariables(s)
	if s == "*" {
		raw = []string{"*", "*", "*", "*", "*", "*"}
	}
	if len(raw) != 6 || raw[0] != "arn" && s != "*" {
		return o, malformed("Value %q of a condition is not an ARN.", s)
	}
	for i, part := range raw {
		var err error
		if o.arn[i], err = syntax.compile(part); err != nil {
			return o, err
		}
	}
	return o, nil
}

// splitOutsideVariables cuts an ARN pattern at its first five colons that are not within ${}.
func splitOutsideVariables(s string) []string {
	var out []string
	start, inside := 0, false
	for i := range len(s) {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			inside = true
		case s[i] == '}':
			inside = false
		case s[i] == ':' && !inside && len(out) < 5:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

func testARN(e *evaluation, o *operand, value string) (ok, known bool) {
	arn, isARN := splitARN(value)
	if !isARN {
		return false, true
	}
	return matchARN(&o.arn, e, &arn)
}

// KnownOperators are the names of the condition operators, in order, without quantifiers and IfExists.
func KnownOperators() []string { return append(slices.Sorted(maps.Keys(operators)), "Null") }
