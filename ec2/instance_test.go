package ec2

import (
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func launchOf(ami, typ string, least, most int32) *sdk.RunInstancesInput {
	return &sdk.RunInstancesInput{ImageId: &ami, InstanceType: types.InstanceType(typ), MinCount: &least, MaxCount: &most}
}

func describe(t *testing.T, r *rig, ids ...string) []types.Instance {
	t.Helper()
	out, err := r.client.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{InstanceIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	var all []types.Instance
	for _, x := range out.Reservations {
		all = append(all, x.Instances...)
	}
	return all
}

func TestAnInstanceLivesThroughAllItsStates(t *testing.T) {
	r := newRig(t)
	ctx, ami := t.Context(), r.image()
	key, err := r.client.CreateKeyPair(ctx, &sdk.CreateKeyPairInput{KeyName: str("k"), KeyType: types.KeyTypeEd25519})
	if err != nil {
		t.Fatal(err)
	}
	in := launchOf(ami, "t3.micro", 1, 1)
	in.KeyName, in.UserData = key.KeyName, str(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n")))
	in.BlockDeviceMappings = []types.BlockDeviceMapping{
		{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(3), DeleteOnTermination: aws.Bool(false)}},
	}
	in.TagSpecifications = []types.TagSpecification{
		{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: str("Name"), Value: str("one")}}},
		{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: str("of"), Value: str("one")}}},
	}
	out, err := r.client.RunInstances(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	i := out.Instances[0]
	id := *i.InstanceId
	if i.State.Name != "pending" || *i.State.Code != 0 || *i.KeyName != "k" || len(i.BlockDeviceMappings) != 2 || *i.Tags[0].Value != "one" ||
		!strings.HasPrefix(*i.PrivateIpAddress, "172.31.") || *i.PrivateDnsName != "ip-"+strings.ReplaceAll(*i.PrivateIpAddress, ".", "-")+".us-test-1.compute.internal" {
		t.Errorf("launched %+v", i)
	}
	r.observe(id, fsm.InstanceRunning)
	i = describe(t, r, id)[0]
	if i.State.Name != "running" || *i.State.Code != 16 || i.StateReason != nil {
		t.Errorf("running: %+v", i)
	}
	steps := []struct {
		name     string
		do       func() ([]types.InstanceStateChange, error)
		previous string
		current  string
		observed string
	}{
		{"stop", func() ([]types.InstanceStateChange, error) {
			out, err := r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: []string{id}})
			return out.StoppingInstances, err
		}, "running", "stopping", fsm.InstanceStopped},
		{"start", func() ([]types.InstanceStateChange, error) {
			out, err := r.client.StartInstances(ctx, &sdk.StartInstancesInput{InstanceIds: []string{id}})
			return out.StartingInstances, err
		}, "stopped", "pending", fsm.InstanceRunning},
		{"terminate", func() ([]types.InstanceStateChange, error) {
			out, err := r.client.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{id}})
			return out.TerminatingInstances, err
		}, "running", "shutting-down", fsm.InstanceTerminated},
	}
	for _, step := range steps {
		states, err := step.do()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if s := states[0]; string(s.PreviousState.Name) != step.previous || string(s.CurrentState.Name) != step.current {
			t.Errorf("%s: from %s to %s", step.name, s.PreviousState.Name, s.CurrentState.Name)
		}
		r.observe(id, step.observed)
	}
	i = describe(t, r, id)[0]
	if i.State.Name != "terminated" || *i.StateReason.Code != "Client.UserInitiatedShutdown" || len(i.BlockDeviceMappings) != 0 || i.PrivateIpAddress != nil ||
		*i.StateTransitionReason != "User initiated (2030-01-02 03:04:05 GMT)" {
		t.Errorf("terminated: %+v", i)
	}
	r.view(func(v *fsm.View) {
		left := 0
		for _, x := range fsm.Volumes.Scan(v, "") {
			left++
			if x.Size != 3 || x.Attachment != nil {
				t.Errorf("left: %+v", x)
			}
		}
		if left != 1 {
			t.Errorf("%d volumes left, want the one with DeleteOnTermination=false", left)
		}
		for _, n := range r.nodes {
			if u := fsm.UseOf(v, n.ID); u != (fsm.NodeUse{}) {
				t.Errorf("%s still promises %+v", n.ID, u)
			}
		}
	})
}

