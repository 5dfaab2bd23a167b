package actions

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestWhatReadingObjectsNeeds(t *testing.T) {
	checkRows(t, "s3", []row{
		{"ListBuckets", &sdk.ListBucketsInput{}, one("s3:ListAllMyBuckets *")},
		{"HeadBucket", &sdk.HeadBucketInput{Bucket: str("ours")}, one("s3:ListBucket S3:ours aws:resourceaccount=" + mine + " s3:resourceaccount=" + mine)},
		{"HeadBucket", &sdk.HeadBucketInput{Bucket: str("theirs")}, one("s3:ListBucket S3:theirs aws:resourceaccount=" + another)},
		{"HeadBucket", &sdk.HeadBucketInput{Bucket: str("none")}, one("s3:ListBucket S3:none !aws:resourceaccount")},
		{"HeadBucket", &sdk.HeadBucketInput{}, one("s3:ListBucket S3:*")},
		{"GetBucketLocation", &sdk.GetBucketLocationInput{Bucket: str("b")}, one("s3:GetBucketLocation S3:b")},
		{"GetBucketVersioning", &sdk.GetBucketVersioningInput{Bucket: str("b")}, one("s3:GetBucketVersioning S3:b")},
		{"GetBucketAcl", &sdk.GetBucketAclInput{Bucket: str("b")}, one("s3:GetBucketAcl S3:b")},
		{"GetBucketCors", &sdk.GetBucketCorsInput{Bucket: str("b")}, one("s3:GetBucketCORS S3:b")},
		{"GetBucketLifecycleConfiguration", &sdk.GetBucketLifecycleConfigurationInput{Bucket: str("b")}, one("s3:GetLifecycleConfiguration S3:b")},
		{"GetPublicAccessBlock", &sdk.GetPublicAccessBlockInput{Bucket: str("b")}, one("s3:GetBucketPublicAccessBlock S3:b")},
		{"GetObject", &sdk.GetObjectInput{Bucket: str("ours"), Key: str("a/b")}, one("s3:GetObject S3:ours/a/b")},
		{"GetObject", &sdk.GetObjectInput{Bucket: str("b"), Key: str("arn:aws:iam::1:x")}, one("s3:GetObject S3:b/arn:aws:iam::1:x !s3:versionid")},
		{"GetObject", &sdk.GetObjectInput{Bucket: str("b"), Key: str("k"), VersionId: str("v1")}, one("s3:GetObjectVersion S3:b/k s3:versionid=v1")},
		{"GetObject", &sdk.GetObjectInput{Bucket: str("b"), Key: str("k"), VersionId: str("")}, one("s3:GetObject S3:b/k")},
		{"HeadObject", &sdk.HeadObjectInput{Bucket: str("b"), Key: str("k")}, one("s3:GetObject S3:b/k")},
		{"HeadObject", &sdk.HeadObjectInput{Bucket: str("b"), Key: str("k"), VersionId: str("v")}, one("s3:GetObjectVersion S3:b/k")},
		{"GetObjectAcl", &sdk.GetObjectAclInput{Bucket: str("b"), Key: str("k")}, one("s3:GetObjectAcl S3:b/k")},
		{"GetObjectTagging", &sdk.GetObjectTaggingInput{Bucket: str("b"), Key: str("k"), VersionId: str("v")}, one("s3:GetObjectVersionTagging S3:b/k s3:versionid=v")},
		{"GetObjectAttributes", &sdk.GetObjectAttributesInput{Bucket: str("b"), Key: str("k")}, []string{"s3:GetObject S3:b/k", "s3:GetObjectAttributes S3:b/k"}},
		{"SelectObjectContent", &sdk.SelectObjectContentInput{Bucket: str("b"), Key: str("k")}, one("s3:GetObject S3:b/k")},
		{"ListObjects", &sdk.ListObjectsInput{Bucket: str("b")}, one("s3:ListBucket S3:b !s3:prefix !s3:delimiter !s3:max-keys")},
		{"ListObjectsV2", &sdk.ListObjectsV2Input{Bucket: str("b"), Prefix: str("home/"), Delimiter: str(""), MaxKeys: aws.Int32(5)}, one("s3:ListBucket S3:b s3:prefix=home/ s3:delimiter= s3:max-keys=5")},
		{"ListObjectVersions", &sdk.ListObjectVersionsInput{Bucket: str("b"), Prefix: str("")}, one("s3:ListBucketVersions S3:b s3:prefix=")},
		{"ListMultipartUploads", &sdk.ListMultipartUploadsInput{Bucket: str("b")}, one("s3:ListBucketMultipartUploads S3:b")},
		{"ListParts", &sdk.ListPartsInput{Bucket: str("b"), Key: str("k")}, one("s3:ListMultipartUploadParts S3:b/k")},
	})
}

