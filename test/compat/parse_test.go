package compat

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestWhatAScenarioCannotSay: data that would count for nothing is refused when it is read.
func TestWhatAScenarioCannotSay(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                   {"# only a comment\n", "no scenario"},
		"no steps":                  {"=== empty\n", "no steps"},
		"a step before a scenario":  {"iam ListUsers\n", "before the first scenario"},
		"an unknown service":        {"=== s\ns4 ListUsers\n", `the service "s4"`},
		"an unknown operation":      {"=== s\niam MakeUser\n", `no operation "MakeUser"`},
		"an unknown parameter":      {"=== s\niam GetUser {\"User\": \"x\"}\n", `no member "User"`},
		"an unknown field":          {"=== s\niam GetUser\n  => {\"User\": {\"Nam\": \"x\"}}\n", `no member "Nam"`},
		"a field of the wrong type": {"=== s\niam ListUsers\n  => {\"IsTruncated\": \"false\"}\n", "not what the API has there"},
		"a list that is none":       {"=== s\niam ListUsers\n  => {\"Users\": {\"UserName\": \"x\"}}\n", "has a list there"},
		"a parameter twice":         {"=== s\niam GetUser {\"UserName\": \"x\", \"UserName\": \"y\"}\n", "stands twice"},
		"text after JSON":           {"=== s\niam GetUser {} x\n", `"x" is left over`},
		"an unused label":           {"=== s\nu = iam GetUser\n", "nothing uses the label u"},
		"an unused value":           {"let x = 1\n=== s\niam GetUser\n", "nothing uses ${x}"},
		"a label twice":             {"=== s\nu = iam GetUser\nu = iam GetUser {\"UserName\": \"${u.User.UserName}\"}\n", "stands twice"},
		"an unknown principal":      {"=== s\nbob: iam GetUser\n", "nobody is called bob"},
		"two expectations":          {"=== s\niam GetUser\n  => {}\n  !> 404 NoSuchEntity x\n", "twice"},
		"an expectation of nothing": {"=== s\n  => {}\n", "no step stands before"},
		"an error without a code":   {"=== s\niam GetUser\n  !> 404\n", "STATUS CODE MESSAGE"},
		"no JSON":                   {"=== s\niam GetUser {UserName: x}\n", "invalid character"},
	} {
		if _, err := Parse("x.txt", c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func value(t *testing.T, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestMatching: what matches, and that what does not is told.
func TestMatching(t *testing.T) {
	const got = `{"Name": "u", "N": 3, "On": true, "Id": "AIDAABCDEFGHIJKLMNOPQ", "At": "2026-01-02T03:04:05Z", "L": [{"A": "1"}, {"A": "2"}], "E": [],
		"Doc": "%7B%22A%22%3A%5B1%2C%22b+c%22%5D%7D", "Plain": "{\"A\": [1]}"}`
	for _, c := range []struct {
		want      string
		exact, ok bool
	}{
		{`{}`, false, true},
		{`{}`, true, false},
		{`{"Name": "u", "N": 3, "On": true}`, false, true},
		{`{"Name": "v"}`, false, false},
		{`{"Name": "…"}`, false, true},
		{`{"Name": null}`, false, false},
		{`{"None": null}`, false, true},
		{`{"None": "…"}`, false, false},
		{`{"N": 4}`, false, false},
		{`{"On": false}`, false, false},
		{`{"Id": "<id:AIDA>", "At": "<time>"}`, false, true},
		{`{"Id": "<id:AROA>"}`, false, false},
		{`{"Name": "<time>"}`, false, false},
		{`{"Name": "<secret>"}`, false, false},
		{`{"L": [{"A": "1"}, {"A": "2"}]}`, false, true},
		{`{"L": [{"A": "2"}, {"A": "1"}]}`, false, false},
		{`{"L": [{"A": "1"}]}`, false, false},
		{`{"L": ["…", {"A": "2"}]}`, false, true},
		{`{"L": ["…", {"A": "3"}]}`, false, false},
		{`{"L": "#2", "E": "#0"}`, false, true},
		{`{"L": "#1"}`, false, false},
		{`{"E": []}`, false, true},
		{`{"E": null}`, false, false},
		{`{"Doc": {"A": [1, "b+c"]}, "Plain": {"A": [1]}}`, false, true},
		{`{"Doc": {"A": [1]}}`, false, false},
		{`{"Plain": {}}`, false, false},
	} {
		if err := match(value(t, c.want), value(t, got), c.exact); (err == nil) != c.ok {
			t.Errorf("%s (exact %v): %v", c.want, c.exact, err)
		}
	}
}

func TestReferences(t *testing.T) {
	s := scope{"u": value(t, `{"User": {"Name": "ann", "Tags": [{"Key": "k"}]}}`), "account": "123456789012", "doc": let{value(t, `{"who": "${account}"}`)}}
	for in, want := range map[string]string{
		`"${u.User.Name}-${account}"`:        `"ann-123456789012"`,
		`"${u.User.Tags.0}"`:                 `{"Key":"k"}`,
		`"${doc}"`:                           `{"who":"123456789012"}`,
		`"${ab*3}"`:                          `"ababab"`,
		`"${aws:username}/x"`:                `"${aws:username}/x"`,
		`{"L": {"${*2}": {"n": "a${i}"}}}`:   `{"L":[{"n":"a1"},{"n":"a2"}]}`,
		`{"${account}": ["${u.User.Name}"]}`: `{"123456789012":["ann"]}`,
	} {
		got, err := s.expand(value(t, in))
		if raw, _ := json.Marshal(got); err != nil || string(raw) != want {
			t.Errorf("%s is %s (%v), want %s", in, raw, err, want)
		}
	}
	for _, in := range []string{`"${nobody}"`, `"${u.User.Age}"`, `"${u.User.Tags.1}"`, `"${account.x}"`} {
		if got, err := s.expand(value(t, in)); err == nil {
			t.Errorf("%s is %v", in, got)
		}
	}
}

// TestCodesOfDevices are the vectors of RFC 6238, appendix B, cut to six digits.
func TestCodesOfDevices(t *testing.T) {
	seed := base64.StdEncoding.EncodeToString([]byte("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"))
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037"} {
		got, err := totp(map[string]any{"Seed": seed}, time.Unix(at, 0))
		if err != nil || got.(map[string]any)["Code"] != want {
			t.Errorf("at %d: %v, %v, want %s", at, got, err, want)
		}
	}
}

func TestNamesOfTheCLIsCommands(t *testing.T) {
	for op, want := range map[string]string{
		"GetUser": "get-user", "ListMFADevices": "list-mfa-devices", "CreateOpenIDConnectProvider": "create-open-id-connect-provider",
		"UploadSSHPublicKey": "upload-ssh-public-key", "CreateVirtualMFADevice": "create-virtual-mfa-device",
	} {
		if got := commandName(op); got != want {
			t.Errorf("%s is %s", op, got)
		}
	}
}
