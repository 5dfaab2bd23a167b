// Package actions says what a request needs to be permitted: which actions on which resources, and under which condition
// keys. It is data, one row for each operation in the files of data/, and what reads it; it never decides whether a
// caller may, and never changes anything.
package actions

import (
	_ "embed"
	"slices"
	"strings"
)

// The files, by signing name.
var (
	//go:embed data/cloudtrail.txt
	cloudtrailRows string
	//go:embed data/ebs.txt
	ebsRows string
	//go:embed data/ec2.txt
	ec2Rows string
	//go:embed data/iam.txt
	iamRows string
	//go:embed data/s3.txt
	s3Rows string
	//go:embed data/sts.txt
	stsRows string
	//go:embed data/tagging.txt
	taggingRows string
)

// fileOf is the text of a service's file; "" when there is none.
func fileOf(service string) string {
	switch service {
	case "cloudtrail":
		return cloudtrailRows
	case "ebs":
		return ebsRows
	case "ec2":
		return ec2Rows
	case "iam":
		return iamRows
	case "s3":
		return s3Rows
	case "sts":
		return stsRows
	case "tagging":
		return taggingRows
	}
	return ""
}

// Level is an access level of the Service Authorization Reference.
type Level string

// Access levels.
const (
	List        Level = "List"
	Read        Level = "Read"
	Write       Level = "Write"
	Permissions Level = "Permissions management"
	Tagging     Level = "Tagging"
)

// Row is what one operation needs.
type Row struct {
	Service   string // signing name: "ec2", "tagging"
	Operation string
	Level     Level
	Needs     []Need // none: everybody may
}

// Need is one thing that an operation needs to be permitted.
type Need struct {
	Action    string   // "s3:GetObject"; "" where the resource tells ("*.tagged")
	Versioned string   // the action instead when the request names a version of the resource: "s3:GetObjectVersion"
	Resource  string   // its type: "instance", "role", "*"
	ARN       string   // "arn:aws:ec2:${Region}:${Account}:instance/${Id}", "*"
	Keys      []string // condition keys that the request gives, as they are written in policies
	Sometimes bool     // only when the request has what it is about

	text needText
}

// Mutating tells whether the operation changes anything, which is what the audit keeps.
func (r Row) Mutating() bool { return r.Level != List && r.Level != Read }

// Resources are the types of resource that the row's needs name, each once.
func (r Row) Resources() []string {
	var out []string
	for _, n := range r.Needs {
		if !slices.Contains(out, n.Resource) {
			out = append(out, n.Resource)
		}
	}
	return out
}

// Actions are the actions that the row's needs name, each once.
func (r Row) Actions() []string {
	var out []string
	for _, n := range r.Needs {
		for _, a := range []string{n.Action, n.Versioned} {
			if a != "" && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// Services are the signing names that there are rows for.
func Services() []string { return []string{"cloudtrail", "ebs", "ec2", "iam", "s3", "sts", "tagging"} }

// Rows are a service's rows in the order of the file; none of a service that has no file. It reads all files each time: for
// pages and tests.
func Rows(service string) []Row {
	s := mustParse().services[service]
	if s == nil {
		return nil
	}
	return s.rows
}

// Lookup is the row of an operation without its needs, and whether there is one. It takes about a microsecond.
func Lookup(service, op string) (Row, bool) {
	text := fileOf(service)
	at := strings.Index(text, "\n"+op+" ")
	if at < 0 || isHeader(op) {
		return Row{}, false
	}
	rest := strings.TrimLeft(text[at+len(op)+2:], " ")
	word, _, _ := strings.Cut(rest, " ")
	level, ok := levels[word]
	return Row{Service: service, Operation: op, Level: level}, ok
}

// Keys are all condition keys that requests can be given by a row or by a resource's record, in lower case. A key that
// ends in a slash stands for all that begin with it.
func Keys() []string {
	out := slices.Clone(stateKeys)
	for _, s := range mustParse().services {
		for _, r := range s.rows {
			for _, n := range r.Needs {
				for _, k := range n.Keys {
					name, _, _ := strings.Cut(k, "${")
					out = append(out, strings.ToLower(name))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
