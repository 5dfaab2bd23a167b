package actions

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
)

const profileARN = "arn:aws:iam::" + mine + ":instance-profile/svc/web-profile"

func spec(kind types.ResourceType, key, value string) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{{Key: &key, Value: &value}}}}
}

func TestWhatInstancesNeed(t *testing.T) {
	known := "ec2:StopInstances EC2:instance/" + instanceID + " ec2:region=" + region + " aws:resourcetag/env=prod ec2:resourcetag/env=prod ec2:instancetype=t3.nano " +
		"ec2:availabilityzone=us-test-1a ec2:instanceid=" + instanceID + " ec2:instanceprofile=" + profileARN + " ec2:metadatahttptokens=required ec2:metadatahttpputresponsehoplimit=2 ec2:metadatahttpendpoint=enabled"
	checkRows(t, "ec2", []row{
		{"DescribeInstances", &sdk.DescribeInstancesInput{InstanceIds: []string{"i-1"}}, one("ec2:DescribeInstances * ec2:region=" + region + " !ec2:instanceid")},
		{"DescribeInstances", &sdk.DescribeInstancesInput{}, one("ec2:DescribeInstances *")},
		{"StopInstances", &sdk.StopInstancesInput{InstanceIds: []string{"i-1", instanceID}}, []string{"ec2:StopInstances EC2:instance/i-1 ec2:region=" + region + " !ec2:instancetype", known}},
		{"TerminateInstances", &sdk.TerminateInstancesInput{}, one("ec2:TerminateInstances EC2:instance/*")},
		{"StartInstances", &sdk.StartInstancesInput{InstanceIds: []string{"i-1"}}, one("ec2:StartInstances EC2:instance/i-1")},
		{"RebootInstances", &sdk.RebootInstancesInput{InstanceIds: []string{"i-1"}}, one("ec2:RebootInstances EC2:instance/i-1")},
		{"GetConsoleOutput", &sdk.GetConsoleOutputInput{InstanceId: str("i-1")}, one("ec2:GetConsoleOutput EC2:instance/i-1")},
		{"DescribeInstanceAttribute", &sdk.DescribeInstanceAttributeInput{InstanceId: str("i-1")}, one("ec2:DescribeInstanceAttribute EC2:instance/i-1")},
		{"ModifyInstanceAttribute", &sdk.ModifyInstanceAttributeInput{InstanceId: str("i-1"), InstanceType: &types.AttributeValue{Value: str("t3.micro")}, DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}}, one(
			"ec2:ModifyInstanceAttribute EC2:instance/i-1 ec2:attribute=DisableApiTermination|InstanceType ec2:attribute/instancetype=t3.micro ec2:attribute/disableapitermination=true")},
		{"ModifyInstanceAttribute", &sdk.ModifyInstanceAttributeInput{InstanceId: str("i-1"), Attribute: "userData", Value: str("x"), DryRun: aws.Bool(true)}, one("ec2:ModifyInstanceAttribute EC2:instance/i-1 ec2:attribute=userData !ec2:attribute/dryrun")},
		{"ModifyInstanceAttribute", &sdk.ModifyInstanceAttributeInput{InstanceId: str("i-1"), Groups: []string{groupID}}, []string{"ec2:ModifyInstanceAttribute EC2:instance/i-1", "ec2:ModifyInstanceAttribute EC2:security-group/" + groupID}},
		{"ModifyInstanceMetadataOptions", &sdk.ModifyInstanceMetadataOptionsInput{InstanceId: str("i-1"), HttpTokens: "required"}, one("ec2:ModifyInstanceMetadataOptions EC2:instance/i-1 ec2:attribute=HttpTokens ec2:attribute/httptokens=required")},
		{"AssociateIamInstanceProfile", &sdk.AssociateIamInstanceProfileInput{InstanceId: str("i-1"), IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: str("WEB-profile")}}, []string{
			"ec2:AssociateIamInstanceProfile EC2:instance/i-1", "iam:PassRole IAM:role/svc/web iam:passedtoservice=ec2.amazonaws.com iam:resourcetag/team=blue !ec2:region",
		}},
		{"AssociateIamInstanceProfile", &sdk.AssociateIamInstanceProfileInput{InstanceId: str("i-1"), IamInstanceProfile: &types.IamInstanceProfileSpecification{Arn: str(profileARN)}}, []string{"ec2:AssociateIamInstanceProfile EC2:instance/i-1", "iam:PassRole IAM:role/svc/web"}},
		{"AssociateIamInstanceProfile", &sdk.AssociateIamInstanceProfileInput{InstanceId: str("i-1"), IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: str("bare")}}, []string{"ec2:AssociateIamInstanceProfile EC2:instance/i-1", "iam:PassRole IAM:role/*"}},
		{"AssociateIamInstanceProfile", &sdk.AssociateIamInstanceProfileInput{InstanceId: str("i-1"), IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: str("none")}}, []string{"ec2:AssociateIamInstanceProfile EC2:instance/i-1", "iam:PassRole IAM:role/*"}},
		{"DisassociateIamInstanceProfile", &sdk.DisassociateIamInstanceProfileInput{AssociationId: str("iip-assoc-1")}, one("ec2:DisassociateIamInstanceProfile EC2:instance/" + instanceID + " ec2:resourcetag/env=prod")},
		{"DisassociateIamInstanceProfile", &sdk.DisassociateIamInstanceProfileInput{AssociationId: str("iip-assoc-9")}, one("ec2:DisassociateIamInstanceProfile EC2:instance/*")},
		{"DisassociateIamInstanceProfile", &sdk.DisassociateIamInstanceProfileInput{}, one("ec2:DisassociateIamInstanceProfile EC2:instance/*")},
		{"ReplaceIamInstanceProfileAssociation", &sdk.ReplaceIamInstanceProfileAssociationInput{AssociationId: str("iip-assoc-1"), IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: str("web-profile")}}, []string{
			"ec2:ReplaceIamInstanceProfileAssociation EC2:instance/" + instanceID, "iam:PassRole IAM:role/svc/web iam:passedtoservice=ec2.amazonaws.com",
		}},
		{"CreateImage", &sdk.CreateImageInput{InstanceId: str("i-1"), TagSpecifications: spec("image", "k", "v")}, []string{
			"ec2:CreateImage EC2:instance/i-1 !aws:tagkeys", "ec2:CreateImage PUB:image/* aws:requesttag/k=v", "ec2:CreateImage PUB:snapshot/* !aws:requesttag/k",
			"ec2:CreateTags PUB:image/* ec2:createaction=CreateImage aws:requesttag/k=v aws:tagkeys=k ec2:region=" + region,
		}},
	})
}

