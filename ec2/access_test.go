package ec2

import (
	"slices"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestRequestsNeedTheirActionOnWhatTheyTouch(t *testing.T) {
	r := newRig(t)
	const own, shared = "arn:aws:ec2:us-test-1:" + aliceID + ":", "arn:aws:ec2:us-test-1::"
	for _, x := range []struct {
		op   string
		in   any
		want []string
	}{
		{"DescribeInstances", &sdk.DescribeInstancesInput{}, []string{"ec2:DescribeInstances *"}},
		{"StopInstances", &sdk.StopInstancesInput{InstanceIds: []string{"i-1", "i-2"}}, []string{
			"ec2:StopInstances " + own + "instance/i-1", "ec2:StopInstances " + own + "instance/i-2",
		}},
		{"TerminateInstances", &sdk.TerminateInstancesInput{}, []string{"ec2:TerminateInstances *"}},
		{"AttachVolume", &sdk.AttachVolumeInput{InstanceId: str("i-1"), VolumeId: str("vol-1")}, []string{
			"ec2:AttachVolume " + own + "instance/i-1", "ec2:AttachVolume " + own + "volume/vol-1",
		}},
		{"CreateTags", &sdk.CreateTagsInput{Resources: []string{"ami-1", "vol-1", "x"}}, []string{
			"ec2:CreateTags " + shared + "image/ami-1", "ec2:CreateTags " + own + "volume/vol-1", "ec2:CreateTags *",
		}},
		{"CreateKeyPair", &sdk.CreateKeyPairInput{KeyName: str("k")}, []string{"ec2:CreateKeyPair " + own + "key-pair/k"}},
		{"RunInstances", &sdk.RunInstancesInput{
			ImageId: str("ami-1"), InstanceType: "t3.nano", SubnetId: str("subnet-1"), KeyName: str("k"),
			TagSpecifications: []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: str("Team"), Value: str("red")}}}},
		}, []string{
			"ec2:RunInstances " + own + "instance/*", "ec2:RunInstances " + shared + "image/ami-1", "ec2:RunInstances " + own + "network-interface/*",
			"ec2:RunInstances " + own + "volume/*", "ec2:RunInstances " + own + "subnet/subnet-1", "ec2:RunInstances " + own + "security-group/*",
			"ec2:RunInstances " + own + "key-pair/k", "ec2:CreateTags " + own + "instance/*",
		}},
	} {
		var got []string
		need := r.service.Access(alice, x.op, x.in)
		for _, a := range need {
			got = append(got, a.Action+" "+a.Resource)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s needs %q, want %q", x.op, got, x.want)
		}
		if x.op == "RunInstances" {
			tags := need[len(need)-1].Context
			if !slices.Equal(tags["aws:requesttag/team"], []string{"red"}) || !slices.Equal(tags["ec2:createaction"], []string{"RunInstances"}) {
				t.Errorf("the tags' conditions are %v", tags)
			}
		}
	}
}
