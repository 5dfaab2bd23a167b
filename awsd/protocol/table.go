package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// The generated table of a service is text, one line per thing, columns parted by tabs:
//
//	api     name protocol version namespace [target]
//	op      name input output [method level literals status flag…]
//	note    op mark…                   page=Token:NextToken[:Size] token=Field dry filters: see Notes
//	struct  name root member…          root: the XML name when the structure is a whole document
//	union   name root member…
//	list    name item element          item: the XML name of an element; element: its shape
//	map     name key value element
//	enum    GoType value…
//	pattern number RE2 [original]      a regular expression in quotes, and as the model words it where it differs
//
// A member is "Field|key=value|flag…", Field being the Go field's name:
//
//	t=Shape   what it holds; absent for a simple type, of which the Go type says all. *stream: a stream
//	q=Name    in a query request, unless it is Field
//	x=Name    in XML or JSON, unless it is Field (ec2Query: field); of a payload: its document, unless it is root
//	h=Name    an HTTP header     p=Prefix  headers by prefix     u=Name  a query parameter
//	n=P URI   an XML namespace on the element     d=Format  a timestamp's format
//	l=1..64  its length     r=1..99  its value     m=7  its pattern by number; with e before of a list's or map's
//	elements, with k of a map's keys. secret: its value is told to nobody
//	label, payload, flat, attr as Smithy's traits; ! required; ignore: read and dropped
//
// level is service, bucket, key, or a path of its own.
type table struct {
	ops    map[string]*Operation
	byName []*Operation      // in the table's order
	lines  map[string]string // of shapes, by name, after the kind's column
	kinds  map[string]string // of shapes, by name
	enums  map[string]string // by Go type, values parted by tabs

	patterns map[string]*pattern // by number
}

// Types are an operation's input and output as nil pointers of the SDK's types.
type Types struct{ In, Out any }

func parseTable(text string, types []Types) (*table, error) {
	t := &table{
		ops: map[string]*Operation{}, lines: map[string]string{}, kinds: map[string]string{},
		enums: map[string]string{}, patterns: map[string]*pattern{},
	}
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		name, rest, _ := strings.Cut(rest, "\t")
		switch kind {
		case "op":
			op, err := parseOperation(name, rest)
			if err != nil {
				return nil, err
			}
			if len(t.byName) == len(types) {
				return nil, fmt.Errorf("protocol: the table has more than %d operations", len(types))
			}
			op.types = types[len(t.byName)]
			t.byName = append(t.byName, op)
			t.ops[name] = op
		case "note":
			if op := t.ops[name]; op != nil {
				op.Notes = parseNotes(rest)
			}
		case "struct", "union", "list", "map":
			t.lines[name], t.kinds[name] = rest, kind
		case "pattern":
			p, err := parsePattern(rest)
			if err != nil {
				return nil, fmt.Errorf("protocol: pattern %s: %w", name, err)
			}
			t.patterns[name] = p
		case "enum":
			t.enums[name] = rest
		}
	}
	return t, nil
}

func parseOperation(name, rest string) (*Operation, error) {
	cells := strings.Split(rest, "\t")
	op := &Operation{Name: name, input: cells[0], output: cells[1], status: 200}
	if len(cells) < 6 {
		return op, nil
	}
	op.Method, op.level = cells[2], cells[3]
	if cells[4] != "" {
		op.literals = parsePairs(cells[4])
	}
	status, err := strconv.Atoi(cells[5])
	if err != nil {
		return nil, fmt.Errorf("protocol: operation %s: %w", name, err)
	}
	op.status = status
	for _, flag := range cells[6:] {
		op.unwrapped = op.unwrapped || flag == "unwrapped"
		op.events = op.events || flag == "events"
	}
	return op, nil
}

// Notes are what the model says of an operation beside its shapes. Members are named as the SDK's fields are.
type Notes struct {
	PageToken, NextPageToken, PageSize string // of input, output and input; "" where it is not paged, or has no size
	ClientToken                        string // by which a request that is sent again is known
	DryRun, Filters                    bool   // whether it has these
}

func parseNotes(rest string) (n Notes) {
	for mark := range strings.SplitSeq(rest, "\t") {
		key, value, _ := strings.Cut(mark, "=")
		switch key {
		case "page":
			n.PageToken, value, _ = strings.Cut(value, ":")
			n.NextPageToken, n.PageSize, _ = strings.Cut(value, ":")
		case "token":
			n.ClientToken = value
		case "dry":
			n.DryRun = true
		case "filters":
			n.Filters = true
		}
	}
	return n
}

func parsePairs(s string) (pairs []pair) {
	for p := range strings.SplitSeq(s, "&") {
		k, v, _ := strings.Cut(p, "=")
		pairs = append(pairs, pair{k, v})
	}
	return pairs
}

// location is where a member travels in a restXml message.
type location uint8

const (
	inBody location = iota
	inHeader
	inPrefix
	inQuery
	inLabel
	inPayload
)

// field is a member joined with its Go field.
type field struct {
	name      string
	index     int
	target    string // its shape in the table
	query     string
	xml       string
	named     bool // the table gives xml
	loc       location
	wire      string // the name at loc: a header in canonical form, a prefix, a query parameter
	namespace string // ` xmlns:xsi="…"` or ""
	time      timeFormat
	flat      bool
	attr      bool
	ignore    bool
	required  uint64 // one bit among the structure's required members, 0 when it is not
	codec     *codec

	limits, elem, key *limits // nil: none
	secret            bool
}

func parseField(cell string, ec2 bool, patterns map[string]*pattern) (field, error) {
	cells := strings.Split(cell, "|")
	f := field{name: cells[0], query: cells[0], xml: cells[0]}
	if ec2 {
		f.xml = strings.ToLower(f.xml[:1]) + f.xml[1:]
	}
	for _, c := range cells[1:] {
		key, value, _ := strings.Cut(c, "=")
		if err := f.set(key, value, patterns); err != nil {
			return f, fmt.Errorf("protocol: member %s: %w", f.name, err)
		}
	}
	return f, nil
}

func (f *field) set(key, value string, patterns map[string]*pattern) (err error) {
	switch key {
	case "t":
		f.target = value
	case "q":
		f.query = value
	case "x":
		f.xml, f.named = value, true
	case "h":
		f.loc, f.wire = inHeader, value
	case "p":
		f.loc, f.wire = inPrefix, value
	case "u":
		f.loc, f.wire = inQuery, value
	case "n":
		prefix, uri, _ := strings.Cut(value, " ")
		f.namespace = ` xmlns:` + prefix + `="` + uri + `"`
	case "d":
		f.time, err = parseTimeFormat(value)
	case "label":
		f.loc = inLabel
	case "payload":
		f.loc = inPayload
	case "flat":
		f.flat = true
	case "attr":
		f.attr = true
	case "ignore":
		f.ignore = true
	case "!":
		f.required = 1
	case "l", "r", "m":
		err = setLimit(&f.limits, key, value, patterns)
	case "el", "er", "em":
		err = setLimit(&f.elem, key[1:], value, patterns)
	case "kl", "kr", "km":
		err = setLimit(&f.key, key[1:], value, patterns)
	case "secret":
		f.secret = true
	default:
		err = fmt.Errorf("unknown mark %q", key)
	}
	return err
}