func TestLaunchesSpreadOverNodesUntilTheyAreFull(t *testing.T) {
	r := newRig(t)
	ami := r.image()
	ids := r.run(ami, "t3.large", 2) // 2 vCPUs, 8192 MiB: one for each node
	nodes := map[fsm.NodeID]bool{}
	r.view(func(v *fsm.View) {
		for _, id := range ids {
			i, _ := fsm.Instances.Get(v, fsm.InstanceID(id))
			nodes[i.Node] = true
		}
	})
	if len(nodes) != 2 {
		t.Errorf("two instances on %v", nodes)
	}
	_, err := r.client.RunInstances(t.Context(), launchOf(ami, "t3.large", 2, 2))
	wantCode(t, err, "InsufficientInstanceCapacity")
	out, err := r.client.RunInstances(t.Context(), launchOf(ami, "t3.large", 1, 5))
	if err != nil || len(out.Instances) != 1 {
		t.Errorf("MinCount 1 of 5 on one free node: %v, %v", out, err)
	}
	_, err = r.client.RunInstances(t.Context(), launchOf(ami, "t3.nano", 1, 1))
	wantCode(t, err, "InsufficientInstanceCapacity")
}

func TestLaunchesAtOncePromiseNoMoreThanThereIs(t *testing.T) {
	r := newRig(t)
	ami := r.image()
	var mu sync.Mutex // guards what follows
	addresses, full := map[string]bool{}, 0
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			out, err := r.client.RunInstances(t.Context(), launchOf(ami, "t3.medium", 1, 1)) // 4096 MiB: two on each node
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wantCode(t, err, "InsufficientInstanceCapacity")
				full++
				return
			}
			addresses[*out.Instances[0].PrivateIpAddress] = true
		})
	}
	all.Wait()
	if len(addresses) != 6 || full != 14 {
		t.Errorf("%d launches with addresses of their own, %d refused, want 6 and 14", len(addresses), full)
	}
	r.view(func(v *fsm.View) {
		for _, n := range r.nodes {
			if u := fsm.UseOf(v, n.ID); u.Memory != 8192 {
				t.Errorf("%s promises %+v", n.ID, u)
			}
		}
	})
}

func TestAnArchitectureThatNoNodeRunsIsUnsupported(t *testing.T) {
	r := newRig(t)
	r.image()
	r.must(&fsm.RegisterImage{Image: fsm.Image{
		ID: "ami-0000000000000a43a", Account: aliceID, Name: "arm", Arch: archARM, BootMode: "uefi", RootDevice: "/dev/sda1",
		Mappings: []fsm.BlockMapping{{Device: "/dev/sda1", Snapshot: "snap-0123456789abcdef0", Size: 2, Type: "gp3"}},
	}})
	_, err := r.client.RunInstances(t.Context(), launchOf("ami-0000000000000a43a", "t4g.nano", 1, 1))
	wantCode(t, err, "Unsupported")
}

func TestAZoneIsHonoured(t *testing.T) {
	r := newRig(t)
	in := launchOf(r.image(), "t3.micro", 3, 3)
	in.Placement = &types.Placement{AvailabilityZone: str("us-test-1b")}
	out, err := r.client.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range out.Instances {
		if *i.Placement.AvailabilityZone != "us-test-1b" {
			t.Errorf("in %s", *i.Placement.AvailabilityZone)
		}
	}
}

func TestTheSameClientTokenLaunchesOnce(t *testing.T) {
	r := newRig(t)
	in := launchOf(r.image(), "t3.micro", 2, 2)
	in.ClientToken = str("once")
	first, err := r.client.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.client.RunInstances(t.Context(), in)
	if err != nil || *second.ReservationId != *first.ReservationId || len(second.Instances) != 2 {
		t.Errorf("again: %v, %v", second, err)
	}
	in.InstanceType = "t3.small"
	_, err = r.client.RunInstances(t.Context(), in)
	wantCode(t, err, "IdempotentParameterMismatch")
	if n := len(describe(t, r)); n != 2 {
		t.Errorf("%d instances", n)
	}
}

