package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"hive/internal/admin"
)

// fake is a daemon's admin socket whose answers are files of a script, read through the types of
// internal/admin so that a script cannot say what a daemon could not. It writes down what it is
// asked in a file named requests.
type fake struct {
	dir string
	mu  sync.Mutex // guards the file of requests
}

// fakeNode is `fakenode DIR`: it serves DIR/admin.sock until the script ends.
func fakeNode(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	l, err := net.Listen("unix", filepath.Join(dir, admin.Socket))
	ts.Check(err)
	srv := &http.Server{Handler: &fake{dir: dir}}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ts.Defer(func() {
		ts.Check(srv.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			ts.Fatalf("fake node: %v", err)
		}
	})
}

// answers are what each question is answered with.
var fakeAnswers = map[string]func() any{
	"GET /v1/status":     func() any { return new(admin.Status) },
	"GET /v1/raft/peers": func() any { return new([]admin.PeerGroup) },
	"GET /v1/digests":    func() any { return new([]admin.Digest) },
	"GET /v1/tokens":     func() any { return new([]admin.Token) },
	"POST /v1/tokens":    func() any { return new(admin.NewToken) },
	"POST /v1/scrub":     func() any { return new(admin.Scrub) },
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = f.note(fmt.Sprintf("%s %s %s\n", r.Method, r.URL.Path, body))
	}
	if err == nil {
		err = f.answer(w, r, body)
	}
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		if err := json.NewEncoder(w).Encode(admin.Error{Message: err.Error()}); err != nil {
			panic(err)
		}
	}
}

func (f *fake) note(line string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.OpenFile(filepath.Join(f.dir, "requests"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	return errors.Join(err, file.Close())
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request, body []byte) error {
	question := r.Method + " " + r.URL.Path
	switch {
	case question == "POST /v1/change":
		return f.change(w, body)
	case r.Method == "DELETE" && strings.HasPrefix(r.URL.Path, "/v1/tokens/"):
		if r.URL.Path != "/v1/tokens/t1" {
			return errors.New("there is no token " + strings.TrimPrefix(r.URL.Path, "/v1/tokens/"))
		}
		return nil
	case fakeAnswers[question] == nil:
		return errors.New("the fake node does not know " + question)
	}
	out := fakeAnswers[question]()
	name := strings.ReplaceAll(strings.ReplaceAll(question, " /v1/", "_"), "/", "_") + ".json"
	raw, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return err
	}
	if err := strictly(raw, out); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(out)
}

// change answers with effect.json, or with the lines of progress.json.
func (f *fake) change(w http.ResponseWriter, body []byte) error {
	var ch admin.Change
	if err := strictly(body, &ch); err != nil {
		return err
	}
	if ch.DryRun {
		raw, err := os.ReadFile(filepath.Join(f.dir, "effect.json"))
		if err != nil {
			return err
		}
		var e admin.Effect
		if err := strictly(raw, &e); err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(e)
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, "progress.json"))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(raw) {
		var p admin.Progress
		if err := strictly(line, &p); err != nil {
			return err
		}
		if err := json.NewEncoder(w).Encode(p); err != nil {
			return err
		}
	}
	return nil
}

func strictly(raw []byte, out any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(out)
}
