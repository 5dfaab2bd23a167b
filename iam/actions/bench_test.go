package actions

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func benchmark(b *testing.B, service, op string, in any) {
	n, _ := newRig(b)
	access := n.Of(service, op)
	b.ReportAllocs()
	for b.Loop() {
		if len(access(alice, in)) == 0 {
			b.Fatal("nothing is needed")
		}
	}
}

func BenchmarkDescribeInstances(b *testing.B) {
	benchmark(b, "ec2", "DescribeInstances", &sdk.DescribeInstancesInput{InstanceIds: []string{instanceID}})
}

func BenchmarkStopInstances(b *testing.B) {
	benchmark(b, "ec2", "StopInstances", &sdk.StopInstancesInput{InstanceIds: []string{instanceID}})
}

func BenchmarkRunInstances(b *testing.B) {
	benchmark(b, "ec2", "RunInstances", &sdk.RunInstancesInput{
		ImageId: str(imageID), InstanceType: "t3.nano", SubnetId: str(subnetID), KeyName: str("laptop"), SecurityGroupIds: []string{groupID},
		IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: str("web-profile")}, TagSpecifications: spec("instance", "Team", "red"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(9)}}},
	})
}

func BenchmarkGetObject(b *testing.B) {
	benchmark(b, "s3", "GetObject", &s3.GetObjectInput{Bucket: str("ours"), Key: str("some/key")})
}

func BenchmarkPutObject(b *testing.B) {
	benchmark(b, "s3", "PutObject", &s3.PutObjectInput{Bucket: str("ours"), Key: str("some/key")})
}

func BenchmarkGetUser(b *testing.B) {
	benchmark(b, "iam", "GetUser", &awsiam.GetUserInput{UserName: str("bob")})
}

func BenchmarkLookup(b *testing.B) {
	for b.Loop() {
		if _, ok := Lookup("ec2", "DeletePlacementGroup"); !ok {
			b.Fatal("no row")
		}
	}
}