func TestNothingOfAnotherAccountShowsInConditions(t *testing.T) {
	hidden := " !aws:resourcetag/env !ec2:resourcetag/env !ec2:instancetype !ec2:vpc !ec2:subnetid !ec2:vpcid !ec2:volumesize !ec2:keypairname"
	const f = "0000000000000000f"
	checkRows(t, "ec2", []row{
		{"StopInstances", &sdk.StopInstancesInput{InstanceIds: []string{theirID}}, one("ec2:StopInstances EC2:instance/" + theirID + hidden)},
		{"DeleteVpc", &sdk.DeleteVpcInput{VpcId: str("vpc-" + f)}, one("ec2:DeleteVpc EC2:vpc/vpc-" + f + hidden)},
		{"CreateTags", &sdk.CreateTagsInput{Resources: []string{theirID, foreignID, publicID, "subnet-" + f, "eni-" + f, "sg-" + f, "snap-" + f, "key-" + f}}, []string{
			"ec2:CreateTags EC2:instance/" + theirID + hidden, "ec2:CreateTags EC2:volume/" + foreignID + hidden, "ec2:CreateTags PUB:image/" + publicID + " !aws:resourcetag/env",
			"ec2:CreateTags EC2:subnet/subnet-" + f + hidden, "ec2:CreateTags EC2:network-interface/eni-" + f + hidden, "ec2:CreateTags EC2:security-group/sg-" + f + hidden,
			"ec2:CreateTags PUB:snapshot/snap-" + f + hidden, "ec2:CreateTags EC2:key-pair/*" + hidden,
		}},
		{"DeleteKeyPair", &sdk.DeleteKeyPairInput{KeyName: str("theirs")}, one("ec2:DeleteKeyPair EC2:key-pair/theirs" + hidden)},
		{"CreateNetworkInterface", &sdk.CreateNetworkInterfaceInput{SubnetId: str("subnet-" + f)}, []string{"ec2:CreateNetworkInterface EC2:network-interface/*" + hidden, "ec2:CreateNetworkInterface EC2:subnet/subnet-" + f + hidden}},
		{"CreateSnapshots", &sdk.CreateSnapshotsInput{InstanceSpecification: &types.InstanceSpecification{InstanceId: str(theirID)}}, []string{"ec2:CreateSnapshots EC2:instance/" + theirID + hidden, "ec2:CreateSnapshots PUB:snapshot/*", "ec2:CreateSnapshots EC2:volume/*"}},
		{"DescribeVpcAttribute", &sdk.DescribeVpcAttributeInput{VpcId: str("vpc-" + f)}, one("ec2:DescribeVpcAttribute EC2:vpc/vpc-" + f + hidden)},
	})
}

