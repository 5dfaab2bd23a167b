package iam

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
)

func TestOutlineTellsWhichServicesAPolicyGrants(t *testing.T) {
	for i, c := range []struct {
		doc  string
		want []string
	}{
		{statement("Allow", "*", "*"), []string{"ec2", "s3"}},
		{statement("Deny", "*", "*"), nil},
		{`{"Statement":{"Effect":"Allow","Action":["s3:Get*","iam:*"],"Resource":"*"}}`, []string{"s3"}},
		{`{"Statement":[{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}]}`, []string{"ec2"}},
		{`{"Statement":[{"Effect":"Allow","NotAction":"s3:GetObject","Resource":"*"}]}`, []string{"ec2", "s3"}},
		{`{"Statement":[{"Effect":"Allow","NotAction":["*"],"Resource":"*"},{"Effect":"Allow","Action":"EC2:RunInstances","Resource":"*"}]}`, []string{"ec2"}},
	} {
		o := must(outlineOf(c.doc))(t)
		var got []string
		for _, service := range []string{"ec2", "s3"} {
			if o.grants(service) {
				got = append(got, service)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("case %d: %v, want %v", i, got, c.want)
		}
	}
}

func TestPoliciesGrantingAccessAreListedByService(t *testing.T) {
	r := newRig(t)
	r.estate()
	out := must(r.ListPoliciesGrantingServiceAccess(t.Context(), r.root, &awsiam.ListPoliciesGrantingServiceAccessInput{
		Arn: aws.String("arn:aws:iam::123456789012:user/Alice"), ServiceNamespaces: []string{"s3", "ec2"},
	}))(t).PoliciesGrantingServiceAccess
	if len(out) != 2 || *out[0].ServiceNamespace != "ec2" || len(out[0].Policies) != 1 || len(out[1].Policies) != 0 {
		t.Fatalf("%+v", out)
	}
	p := out[0].Policies[0]
	if *p.PolicyName != "team" || p.PolicyType != types.PolicyTypeInline || *p.EntityName != "devs" || p.EntityType != types.PolicyOwnerEntityTypeGroup || p.PolicyArn != nil {
		t.Errorf("%+v", p)
	}
	_, err := r.ListPoliciesGrantingServiceAccess(t.Context(), r.root, &awsiam.ListPoliciesGrantingServiceAccessInput{Arn: aws.String("arn:aws:iam::123456789012:user/nobody"), ServiceNamespaces: []string{"s3"}})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.ListPoliciesGrantingServiceAccess(t.Context(), r.root, &awsiam.ListPoliciesGrantingServiceAccessInput{Arn: aws.String("arn:aws:iam::123456789012:user/Alice")})
	wantCode(t, err, 400, "ValidationError")
}

func TestLastAccessedServicesAreReported(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.estate()
	key := must(r.CreateAccessKey(ctx, r.root, &awsiam.CreateAccessKeyInput{UserName: aws.String("Alice")}))(t).AccessKey
	r.propose(&fsm.RecordUses{Uses: []fsm.Use{
		{Account: account, Key: fsm.AccessKeyID(*key.AccessKeyId), Last: fsm.LastUsed{Time: started.Unix(), Region: "eu-north-1", Service: "ec2"}},
		{Account: account, Role: "AROAAPP", Last: fsm.LastUsed{Time: started.Unix() + 5, Region: "eu-north-1", Service: "s3"}},
	}})
	job := func(arn string) *string {
		return must(r.GenerateServiceLastAccessedDetails(ctx, r.root, &awsiam.GenerateServiceLastAccessedDetailsInput{Arn: &arn}))(t).JobId
	}
	id := job("arn:aws:iam::123456789012:group/devs")
	got := must(r.GetServiceLastAccessedDetails(ctx, r.root, &awsiam.GetServiceLastAccessedDetailsInput{JobId: id}))(t)
	if got.JobStatus != types.JobStatusTypeCompleted || got.JobType != types.AccessAdvisorUsageGranularityTypeServiceLevel || len(got.ServicesLastAccessed) != 1 {
		t.Fatalf("%+v", got)
	}
	if s := got.ServicesLastAccessed[0]; *s.ServiceNamespace != "ec2" || *s.TotalAuthenticatedEntities != 1 || !s.LastAuthenticated.Equal(started) || *s.LastAuthenticatedEntity != "arn:aws:iam::123456789012:user/Alice" {
		t.Errorf("%+v", s)
	}
	who := must(r.GetServiceLastAccessedDetailsWithEntities(ctx, r.root, &awsiam.GetServiceLastAccessedDetailsWithEntitiesInput{JobId: id, ServiceNamespace: aws.String("ec2")}))(t).EntityDetailsList
	if len(who) != 1 || *who[0].EntityInfo.Name != "Alice" || who[0].EntityInfo.Type != types.PolicyOwnerEntityTypeUser || who[0].LastAuthenticated == nil {
		t.Errorf("%+v", who)
	}
	id = job("arn:aws:iam::aws:policy/ReadOnlyAccess") // the role has it
	in := &awsiam.GetServiceLastAccessedDetailsInput{JobId: id, MaxItems: aws.Int32(2)}
	used := map[string]int32{}
	for {
		page := must(r.GetServiceLastAccessedDetails(ctx, r.root, in))(t)
		for _, s := range page.ServicesLastAccessed {
			used[*s.ServiceNamespace] = *s.TotalAuthenticatedEntities
		}
		if in.Marker = page.Marker; !page.IsTruncated {
			break
		}
	}
	if used["s3"] != 1 || used["ec2"] != 0 || len(used) < 3 {
		t.Errorf("%v", used)
	}
	_, err := r.GetServiceLastAccessedDetails(ctx, r.root, &awsiam.GetServiceLastAccessedDetailsInput{JobId: aws.String("00000000-0000-4000-8000-000000000000")})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.GetServiceLastAccessedDetailsWithEntities(ctx, r.root, &awsiam.GetServiceLastAccessedDetailsWithEntitiesInput{JobId: id, ServiceNamespace: aws.String("lambda")})
	wantCode(t, err, 400, "InvalidInput")
	for i, arn := range []string{"arn:aws:iam::123456789012:user/nobody", "arn:aws:iam::123456789012:role/none"} {
		_, err := r.GenerateServiceLastAccessedDetails(ctx, r.root, &awsiam.GenerateServiceLastAccessedDetailsInput{Arn: &arn})
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, err, 404, "NoSuchEntity") })
	}
}
