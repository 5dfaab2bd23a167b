package awsd

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/s3api"
	"hive/iam/principal"
	"hive/internal/seal"
)

// lister answers listings of ten names, two a page. Its tokens are the last names themselves.
type lister struct{}

var listed = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}

func pageOf(after *string) (names []string, next *string) {
	i := 0
	if after != nil {
		i = slices.Index(listed, *after) + 1
	}
	if i+2 < len(listed) {
		next = aws.String(listed[i+1])
	}
	return listed[i:min(i+2, len(listed))], next
}

func (lister) ListUsers(_ context.Context, _ *principal.Caller, in *iam.ListUsersInput) (*iam.ListUsersOutput, error) {
	names, next := pageOf(in.Marker)
	out := &iam.ListUsersOutput{Marker: next, IsTruncated: next != nil}
	for _, name := range names {
		out.Users = append(out.Users, iamtypes.User{UserName: aws.String(name)})
	}
	return out, nil
}

func (lister) DescribeVolumes(_ context.Context, _ *principal.Caller, in *ec2.DescribeVolumesInput) (*ec2.DescribeVolumesOutput, error) {
	names, next := pageOf(in.NextToken)
	out := &ec2.DescribeVolumesOutput{NextToken: next}
	for _, name := range names {
		out.Volumes = append(out.Volumes, ec2types.Volume{VolumeId: aws.String(name)})
	}
	return out, nil
}

func (lister) ListObjectsV2(_ context.Context, _ *principal.Caller, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	names, next := pageOf(in.ContinuationToken)
	return &s3.ListObjectsV2Output{Name: aws.String(strings.Join(names, "")), ContinuationToken: in.ContinuationToken, NextContinuationToken: next}, nil
}

func listing(sealer *seal.Box) func(*Config) {
	return func(c *Config) {
		c.Pages = sealer
		c.Services = []Service{
			{API: s3api.API(), Handlers: s3api.Bind(lister{}), Access: nil},
			{API: iamapi.API(), Handlers: iamapi.Bind(lister{})},
			{API: ec2api.API(), Handlers: ec2api.Bind(lister{})},
		}
	}
}

func sealer(t *testing.T) *seal.Box {
	t.Helper()
	box, err := seal.New(make([]byte, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestPagesGoOnWhereTheyEndedOnAnyServerOfTheKey(t *testing.T) {
	one, two := start(t, listing(sealer(t))), start(t, listing(sealer(t)))
	ctx := context.Background()
	var users, volumes, objects string
	var marker, token, continuation *string
	for i := range 5 {
		r := []*rig{one, two}[i%2]
		u, err := r.iam(0).ListUsers(ctx, &iam.ListUsersInput{Marker: marker})
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range u.Users {
			users += *user.UserName
		}
		marker = u.Marker
		v, err := r.ec2(0).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{NextToken: token, MaxResults: aws.Int32(int32(5 + i))})
		if err != nil {
			t.Fatal(err)
		}
		for _, volume := range v.Volumes {
			volumes += *volume.VolumeId
		}
		token = v.NextToken
		o, err := r.s3(0, false).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("public"), ContinuationToken: continuation})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(o.ContinuationToken) != aws.ToString(continuation) {
			t.Errorf("the answer repeats %v for %v", aws.ToString(o.ContinuationToken), aws.ToString(continuation))
		}
		objects, continuation = objects+*o.Name, o.NextContinuationToken
	}
	if all := strings.Join(listed, ""); users != all || volumes != all || objects != all || marker != nil || token != nil || continuation != nil {
		t.Errorf("users %s, volumes %s, objects %s", users, volumes, objects)
	}
}

func TestAPageTokenIsGoodForItsOwnRequestAlone(t *testing.T) {
	r, ctx := start(t, listing(sealer(t))), context.Background()
	users, err := r.iam(0).ListUsers(ctx, &iam.ListUsersInput{PathPrefix: aws.String("/a/")})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(*users.Marker, "b") { // the place
		t.Errorf("the token tells its place: %s", *users.Marker)
	}
	_, err = r.iam(0).ListUsers(ctx, &iam.ListUsersInput{PathPrefix: aws.String("/b/"), Marker: users.Marker})
	wantCode(t, err, "ValidationError")
	_, err = r.iam(0).ListUsers(ctx, &iam.ListUsersInput{Marker: aws.String("b")})
	wantCode(t, err, "ValidationError")
	_, err = r.ec2(0).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{NextToken: users.Marker})
	wantCode(t, err, "InvalidNextToken")
	_, err = r.s3(0, false).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("public"), ContinuationToken: aws.String("b")})
	wantCode(t, err, "InvalidArgument")

	volumes, err := r.ec2(0).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []ec2types.Filter{{Name: aws.String("size"), Values: []string{"1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ec2(0).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{NextToken: volumes.NextToken})
	wantCode(t, err, "InvalidNextToken")
	if _, err = r.ec2(0).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{
		NextToken: volumes.NextToken, Filters: []ec2types.Filter{{Name: aws.String("size"), Values: []string{"1"}}}}); err != nil {
		t.Error(err)
	}
}

// broken is a sealer that has no randomness.
type broken struct{ *seal.Box }

func (broken) Seal([]byte, string) ([]byte, error) { return nil, fmt.Errorf("nothing is random") }

func TestATokenThatCannotBeSealedIsAFaultAndNoAnswer(t *testing.T) {
	r := start(t, func(c *Config) {
		listing(sealer(t))(c)
		c.Pages = broken{sealer(t)}
	})
	_, err := r.iam(0).ListUsers(context.Background(), &iam.ListUsersInput{})
	wantCode(t, err, "InternalFailure")
}
