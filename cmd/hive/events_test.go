package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hive/internal/admin"
)

// eventsNode is a daemon that knows two events and one account. It answers the directory of its node, and what it was
// asked is sent to asked.
func eventsNode(t *testing.T) (dir string, asked chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "x") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	asked = make(chan string, 10)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Encode()
		if r.URL.Query().Get("filter") == "{" {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error":"not an event pattern: unexpected EOF"}`)
			return
		}
		io.WriteString(w, `{"version":"0","id":"i1","detail-type":"Object Created","source":"aws.s3","account":"111111111111","time":"2026-01-02T03:04:05Z",`+
			`"region":"eu-1","resources":["arn:aws:s3:::b"],"detail":{"object":{"key":"k"}},"hive":{"group":"index-0","index":7}}`+"\n")
		io.WriteString(w, `{"version":"0","id":"i2","detail-type":"Hive Node Change","source":"hive.cluster","account":"cluster","time":"2026-01-02T03:04:06Z",`+
			`"region":"eu-1","resources":[],"detail":{},"hive":{"group":"control","index":8}}`+"\n")
	})
	mux.HandleFunc("POST /v1/events/credentials", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- string(body)
		io.WriteString(w, `{"account":"111111111111","urls":["tls://10.0.0.1:4222","tls://10.0.0.2:4222"],"user":"111111111111","password":"secret",`+
			`"subject":"hive.eu-1.111111111111.>","ca":"-----BEGIN CERTIFICATE-----\n"}`)
	})
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return dir, asked
}

// hive runs one command and answers its exit code and what it has printed.
func hive(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), append([]string{"hive"}, args...), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestEventsTailShowsOneLineForEachEvent(t *testing.T) {
	dir, asked := eventsNode(t)
	code, out, _ := hive(t, "events", "tail", "--hive-dir", dir)
	want := "2026-01-02T03:04:05Z index-0/7 111111111111 aws.s3 \"Object Created\" arn:aws:s3:::b {\"object\":{\"key\":\"k\"}}\n" +
		"2026-01-02T03:04:06Z control/8 cluster hive.cluster \"Hive Node Change\" {}\n"
	if code != exitOK || out != want {
		t.Errorf("%d %s", code, out)
	}
	if q := <-asked; strings.Contains(q, "from=") {
		t.Errorf("asked for what is past: %s", q)
	}
}

func TestEventsTailPassesItsFlagsOnAndPrintsJSONLines(t *testing.T) {
	dir, asked := eventsNode(t)
	code, out, _ := hive(t, "events", "tail", "--hive-dir", dir, "--from", "7", "--group", "index-0", "--filter", "hive.>", "--once", "-o", "json")
	if code != exitOK {
		t.Fatal(code)
	}
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Error(line)
		}
	}
	if q := <-asked; q != "filter=hive.%3E&from=7&group=index-0&once=true" {
		t.Error(q)
	}
	if _, _, _ = hive(t, "events", "tail", "--hive-dir", dir, "--once"); !strings.Contains(<-asked, "from=0") {
		t.Error("--once alone shows nothing of what there is")
	}
}

func TestEventsTailTellsWhyAFilterIsRefused(t *testing.T) {
	dir, _ := eventsNode(t)
	code, _, errs := hive(t, "events", "tail", "--hive-dir", dir, "--filter", "{")
	if code != exitFailure || !strings.Contains(errs, "not an event pattern") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestEventsCredentialsTellHowToSubscribe(t *testing.T) {
	dir, asked := eventsNode(t)
	code, out, _ := hive(t, "events", "credentials", "111111111111", "--rotate", "--hive-dir", dir)
	if code != exitOK || !strings.Contains(out, "nats sub 'hive.eu-1.111111111111.>'") || !strings.Contains(out, "BEGIN CERTIFICATE") {
		t.Errorf("%d %s", code, out)
	}
	if body := <-asked; body != `{"account":"111111111111","rotate":true}`+"" && body != `{"account":"111111111111","rotate":true}`+"\n" {
		t.Error(body)
	}
	code, out, _ = hive(t, "events", "credentials", "111111111111", "--hive-dir", dir, "--output", "json")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); code != exitOK || err != nil || got["password"] != "secret" {
		t.Errorf("%d %v %s", code, err, out)
	}
	if code, _, _ := hive(t, "events", "credentials", "--hive-dir", dir); code != exitUsage {
		t.Errorf("without an account: exit code %d", code)
	}
}
