package awsd

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	tagging "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	taggingtypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"

	"hive/awsd/cloudtrailapi"
	"hive/awsd/protocol"
	"hive/awsd/taggingapi"
	"hive/iam/principal"
)

// tagged answers GetResources with three pages of one resource.
type tagged struct{}

func (tagged) GetResources(_ context.Context, _ *principal.Caller, in *tagging.GetResourcesInput) (*tagging.GetResourcesOutput, error) {
	next := map[string]string{"": "one", "one": "two", "two": ""}[aws.ToString(in.PaginationToken)]
	return &tagging.GetResourcesOutput{PaginationToken: &next, ResourceTagMappingList: []taggingtypes.ResourceTagMapping{
		{ResourceARN: aws.String("arn:" + aws.ToString(in.PaginationToken))}}}, nil
}

func (tagged) TagResources(context.Context, *principal.Caller, *tagging.TagResourcesInput) (*tagging.TagResourcesOutput, error) {
	return nil, protocol.Errorf(http.StatusForbidden, "AccessDenied", "not yours")
}

func jsonServices(c *Config) {
	c.Services = append(c.Services, Service{API: cloudtrailapi.API(), Handlers: cloudtrailapi.Bind(nil)}, Service{API: taggingapi.API(), Handlers: taggingapi.Bind(tagged{})})
}

func (r *rig) tagging(secret string) *tagging.Client {
	return tagging.New(tagging.Options{Region: testRegion, BaseEndpoint: r.endpoint(0, false), HTTPClient: r.http(0), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(testKey, secret, "")})
}

func TestServicesOfAWSJSONAnswerTheirClients(t *testing.T) {
	r, ctx := start(t, jsonServices), context.Background()
	pages := tagging.NewGetResourcesPaginator(r.tagging(testSecret), &tagging.GetResourcesInput{})
	var arns []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		arns = append(arns, *page.ResourceTagMappingList[0].ResourceARN)
	}
	if strings.Join(arns, " ") != "arn: arn:one arn:two" {
		t.Errorf("got %v", arns)
	}
	_, err := r.tagging(testSecret).GetResources(ctx, &tagging.GetResourcesInput{PaginationToken: aws.String("one")})
	wantCode(t, err, "PaginationTokenExpiredException")
	_, err = r.tagging(testSecret).StartReportCreation(ctx, &tagging.StartReportCreationInput{S3Bucket: aws.String("b")})
	wantCode(t, err, "UnknownOperationException")
	_, err = r.tagging("wrong").GetResources(ctx, &tagging.GetResourcesInput{})
	wantCode(t, err, "InvalidSignatureException")
	trail := cloudtrail.New(cloudtrail.Options{Region: testRegion, BaseEndpoint: r.endpoint(0, false), HTTPClient: r.http(0), RetryMaxAttempts: 1, Credentials: testCredentials()})
	_, err = trail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{})
	wantCode(t, err, "UnsupportedOperationException")
}

func TestATargetFindsItsServiceWithoutASignature(t *testing.T) {
	r := start(t, jsonServices)
	req, err := http.NewRequest("POST", *r.endpoint(0, false), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "ResourceGroupsTaggingAPI_20170126.GetResources")
	resp, err := r.http(0).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 || resp.Header.Get("X-Amzn-Errortype") != "MissingAuthenticationTokenException" || resp.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

func TestADenialOfAWSJSONHasItsWords(t *testing.T) {
	r := start(t, func(c *Config) {
		jsonServices(c)
		c.Services[len(c.Services)-1].Access = func(*principal.Caller, string, any) []protocol.Access {
			return []protocol.Access{{Action: "tag:GetResources", Resource: "arn:aws:s3:::forbidden"}}
		}
	})
	_, err := r.tagging(testSecret).GetResources(context.Background(), &tagging.GetResourcesInput{})
	wantCode(t, err, "AccessDeniedException")
}
