package protocol

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"hive/iam/principal"
)

// API is one AWS service as its model describes it. Generated packages make one each; it is safe for
// concurrent use. Nothing but the names of the operations is read from the tables before it is needed.
type API struct {
	Service string // signing name: "s3", "ec2", "iam", "sts", "ebs", "cloudtrail", "tagging"
	Version string // "2006-03-01"

	protocol  string // "restXml", "restJson1", "awsJson1_1", "ec2Query", "awsQuery"
	namespace string
	target    string // of awsJson1_1: what stands before the operation in X-Amz-Target
	dialect   dialect
	lenient   bool // Decode lets pass what Validate refuses together with the rest: absent members, unknown enums

	text   string
	types  []Types
	unions []any

	load    sync.Once
	table   *table
	routes  router // nil in the query protocols
	loadErr error

	mu     sync.Mutex // guards joiner and what it makes until an operation is ready
	joiner *joiner

	buffers sync.Pool // of *[]byte
}

// Operation is one operation of an API.
type Operation struct {
	Name   string // "PutObject"
	Method string // of HTTP, "" in the query protocols
	Notes  Notes

	input, output string // shapes, "-" for none
	types         Types
	level         string // service, bucket, key, or a path of its own
	literals      []pair // query parameters that select it
	status        int
	unwrapped     bool // the output's only member is the whole document
	events        bool // the output is an event stream

	ready   sync.Once
	in, out *codec
	err     error
}

// New makes an API of a generated table; types are those of its operations in the table's order, unions the
// member structs of its unions as nil pointers.
func New(text string, types []Types, unions []any) *API {
	a := &API{text: text, types: types, unions: unions}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if cells[0] != "api" || len(cells) < 5 {
			continue
		}
		a.Service, a.protocol, a.Version, a.namespace = cells[1], cells[2], cells[3], cells[4]
		if len(cells) > 5 {
			a.target = cells[5]
		}
		break
	}
	a.dialect = dialectOf(a.protocol, a.Service)
	a.lenient = a.protocol == "awsQuery" || a.protocol == protocolJSON
	return a
}

// tables reads the table once.
func (a *API) tables() (*table, error) {
	a.load.Do(func() {
		if a.table, a.loadErr = parseTable(a.text, a.types); a.loadErr != nil {
			return
		}
		a.joiner = newJoiner(a.table, a)
		switch a.protocol {
		case "restXml":
			a.routes, a.loadErr = newRoutes(a)
		case protocolRESTJSON:
			a.routes = newPathRoutes(a)
		case protocolJSON:
			a.routes = targetRoutes{a.dialect, a.target, a.table.ops}
		}
	})
	return a.table, a.loadErr
}

// Operation finds an operation by its name; nil when the API has none of that name.
func (a *API) Operation(name string) *Operation {
	t, err := a.tables()
	if err != nil {
		return nil
	}
	return t.ops[name]
}

// Operations are all operations in the order of their names.
func (a *API) Operations() ([]*Operation, error) {
	t, err := a.tables()
	if err != nil {
		return nil, err
	}
	return t.byName, nil
}

// prepare joins an operation with its Go types, once.
func (a *API) prepare(op *Operation) error {
	op.ready.Do(func() {
		if _, op.err = a.tables(); op.err != nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if op.in, op.err = a.joiner.codec(op.input, reflect.TypeOf(op.types.In)); op.err != nil {
			return
		}
		op.out, op.err = a.joiner.codec(op.output, reflect.TypeOf(op.types.Out))
	})
	return op.err
}

// The protocols of JSON documents.
const (
	protocolRESTJSON = "restJson1"
	protocolJSON     = "awsJson1_1"
)

// SpeaksJSON tells whether requests and answers are JSON documents.
func (a *API) SpeaksJSON() bool { return a.protocol == protocolRESTJSON || a.protocol == protocolJSON }

// IsTarget tells whether an X-Amz-Target asks for an operation of the API.
func (a *API) IsTarget(target string) bool {
	_, ok := cutTarget(target, a.target)
	return ok
}

// TakesForm tells whether requests are forms: those of the query protocols.
func (a *API) TakesForm() bool { return a.protocol == "ec2Query" || a.protocol == "awsQuery" }

// Route finds the operation that a request asks for. The query protocols read Action from form; the REST
// protocols go by method, path and query, and form is nil. Errors are *Error.
func (a *API) Route(r *http.Request, form url.Values) (*Operation, error) {
	t, err := a.tables()
	if err != nil {
		return nil, err
	}
	if a.routes != nil {
		return a.routes.find(r)
	}
	action := form.Get("Action")
	if action == "" {
		return nil, a.dialect.missingAction()
	}
	op := t.ops[action]
	if version := form.Get("Version"); op == nil || version != "" && version != a.Version {
		return nil, a.dialect.unknownAction(action, version, a.Version)
	}
	return op, nil
}

// Decode makes the input of op: a pointer to the SDK's input struct. For S3 the bucket is the first
// segment of the path. Errors are *Error, or whatever reading body gave. Validate comes next.
func (a *API) Decode(op *Operation, r *http.Request, form url.Values, body Body) (input any, err error) {
	if err := a.prepare(op); err != nil {
		return nil, err
	}
	in := reflect.New(op.in.typ)
	if a.routes != nil {
		err = a.decodeREST(op, r, body, in.Elem())
	} else {
		err = a.decodeQuery(op, form, in.Elem())
	}
	if err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

// Bind makes f the handler of an operation. I and O are pointers, so that one body of code serves all
// operations.
func Bind[I, O any](h Handlers, op string, f func(context.Context, *principal.Caller, I) (O, error)) {
	h[op] = func(ctx context.Context, c *principal.Caller, input any) (any, error) {
		in, ok := input.(I)
		if !ok {
			return nil, fmt.Errorf("protocol: %s got a %T", op, input)
		}
		out, err := f(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}