func TestWhatALaunchNeeds(t *testing.T) {
	const volume = "ec2:RunInstances EC2:volume/* ec2:volumesize=8 ec2:volumetype=gp3 ec2:volumeiops=3000 ec2:encrypted=false ec2:parentsnapshot=arn:aws:ec2:" + region + "::snapshot/" + snapshotID
	checkRows(t, "ec2", []row{
		{"RunInstances", &sdk.RunInstancesInput{ImageId: str(imageID), InstanceType: "t3.nano", SubnetId: str(subnetID), KeyName: str("laptop"), TagSpecifications: spec("instance", "Team", "red"),
			MetadataOptions: &types.InstanceMetadataOptionsRequest{HttpTokens: "required"}}, []string{
			"ec2:RunInstances EC2:instance/* ec2:instancetype=t3.nano ec2:metadatahttptokens=required ec2:tenancy=default ec2:rootdevicetype=ebs aws:requesttag/team=red aws:tagkeys=Team !ec2:instanceprofile ec2:region=" + region,
			"ec2:RunInstances PUB:image/" + imageID + " ec2:imageid=" + imageID + " ec2:owner=" + mine + " ec2:public=false aws:resourcetag/env=prod !ec2:instancetype",
			"ec2:RunInstances EC2:network-interface/* ec2:subnet=EC2:subnet/" + subnetID + " ec2:vpc=EC2:vpc/" + vpcID + " !aws:tagkeys",
			volume,
			"ec2:RunInstances EC2:subnet/" + subnetID + " ec2:subnetid=" + subnetID + " ec2:vpc=EC2:vpc/" + vpcID + " ec2:resourcetag/env=prod",
			"ec2:RunInstances EC2:security-group/*",
			"ec2:RunInstances EC2:key-pair/laptop ec2:keypairname=laptop ec2:keypairtype=ed25519 ec2:resourcetag/env=prod",
			"ec2:CreateTags EC2:instance/* ec2:createaction=RunInstances aws:requesttag/team=red aws:tagkeys=Team",
		}},
		{"RunInstances", &sdk.RunInstancesInput{ImageId: str(publicID), SecurityGroupIds: []string{groupID, "sg-1"}, IamInstanceProfile: &types.IamInstanceProfileSpecification{Arn: str(profileARN)},
			Placement: &types.Placement{AvailabilityZone: str("us-test-1a"), Tenancy: "dedicated", GroupName: str("pg")}}, []string{
			"ec2:RunInstances EC2:instance/* ec2:instanceprofile=" + profileARN + " ec2:availabilityzone=us-test-1a ec2:tenancy=dedicated !ec2:instancetype !aws:tagkeys",
			"ec2:RunInstances PUB:image/" + publicID + " ec2:public=true ec2:owner=" + another + " !aws:resourcetag/env",
			"ec2:RunInstances EC2:network-interface/* ec2:availabilityzone=us-test-1a !ec2:subnet !ec2:vpc",
			"ec2:RunInstances EC2:volume/* ec2:availabilityzone=us-test-1a ec2:volumesize=8",
			"ec2:RunInstances EC2:subnet/*",
			"ec2:RunInstances EC2:security-group/" + groupID + " ec2:securitygroupid=" + groupID + " ec2:vpc=EC2:vpc/" + vpcID, "ec2:RunInstances EC2:security-group/sg-1",
			"ec2:RunInstances EC2:placement-group/pg",
			"iam:PassRole IAM:role/svc/web iam:passedtoservice=ec2.amazonaws.com",
		}},
		{"RunInstances", &sdk.RunInstancesInput{ImageId: str(hiddenID), SecurityGroups: []string{"default", "none"},
			NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{SubnetId: str(subnetID), Groups: []string{groupID}, AssociatePublicIpAddress: aws.Bool(true)}, {NetworkInterfaceId: str(eniID)}},
			BlockDeviceMappings: []types.BlockDeviceMapping{
				{DeviceName: str("/dev/sda1"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(20), VolumeType: "io1", Iops: aws.Int32(500)}},
				{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{SnapshotId: str(snapshotID), Encrypted: aws.Bool(true)}},
			}}, []string{
			"ec2:RunInstances EC2:instance/*",
			"ec2:RunInstances PUB:image/" + hiddenID + " !ec2:owner",
			"ec2:RunInstances EC2:network-interface/* ec2:associatepublicipaddress=true ec2:vpc=EC2:vpc/" + vpcID,
			"ec2:RunInstances EC2:network-interface/" + eniID + " !ec2:associatepublicipaddress ec2:networkinterfaceid=" + eniID + " ec2:resourcetag/env=prod",
			"ec2:RunInstances EC2:volume/* ec2:volumesize=20 ec2:volumetype=io1 ec2:volumeiops=500 !ec2:volumethroughput",
			"ec2:RunInstances EC2:volume/* ec2:volumesize=8 ec2:volumetype=gp2 ec2:encrypted=true ec2:parentsnapshot=PUB:snapshot/" + snapshotID,
			"ec2:RunInstances EC2:subnet/" + subnetID,
			"ec2:RunInstances EC2:security-group/" + groupID,
			"ec2:RunInstances EC2:security-group/" + groupID + " ec2:resourcetag/env=prod", "ec2:RunInstances EC2:security-group/*",
			"ec2:RunInstances PUB:snapshot/" + snapshotID + " ec2:owner=" + mine,
		}},
		{"RunInstances", &sdk.RunInstancesInput{ImageId: str(imageID), BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: str("/dev/sda1"), NoDevice: str("")}}}, []string{
			"ec2:RunInstances EC2:instance/*", "ec2:RunInstances PUB:image/" + imageID, "ec2:RunInstances EC2:network-interface/*", "ec2:RunInstances EC2:volume/* !ec2:volumesize",
			"ec2:RunInstances EC2:subnet/*", "ec2:RunInstances EC2:security-group/*",
		}},
	})
}