func TestBadLaunchesAreRefusedInTheWordsOfEC2(t *testing.T) {
	r := newRig(t)
	ami := r.image()
	for _, x := range []struct {
		name, code string
		change     func(*sdk.RunInstancesInput)
	}{
		{"dry run", "DryRunOperation", func(in *sdk.RunInstancesInput) { in.DryRun = aws.Bool(true) }},
		{"no image", "MissingParameter", func(in *sdk.RunInstancesInput) { in.ImageId = nil }},
		{"malformed image", "InvalidAMIID.Malformed", func(in *sdk.RunInstancesInput) { in.ImageId = str("tiny") }},
		{"unknown image", "InvalidAMIID.NotFound", func(in *sdk.RunInstancesInput) { in.ImageId = str("ami-00000000000000000") }},
		{"type", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.InstanceType = "t9.huge" }},
		{"architecture", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.InstanceType = "t4g.micro" }},
		{"key", "InvalidKeyPair.NotFound", func(in *sdk.RunInstancesInput) { in.KeyName = str("none") }},
		{"no instance", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.MinCount = aws.Int32(0) }},
		{"counts", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.MinCount = aws.Int32(3) }},
		{"user data", "InvalidParameterValue", func(in *sdk.RunInstancesInput) {
			in.UserData = str(base64.StdEncoding.EncodeToString(make([]byte, 16<<10+1)))
		}},
		{"user data's form", "InvalidUserData.Malformed", func(in *sdk.RunInstancesInput) { in.UserData = str("#!/bin/sh") }},
		{"zone", "InvalidParameterValue", func(in *sdk.RunInstancesInput) {
			in.Placement = &types.Placement{AvailabilityZone: str("us-test-1z")}
		}},
		{"malformed subnet", "InvalidSubnetId.Malformed", func(in *sdk.RunInstancesInput) { in.SubnetId = str("subnet") }},
		{"unknown subnet", "InvalidSubnetID.NotFound", func(in *sdk.RunInstancesInput) { in.SubnetId = str("subnet-00000000") }},
		{"malformed group", "InvalidGroupId.Malformed", func(in *sdk.RunInstancesInput) { in.SecurityGroupIds = []string{"x"} }},
		{"unknown group", "InvalidGroup.NotFound", func(in *sdk.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-00000000"} }},
		{"unknown group name", "InvalidGroup.NotFound", func(in *sdk.RunInstancesInput) { in.SecurityGroups = []string{"web"} }},
		{"address elsewhere", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.PrivateIpAddress = str("10.0.0.1") }},
		{"no address", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.PrivateIpAddress = str("ten") }},
		{"address of two", "InvalidParameterCombination", func(in *sdk.RunInstancesInput) {
			in.PrivateIpAddress, in.MaxCount = str("172.31.0.9"), aws.Int32(2)
		}},
		{"token", "InvalidParameterValue", func(in *sdk.RunInstancesInput) { in.ClientToken = str(strings.Repeat("x", 65)) }},
		{"tag's resource", "InvalidParameterValue", func(in *sdk.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVpc, Tags: []types.Tag{{Key: str("a")}}}}
		}},
		{"reserved tag", "InvalidParameterValue", func(in *sdk.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: str("aws:a")}}}}
		}},
		{"hops", "InvalidParameterValue", func(in *sdk.RunInstancesInput) {
			in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(65)}
		}},
		{"device name", "InvalidBlockDeviceMapping", func(in *sdk.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: str("disk"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}}}
		}},
		{"device twice", "InvalidBlockDeviceMapping", func(in *sdk.RunInstancesInput) {
			m := types.BlockDeviceMapping{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}}
			in.BlockDeviceMappings = []types.BlockDeviceMapping{m, m}
		}},
		{"root too small", "InvalidBlockDeviceMapping", func(in *sdk.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: str("/dev/sda1"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}}}
		}},
		{"no size", "MissingParameter", func(in *sdk.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeType: "gp3"}}}
		}},
		{"snapshot", "InvalidSnapshot.NotFound", func(in *sdk.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{SnapshotId: str("snap-00000000")}}}
		}},
		{"encryption", "UnsupportedOperation", func(in *sdk.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: str("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1), Encrypted: aws.Bool(true)}}}
		}},
		{"a profile that is not there", "InvalidParameterValue", func(in *sdk.RunInstancesInput) {
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: str("r")}
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			in := launchOf(ami, "t3.micro", 1, 1)
			x.change(in)
			_, err := r.client.RunInstances(t.Context(), in)
			wantCode(t, err, x.code)
		})
	}
	if n := len(describe(t, r)); n != 0 {
		t.Errorf("%d instances were launched all the same", n)
	}
}

