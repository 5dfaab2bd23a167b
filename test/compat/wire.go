package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Wire sends signed requests of the query protocol as its specification says, and reads answers strictly: an element that
// the API does not have is an error. https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
type Wire struct {
	HTTP  *http.Client
	Clock func() time.Time
}

// Do sends a call.
func (w *Wire) Do(ctx context.Context, c Call) (map[string]any, error) {
	form := map[string]any{"Action": c.Op, "Version": services()[c.Service].version}
	flatten("", c.Params, form)
	c.Params = form
	return w.form(ctx, c)
}

// flatten writes parameters under the names of the query protocol.
func flatten(prefix string, v any, to map[string]any) {
	switch x := v.(type) {
	case map[string]any:
		if prefix != "" {
			prefix += "."
		}
		for name, value := range x {
			flatten(prefix+name, value, to)
		}
	case []any:
		if len(x) == 0 {
			to[prefix] = ""
		}
		for i, value := range x {
			flatten(fmt.Sprintf("%s.member.%d", prefix, i+1), value, to)
		}
	default:
		to[prefix] = fmt.Sprint(x)
	}
}

// form sends exactly the parameters of c.
func (w *Wire) form(ctx context.Context, c Call) (map[string]any, error) {
	values := url.Values{}
	for name, value := range c.Params {
		values.Set(name, fmt.Sprint(value))
	}
	body := []byte(values.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if c.As.ID != "" {
		sum := sha256.Sum256(body)
		keys := aws.Credentials{AccessKeyID: c.As.ID, SecretAccessKey: c.As.Secret, SessionToken: c.As.Token}
		if err := v4.NewSigner().SignHTTP(ctx, keys, r, hex.EncodeToString(sum[:]), c.Service, c.Region, w.Clock()); err != nil {
			return nil, err
		}
	}
	resp, err := w.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	out, err := readAnswer(c, resp, raw)
	if _, refused := err.(*Refusal); err != nil && !refused {
		err = fmt.Errorf("%w in %s", err, raw)
	}
	return out, err
}

// element is one of an XML document.
type element struct {
	XMLName  xml.Name
	Children []element `xml:",any"`
	Text     string    `xml:",chardata"`
}

func (e *element) child(name string) *element {
	for i := range e.Children {
		if e.Children[i].XMLName.Local == name {
			return &e.Children[i]
		}
	}
	return nil
}

func (e *element) text(name string) string {
	if c := e.child(name); c != nil {
		return c.Text
	}
	return ""
}

func readAnswer(c Call, resp *http.Response, raw []byte) (map[string]any, error) {
	var root element
	if err := xml.Unmarshal(raw, &root); err != nil {
		return nil, fmt.Errorf("the answer (%s) is no XML: %w", resp.Status, err)
	}
	if got := root.XMLName.Space; got != services()[c.Service].namespace {
		return nil, fmt.Errorf("the namespace is %q", got)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/xml") {
		return nil, fmt.Errorf("the content type is %q", resp.Header.Get("Content-Type"))
	}
	id := resp.Header.Get("x-amzn-requestid")
	if resp.StatusCode != http.StatusOK {
		return nil, readRefusal(&root, resp.StatusCode, id)
	}
	if id == "" || root.child("ResponseMetadata") == nil || root.child("ResponseMetadata").text("RequestId") != id {
		return nil, fmt.Errorf("the request id in the header is %q", id)
	}
	if root.XMLName.Local != c.Op+"Response" {
		return nil, fmt.Errorf("the answer is a %s", root.XMLName.Local)
	}
	op, err := operationOf(c.Service, c.Op)
	if err != nil {
		return nil, err
	}
	result := root.child(c.Op + "Result")
	if result == nil {
		return map[string]any{}, nil
	}
	v, err := read(result, op.out)
	if err != nil {
		return nil, err
	}
	return v.(map[string]any), nil
}

func readRefusal(root *element, status int, id string) error {
	e := root.child("Error")
	if root.XMLName.Local != "ErrorResponse" || e == nil {
		return fmt.Errorf("status %d with a %s", status, root.XMLName.Local)
	}
	want := "Sender"
	if status >= 500 {
		want = "Receiver"
	}
	if got := e.text("Type"); got != want {
		return fmt.Errorf("an error of type %q with status %d", got, status)
	}
	if id == "" || root.text("RequestId") != id {
		return fmt.Errorf("the request id in the header is %q", id)
	}
	return &Refusal{status, e.text("Code"), e.text("Message")}
}

// read makes of an element what its type says.
func read(e *element, t reflect.Type) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		when, err := time.Parse(time.RFC3339, e.Text)
		if err != nil || !strings.HasSuffix(e.Text, "Z") {
			return nil, fmt.Errorf("%s is no time: %q", e.XMLName.Local, e.Text)
		}
		return when.UTC().Format(time.RFC3339), nil
	case t.Kind() == reflect.Struct:
		return readMembers(e, t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		out := []any{}
		for i := range e.Children {
			if e.Children[i].XMLName.Local != "member" {
				return nil, fmt.Errorf("a list %s has a %s", e.XMLName.Local, e.Children[i].XMLName.Local)
			}
			v, err := read(&e.Children[i], t.Elem())
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case t.Kind() == reflect.Map:
		return readMap(e, t)
	}
	if len(e.Children) > 0 {
		return nil, fmt.Errorf("%s has elements", e.XMLName.Local)
	}
	switch t.Kind() {
	case reflect.Bool:
		if e.Text != "true" && e.Text != "false" {
			return nil, fmt.Errorf("%s is %q", e.XMLName.Local, e.Text)
		}
		return e.Text == "true", nil
	case reflect.Int32, reflect.Int64:
		if _, err := strconv.ParseInt(e.Text, 10, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", e.XMLName.Local, err)
		}
		return json.Number(e.Text), nil
	}
	return e.Text, nil
}

func readMembers(e *element, t reflect.Type) (any, error) {
	out := map[string]any{}
	for i := range e.Children {
		name := e.Children[i].XMLName.Local
		f, ok := field(t, name)
		if !ok {
			return nil, fmt.Errorf("%s has no member %s", t, name)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s has two %s", t, name)
		}
		v, err := read(&e.Children[i], f.Type)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

func readMap(e *element, t reflect.Type) (any, error) {
	out := map[string]any{}
	for i := range e.Children {
		entry := &e.Children[i]
		if entry.XMLName.Local != "entry" || entry.child("value") == nil {
			return nil, fmt.Errorf("a map %s has a %s", e.XMLName.Local, entry.XMLName.Local)
		}
		v, err := read(entry.child("value"), t.Elem())
		if err != nil {
			return nil, err
		}
		out[entry.text("key")] = v
	}
	return out, nil
}