func TestWhatVolumesSnapshotsAndImagesNeed(t *testing.T) {
	disk := []types.ImageDiskContainer{{UserBucket: &types.UserBucket{S3Bucket: str("ours"), S3Key: str("d.raw")}}, {Url: str("s3://b/k/l")}, {Url: str("http://b/k")}, {}}
	checkRows(t, "ec2", []row{
		{"AttachVolume", &sdk.AttachVolumeInput{InstanceId: str(instanceID), VolumeId: str(dataID)}, []string{
			"ec2:AttachVolume EC2:instance/" + instanceID + " ec2:instancetype=t3.nano", "ec2:AttachVolume EC2:volume/" + dataID + " ec2:volumesize=8 ec2:volumetype=gp3 ec2:volumeiops=3000 ec2:volumethroughput=125 ec2:encrypted=false !ec2:parentsnapshot !aws:resourcetag/env",
		}},
		{"DetachVolume", &sdk.DetachVolumeInput{VolumeId: str(volumeID)}, one("ec2:DetachVolume EC2:volume/" + volumeID + " aws:resourcetag/env=prod ec2:parentsnapshot=PUB:snapshot/" + snapshotID)},
		{"DetachVolume", &sdk.DetachVolumeInput{VolumeId: str("vol-1"), InstanceId: str("i-1")}, []string{"ec2:DetachVolume EC2:volume/vol-1", "ec2:DetachVolume EC2:instance/i-1"}},
		{"DeleteVolume", &sdk.DeleteVolumeInput{VolumeId: str(foreignID)}, one("ec2:DeleteVolume EC2:volume/" + foreignID + " !ec2:volumesize")},
		{"CreateVolume", &sdk.CreateVolumeInput{AvailabilityZone: str("z"), Size: aws.Int32(9), SnapshotId: str(snapshotID), TagSpecifications: spec("volume", "k", "v")}, []string{
			"ec2:CreateVolume EC2:volume/* ec2:volumesize=9 ec2:volumetype=gp2 ec2:encrypted=false ec2:availabilityzone=z ec2:parentsnapshot=PUB:snapshot/" + snapshotID + " aws:requesttag/k=v !ec2:volumeiops",
			"ec2:CreateVolume PUB:snapshot/" + snapshotID + " ec2:owner=" + mine + " ec2:volumesize=8 ec2:parentvolume=EC2:volume/" + dataID + " ec2:snapshottime=2030-01-02T03:04:05Z",
			"ec2:CreateTags EC2:volume/* ec2:createaction=CreateVolume",
		}},
		{"CreateVolume", &sdk.CreateVolumeInput{Encrypted: aws.Bool(true), VolumeType: "io2", Iops: aws.Int32(100)}, one("ec2:CreateVolume EC2:volume/* ec2:encrypted=true ec2:volumetype=io2 ec2:volumeiops=100 !ec2:parentsnapshot !ec2:volumesize")},
		{"CreateSnapshot", &sdk.CreateSnapshotInput{VolumeId: str(dataID)}, []string{"ec2:CreateSnapshot EC2:volume/" + dataID, "ec2:CreateSnapshot PUB:snapshot/* ec2:parentvolume=EC2:volume/" + dataID}},
		{"CreateSnapshots", &sdk.CreateSnapshotsInput{InstanceSpecification: &types.InstanceSpecification{InstanceId: str(instanceID)}}, []string{"ec2:CreateSnapshots EC2:instance/" + instanceID, "ec2:CreateSnapshots PUB:snapshot/*", "ec2:CreateSnapshots EC2:volume/" + volumeID}},
		{"CreateSnapshots", &sdk.CreateSnapshotsInput{InstanceSpecification: &types.InstanceSpecification{InstanceId: str("i-1")}}, []string{"ec2:CreateSnapshots EC2:instance/i-1", "ec2:CreateSnapshots PUB:snapshot/*", "ec2:CreateSnapshots EC2:volume/*"}},
		{"DeleteSnapshot", &sdk.DeleteSnapshotInput{SnapshotId: str(snapshotID)}, one("ec2:DeleteSnapshot PUB:snapshot/" + snapshotID + " ec2:resourcetag/env=prod")},
		{"ModifySnapshotAttribute", &sdk.ModifySnapshotAttributeInput{SnapshotId: str("snap-1"), Attribute: "createVolumePermission", CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{{Group: "all"}, {UserId: str(another)}}}}, one(
			"ec2:ModifySnapshotAttribute PUB:snapshot/snap-1 ec2:attribute=createVolumePermission ec2:add/group=all ec2:add/userid=" + another + " !ec2:remove/group")},
		{"RegisterImage", &sdk.RegisterImageInput{BlockDeviceMappings: []types.BlockDeviceMapping{{Ebs: &types.EbsBlockDevice{SnapshotId: str(snapshotID)}}, {}}}, []string{"ec2:RegisterImage PUB:image/*", "ec2:RegisterImage PUB:snapshot/" + snapshotID}},
		{"DeregisterImage", &sdk.DeregisterImageInput{ImageId: str(imageID)}, one("ec2:DeregisterImage PUB:image/" + imageID + " ec2:imagetype=machine")},
		{"ModifyImageAttribute", &sdk.ModifyImageAttributeInput{ImageId: str("ami-1"), Attribute: str("launchPermission")}, one("ec2:ModifyImageAttribute PUB:image/ami-1 ec2:attribute=launchPermission")},
		{"ImportImage", &sdk.ImportImageInput{DiskContainers: disk}, []string{
			"ec2:ImportImage PUB:image/*", "ec2:ImportImage EC2:import-image-task/*", "s3:GetObject S3:ours/d.raw aws:resourceaccount=" + mine + " !ec2:region", "s3:GetObject S3:b/k/l", "s3:GetObject S3:*",
		}},
		{"ImportImage", &sdk.ImportImageInput{TagSpecifications: spec("import-image-task", "k", "v")}, []string{
			"ec2:ImportImage PUB:image/* !aws:tagkeys", "ec2:ImportImage EC2:import-image-task/* aws:requesttag/k=v", "ec2:CreateTags EC2:import-image-task/*",
		}},
		{"ImportSnapshot", &sdk.ImportSnapshotInput{DiskContainer: &types.SnapshotDiskContainer{Url: str("s3://b/k")}}, []string{"ec2:ImportSnapshot PUB:snapshot/*", "ec2:ImportSnapshot EC2:import-snapshot-task/*", "s3:GetObject S3:b/k"}},
		{"CancelImportTask", &sdk.CancelImportTaskInput{ImportTaskId: str("import-ami-1")}, one("ec2:CancelImportTask EC2:import-image-task/import-ami-1")},
		{"CancelImportTask", &sdk.CancelImportTaskInput{}, one("ec2:CancelImportTask *")},
	})
}

