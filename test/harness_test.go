// Package test drives the built program as its users do: with the aws CLI, boto3 and the Go SDK, against clusters of
// real processes, with faults. It never links the program's rooms.
package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"hive/test/rig"
)

// binary builds the program once for all tests, as `make build` does. With -race the program has the race detector too.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hv")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "hive")
	args := []string{"build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", path}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if raceDetector {
		args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
	}
	cmd := exec.Command("go", append(args, "hive/cmd/hive")...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	path, err := binary()
	must(t, err)
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long anything may take that takes moments on a quiet machine.
const patience = 90 * time.Second

// soon is a context for one thing.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// shortDir is a directory with a path short enough for the nodes' sockets, removed at the end.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h")
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("HIVE_TEST_KEEP") != "" {
			t.Logf("kept %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// form is a cluster of n nodes that ends with the test: repaired, compared, scrubbed and stopped.
func form(t *testing.T, n int, change ...func(*rig.Options)) *rig.Cluster {
	t.Helper()
	o := rig.Options{Bin: program(t), Dir: shortDir(t), Nodes: n}
	for _, f := range change {
		f(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	c, err := rig.Form(ctx, o)
	must(t, err)
	t.Cleanup(func() { end(t, c) })
	return c
}

// end checks and stops a cluster. A test that has failed already shows the nodes' logs instead.
func end(t *testing.T, c *rig.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var err error
	if !t.Failed() {
		err = c.Check(ctx)
	}
	if err != nil {
		t.Errorf("at the end: %v", err)
	}
	if t.Failed() {
		t.Log(c.Logs(40))
	}
	if err := c.Stop(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// kept checks a cluster that goes on to serve other tests.
func kept(t *testing.T, c *rig.Cluster) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Check(ctx); err != nil {
			t.Errorf("at the end: %v", err)
		}
	})
}

// hive runs the program and answers what it printed to both outputs.
func hive(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return command(t, nil, append([]string{program(t)}, args...)...)
}

// command runs a command with more environment and answers its output; the error tells it too.
func command(t *testing.T, env []string, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(cleanEnv(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out.String())
	}
	return out.String(), err
}

// cleanEnv is the environment without what would steer AWS clients elsewhere.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "HIVE_") {
			env = append(env, e)
		}
	}
	return append(env, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_PAGER=")
}

// key is an access key.
type key struct{ id, secret string }

func root(c *rig.Cluster) key { return key{c.AccessKey, c.Secret} }

func (k key) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + k.id, "AWS_SECRET_ACCESS_KEY=" + k.secret, "AWS_DEFAULT_REGION=" + rig.Region, "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
}

// tryAWS runs the aws CLI with a key against a node.
func tryAWS(t *testing.T, n *rig.Node, k key, args ...string) (string, error) {
	t.Helper()
	return command(t, k.env(), append([]string{"aws", "--endpoint-url", n.Endpoint()}, args...)...)
}

// awsCLI is tryAWS that must succeed.
func awsCLI(t *testing.T, n *rig.Node, k key, args ...string) string {
	t.Helper()
	out, err := tryAWS(t, n, k, args...)
	must(t, err)
	return strings.TrimSpace(out)
}

// s3Client is the SDK's client of one node. It never retries: a test wants to know every answer.
func s3Client(n *rig.Node, k key) *s3.Client {
	return s3.New(s3.Options{
		Region: rig.Region, BaseEndpoint: aws.String(n.Endpoint()), UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, ""),
	})
}

func iamClient(n *rig.Node, k key) *iam.Client {
	return iam.New(iam.Options{
		Region: rig.Region, BaseEndpoint: aws.String(n.Endpoint()), Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{},
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, ""),
	})
}

// code is AWS's error code of an SDK's error, "" when there is none.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// wantCode fails unless err is AWS's error of that code.
func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if code(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// refused fails unless a command failed and said each of the words.
func refused(t *testing.T, out string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("it was not refused:\n%s", out)
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(out), strings.ToLower(w)) {
			t.Errorf("refused, but does not say %q:\n%s", w, out)
		}
	}
}
