package iam

import (
	"bytes"
	_ "embed" // the policies
	"encoding/json"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// managed is a policy that AWS manages: it is in every account and nobody can change it. Here it has one version, the
// newest that was known when the data was made.
type managed struct {
	Name        string
	Path        string // begins and ends with a slash
	ID          string
	Version     string // "v5"
	Description string
	Created     int64 // Unix seconds
	Updated     int64 // Unix seconds
	Document    json.RawMessage

	document string // as answers have it
}

// awsmanaged.jsonl has a managed policy a line, in order of name. Documents, versions and dates are those of the AWS managed
// policy reference; so are the ids of the older ones, the others' are made of their ARNs.
//
//go:embed awsmanaged.jsonl
var awsManaged []byte

const managedPrefix = "arn:aws:iam::aws:policy/"

func (m managed) arn() string { return managedPrefix[:len(managedPrefix)-1] + m.Path + m.Name }

func (m managed) versionOut() types.PolicyVersion {
	return types.PolicyVersion{VersionId: aws.String(m.Version), IsDefaultVersion: true, CreateDate: date(m.Updated)}
}

// awsPolicies are AWS's managed policies: all in order of name, and by ARN.
type awsPolicies struct {
	all   []managed
	byARN map[string]managed
}

// loadedManaged reads the data when it is first asked for.
var loadedManaged = sync.OnceValue(func() awsPolicies {
	p, err := readManaged(awsManaged)
	if err != nil {
		panic(err) // the data is part of the program: a test would not get past it
	}
	return p
})

func readManaged(data []byte) (awsPolicies, error) {
	out := awsPolicies{byARN: map[string]managed{}}
	for line := range bytes.Lines(data) {
		var m managed
		if err := json.Unmarshal(line, &m); err != nil {
			return out, fmt.Errorf("AWS managed policies: %w", err)
		}
		var text bytes.Buffer
		if err := json.Indent(&text, m.Document, "", "    "); err != nil {
			return out, fmt.Errorf("AWS managed policy %s: %w", m.Name, err)
		}
		m.document, m.Document = text.String(), nil
		out.all = append(out.all, m)
		out.byARN[m.arn()] = m
	}
	return out, nil
}

// managedPolicies are AWS's, in order of name.
func managedPolicies() []managed { return loadedManaged().all }

// managedPolicy is AWS's policy of an ARN.
func managedPolicy(arn string) (managed, bool) {
	m, ok := loadedManaged().byARN[arn]
	return m, ok
}