func TestInstancesAreFoundByFiltersAndInPages(t *testing.T) {
	r := newRig(t)
	ami := r.image()
	ids := r.run(ami, "t3.nano", 7)
	r.observe(ids[0], fsm.InstanceRunning)
	_, err := r.client.CreateTags(t.Context(), &sdk.CreateTagsInput{Resources: ids[:2], Tags: []types.Tag{{Key: str("role"), Value: str("web*1")}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name   string
		values []string
		want   int
	}{
		{"instance-state-name", []string{"running"}, 1},
		{"instance-state-name", []string{"running", "pending"}, 7},
		{"instance-state-code", []string{"16"}, 1},
		{"tag:role", []string{"web*"}, 2},
		{"tag:role", []string{`web\*1`}, 2},
		{"tag:role", []string{`web\*2`}, 0},
		{"tag:role", []string{"web?1"}, 2},
		{"tag-key", []string{"role"}, 2},
		{"tag-value", []string{"web*"}, 2},
		{"instance-type", []string{"t3.n?no"}, 7},
		{"image-id", []string{ami}, 7},
		{"network-interface.status", []string{"in-use"}, 7},
		{"block-device-mapping.device-name", []string{"/dev/sda1"}, 7},
		{"network-interface.addresses.private-ip-address", []string{"172.31.*"}, 7},
		{"instance.group-name", []string{"default"}, 7},
		{"ip-address", []string{"*"}, 0},
		{"vpc-id", nil, 0},
	} {
		out, err := r.client.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{Filters: []types.Filter{{Name: &x.name, Values: x.values}}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, res := range out.Reservations {
			n += len(res.Instances)
		}
		if n != x.want {
			t.Errorf("%s=%v: %d instances, want %d", x.name, x.values, n, x.want)
		}
	}
	var got []string
	pages := sdk.NewDescribeInstancesPaginator(r.client, &sdk.DescribeInstancesInput{MaxResults: aws.Int32(5)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range page.Reservations {
			for _, i := range res.Instances {
				got = append(got, *i.InstanceId)
			}
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("pages gave %v, want %v", got, ids)
	}
}

func TestBadDescribesAreRefusedInTheWordsOfEC2(t *testing.T) {
	r := newRig(t)
	ids := r.run(r.image(), "t3.nano", 6)
	first, err := r.client.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{MaxResults: aws.Int32(5)})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		code string
		in   sdk.DescribeInstancesInput
	}{
		{"InvalidInstanceID.Malformed", sdk.DescribeInstancesInput{InstanceIds: []string{"i-xyz"}}},
		{"InvalidInstanceID.NotFound", sdk.DescribeInstancesInput{InstanceIds: []string{"i-00000000000000000", ids[0]}}},
		{"InvalidParameterValue", sdk.DescribeInstancesInput{Filters: []types.Filter{{Name: str("colour"), Values: []string{"red"}}}}},
		{"InvalidParameterValue", sdk.DescribeInstancesInput{MaxResults: aws.Int32(4)}},
		{"InvalidParameterValue", sdk.DescribeInstancesInput{MaxResults: aws.Int32(1001)}},
		{"InvalidParameterCombination", sdk.DescribeInstancesInput{MaxResults: aws.Int32(5), InstanceIds: ids[:1]}},
		{"InvalidNextToken", sdk.DescribeInstancesInput{NextToken: str("garbage")}},
		{"InvalidNextToken", sdk.DescribeInstancesInput{NextToken: first.NextToken, Filters: []types.Filter{{Name: str("vpc-id"), Values: []string{"*"}}}}},
		{"FilterLimitExceeded", sdk.DescribeInstancesInput{Filters: []types.Filter{{Name: str("vpc-id"), Values: make([]string, 201)}}}},
		{"DryRunOperation", sdk.DescribeInstancesInput{DryRun: aws.Bool(true)}},
	} {
		_, err := r.client.DescribeInstances(t.Context(), &x.in)
		wantCode(t, err, x.code)
	}
	_, err = r.bob.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{InstanceIds: ids[:1]})
	wantCode(t, err, "InvalidInstanceID.NotFound")
	if _, err = r.bob.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{NextToken: first.NextToken}); err == nil {
		t.Error("another account's token is good")
	}
}