func TestWhatWritingObjectsNeeds(t *testing.T) {
	day := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	checkRows(t, "s3", []row{
		{"PutObject", &sdk.PutObjectInput{Bucket: str("ours"), Key: str("k")}, one("s3:PutObject S3:ours/k aws:resourceaccount=" + mine + " s3:objectcreationoperation=true !s3:x-amz-acl !s3:x-amz-storage-class !s3:requestobjecttagkeys")},
		{"PutObject", &sdk.PutObjectInput{Bucket: str("b"), Key: str("k"), Tagging: str("Team=a%20b&x=")}, []string{
			"s3:PutObject S3:b/k s3:requestobjecttag/x= s3:requestobjecttagkeys=Team|x", "s3:PutObjectTagging S3:b/k s3:requestobjecttagkeys=Team|x",
		}},
		{"PutObject", &sdk.PutObjectInput{Bucket: str("b"), Key: str("k"), ACL: "public-read", StorageClass: "STANDARD_IA", ServerSideEncryption: "AES256", IfNoneMatch: str("*")}, []string{
			"s3:PutObject S3:b/k s3:x-amz-acl=public-read s3:x-amz-storage-class=STANDARD_IA s3:x-amz-server-side-encryption=AES256 s3:if-none-match=*",
			"s3:PutObjectAcl S3:b/k s3:x-amz-acl=public-read",
		}},
		{"PutObject", &sdk.PutObjectInput{Bucket: str("b"), Key: str("k"), GrantRead: str("id=x")}, []string{"s3:PutObject S3:b/k s3:x-amz-grant-read=id=x", "s3:PutObjectAcl S3:b/k"}},
		{"PutObject", &sdk.PutObjectInput{Bucket: str("b"), Key: str("k"), ObjectLockMode: "GOVERNANCE", ObjectLockRetainUntilDate: &day}, []string{
			"s3:PutObject S3:b/k s3:object-lock-mode=GOVERNANCE s3:object-lock-retain-until-date=2030-01-02T03:04:05Z", "s3:PutObjectRetention S3:b/k s3:object-lock-mode=GOVERNANCE !s3:object-lock-legal-hold",
		}},
		{"PutObject", &sdk.PutObjectInput{Bucket: str("b"), Key: str("k"), ObjectLockLegalHoldStatus: "ON"}, []string{"s3:PutObject S3:b/k s3:object-lock-legal-hold=ON", "s3:PutObjectLegalHold S3:b/k"}},
		{"CreateMultipartUpload", &sdk.CreateMultipartUploadInput{Bucket: str("b"), Key: str("k"), Tagging: str("a=b")}, []string{"s3:PutObject S3:b/k s3:objectcreationoperation=false", "s3:PutObjectTagging S3:b/k s3:requestobjecttag/a=b"}},
		{"UploadPart", &sdk.UploadPartInput{Bucket: str("b"), Key: str("k")}, one("s3:PutObject S3:b/k")},
		{"UploadPartCopy", &sdk.UploadPartCopyInput{Bucket: str("b"), Key: str("k"), CopySource: str("from/x?versionId=7")}, []string{"s3:GetObjectVersion S3:from/x s3:versionid=7", "s3:PutObject S3:b/k s3:x-amz-copy-source=from/x?versionId=7"}},
		{"CompleteMultipartUpload", &sdk.CompleteMultipartUploadInput{Bucket: str("b"), Key: str("k")}, one("s3:PutObject S3:b/k s3:objectcreationoperation=true")},
		{"AbortMultipartUpload", &sdk.AbortMultipartUploadInput{Bucket: str("b"), Key: str("k")}, one("s3:AbortMultipartUpload S3:b/k")},
		{"CopyObject", &sdk.CopyObjectInput{Bucket: str("b"), Key: str("k"), CopySource: str("/from/a%2Fb"), Tagging: str("a=b"), MetadataDirective: "REPLACE"}, []string{
			"s3:GetObject S3:from/a/b", "s3:PutObject S3:b/k s3:x-amz-metadata-directive=REPLACE s3:x-amz-copy-source=/from/a%2Fb", "s3:PutObjectTagging S3:b/k s3:requestobjecttag/a=b",
		}},
		{"CopyObject", &sdk.CopyObjectInput{Bucket: str("b"), Key: str("k"), CopySource: str("%")}, []string{"s3:GetObject S3:*", "s3:PutObject S3:b/k"}},
		{"CopyObject", &sdk.CopyObjectInput{Bucket: str("b"), Key: str("k")}, []string{"s3:GetObject S3:*", "s3:PutObject S3:b/k"}},
		{"CopyObject", &sdk.CopyObjectInput{Bucket: str("b"), Key: str("k"), CopySource: str("ours/x"), ACL: "private"}, []string{"s3:GetObject S3:ours/x aws:resourceaccount=" + mine, "s3:PutObject S3:b/k", "s3:PutObjectAcl S3:b/k s3:x-amz-acl=private"}},
		{"DeleteObject", &sdk.DeleteObjectInput{Bucket: str("b"), Key: str("k")}, one("s3:DeleteObject S3:b/k")},
		{"DeleteObject", &sdk.DeleteObjectInput{Bucket: str("b"), Key: str("k"), VersionId: str("v"), BypassGovernanceRetention: aws.Bool(true)}, []string{"s3:DeleteObjectVersion S3:b/k s3:versionid=v", "s3:BypassGovernanceRetention S3:b/k"}},
		{"DeleteObject", &sdk.DeleteObjectInput{Bucket: str("b"), Key: str("k"), BypassGovernanceRetention: aws.Bool(false)}, one("s3:DeleteObject S3:b/k")},
		{"DeleteObjects", &sdk.DeleteObjectsInput{Bucket: str("b"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: str("x")}, {Key: str("y/z"), VersionId: str("v")}}}}, []string{
			"s3:DeleteObject S3:b/x !s3:versionid", "s3:DeleteObjectVersion S3:b/y/z s3:versionid=v",
		}},
		{"DeleteObjects", &sdk.DeleteObjectsInput{Bucket: str("b")}, one("s3:DeleteObjects *")},
		{"PutObjectTagging", &sdk.PutObjectTaggingInput{Bucket: str("b"), Key: str("k"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: str("A"), Value: str("1")}}}}, one("s3:PutObjectTagging S3:b/k s3:requestobjecttag/a=1 s3:requestobjecttagkeys=A !aws:tagkeys")},
		{"DeleteObjectTagging", &sdk.DeleteObjectTaggingInput{Bucket: str("b"), Key: str("k")}, one("s3:DeleteObjectTagging S3:b/k")},
		{"PutObjectAcl", &sdk.PutObjectAclInput{Bucket: str("b"), Key: str("k"), ACL: "public-read", VersionId: str("v")}, one("s3:PutObjectVersionAcl S3:b/k s3:x-amz-acl=public-read")},
	})
}

