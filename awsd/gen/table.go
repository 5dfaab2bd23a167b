package main

import (
	"fmt"
	"slices"
	"strings"
)

// A table is text, one line per operation and shape, columns parted by tabs (its grammar stands in
// awsd/protocol/table.go). The alternatives were weighed: composite literals for EC2's 10,000 members cost
// minutes of compiling, a megabyte of code and their whole construction at every start; a packed binary
// would save 200 KB of a 60 MB budget and could no longer be read in a diff. Text costs nothing at start,
// because a line is parsed when its operation is first asked for.
type table struct {
	service service
	model   *model
	sdk     *sdk

	ops     []operation
	lines   map[string]string    // shape name to its line
	pending []pair               // joined but not yet written
	joined  map[pair]bool        // every (shape, Go type) met
	fields  map[string][]*member // of a structure: what the SDK knows of it
	enums   map[string]bool
	unions  []string // Go types of union members, in order of discovery

	inputs    map[string]bool // structures that requests hold
	patterns  []string        // of what they hold
	rewritten []string        // those that RE2 could not take

	noOperation []string // in the model, not in the SDK
	noMember    []string // likewise
	noShape     []string // Go fields that the model does not know
}

type operation struct {
	name       string
	shape      *shape
	unit       bool // the model says that there is no output
	events     bool // the output is an event stream
	unwrapped  bool
	inputLine  string
	outputLine string
}

// pair is a shape and the Go type that it fills.
type pair struct{ shape, goType string }

// openEnums are the enums that a private cloud fills with values of its own: refusing an unknown one is the
// service's business, not the codec's.
var openEnums = map[string]bool{
	"types.BucketLocationConstraint": true, // the region's own name
	"types.InstanceType":             true, // the instance types on offer
}

// unwrapped are operations whose output has no element of its own around its only member. The trait that
// says so (aws.customizations#s3UnwrappedXmlOutput) is not in the models at hand.
var unwrapped = map[string]bool{"GetBucketLocation": true}

// ignoredMembers have no Go field, yet clients send them: they are read and dropped.
var ignoredMembers = map[string]bool{
	"CopySnapshotRequest.DestinationRegion": true, // the region of the request's own endpoint, a second time
}

// extraFields are Go fields with no member behind them.
var extraFields = map[string]bool{
	"ResultMetadata": true,
	"ExpiresString":  true, // S3: the header Expires as it came, beside Expires as a time
}

func newTable(s service, m *model, k *sdk) (*table, error) {
	t := &table{
		service: s, model: m, sdk: k, lines: map[string]string{}, joined: map[pair]bool{},
		fields: map[string][]*member{}, enums: map[string]bool{},
	}
	for _, r := range m.service.Operations {
		t.addOperation(local(r.Target), m.Shapes[r.Target])
	}
	slices.SortFunc(t.ops, func(a, b operation) int { return strings.Compare(a.name, b.name) })
	if err := t.findInputs(); err != nil {
		return nil, err
	}
	for len(t.pending) > 0 {
		p := t.pending[len(t.pending)-1]
		t.pending = t.pending[:len(t.pending)-1]
		if err := t.addShape(p); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *table) addOperation(name string, s *shape) {
	if _, ok := t.sdk.structs[name+"Input"]; !ok {
		t.noOperation = append(t.noOperation, name)
		return
	}
	op := operation{name: name, shape: s, unwrapped: unwrapped[name], inputLine: "-", outputLine: "-"}
	if s.Input.Target != "smithy.api#Unit" {
		op.inputLine = t.join(s.Input.Target, name+"Input")
	}
	if s.Output.Target == "smithy.api#Unit" {
		op.unit = true
	} else {
		op.outputLine = t.join(s.Output.Target, name+"Output")
	}
	op.events = t.streamsEvents(s.Output.Target)
	t.ops = append(t.ops, op)
}

func (t *table) streamsEvents(output string) bool {
	s := t.model.Shapes[output]
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.Members, func(m *member) bool {
		target := t.model.Shapes[m.Target]
		return target != nil && target.Type == "union" && target.Traits.has("streaming")
	})
}

// join notes that a shape fills a Go type and gives the shape's name in the table; "" for a simple shape,
// whose Go type says all that the codec needs.
func (t *table) join(target, goType string) string {
	s := t.model.Shapes[target]
	bare := strings.TrimPrefix(goType, "*")
	if values, ok := t.sdk.enums[bare]; ok && len(values) > 0 {
		t.enums[bare] = true
	}
	if s == nil {
		return ""
	}
	switch s.Type {
	case "structure", "union", "list", "map":
		p := pair{target, bare}
		if !t.joined[p] {
			t.joined[p] = true
			t.pending = append(t.pending, p)
		}
		return local(target)
	case "blob":
		if s.Traits.has("streaming") {
			return "*stream"
		}
	}
	return ""
}

func (t *table) addShape(p pair) error {
	s, name := t.model.Shapes[p.shape], local(p.shape)
	var line string
	var err error
	switch s.Type {
	case "list":
		line, err = t.list(name, s, p.goType)
	case "map":
		line, err = t.mapping(name, s, p.goType)
	case "union":
		line, err = t.union(name, s, p.goType)
	default:
		line, err = t.structure(p.shape, s, p.goType)
	}
	if err != nil {
		return err
	}
	if old, ok := t.lines[name]; ok && old != line {
		return fmt.Errorf("%s: shape %s fills two Go types that differ:\n%s\n%s", t.service.name, name, old, line)
	}
	t.lines[name] = line
	return nil
}

