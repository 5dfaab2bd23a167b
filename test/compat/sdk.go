package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// SDK sends calls with the Go SDK's clients. It never tries twice, and leaves the judgement of parameters to the server.
type SDK struct {
	HTTP  *http.Client
	Clock func() time.Time
}

// Do sends a call.
func (s *SDK) Do(ctx context.Context, c Call) (map[string]any, error) {
	op, err := operationOf(c.Service, c.Op)
	if err != nil {
		return nil, err
	}
	in := reflect.New(op.in)
	if err := fill(c.Params, in.Elem()); err != nil {
		return nil, err
	}
	out := s.client(c).MethodByName(c.Op).Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, failed := out[1].Interface().(error); failed {
		return nil, refusalOf(err)
	}
	return plain(out[0]).(map[string]any), nil
}

func (s *SDK) client(c Call) reflect.Value {
	keys := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: c.As.ID, SecretAccessKey: c.As.Secret, SessionToken: c.As.Token}, nil
	})
	var provider aws.CredentialsProvider = keys
	if c.As.ID == "" {
		provider = aws.AnonymousCredentials{}
	}
	if c.Service == "iam" {
		return reflect.ValueOf(iam.New(iam.Options{Region: c.Region, BaseEndpoint: &c.Endpoint, Retryer: aws.NopRetryer{}, Credentials: provider,
			HTTPClient: whole{s.HTTP}, HTTPSignerV4: signer{s.Clock}, APIOptions: []func(*middleware.Stack) error{unchecked}}))
	}
	return reflect.ValueOf(sts.New(sts.Options{Region: c.Region, BaseEndpoint: &c.Endpoint, Retryer: aws.NopRetryer{}, Credentials: provider,
		HTTPClient: whole{s.HTTP}, HTTPSignerV4: signer{s.Clock}, APIOptions: []func(*middleware.Stack) error{unchecked}}))
}

// whole sends a request's body from memory. The SDK closes its body as soon as an answer begins, also while net/http still
// asks it whether there is more; then net/http ends the connection, and with it the rest of the answer ("use of closed
// network connection"). The SDK's own retries hide that, which are off here.
type whole struct{ client *http.Client }

// Do sends a request.
func (w whole) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	return w.client.Do(r)
}

// unchecked takes the SDK's own look at parameters out: the server's is what is wanted.
func unchecked(stack *middleware.Stack) error {
	_, err := stack.Initialize.Remove("OperationInputValidation")
	if _, there := stack.Initialize.Get("OperationInputValidation"); there {
		return err
	}
	return nil
}

// signer signs at the world's time.
type signer struct{ clock func() time.Time }

// SignHTTP is v4.Signer's with another time.
func (s signer) SignHTTP(ctx context.Context, keys aws.Credentials, r *http.Request, payload, service, region string, _ time.Time, opts ...func(*v4.SignerOptions)) error {
	return v4.NewSigner().SignHTTP(ctx, keys, r, payload, service, region, s.clock(), opts...)
}

// refusalOf is the SDK's error as a Refusal, or as it is when it tells of none.
func refusalOf(err error) error {
	var api smithy.APIError
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &resp) {
		return fmt.Errorf("the SDK: %w", err)
	}
	return &Refusal{resp.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage()}
}