func TestWhatKeyPairsTagsAndNetworksNeed(t *testing.T) {
	checkRows(t, "ec2", []row{
		{"CreateKeyPair", &sdk.CreateKeyPairInput{KeyName: str("k"), KeyType: "rsa"}, one("ec2:CreateKeyPair EC2:key-pair/k ec2:keypairtype=rsa")},
		{"ImportKeyPair", &sdk.ImportKeyPairInput{KeyName: str("k"), TagSpecifications: spec("key-pair", "a", "b")}, []string{"ec2:ImportKeyPair EC2:key-pair/k aws:requesttag/a=b", "ec2:CreateTags EC2:key-pair/* ec2:createaction=ImportKeyPair"}},
		{"DeleteKeyPair", &sdk.DeleteKeyPairInput{KeyName: str("laptop")}, one("ec2:DeleteKeyPair EC2:key-pair/laptop ec2:resourcetag/env=prod")},
		{"DeleteKeyPair", &sdk.DeleteKeyPairInput{KeyPairId: str(keyID)}, one("ec2:DeleteKeyPair EC2:key-pair/laptop ec2:resourcetag/env=prod")},
		{"DeleteKeyPair", &sdk.DeleteKeyPairInput{KeyPairId: str("key-1")}, one("ec2:DeleteKeyPair EC2:key-pair/*")},
		{"DeleteKeyPair", &sdk.DeleteKeyPairInput{KeyName: str("other"), KeyPairId: str(keyID)}, []string{"ec2:DeleteKeyPair EC2:key-pair/other", "ec2:DeleteKeyPair EC2:key-pair/laptop"}},
		{"DeleteKeyPair", &sdk.DeleteKeyPairInput{}, one("ec2:DeleteKeyPair * ec2:region=" + region)},
		{"CreateTags", &sdk.CreateTagsInput{Resources: []string{imageID, volumeID, keyID, "igw-1", "x", "zz-1"}, Tags: []types.Tag{{Key: str("K"), Value: str("v")}}}, []string{
			"ec2:CreateTags PUB:image/" + imageID + " ec2:resourcetag/env=prod aws:requesttag/k=v aws:tagkeys=K !ec2:createaction", "ec2:CreateTags EC2:volume/" + volumeID + " ec2:volumesize=8",
			"ec2:CreateTags EC2:key-pair/laptop", "ec2:CreateTags EC2:internet-gateway/igw-1", "ec2:CreateTags *", "ec2:CreateTags *",
		}},
		{"DeleteTags", &sdk.DeleteTagsInput{Resources: []string{"vol-1"}}, one("ec2:DeleteTags EC2:volume/vol-1 !aws:tagkeys")},
		{"DeleteTags", &sdk.DeleteTagsInput{}, one("ec2:DeleteTags *")},
		{"DescribeTags", &sdk.DescribeTagsInput{}, one("ec2:DescribeTags *")},
		{"CreateVpc", &sdk.CreateVpcInput{TagSpecifications: spec("vpc", "a", "b")}, []string{"ec2:CreateVpc EC2:vpc/* aws:requesttag/a=b", "ec2:CreateTags EC2:vpc/*"}},
		{"DeleteVpc", &sdk.DeleteVpcInput{VpcId: str(vpcID)}, one("ec2:DeleteVpc EC2:vpc/" + vpcID + " ec2:vpcid=" + vpcID + " ec2:resourcetag/env=prod")},
		{"CreateSubnet", &sdk.CreateSubnetInput{VpcId: str(vpcID)}, []string{"ec2:CreateSubnet EC2:subnet/*", "ec2:CreateSubnet EC2:vpc/" + vpcID}},
		{"ModifySubnetAttribute", &sdk.ModifySubnetAttributeInput{SubnetId: str(subnetID), MapPublicIpOnLaunch: &types.AttributeBooleanValue{Value: aws.Bool(false)}}, one("ec2:ModifySubnetAttribute EC2:subnet/" + subnetID + " ec2:attribute/mappubliciponlaunch=false ec2:attribute=MapPublicIpOnLaunch")},
		{"AuthorizeSecurityGroupIngress", &sdk.AuthorizeSecurityGroupIngressInput{GroupName: str("default")}, []string{"ec2:AuthorizeSecurityGroupIngress EC2:security-group/" + groupID, "ec2:AuthorizeSecurityGroupIngress EC2:security-group-rule/*"}},
		{"AuthorizeSecurityGroupIngress", &sdk.AuthorizeSecurityGroupIngressInput{GroupId: str("sg-1")}, []string{"ec2:AuthorizeSecurityGroupIngress EC2:security-group/sg-1", "ec2:AuthorizeSecurityGroupIngress EC2:security-group-rule/*"}},
		{"DeleteSecurityGroup", &sdk.DeleteSecurityGroupInput{}, one("ec2:DeleteSecurityGroup *")},
		{"CreateNetworkInterface", &sdk.CreateNetworkInterfaceInput{SubnetId: str(subnetID), Groups: []string{"sg-1"}}, []string{
			"ec2:CreateNetworkInterface EC2:network-interface/* ec2:vpc=EC2:vpc/" + vpcID, "ec2:CreateNetworkInterface EC2:subnet/" + subnetID, "ec2:CreateNetworkInterface EC2:security-group/sg-1",
		}},
		{"AllocateAddress", &sdk.AllocateAddressInput{}, one("ec2:AllocateAddress EC2:elastic-ip/*")},
		{"AssociateAddress", &sdk.AssociateAddressInput{AllocationId: str("eipalloc-1"), InstanceId: str("i-1")}, []string{"ec2:AssociateAddress EC2:elastic-ip/eipalloc-1", "ec2:AssociateAddress EC2:instance/i-1"}},
		{"AttachInternetGateway", &sdk.AttachInternetGatewayInput{InternetGatewayId: str("igw-1"), VpcId: str("vpc-1")}, []string{"ec2:AttachInternetGateway EC2:internet-gateway/igw-1", "ec2:AttachInternetGateway EC2:vpc/vpc-1"}},
		{"CreateRoute", &sdk.CreateRouteInput{RouteTableId: str("rtb-1")}, one("ec2:CreateRoute EC2:route-table/rtb-1")},
		{"DescribeVpcs", &sdk.DescribeVpcsInput{}, one("ec2:DescribeVpcs *")},
		{"CreatePlacementGroup", &sdk.CreatePlacementGroupInput{GroupName: str("pg"), Strategy: "spread"}, one("ec2:CreatePlacementGroup EC2:placement-group/pg ec2:placementgroupstrategy=spread")},
		{"NoSuchOperation", &sdk.DescribeVpcsInput{}, one("ec2:NoSuchOperation * ec2:region=" + region)},
	})
}

