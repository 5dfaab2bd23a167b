package s3

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

func on(action, resource string) []protocol.Access {
	return []protocol.Access{{Action: action, Resource: resource}}
}

func onBucket(action string, bucket *string) []protocol.Access {
	return on(action, bucketARN(aws.ToString(bucket)))
}

func onObject(action string, bucket, key *string) []protocol.Access {
	return on(action, bucketARN(aws.ToString(bucket))+"/"+aws.ToString(key))
}

// Access is what a request needs to be permitted. Source: "Actions, resources, and condition keys for
// Amazon S3", Service Authorization Reference. An operation that it does not know needs what no one
// but an administrator has.
func Access(_ *principal.Caller, op string, input any) []protocol.Access {
	switch in := input.(type) {
	case *sdk.ListBucketsInput:
		return on("s3:ListAllMyBuckets", "*")
	case *sdk.CreateBucketInput:
		return onBucket("s3:CreateBucket", in.Bucket)
	case *sdk.DeleteBucketInput:
		return onBucket("s3:DeleteBucket", in.Bucket)
	case *sdk.HeadBucketInput:
		return onBucket("s3:ListBucket", in.Bucket)
	case *sdk.GetBucketLocationInput:
		return onBucket("s3:GetBucketLocation", in.Bucket)
	case *sdk.GetBucketVersioningInput:
		return onBucket("s3:GetBucketVersioning", in.Bucket)
	case *sdk.GetBucketAclInput:
		return onBucket("s3:GetBucketAcl", in.Bucket)
	case *sdk.ListObjectsInput:
		return listing(in.Bucket, in.Prefix, in.Delimiter, in.MaxKeys)
	case *sdk.ListObjectsV2Input:
		return listing(in.Bucket, in.Prefix, in.Delimiter, in.MaxKeys)
	case *sdk.ListMultipartUploadsInput:
		return onBucket("s3:ListBucketMultipartUploads", in.Bucket)
	}
	if need := objectAccess(input); need != nil {
		return need
	}
	return on("s3:"+op, "*")
}

func objectAccess(input any) []protocol.Access {
	switch in := input.(type) {
	case *sdk.GetObjectInput:
		return onObject("s3:GetObject", in.Bucket, in.Key)
	case *sdk.HeadObjectInput:
		return onObject("s3:GetObject", in.Bucket, in.Key)
	case *sdk.GetObjectAclInput:
		return onObject("s3:GetObjectAcl", in.Bucket, in.Key)
	case *sdk.GetObjectTaggingInput:
		return onObject("s3:GetObjectTagging", in.Bucket, in.Key)
	case *sdk.PutObjectTaggingInput:
		return onObject("s3:PutObjectTagging", in.Bucket, in.Key)
	case *sdk.DeleteObjectTaggingInput:
		return onObject("s3:DeleteObjectTagging", in.Bucket, in.Key)
	case *sdk.PutObjectInput:
		return put(in.Bucket, in.Key, in.Tagging)
	case *sdk.CopyObjectInput:
		return append(readSource(in.CopySource), put(in.Bucket, in.Key, in.Tagging)...)
	case *sdk.DeleteObjectInput:
		return onObject("s3:DeleteObject", in.Bucket, in.Key)
	case *sdk.DeleteObjectsInput:
		return deleteEach(in)
	case *sdk.CreateMultipartUploadInput:
		return put(in.Bucket, in.Key, in.Tagging)
	case *sdk.UploadPartInput:
		return put(in.Bucket, in.Key, nil)
	case *sdk.UploadPartCopyInput:
		return append(readSource(in.CopySource), put(in.Bucket, in.Key, nil)...)
	case *sdk.CompleteMultipartUploadInput:
		return put(in.Bucket, in.Key, nil)
	case *sdk.AbortMultipartUploadInput:
		return onObject("s3:AbortMultipartUpload", in.Bucket, in.Key)
	case *sdk.ListPartsInput:
		return onObject("s3:ListMultipartUploadParts", in.Bucket, in.Key)
	}
	return nil
}

// listing carries what conditions on a listing ask for: a parameter that was not given has no key.
func listing(bucket, prefix, delimiter *string, maxKeys *int32) []protocol.Access {
	need := onBucket("s3:ListBucket", bucket)
	keys := map[string][]string{}
	if prefix != nil {
		keys["s3:prefix"] = []string{*prefix}
	}
	if delimiter != nil {
		keys["s3:delimiter"] = []string{*delimiter}
	}
	if maxKeys != nil {
		keys["s3:max-keys"] = []string{strconv.Itoa(int(*maxKeys))}
	}
	need[0].Context = keys
	return need
}

// put needs a second permission where it sets tags.
func put(bucket, key, tagging *string) []protocol.Access {
	need := onObject("s3:PutObject", bucket, key)
	if aws.ToString(tagging) != "" {
		need = append(need, onObject("s3:PutObjectTagging", bucket, key)...)
	}
	return need
}

// readSource needs to read what a copy is made of. A source that cannot be read is refused when it is
// decoded; until then it needs every object.
func readSource(header *string) []protocol.Access {
	bucket, key, err := copySource(header)
	if err != nil {
		return on("s3:GetObject", bucketARN("*"))
	}
	return onObject("s3:GetObject", &bucket, &key)
}

func deleteEach(in *sdk.DeleteObjectsInput) []protocol.Access {
	var items []types.ObjectIdentifier
	if in.Delete != nil {
		items = in.Delete.Objects
	}
	if len(items) == 0 || len(items) > maxDeletes { // refused by the operation
		return onObject("s3:DeleteObject", in.Bucket, aws.String("*"))
	}
	need := make([]protocol.Access, len(items))
	for i, item := range items {
		need[i] = onObject("s3:DeleteObject", in.Bucket, item.Key)[0]
	}
	return need
}
