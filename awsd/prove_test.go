package awsd

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/stsapi"
	"hive/iam/principal"
)

func TestTokenThatIsOverIsToldApartFromAWrongOne(t *testing.T) {
	r := start(t, nil)
	with := func(token string) aws.CredentialsProvider {
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: token}, nil
		})
	}
	for token, codes := range map[string][2]string{"over": {"ExpiredToken", "ExpiredToken"}, "made up": {"InvalidToken", "InvalidClientTokenId"}} {
		_, err := r.s3(0, false).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")},
			func(o *s3.Options) { o.Credentials = with(token) })
		wantCode(t, err, codes[0])
		_, err = r.sts(0, false).GetCallerIdentity(t.Context(), nil, func(o *sts.Options) { o.Credentials = with(token) })
		wantCode(t, err, codes[1])
	}
}

// webIdentity is STS for an operation that needs no signature.
type webIdentity struct{ identity }

func (webIdentity) AssumeRoleWithWebIdentity(_ context.Context, c *principal.Caller, _ *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	who := "signed"
	if c.Anonymous {
		who = "unsigned"
	}
	return &sts.AssumeRoleWithWebIdentityOutput{Audience: &who}, nil
}

func TestOnlyWhatNeedsNoSignatureGoesWithoutOne(t *testing.T) {
	var mu sync.Mutex
	var used []string
	r := start(t, func(c *Config) {
		for i := range c.Services {
			if c.Services[i].API.Service == "sts" {
				c.Services[i] = Service{API: stsapi.API(), Handlers: stsapi.Bind(webIdentity{}), Unsigned: []string{"AssumeRoleWithWebIdentity"}}
			}
		}
		c.Used = func(c *principal.Caller, service string) {
			mu.Lock()
			defer mu.Unlock()
			used = append(used, service+" "+c.AccessKey)
		}
	})
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("arn:aws:iam::123456789012:role/x"), RoleSessionName: aws.String("session"), WebIdentityToken: aws.String("token"),
	}
	got, err := r.sts(0, false).AssumeRoleWithWebIdentity(t.Context(), in)
	if err != nil || *got.Audience != "unsigned" {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := r.sts(0, false).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for body, authorization := range map[string]string{
		"Action=GetCallerIdentity&Version=2011-06-15":                                  "",
		"Action=GetCallerIdentity&Action=AssumeRoleWithWebIdentity&Version=2011-06-15": "",
		"Version=2011-06-15": "",
		"Action=AssumeRoleWithWebIdentity&Version=2011-06-15": "AWS4-HMAC-SHA256 nonsense",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *r.endpoint(0, false)+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "sts.localhost"
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := r.http(0).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: %d", body, resp.StatusCode)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(used, "sts "+testKey) || !slices.Contains(used, "sts ") {
		t.Errorf("used: %q", used)
	}
}