func TestWhatSnapshotBlocksNeed(t *testing.T) {
	checkRows(t, "ebs", []row{
		{"StartSnapshot", &ebs.StartSnapshotInput{VolumeSize: aws.Int64(3), Description: str("d"), ParentSnapshotId: str(snapshotID), Tags: []ebstypes.Tag{{Key: str("k"), Value: str("v")}}}, []string{
			"ebs:StartSnapshot PUB:snapshot/* ebs:volumesize=3 ebs:description=d ebs:parentsnapshot=PUB:snapshot/" + snapshotID + " aws:requesttag/k=v !ec2:region",
			"ec2:CreateTags PUB:snapshot/* ec2:createaction=StartSnapshot aws:tagkeys=k ec2:region=" + region,
		}},
		{"StartSnapshot", &ebs.StartSnapshotInput{}, one("ebs:StartSnapshot PUB:snapshot/*")},
		{"PutSnapshotBlock", &ebs.PutSnapshotBlockInput{SnapshotId: str(snapshotID)}, one("ebs:PutSnapshotBlock PUB:snapshot/" + snapshotID + " aws:resourcetag/env=prod")},
		{"GetSnapshotBlock", &ebs.GetSnapshotBlockInput{SnapshotId: str("snap-1")}, one("ebs:GetSnapshotBlock PUB:snapshot/snap-1")},
		{"ListSnapshotBlocks", &ebs.ListSnapshotBlocksInput{SnapshotId: str("snap-1")}, one("ebs:ListSnapshotBlocks PUB:snapshot/snap-1")},
		{"CompleteSnapshot", &ebs.CompleteSnapshotInput{SnapshotId: str("snap-1")}, one("ebs:CompleteSnapshot PUB:snapshot/snap-1")},
		{"ListChangedBlocks", &ebs.ListChangedBlocksInput{SecondSnapshotId: str("snap-2")}, one("ebs:ListChangedBlocks PUB:snapshot/snap-2")},
		{"ListChangedBlocks", &ebs.ListChangedBlocksInput{SecondSnapshotId: str("snap-2"), FirstSnapshotId: str("snap-1")}, []string{"ebs:ListChangedBlocks PUB:snapshot/snap-2", "ebs:ListChangedBlocks PUB:snapshot/snap-1"}},
	})
}

