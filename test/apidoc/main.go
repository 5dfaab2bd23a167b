// Command apidoc writes docs/api.md: every operation of the services' models, whether the program has a handler for
// it, and what it has of filters, dry run, client tokens and pages. It reads the tables that the program answers by, and it never says what an operation does.
//
//	go run ./test/apidoc          write
//	go run ./test/apidoc -check   exit 1 when the page is out of date
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"hive/awsd/cloudtrailapi"
	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/awsd/taggingapi"
	"hive/ec2"
	"hive/iam"
	"hive/iam/actions"
	"hive/iam/trail"
	"hive/s3"
)

// page is what is written, seen from the root of the module.
const page = "docs/api.md"

// service is a section of the page.
type service struct {
	title    string
	api      *protocol.API
	handlers protocol.Handlers
	note     string // what is answered to the rest
	filters  func(op string) []string
}

// services are bound as internal/node binds them; handlers are looked up and never called.
func services() []service {
	machines := ec2.New(ec2.Config{})
	return []service{
		{"S3", s3api.API(), s3api.Bind(s3.New(s3.Config{})), "`NotImplemented`, status 501", nil},
		{"IAM", iamapi.API(), iamapi.Bind(iam.New(iam.Config{})), "`InvalidAction`, status 400", nil},
		{"STS", stsapi.API(), stsapi.Bind(&iam.STS{}), "`InvalidAction`, status 400", nil},
		{"EC2", ec2api.API(), ec2api.Bind(machines), "`UnsupportedOperation`, status 400", machines.FilterNames},
		{"EBS direct APIs", ebsapi.API(), ebsapi.Bind(ec2.NewDirect(machines, nil)), "`UnknownOperationException`, status 404", nil},
		{"CloudTrail", cloudtrailapi.API(), cloudtrailapi.Bind(trail.New(trail.Config{})), "`UnsupportedOperationException`, status 400", nil},
		{"Resource Groups Tagging API", taggingapi.API(), taggingapi.Bind(ec2.NewTagging(machines)), "`UnknownOperationException`, status 400", nil},
	}
}

func main() {
	check := flag.Bool("check", false, "write nothing; exit 1 when the page is out of date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	if _, err := os.Stat("go.mod"); err != nil {
		return fmt.Errorf("run this at the root of the module: %w", err)
	}
	want, err := render(services())
	if err != nil {
		return err
	}
	have, err := os.ReadFile(page)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case err == nil && bytes.Equal(have, want):
		return nil
	case check:
		return fmt.Errorf("%s is out of date: run `make generate`", page)
	}
	return os.WriteFile(page, want, 0o644)
}

const intro = `# Which operations of AWS are answered

Written by ` + "`make generate`" + ` from the tables that the program answers by: do not edit.

The columns are those of the models: by which members an operation is paged (its tokens are sealed, and good for the same
request alone), the member that makes a request known when it is sent again, and whether it can be tried without being
done. Access and needed permissions are those that policies are held against.

An operation is *answered* when Hive has a handler for it. All the others are known by name: their requests are verified,
and are told by the service's own error that the operation is not supported, so that a client never takes one for done.

| service | API version | operations | answered | the rest get |
| --- | --- | ---: | ---: | --- |
`

// render makes the page.
func render(all []service) ([]byte, error) {
	var top, rest strings.Builder
	top.WriteString(intro)
	for _, s := range all {
		answered, others, err := split(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.title, err)
		}
		fmt.Fprintf(&top, "| [%s](#%s) | %s | %d | %d | %s |\n",
			s.title, strings.ReplaceAll(strings.ToLower(s.title), " ", "-"), s.api.Version, len(answered)+len(others), len(answered), s.note)
		fmt.Fprintf(&rest, "\n## %s\n", s.title)
		list(&rest, "Answered", answered, s.answeredRow)
		s.listFilters(&rest, answered)
		list(&rest, "Not answered", others, s.otherRow)
	}
	return []byte(top.String() + "\n" + scope + rest.String()), nil
}

const scope = `An answered operation is not always all of AWS's: what Hive does not keep it refuses with an error, and
[operate.md](operate.md#what-is-not-there) lists the larger gaps.
`

// split parts the operations of a service by whether they have a handler. A handler for an operation that the
// model does not have is an error.
func split(s service) (answered, others []*protocol.Operation, err error) {
	ops, err := s.api.Operations()
	if err != nil {
		return nil, nil, err
	}
	for _, op := range ops {
		if s.handlers[op.Name] != nil {
			answered = append(answered, op)
		} else {
			others = append(others, op)
		}
	}
	if len(answered) != len(s.handlers) {
		return nil, nil, fmt.Errorf("%d handlers, and %d of them in the model", len(s.handlers), len(answered))
	}
	return answered, others, nil
}

// list writes a table of operations.
func list(w *strings.Builder, title string, ops []*protocol.Operation, row func(*protocol.Operation) string) {
	fmt.Fprintf(w, "\n### %s: %d\n\n", title, len(ops))
	if len(ops) == 0 {
		w.WriteString("None.\n")
		return
	}
	w.WriteString(row(nil))
	for _, op := range ops {
		w.WriteString(row(op))
	}
}

// answeredRow is an operation's row, or the head of the table.
func (s service) answeredRow(op *protocol.Operation) string {
	if op == nil {
		return "| operation | access | may be needed | pages | client token | dry run |\n| --- | --- | --- | --- | --- | --- |\n"
	}
	level, needed := "", ""
	for _, row := range actions.Rows(s.api.Service) {
		if row.Operation == op.Name {
			level, needed = string(row.Level), names(row.Actions())
		}
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", op.Name, level, needed, pages(op.Notes), name(op.Notes.ClientToken), mark(op.Notes.DryRun))
}

// otherRow is the row of one that is not answered.
func (s service) otherRow(op *protocol.Operation) string {
	if op == nil {
		return "| operation | pages | client token | dry run | filters |\n| --- | --- | --- | --- | --- |\n"
	}
	n := op.Notes
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", op.Name, pages(n), name(n.ClientToken), mark(n.DryRun), mark(n.Filters))
}

// listFilters writes which filters the answered operations take.
func (s service) listFilters(w *strings.Builder, ops []*protocol.Operation) {
	if s.filters == nil {
		return
	}
	w.WriteString("\n### Filters\n\n")
	for _, op := range ops {
		if all := s.filters(op.Name); len(all) > 0 {
			fmt.Fprintf(w, "- %s: %s\n", op.Name, names(all))
		}
	}
}

// pages is by which members an operation is paged.
func pages(n protocol.Notes) string {
	switch {
	case n.PageToken == "":
		return ""
	case n.PageSize == "":
		return name(n.PageToken)
	}
	return name(n.PageToken) + ", " + name(n.PageSize)
}

func mark(has bool) string {
	if has {
		return "yes"
	}
	return ""
}

func name(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func names(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = name(s)
	}
	return strings.Join(quoted, ", ")
}
