package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hive/awsd/catalogue"
)

func TestTheGeneratedFilesAreUpToDate(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(root); err != nil {
		t.Error(err)
	}
}

func TestAFileThatDiffersIsNamedAndThenMended(t *testing.T) {
	root := t.TempDir()
	var log bytes.Buffer
	if err := generate(root, &log); err != nil {
		t.Fatal(err)
	}
	if err := verify(root); err != nil {
		t.Fatalf("after generating: %v", err)
	}
	name := filepath.Join("awsd", "stsapi", "stsapi_gen.txt")
	if err := os.WriteFile(filepath.Join(root, name), []byte("else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(root); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3api") {
		t.Errorf("got %v, want %s alone", err, name)
	}
	if err := generate(root, &log); err != nil {
		t.Fatal(err)
	}
	if err := verify(root); err != nil {
		t.Error(err)
	}
}

func TestMembersKeepTheModelsOrder(t *testing.T) {
	var s shape
	if err := json.Unmarshal([]byte(`{"members":{"Z":{"target":"a#A"},"B":{"target":"a#B"},"A":{"target":"a#C"}}}`), &s); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range s.Members {
		got += m.Name + "=" + local(m.Target) + " "
	}
	if got != "Z=A B=B A=C " {
		t.Errorf("got %s", got)
	}
}

func TestQueryNamesFollowTheProtocol(t *testing.T) {
	named := func(traitList string) *member {
		m := &member{Name: "userId"}
		if err := json.Unmarshal([]byte(traitList), &m.Traits); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, c := range []struct{ protocol, traits, want string }{
		{"ec2Query", `{}`, "UserId"},
		{"ec2Query", `{"smithy.api#xmlName":"item"}`, "Item"},
		{"ec2Query", `{"smithy.api#xmlName":"item","aws.protocols#ec2QueryName":"uid"}`, "uid"},
		{"awsQuery", `{}`, "userId"},
		{"awsQuery", `{"smithy.api#xmlName":"item"}`, "item"},
	} {
		tab := &table{service: service{protocol: c.protocol}}
		if got := tab.queryName(named(c.traits)); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.protocol, c.traits, got, c.want)
		}
	}
}

func TestEveryErrorOfEveryModelIsInTheCatalogue(t *testing.T) {
	c, err := catalogue.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		m, err := readModel(s.name)
		if err != nil {
			t.Fatal(err)
		}
		for id, shape := range m.Shapes {
			if !shape.Traits.has("error") {
				continue
			}
			code, status := local(id), 0
			var query struct{ Code string }
			if raw, ok := shape.Traits["aws.protocols#awsQueryError"]; ok {
				if err := json.Unmarshal(raw, &query); err != nil {
					t.Fatal(err)
				}
				code = query.Code
			}
			if raw, ok := shape.Traits["smithy.api#httpError"]; ok {
				if err := json.Unmarshal(raw, &status); err != nil {
					t.Fatal(err)
				}
			}
			if e, ok := c.Lookup(s.name, code); !ok || status != 0 && e.Status != status {
				t.Errorf("%s %s: the catalogue has status %d, the model %d", s.name, code, e.Status, status)
			}
		}
	}
}

func TestAnURIsLiteralsAreKeptWithoutTheHint(t *testing.T) {
	path, literals := splitURI("/{Key+}?select&select-type=2&x-id=SelectObjectContent")
	if path != "/{Key+}" || literals != "select&select-type=2" {
		t.Errorf("got %s, %s", path, literals)
	}
}
