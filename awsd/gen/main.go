// Command gen writes the tables of awsd/*api: it reads the Smithy models beside it, joins them with the types
// of aws-sdk-go-v2 at the versions that go.mod pins, and writes one text table and one Go file per service.
// It is part of the build of the source, never of the program.
//
//	go run ./awsd/gen          write
//	go run ./awsd/gen -check   exit 1 and name the files that are out of date
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// service is one AWS service that Hive speaks.
type service struct {
	name      string // of the model and the signature's scope
	sdk       string // its package
	title     string
	protocol  string
	namespace string // of the XML that it answers; "-" for JSON
}

var services = []service{
	{"s3", "s3", "S3", "restXml", "http://s3.amazonaws.com/doc/2006-03-01/"},
	{"ec2", "ec2", "EC2", "ec2Query", "http://ec2.amazonaws.com/doc/2016-11-15/"},
	{"iam", "iam", "IAM", "awsQuery", "https://iam.amazonaws.com/doc/2010-05-08/"},
	{"sts", "sts", "STS", "awsQuery", "https://sts.amazonaws.com/doc/2011-06-15/"},
	{"ebs", "ebs", "the EBS direct APIs", "restJson1", "-"},
	{"cloudtrail", "cloudtrail", "CloudTrail", "awsJson1_1", "-"},
	{"tagging", "resourcegroupstaggingapi", "the Resource Groups Tagging API", "awsJson1_1", "-"},
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
	root, err := moduleRoot()
	if err == nil && *check {
		err = verify(root)
	} else if err == nil {
		err = generate(root, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate writes every file that is out of date below root, and tells log what it joined.
func generate(root string, log io.Writer) error {
	for _, s := range services {
		t, err := join(s)
		if err != nil {
			return err
		}
		stale, err := t.stale(root)
		if err != nil {
			return err
		}
		for name, data := range stale {
			if err := write(filepath.Join(root, name), data); err != nil {
				return err
			}
		}
		t.report(log)
	}
	return nil
}

// verify is nil when generate would write nothing.
func verify(root string) error {
	var names []string
	for _, s := range services {
		t, err := join(s)
		if err != nil {
			return err
		}
		stale, err := t.stale(root)
		if err != nil {
			return err
		}
		names = slices.AppendSeq(names, maps.Keys(stale))
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("out of date, run `make generate`:\n  %s", strings.Join(names, "\n  "))
}

func join(s service) (*table, error) {
	m, err := readModel(s.name)
	if err != nil {
		return nil, err
	}
	k, err := readSDK("github.com/aws/aws-sdk-go-v2/service/" + s.sdk)
	if err != nil {
		return nil, err
	}
	return newTable(s, m, k)
}

// stale are the files that differ from what stands below root, by their names from there.
func (t *table) stale(root string) (map[string][]byte, error) {
	text, err := t.text()
	if err != nil {
		return nil, err
	}
	code, err := t.code()
	if err != nil {
		return nil, err
	}
	base := filepath.Join("awsd", t.service.name+"api", t.service.name+"api_gen")
	files := map[string][]byte{base + ".txt": text, base + ".go": code}
	for name, data := range files {
		old, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && bytes.Equal(old, data) {
			delete(files, name)
		}
	}
	return files, nil
}

func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// report tells where the model and the SDK part: neither side's surplus can be spoken.
func (t *table) report(w io.Writer) {
	fmt.Fprintf(w, "%s: %d operations, %d shapes, %d enums\n", t.service.name, len(t.ops), len(t.lines), len(t.enums))
	for _, surplus := range []struct {
		what  string
		names []string
	}{
		{"operations that only the model has", t.noOperation},
		{"members that only the model has", t.noMember},
		{"fields that only the SDK has", t.noShape},
		{"patterns that RE2 cannot take and that are rewritten by hand", t.rewritten},
	} {
		if len(surplus.names) > 0 {
			slices.Sort(surplus.names)
			surplus.names = slices.Compact(surplus.names)
			fmt.Fprintf(w, "  %d %s: %s\n", len(surplus.names), surplus.what, strings.Join(surplus.names, " "))
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