func TestTaggingThroughTheTaggingAPINeedsWhatTheServiceAsksFor(t *testing.T) {
	arns := []string{long("EC2:instance/" + instanceID), long("EC2:key-pair/" + keyID), long("S3:ours"), long("IAM:role/svc/web"), long("IAM:user/alice"), "nonsense"}
	checkRows(t, "tagging", []row{
		{"GetResources", &resourcegroupstaggingapi.GetResourcesInput{}, one("tag:GetResources *")},
		{"TagResources", &resourcegroupstaggingapi.TagResourcesInput{ResourceARNList: arns, Tags: map[string]string{"K": "v"}}, []string{
			"tag:TagResources *",
			"ec2:CreateTags EC2:instance/" + instanceID + " aws:requesttag/k=v ec2:resourcetag/env=prod ec2:instancetype=t3.nano",
			"ec2:CreateTags EC2:key-pair/" + keyID + " ec2:resourcetag/env=prod", "s3:PutBucketTagging S3:ours aws:requesttag/k=v",
			"iam:TagRole IAM:role/svc/web iam:resourcetag/team=blue", "iam:TagUser IAM:user/alice aws:tagkeys=K", "tag:TagResources *",
		}},
		{"UntagResources", &resourcegroupstaggingapi.UntagResourcesInput{ResourceARNList: arns[:1], TagKeys: []string{"a", "b"}}, []string{"tag:UntagResources *", "ec2:DeleteTags EC2:instance/" + instanceID + " aws:tagkeys=a|b"}},
		{"UntagResources", &resourcegroupstaggingapi.UntagResourcesInput{ResourceARNList: arns[3:4]}, []string{"tag:UntagResources *", "iam:UntagRole IAM:role/svc/web"}},
	})
}
