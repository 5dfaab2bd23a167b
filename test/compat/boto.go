package compat

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // of the program that boto3 runs in
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

//go:embed boto.py
var botoProgram string

// Boto sends calls with boto3, in a process of Python that it keeps. It is safe for concurrent use: calls wait for each
// other.
type Boto struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  func() error

	known map[string]bool // "iam GetUser": the operations that this boto3 has

	mu  sync.Mutex // guards what follows: one call is under way at a time
	in  io.WriteCloser
	out *bufio.Scanner
}

// NewBoto starts Debian's Python, whose boto3 it is.
func NewBoto() (*Boto, error) {
	b := &Boto{known: map[string]bool{}, cmd: exec.Command("/usr/bin/python3", "-c", botoProgram)}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "PYTHON") {
			b.cmd.Env = append(b.cmd.Env, e)
		}
	}
	b.cmd.Env = append(b.cmd.Env, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	b.cmd.Stderr = &b.stderr
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.ended = sync.OnceValue(b.cmd.Wait)
	b.out = bufio.NewScanner(out)
	b.out.Buffer(nil, 64<<20)
	for name := range services() {
		answer, err := b.Do(context.Background(), Call{Endpoint: "http://127.0.0.1", Region: "us-east-1", Service: name})
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		list, _ := answer["operations"].([]any)
		for _, op := range list {
			b.known[fmt.Sprint(name, " ", op)] = true
		}
	}
	return b, nil
}

// Knows tells whether this boto3 has an operation: a distribution's may be older than the API.
func (b *Boto) Knows(service, op string) bool { return b.known[service+" "+op] }

// Close ends the process.
func (b *Boto) Close() error {
	if err := errors.Join(b.in.Close(), b.ended()); err != nil {
		return fmt.Errorf("boto3: %w\n%s", err, b.stderr.String())
	}
	return nil
}

// Do sends a call.
func (b *Boto) Do(_ context.Context, c Call) (map[string]any, error) {
	line, err := json.Marshal(map[string]any{"endpoint": c.Endpoint, "region": c.Region, "id": c.As.ID, "secret": c.As.Secret, "token": c.As.Token,
		"service": c.Service, "op": c.Op, "params": c.Params})
	if err != nil {
		return nil, err
	}
	raw, err := b.exchange(line)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Answer  map[string]any `json:"answer"`
		Refused *Refusal       `json:"refused"`
		Failed  string         `json:"failed"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&answer); err != nil {
		return nil, fmt.Errorf("boto3 answers %q: %w", raw, err)
	}
	switch {
	case answer.Refused != nil:
		return nil, answer.Refused
	case answer.Answer == nil:
		return nil, fmt.Errorf("boto3: %s", answer.Failed)
	}
	return answer.Answer, nil
}

func (b *Boto) exchange(line []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("boto3: %w", err), b.ended())
	}
	if !b.out.Scan() {
		return nil, fmt.Errorf("boto3 has ended: %w\n%s", errors.Join(b.out.Err(), b.ended()), b.stderr.String())
	}
	return b.out.Bytes(), nil
}
