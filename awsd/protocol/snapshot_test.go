package protocol_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"hive/awsd/protocol"
)

// lossy are snapshots that the SDK cannot send again from the input alone.
var lossy = map[string]string{
	"tagging/GetResources": "the client orders ResourcesPerPage otherwise than in its snapshot",
	"ec2/CopySnapshot":     "DestinationRegion is sent from an unexported field of CopySnapshotInput",
}

// The SDK's modules carry, for every operation, the request that it sends with every member filled. Each is
// decoded, sent again by the SDK's own client, and must be the same.
func TestEverySnapshotOfTheSDKDecodesAndSerialisesBack(t *testing.T) {
	for _, r := range rigs {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob(filepath.Join(moduleDir(t, r.name), "request_snapshot", "*.snap"))
			must(t, err)
			api, same := r.api(), 0
			for _, file := range files {
				op := strings.TrimSuffix(filepath.Base(file), ".request.snap")
				want, err := os.ReadFile(file)
				must(t, err)
				got, err := resend(r, api, op, string(want))
				switch {
				case err != nil:
					t.Errorf("%s: %v", op, err)
				case lossy[r.name+"/"+op] != "":
				case got != string(want):
					t.Errorf("%s:\ngot  %s\nwant %s", op, got, want)
				default:
					same++
				}
			}
			t.Logf("%s: %d of %d snapshots are the same again", r.name, same, len(files))
			if want := snapshots[r.name]; same < want {
				t.Errorf("%d snapshots are the same again, want at least %d", same, want)
			}
		})
	}
}

// snapshots is how many are known to come back. The module of CloudTrail has none.
var snapshots = map[string]int{"s3": 111, "ec2": 810, "iam": 180, "sts": 11, "ebs": 6, "tagging": 8}

func resend(r rig, api *protocol.API, op, snapshot string) (string, error) {
	req, payload, err := parseSnapshot(snapshot)
	if err != nil {
		return "", err
	}
	var form url.Values
	if api.TakesForm() {
		if form, err = url.ParseQuery(string(payload)); err != nil {
			return "", err
		}
	} else if r.name == "s3" && op != "ListBuckets" && op != "ListDirectoryBuckets" && op != "WriteGetObjectResponse" {
		req.URL.Path = "/__Bucket__" + req.URL.Path // the snapshots are host-style
	}
	found, err := api.Route(req, form)
	if err != nil {
		return "", fmt.Errorf("route: %w", err)
	}
	if found.Name != op {
		return "", fmt.Errorf("routed to %s", found.Name)
	}
	in, err := api.Decode(found, req, form, newBody(payload))
	if err != nil {
		return "", fmt.Errorf("decode: %w", err)
	}
	c := &capture{}
	client := r.client(clientOptions{stack: []func(*middleware.Stack) error{unvalidated, c.add}})
	if _, err := call(client, op, in); !errors.Is(err, errCaptured) {
		return "", fmt.Errorf("serialise: %w", err)
	}
	return format(c.request)
}

// parseSnapshot reads "METHOD target", headers and body, parted by empty lines.
func parseSnapshot(s string) (*http.Request, []byte, error) {
	head, rest, _ := strings.Cut(s, "\n\n")
	headers, payload, _ := strings.Cut("\n"+rest, "\n\n")
	method, target, _ := strings.Cut(head, " ")
	req, err := http.NewRequest(method, "http://test.example.com"+target, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, line := range strings.Split(strings.TrimSpace(headers), "\n") {
		if k, v, ok := strings.Cut(line, ": "); ok {
			req.Header.Add(k, v)
		}
	}
	req.ContentLength = int64(len(payload))
	return req, []byte(payload), nil
}

var skippedHeaders = []string{
	"Authorization", "User-Agent", "X-Amz-Date", "X-Amz-Security-Token", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request",
}

// format writes a request as the SDK's snapshots are written.
func format(r *smithyhttp.Request) (string, error) {
	req := r.Build(context.Background())
	path := req.URL.RawPath
	if path == "" {
		path = req.URL.Path
	}
	if req.URL.RawQuery != "" {
		path += "?" + req.URL.RawQuery
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n\n", req.Method, path)
	var names []string
	for k := range req.Header {
		if !slices.Contains(skippedHeaders, k) {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		for _, v := range req.Header[k] {
			fmt.Fprintf(&b, "%s: %s\n", k, v)
		}
	}
	b.WriteByte('\n')
	if req.Body != nil {
		if _, err := io.Copy(&b, bufio.NewReader(req.Body)); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}
