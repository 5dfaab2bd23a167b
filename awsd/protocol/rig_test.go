package protocol_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"hive/awsd/cloudtrailapi"
	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/awsd/taggingapi"
)

// rig is a service's API beside the SDK's own client of it: the other end of every proof here.
type rig struct {
	name       string
	api        func() *protocol.API
	operations int // known to the model and the SDK
	client     func(o clientOptions) any
}

type clientOptions struct {
	stack     []func(*middleware.Stack) error
	transport http.RoundTripper
}

var (
	endpoint = aws.String("http://aws.test")
	signer   = credentials.NewStaticCredentialsProvider("AKID", "SECRET", "")
)

var rigs = []rig{
	{"s3", s3api.API, 112, func(o clientOptions) any {
		return s3.New(s3.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{}, UsePathStyle: true, DisableS3ExpressSessionAuth: aws.Bool(true),
			ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		})
	}},
	{"ec2", ec2api.API, 811, func(o clientOptions) any {
		return ec2.New(ec2.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{},
		})
	}},
	{"iam", iamapi.API, 180, func(o clientOptions) any {
		return iam.New(iam.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{},
		})
	}},
	{"ebs", ebsapi.API, 6, func(o clientOptions) any {
		return ebs.New(ebs.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{},
		})
	}},
	{"cloudtrail", cloudtrailapi.API, 60, func(o clientOptions) any {
		return cloudtrail.New(cloudtrail.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{},
		})
	}},
	{"tagging", taggingapi.API, 9, func(o clientOptions) any {
		return resourcegroupstaggingapi.New(resourcegroupstaggingapi.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{},
		})
	}},
	{"sts", stsapi.API, 11, func(o clientOptions) any {
		return sts.New(sts.Options{
			Region: "us-east-1", APIOptions: o.stack, HTTPClient: httpClient(o.transport), BaseEndpoint: endpoint,
			Credentials: signer, Retryer: aws.NopRetryer{},
		})
	}},
}

func httpClient(rt http.RoundTripper) *http.Client { return &http.Client{Transport: rt} }

// call invokes the client's operation; the output is nil when it failed.
func call(client any, op string, input any) (output any, err error) {
	results := reflect.ValueOf(client).MethodByName(op).Call([]reflect.Value{
		reflect.ValueOf(context.Background()), reflect.ValueOf(input),
	})
	if e, ok := results[1].Interface().(error); ok && e != nil {
		return nil, e
	}
	return results[0].Interface(), nil
}

// unvalidated drops the client's own check of required members; some operations have none to drop.
func unvalidated(stack *middleware.Stack) error {
	const check = "OperationInputValidation"
	if _, ok := stack.Initialize.Get(check); !ok {
		return nil
	}
	_, err := stack.Initialize.Remove(check)
	return err
}

var errCaptured = errors.New("captured")

// capture stops a request where the SDK's own snapshots were taken: serialised, nothing else.
type capture struct{ request *smithyhttp.Request }

func (*capture) ID() string { return "capture" }

func (c *capture) HandleFinalize(_ context.Context, in middleware.FinalizeInput, _ middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	c.request = in.Request.(*smithyhttp.Request)
	return middleware.FinalizeOutput{}, middleware.Metadata{}, errCaptured
}

func (c *capture) add(stack *middleware.Stack) error { return stack.Finalize.Add(c, middleware.Before) }

// serve runs h on a real server and gives a transport that reaches it whatever host is asked for.
func serve(t testing.TB, h http.HandlerFunc) http.RoundTripper {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return patient{transport}
}

// patient hands a response over only when the request is wholly written. smithy's client closes the request's
// body as soon as it has the response's head; when that is while net/http still looks for the body's end, the
// write fails with EOF and net/http closes the connection under the response. A fast server with a long answer
// meets this once in ten.
type patient struct{ http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	wrote := make(chan struct{})
	var once sync.Once
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { once.Do(func() { close(wrote) }) },
	})
	resp, err := p.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err == nil {
		<-wrote
	}
	return resp, err
}

// moduleDir is where the module cache keeps the SDK's package of a service.
func moduleDir(t testing.TB, service string) string {
	t.Helper()
	if service == "tagging" {
		service = "resourcegroupstaggingapi"
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+service).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// body is a verified payload as the server hands it over.
type body struct {
	*bytes.Reader
	sums map[string]string
}

func newBody(data []byte) body              { return body{bytes.NewReader(data), nil} }
func (b body) Checksums() map[string]string { return b.sums }
func (b body) Size() int64                  { return b.Reader.Size() }
func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
