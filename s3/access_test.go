package s3

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/awsd/s3api"
)

func TestEveryOperationNamesThePermissionThatItNeeds(t *testing.T) {
	// Where the action has another name than the operation.
	names := map[string]string{
		"ListBuckets": "s3:ListAllMyBuckets", "HeadBucket": "s3:ListBucket", "ListObjects": "s3:ListBucket", "ListObjectsV2": "s3:ListBucket",
		"HeadObject": "s3:GetObject", "CopyObject": "s3:PutObject", "DeleteObjects": "s3:DeleteObject", "CreateMultipartUpload": "s3:PutObject",
		"UploadPart": "s3:PutObject", "UploadPartCopy": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject", "ListParts": "s3:ListMultipartUploadParts",
		"ListMultipartUploads": "s3:ListBucketMultipartUploads",
	}
	svc := reflect.TypeFor[*Service]()
	seen := 0
	for op := range s3api.Bind(&Service{}) {
		seen++
		method, _ := svc.MethodByName(op)
		in := reflect.New(method.Type.In(3).Elem())
		for field, value := range map[string]string{"Bucket": "bucket", "Key": "key", "CopySource": "from/there"} {
			if f := in.Elem().FieldByName(field); f.IsValid() {
				f.Set(reflect.ValueOf(&value))
			}
		}
		need := Access(alice, op, in.Interface())
		want := names[op]
		if want == "" {
			want = "s3:" + op
		}
		last := need[len(need)-1]
		if last.Action != want {
			t.Errorf("%s needs %v, want %s", op, need, want)
		}
		if !strings.HasPrefix(last.Resource, "arn:aws:s3:::bucket") && op != "ListBuckets" {
			t.Errorf("%s is about %s", op, last.Resource)
		}
	}
	if seen < 26 {
		t.Errorf("%d operations are bound", seen)
	}
}

func TestAccessToSeveralThingsNamesEach(t *testing.T) {
	cases := []struct {
		in   any
		want []protocol.Access
	}{
		{&sdk.CopyObjectInput{Bucket: str("b"), Key: str("k"), CopySource: str("/from/a%20b"), Tagging: str("a=b")}, []protocol.Access{
			{Action: "s3:GetObject", Resource: "arn:aws:s3:::from/a b"}, {Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"}, {Action: "s3:PutObjectTagging", Resource: "arn:aws:s3:::b/k"},
		}},
		{&sdk.CopyObjectInput{Bucket: str("b"), Key: str("k"), CopySource: str("%")}, []protocol.Access{
			{Action: "s3:GetObject", Resource: "arn:aws:s3:::*"}, {Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"},
		}},
		{&sdk.DeleteObjectsInput{Bucket: str("b"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: str("x")}, {Key: str("y/z")}}}}, []protocol.Access{
			{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::b/x"}, {Action: "s3:DeleteObject", Resource: "arn:aws:s3:::b/y/z"},
		}},
		{&sdk.DeleteObjectsInput{Bucket: str("b")}, []protocol.Access{{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::b/*"}}},
		{&sdk.ListObjectsV2Input{Bucket: str("b"), Prefix: str("home/"), Delimiter: str(""), MaxKeys: aws.Int32(5)}, []protocol.Access{{
			Action: "s3:ListBucket", Resource: "arn:aws:s3:::b",
			Context: map[string][]string{"s3:prefix": {"home/"}, "s3:delimiter": {""}, "s3:max-keys": {"5"}},
		}}},
		{&sdk.ListObjectsInput{Bucket: str("b")}, []protocol.Access{{Action: "s3:ListBucket", Resource: "arn:aws:s3:::b", Context: map[string][]string{}}}},
		{&sdk.PutBucketPolicyInput{Bucket: str("b")}, []protocol.Access{{Action: "s3:Op", Resource: "*"}}},
	}
	for _, c := range cases {
		if got := Access(alice, "Op", c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%T: %v", c.in, got)
		}
	}
}
