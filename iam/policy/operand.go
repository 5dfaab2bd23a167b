package policy

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operand reads one value of a condition. Variables mean something to texts and ARNs only.
func (d *dialect) operand(op operator, s string) (o operand, err error) {
	ok := true
	switch op.family {
	case ofText, ofFoldedText:
		o.pattern, err = patternSyntax{wildcards: op.wild, variables: d.variables}.compile(s)
		return o, err
	case ofARNs:
		return d.arnOperand(s)
	case ofNumber:
		o.number, ok = plainNumber(s)
	case ofDate:
		o.time, ok = parseDate(s)
	case ofTruth, ofNull:
		o.truth = strings.EqualFold(s, "true")
		ok = o.truth || strings.EqualFold(s, "false")
	case ofAddress:
		o.prefix, ok = parsePrefix(s)
	case ofBytes:
		o.bytes, ok = parseBytes(s)
	}
	if !ok {
		return o, &MalformedError{legacy, "value " + quoted(s) + " of a condition"}
	}
	return o, nil
}

// arnOperand reads a pattern of ARNs, of which each of the six parts is compared by itself.
func (d *dialect) arnOperand(s string) (o operand, err error) {
	raw := splitOutsideVariables(s)
	if s == "*" {
		raw = []string{"*", "*", "*", "*", "*", "*"}
	}
	if len(raw) != 6 || raw[0] != "arn" && s != "*" {
		return o, &MalformedError{legacy, "value " + quoted(s) + " of a condition is not an ARN"}
	}
	p, err := newARNPattern(raw, func(int) patternSyntax { return patternSyntax{wildcards: true, variables: d.variables} })
	o.arn = &p
	return o, err
}

// splitOutsideVariables cuts an ARN pattern at its first five colons that are not within ${}.
func splitOutsideVariables(s string) []string {
	var out []string
	start, inside := 0, false
	for i := 0; i < len(s) && len(out) < 5; i++ {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			inside = true
		case s[i] == '}':
			inside = false
		case s[i] == ':' && !inside:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

func plainNumber(s string) (float64, bool) {
	for i := range len(s) {
		if b := s[i]; (b < '0' || b > '9') && b != '-' && b != '.' { // strconv takes 0x10, 1_0, Inf and NaN too
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// dateLayouts are the profiles of ISO 8601 that W3C's note allows.
var dateLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006"}

// parseDate reads a date, or seconds since 1970.
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

func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		return netip.PrefixFrom(addr, addr.BitLen()), err == nil && addr.Zone() == ""
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

func parseBytes(s string) (string, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err == nil
}