func TestWhatBucketsNeed(t *testing.T) {
	checkRows(t, "s3", []row{
		{"CreateBucket", &sdk.CreateBucketInput{Bucket: str("b")}, one("s3:CreateBucket S3:b !s3:locationconstraint")},
		{"CreateBucket", &sdk.CreateBucketInput{Bucket: str("b"), ACL: "private", CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}}, one("s3:CreateBucket S3:b s3:locationconstraint=eu-west-1 s3:x-amz-acl=private")},
		{"CreateBucket", &sdk.CreateBucketInput{Bucket: str("b"), ACL: "public-read"}, []string{"s3:CreateBucket S3:b", "s3:PutBucketAcl S3:b s3:x-amz-acl=public-read"}},
		{"CreateBucket", &sdk.CreateBucketInput{Bucket: str("b"), ObjectLockEnabledForBucket: aws.Bool(true), ObjectOwnership: "BucketOwnerEnforced"}, []string{
			"s3:CreateBucket S3:b s3:x-amz-object-ownership=BucketOwnerEnforced", "s3:PutBucketObjectLockConfiguration S3:b", "s3:PutBucketVersioning S3:b", "s3:PutBucketOwnershipControls S3:b",
		}},
		{"CreateBucket", &sdk.CreateBucketInput{Bucket: str("b"), CreateBucketConfiguration: &types.CreateBucketConfiguration{Tags: []types.Tag{{Key: str("k"), Value: str("v")}}}}, []string{"s3:CreateBucket S3:b aws:requesttag/k=v", "s3:TagResource S3:b aws:tagkeys=k"}},
		{"DeleteBucket", &sdk.DeleteBucketInput{Bucket: str("b")}, one("s3:DeleteBucket S3:b")},
		{"PutBucketPolicy", &sdk.PutBucketPolicyInput{Bucket: str("b")}, one("s3:PutBucketPolicy S3:b")},
		{"PutBucketTagging", &sdk.PutBucketTaggingInput{Bucket: str("b")}, one("s3:PutBucketTagging S3:b")},
		{"DeleteBucketTagging", &sdk.DeleteBucketTaggingInput{Bucket: str("b")}, one("s3:PutBucketTagging S3:b")},
		{"DeleteBucketEncryption", &sdk.DeleteBucketEncryptionInput{Bucket: str("b")}, one("s3:PutEncryptionConfiguration S3:b")},
		{"PutBucketReplication", &sdk.PutBucketReplicationInput{Bucket: str("b"), ReplicationConfiguration: &types.ReplicationConfiguration{Role: str("arn:aws:iam::" + mine + ":role/svc/web")}}, []string{
			"s3:PutReplicationConfiguration S3:b", "iam:PassRole IAM:role/svc/web iam:passedtoservice=s3.amazonaws.com",
		}},
	})
}
