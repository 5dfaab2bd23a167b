// Command gen writes the tables of awsd/*api: it reads the Smithy models beside it, joins them with the types
// of aws-sdk-go-v2 at the versions that go.mod pins, and writes one text table and one Go file per service.
// It is part of the build of the source, never of the program.
//
//	go run ./awsd/gen          write
//	go run ./awsd/gen -check   exit 1 and name the files that are out of date
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// service is one AWS service that Hive speaks.
type service struct {
	name      string // of the model, the SDK's package and the signature's scope
	title     string
	protocol  string
	namespace string // of the XML that it answers
}

var services = []service{
	{"s3", "S3", "restXml", "http://s3.amazonaws.com/doc/2006-03-01/"},
	{"ec2", "EC2", "ec2Query", "http://ec2.amazonaws.com/doc/2016-11-15/"},
	{"iam", "IAM", "awsQuery", "https://iam.amazonaws.com/doc/2010-05-08/"},
	{"sts", "STS", "awsQuery", "https://sts.amazonaws.com/doc/2011-06-15/"},
}

// defaultXML is the name in XML that a Go field has unless the table says otherwise.
func (s service) defaultXML(field string) string {
	if s.protocol == "ec2Query" {
		return strings.ToLower(field[:1]) + field[1:]
	}
	return field
}

func main() {
	check := flag.Bool("check", false, "write nothing; exit 1 when a file is out of date")
	flag.Parse()
	stale, err := run(*check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
	if *check && len(stale) > 0 {
		fmt.Fprintf(os.Stderr, "gen: out of date, run `make generate`:\n  %s\n", strings.Join(stale, "\n  "))
		os.Exit(1)
	}
}

func run(check bool) (stale []string, err error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		files, err := generate(s)
		if err != nil {
			return nil, err
		}
		for name, data := range files {
			rel := filepath.Join("awsd", s.name+"api", name)
			old, err := os.ReadFile(filepath.Join(root, rel))
			if err == nil && bytes.Equal(old, data) {
				continue
			}
			stale = append(stale, rel)
			if check {
				continue
			}
			if err := write(filepath.Join(root, rel), data); err != nil {
				return nil, err
			}
		}
	}
	return stale, nil
}

func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func generate(s service) (files map[string][]byte, err error) {
	m, err := readModel(s.name)
	if err != nil {
		return nil, err
	}
	k, err := readSDK("github.com/aws/aws-sdk-go-v2/service/" + s.name)
	if err != nil {
		return nil, err
	}
	t, err := newTable(s, m, k)
	if err != nil {
		return nil, err
	}
	text, err := t.text()
	if err != nil {
		return nil, err
	}
	code, err := t.code()
	if err != nil {
		return nil, err
	}
	t.report()
	return map[string][]byte{s.name + "api_gen.txt": text, s.name + "api_gen.go": code}, nil
}

// report tells where the model and the SDK part: neither side's surplus can be spoken.
func (t *table) report() {
	fmt.Printf("%s: %d operations, %d shapes, %d enums\n", t.service.name, len(t.ops), len(t.lines), len(t.enums))
	for what, names := range map[string][]string{
		"operations that only the model has": t.noOperation,
		"members that only the model has":    t.noMember,
		"fields that only the SDK has":       t.noShape,
	} {
		if len(names) > 0 {
			fmt.Printf("  %d %s: %s\n", len(names), what, strings.Join(names, " "))
		}
	}
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
