package awscall

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// answers serves the given answers in turn, the last for ever; requests are how many came.
func answers(t *testing.T, list ...func(http.ResponseWriter, *http.Request)) (srv *httptest.Server, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		list[min(int(n), len(list))-1](w, r)
	}))
	t.Cleanup(srv.Close)
	return srv, requests
}

func says(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func signed(t *testing.T, endpoint string) *Client {
	t.Helper()
	c, err := New(Config{Endpoint: endpoint, Region: "r", AccessKey: "AK", SecretKey: "SK"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARequestIsSignedForItsServiceAndRead(t *testing.T) {
	var auth, body string
	srv, _ := answers(t, func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		auth, body = r.Header.Get("Authorization"), string(raw)
		_, _ = io.WriteString(w, `<A><name>x</name></A>`)
	})
	var out struct {
		Name string `xml:"name"`
	}
	err := signed(t, srv.URL).Query(t.Context(), "ec2", "2016-11-15", "DescribeImages", url.Values{"Owner.1": {"self"}}, &out)
	if err != nil || out.Name != "x" || !strings.Contains(auth, "AK/") || !strings.Contains(auth, "/r/ec2/aws4_request") {
		t.Errorf("%v, %+v, %s", err, out, auth)
	}
	if form, err := url.ParseQuery(body); err != nil || form.Get("Action") != "DescribeImages" || form.Get("Owner.1") != "self" || form.Get("Version") != "2016-11-15" {
		t.Errorf("%s, %v", body, err)
	}
}

func TestARequestIsTriedAgainUntilItIsAnswered(t *testing.T) {
	cut := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}
	srv, requests := answers(t, says(503, ""), cut, says(200, `{"Status":"completed"}`))
	var out struct{ Status string }
	err := signed(t, srv.URL).JSON(t.Context(), Request{Service: "ebs", Method: "POST", Path: "/snapshots/completion/snap-1"}, &out)
	if err != nil || out.Status != "completed" || requests.Load() != 3 {
		t.Errorf("%v, %+v after %d requests", err, out, requests.Load())
	}
}

func TestARefusalIsReadAndNotTriedAgain(t *testing.T) {
	for name, c := range map[string]struct{ body, code, message string }{
		"EC2's":         {`<Response><Errors><Error><Code>A</Code><Message>m</Message></Error></Errors></Response>`, "A", "m"},
		"IAM's":         {`<ErrorResponse><Error><Code>A</Code><Message>m</Message></Error></ErrorResponse>`, "A", "m"},
		"S3's":          {`<Error><Code>A</Code><Message>m</Message></Error>`, "A", "m"},
		"a JSON one":    {`{"__type":"A","Message":"m","Reason":"R"}`, "A", "m"},
		"another JSON":  {`{"__type":"A","message":"m"}`, "A", "m"},
		"the daemon's":  {`{"error":"m"}`, "403 Forbidden", "m"},
		"not a refusal": {`what`, "403 Forbidden", "the request was refused"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, requests := answers(t, says(403, c.body))
			err := signed(t, srv.URL).Query(t.Context(), "ec2", "v", "A", nil, nil)
			var refused *Error
			if !errors.As(err, &refused) || refused.Code != c.code || refused.Message != c.message || refused.Status != 403 || requests.Load() != 1 {
				t.Errorf("%v after %d requests", err, requests.Load())
			}
		})
	}
}

func TestANodeThatWasNeverReachedIsNotWaitedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := signed(t, endpoint).Query(t.Context(), "ec2", "v", "A", nil, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	c, err := New(Config{Socket: filepath.Join(t.TempDir(), "none")}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Query(t.Context(), "ec2", "v", "A", nil, nil); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
}

func TestTheCallersEndEndsTheTrying(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv, _ := answers(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(503)
	})
	if err := signed(t, srv.URL).Query(ctx, "ec2", "v", "A", nil, nil); err == nil {
		t.Error("no error")
	}
}

func TestTheEnvironmentIsReadAsAWSsToolsReadIt(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("credentials", "# keys\n[default]\naws_access_key_id = D\naws_secret_access_key = d\n[ work ]\naws_access_key_id=W\naws_secret_access_key=w=\n[half]\naws_access_key_id=H\n")
	write("config", "[profile work]\nregion = r-work\nendpoint_url = https://e\nca_bundle=/ca\n")
	for name, c := range map[string]struct {
		env  map[string]string
		want Config
		err  string
	}{
		"keys": {map[string]string{"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "a", "AWS_SESSION_TOKEN": "t", "AWS_DEFAULT_REGION": "r", "AWS_ENDPOINT_URL": "http://x", "AWS_CA_BUNDLE": "/c"},
			Config{Endpoint: "http://x", Region: "r", AccessKey: "A", SecretKey: "a", Token: "t", CAFile: "/c"}, ""},
		"a profile": {map[string]string{"AWS_PROFILE": "work"}, Config{Endpoint: "https://e", Region: "r-work", AccessKey: "W", SecretKey: "w=", CAFile: "/ca"}, ""},
		"a profile, and a region": {map[string]string{"AWS_PROFILE": "work", "AWS_REGION": "r2", "AWS_ENDPOINT_URL": "http://x"},
			Config{Endpoint: "http://x", Region: "r2", AccessKey: "W", SecretKey: "w=", CAFile: "/ca"}, ""},
		"keys beside a profile": {map[string]string{"AWS_PROFILE": "work", "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "a"},
			Config{Endpoint: "https://e", Region: "r-work", AccessKey: "A", SecretKey: "a", CAFile: "/ca"}, ""},
		"nothing":           {nil, Config{}, ErrNoKeys.Error()},
		"no such profile":   {map[string]string{"AWS_PROFILE": "play"}, Config{}, "play"},
		"half of a profile": {map[string]string{"AWS_PROFILE": "half"}, Config{}, "half"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FromEnvironment(func(name string) string { return c.env[name] }, home)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %s", err, c.err)
				}
			} else if err != nil || got != c.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestABadEndpointOrCAIsTold(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(bad, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{
		{Endpoint: "10.0.0.1:9999"}, {Endpoint: "ftp://x"}, {Endpoint: "http://"}, {Endpoint: "https://x", CAFile: bad}, {Endpoint: "https://x", CAFile: bad + "none"},
	} {
		if _, err := New(cfg, time.Now); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
