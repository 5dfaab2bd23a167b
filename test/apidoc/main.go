// Command apidoc writes docs/api.md: every operation of the services' models, and whether the program has a
// handler for it. It reads the tables that the program answers by, and it never says what an operation does.
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

	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/ec2"
	"hive/iam"
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
}

// services are bound as internal/node binds them; handlers are looked up and never called.
func services() []service {
	machines := ec2.New(ec2.Config{})
	return []service{
		{"S3", s3api.API(), s3api.Bind(s3.New(s3.Config{})), "`NotImplemented`, status 501"},
		{"IAM", iamapi.API(), iamapi.Bind(iam.New(iam.Config{})), "`InvalidAction`, status 400"},
		{"STS", stsapi.API(), stsapi.Bind(&iam.STS{}), "`InvalidAction`, status 400"},
		{"EC2", ec2api.API(), ec2api.Bind(machines), "`UnsupportedOperation`, status 400"},
		{"EBS direct APIs", ebsapi.API(), ebsapi.Bind(ec2.NewDirect(machines, nil)), "`UnknownOperationException`, status 404"},
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
		list(&rest, "Answered", answered)
		list(&rest, "Not answered", others)
	}
	return []byte(top.String() + "\n" + scope + rest.String()), nil
}

const scope = `An answered operation is not always all of AWS's: what Hive does not keep it refuses with an error, and
[operate.md](operate.md#what-is-not-there) lists the larger gaps.
`

// split parts the operations of a service by whether they have a handler. A handler for an operation that the
// model does not have is an error.
func split(s service) (answered, others []string, err error) {
	ops, err := s.api.Operations()
	if err != nil {
		return nil, nil, err
	}
	for _, op := range ops {
		if s.handlers[op.Name] != nil {
			answered = append(answered, op.Name)
		} else {
			others = append(others, op.Name)
		}
	}
	if len(answered) != len(s.handlers) {
		return nil, nil, fmt.Errorf("%d handlers, and %d of them in the model", len(s.handlers), len(answered))
	}
	return answered, others, nil
}

// list writes names in the width of the house's pages.
func list(w *strings.Builder, title string, names []string) {
	const width = 116
	fmt.Fprintf(w, "\n### %s: %d\n\n", title, len(names))
	if len(names) == 0 {
		w.WriteString("None.\n")
		return
	}
	line := 0
	for i, name := range names {
		text := "`" + name + "`"
		if i < len(names)-1 {
			text += ","
		}
		switch {
		case i == 0:
		case line+1+len(text) > width:
			w.WriteByte('\n')
			line = 0
		default:
			w.WriteByte(' ')
			line++
		}
		w.WriteString(text)
		line += len(text)
	}
	w.WriteByte('\n')
}