func (t *table) list(name string, s *shape, goType string) (string, error) {
	elem, ok := strings.CutPrefix(goType, "[]")
	if !ok {
		return "", fmt.Errorf("%s: list %s fills %s", t.service.name, name, goType)
	}
	item := s.Member.Traits.str("xmlName")
	if item == "" {
		item = "member"
	}
	return columns("list", name, item, t.join(s.Member.Target, elem)), nil
}

func (t *table) mapping(name string, s *shape, goType string) (string, error) {
	value, ok := strings.CutPrefix(goType, "map[string]")
	if !ok {
		return "", fmt.Errorf("%s: map %s fills %s", t.service.name, name, goType)
	}
	names := [2]string{"key", "value"}
	for i, m := range []*member{s.Key, s.Value} {
		if x := m.Traits.str("xmlName"); x != "" {
			names[i] = x
		}
	}
	return columns("map", name, names[0], names[1], t.join(s.Value.Target, value)), nil
}

// union: a member's Go type is a struct of its own with a field Value.
func (t *table) union(name string, s *shape, goType string) (string, error) {
	cells := []string{"union", name, s.Traits.str("xmlName")}
	for _, m := range s.Members {
		variant := goType + "Member" + capital(m.Name)
		fields, ok := t.sdk.structs[variant]
		if !ok {
			t.noMember = append(t.noMember, name+"."+m.Name)
			continue
		}
		if !slices.Contains(t.unions, variant) {
			t.unions = append(t.unions, variant)
		}
		cells = append(cells, t.memberCell(m, fields["Value"]))
	}
	return columns(cells...), nil
}

func (t *table) structure(id string, s *shape, goType string) (string, error) {
	name := local(id)
	fields, ok := t.sdk.structs[goType]
	if !ok {
		return "", fmt.Errorf("%s: structure %s fills %s, which the SDK does not have", t.service.name, name, goType)
	}
	known := map[string]bool{}
	cells := []string{"struct", name, s.Traits.str("xmlName")}
	for _, m := range s.Members {
		fieldType, ok := fields[capital(m.Name)]
		if ignoredMembers[name+"."+m.Name] {
			cells = append(cells, capital(m.Name)+"|ignore")
			continue
		}
		if !ok {
			t.noMember = append(t.noMember, name+"."+m.Name)
			continue
		}
		known[capital(m.Name)] = true
		marks, err := t.constraints(id, m)
		if err != nil {
			return "", err
		}
		cells = append(cells, t.memberCell(m, fieldType)+marks)
	}
	for f := range fields {
		if !known[f] && !extraFields[f] {
			t.noShape = append(t.noShape, name+"."+f)
		}
	}
	return columns(cells...), nil
}

// The traits that a member's cell carries as they are, with their value and as flags.
var (
	stringTraits = []struct{ key, trait string }{
		{"h", "httpHeader"}, {"p", "httpPrefixHeaders"}, {"u", "httpQuery"}, {"d", "timestampFormat"},
	}
	flagTraits = []struct{ key, trait string }{
		{"label", "httpLabel"}, {"payload", "httpPayload"}, {"flat", "xmlFlattened"}, {"attr", "xmlAttribute"},
		{"!", "required"},
	}
)

// memberCell is "Field|t=Target|q=…": see awsd/protocol/table.go.
func (t *table) memberCell(m *member, goType string) string {
	cell := []string{capital(m.Name)}
	add := func(key, value string) { cell = append(cell, key+"="+value) }
	if target := t.join(m.Target, goType); target != "" {
		add("t", target)
	}
	if q := t.queryName(m); q != capital(m.Name) {
		add("q", q)
	}
	named := m.Traits.has("httpPayload") && m.Traits.has("xmlName") // a document has a name of its own otherwise
	if x := t.xmlName(m); named || x != t.service.defaultXML(capital(m.Name)) {
		add("x", x)
	}
	if prefix, uri := m.Traits.namespace(); uri != "" {
		add("n", prefix+" "+uri)
	}
	for _, c := range stringTraits {
		if v := m.Traits.str(c.trait); v != "" {
			add(c.key, v)
		}
	}
	for _, c := range flagTraits {
		if m.Traits.has(c.trait) {
			cell = append(cell, c.key)
		}
	}
	return strings.Join(cell, "|")
}

// queryName is a member's name in a request of a query protocol.
// https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html#query-key-resolution
func (t *table) queryName(m *member) string {
	switch t.service.protocol {
	case "ec2Query":
		if q := m.Traits.str("aws.protocols#ec2QueryName"); q != "" {
			return q
		}
		if x := m.Traits.str("xmlName"); x != "" {
			return capital(x)
		}
	case "awsQuery":
		return t.xmlName(m)
	}
	return capital(m.Name)
}

// xmlName is a member's name in a document.
func (t *table) xmlName(m *member) string {
	name := "xmlName"
	if t.service.protocol == "restJson1" || t.service.protocol == "awsJson1_1" {
		name = "jsonName"
	}
	if x := m.Traits.str(name); x != "" {
		return x
	}
	return m.Name
}

func columns(cells ...string) string {
	return strings.TrimRight(strings.Join(cells, "\t"), "\t")
}
