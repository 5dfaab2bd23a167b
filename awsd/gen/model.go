package main

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed models/*.json.gz
var models embed.FS

// model is a service in Smithy's JSON AST (https://smithy.io/2.0/spec/json-ast.html), cut to what is used.
type model struct {
	Shapes map[string]*shape `json:"shapes"`

	service     *shape
	serviceName string // "AmazonS3"
}

type shape struct {
	Type       string     `json:"type"`
	Version    string     `json:"version"`
	Traits     traits     `json:"traits"`
	Members    memberList `json:"members"`
	Member     *member    `json:"member"`
	Key        *member    `json:"key"`
	Value      *member    `json:"value"`
	Operations []ref      `json:"operations"`
	Input      ref        `json:"input"`
	Output     ref        `json:"output"`
}

type ref struct {
	Target string `json:"target"`
}

type member struct {
	Name   string `json:"-"`
	Target string `json:"target"`
	Traits traits `json:"traits"`
}

// memberList keeps the order of the model: it is the order in which AWS writes elements.
type memberList []*member

func (l *memberList) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		m := &member{Name: name.(string)}
		if err := d.Decode(m); err != nil {
			return err
		}
		*l = append(*l, m)
	}
	return nil
}

type traits map[string]json.RawMessage

func (t traits) has(name string) bool { _, ok := t["smithy.api#"+name]; return ok }

// str is a trait's value when it is a string, else "".
func (t traits) str(name string) string {
	if !strings.Contains(name, "#") {
		name = "smithy.api#" + name
	}
	var s string
	if json.Unmarshal(t[name], &s) != nil {
		return ""
	}
	return s
}

type httpTrait struct {
	Method string `json:"method"`
	URI    string `json:"uri"`
	Code   int    `json:"code"`
}

func (t traits) http() (h httpTrait, err error) {
	err = json.Unmarshal(t["smithy.api#http"], &h)
	return h, err
}

// namespace is the xmlNamespace trait as prefix and URI.
func (t traits) namespace() (prefix, uri string) {
	var n struct{ Prefix, URI string }
	if json.Unmarshal(t["smithy.api#xmlNamespace"], &n) != nil {
		return "", ""
	}
	return n.Prefix, n.URI
}

func readModel(name string) (*model, error) {
	packed, err := models.ReadFile("models/" + name + ".json.gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	m := &model{}
	if err := json.NewDecoder(z).Decode(m); err != nil {
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	for id, s := range m.Shapes {
		if s.Type == "service" {
			m.service, m.serviceName = s, local(id)
		}
	}
	if m.service == nil {
		return nil, fmt.Errorf("model %s has no service", name)
	}
	return m, nil
}

// local is a shape id without its namespace.
func local(id string) string { return id[strings.IndexByte(id, '#')+1:] }

// capital is how the SDK names the Go field of a member.
func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
