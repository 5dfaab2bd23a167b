package ec2

import (
	"encoding/base64"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func status(t *testing.T, r *rig, id string) types.InstanceStatus {
	t.Helper()
	out, err := r.client.DescribeInstanceStatus(t.Context(), &sdk.DescribeInstanceStatusInput{InstanceIds: []string{id}, IncludeAllInstances: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return out.InstanceStatuses[0]
}

func TestStatusTellsOfPanicsBadDisksAndLostNodes(t *testing.T) {
	r := newRig(t)
	ids := r.run(r.image(), "t3.nano", 3)
	out, err := r.client.DescribeInstanceStatus(t.Context(), &sdk.DescribeInstanceStatusInput{})
	if err != nil || len(out.InstanceStatuses) != 0 {
		t.Errorf("status of instances that do not run: %v, %v", out, err)
	}
	if s := status(t, r, ids[0]); s.InstanceStatus.Status != "not-applicable" || s.SystemStatus.Status != "not-applicable" {
		t.Errorf("pending: %+v", s)
	}
	for _, id := range ids {
		r.observe(id, fsm.InstanceRunning)
	}
	if s := status(t, r, ids[0]); s.InstanceStatus.Status != "ok" || s.SystemStatus.Status != "ok" || s.InstanceStatus.Details[0].Status != "passed" {
		t.Errorf("running: %+v", s)
	}
	r.must(
		&fsm.RecordGuestEvent{ID: fsm.InstanceID(ids[0]), Event: fsm.GuestEvent{Code: "GUEST_PANICKED", Time: 5000, Boot: 1}},
		&fsm.RecordGuestEvent{ID: fsm.InstanceID(ids[1]), Event: fsm.GuestEvent{Code: "BLOCK_IO_ERROR", Time: 6000, Boot: 1}},
	)
	if s := status(t, r, ids[0]); s.InstanceStatus.Status != "impaired" || s.InstanceStatus.Details[0].ImpairedSince.UnixMilli() != 5000 || s.AttachedEbsStatus.Status != "ok" {
		t.Errorf("panicked: %+v", s)
	}
	if s := status(t, r, ids[1]); s.InstanceStatus.Status != "impaired" || s.AttachedEbsStatus.Status != "impaired" {
		t.Errorf("bad disk: %+v", s)
	}
	impaired, err := r.client.DescribeInstanceStatus(t.Context(), &sdk.DescribeInstanceStatusInput{
		Filters: []types.Filter{{Name: str("instance-status.status"), Values: []string{"impaired"}}},
	})
	if err != nil || len(impaired.InstanceStatuses) != 2 {
		t.Errorf("impaired: %v, %v", impaired, err)
	}
	if _, err := r.client.RebootInstances(t.Context(), &sdk.RebootInstancesInput{InstanceIds: ids[:1]}); err != nil {
		t.Fatal(err)
	}
	if s := status(t, r, ids[0]); s.InstanceStatus.Status != "ok" {
		t.Errorf("rebooted: %+v", s)
	}
	for i := range r.nodes {
		r.kill(i)
	}
	if s := status(t, r, ids[2]); s.SystemStatus.Status != "impaired" || s.InstanceStatus.Status != "insufficient-data" {
		t.Errorf("node lost: %+v", s)
	}
}

func TestTheConsoleIsBase64(t *testing.T) {
	r := newRig(t)
	id := r.run(r.image(), "t3.nano", 1)[0]
	out, err := r.client.GetConsoleOutput(t.Context(), &sdk.GetConsoleOutputInput{InstanceId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := base64.StdEncoding.DecodeString(*out.Output); err != nil || string(text) != "login:" || !out.Timestamp.Equal(r.now()) {
		t.Errorf("%q, %v", text, err)
	}
	_, err = r.bob.GetConsoleOutput(t.Context(), &sdk.GetConsoleOutputInput{InstanceId: &id})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestAttributesAreToldAndChanged(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	id := r.run(r.image(), "t3.nano", 1)[0]
	r.observe(id, fsm.InstanceRunning)
	get := func(name types.InstanceAttributeName) *sdk.DescribeInstanceAttributeOutput {
		t.Helper()
		out, err := r.client.DescribeInstanceAttribute(ctx, &sdk.DescribeInstanceAttributeInput{InstanceId: &id, Attribute: name})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	set := func(in sdk.ModifyInstanceAttributeInput) error {
		in.InstanceId = &id
		_, err := r.client.ModifyInstanceAttribute(ctx, &in)
		return err
	}
	if out := get("instanceType"); *out.InstanceType.Value != "t3.nano" {
		t.Errorf("type %v", out)
	}
	if out := get("userData"); out.UserData == nil || out.UserData.Value != nil {
		t.Errorf("user data %v", out)
	}
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{DisableApiTermination: truth(true)}), "")
	if out := get("disableApiTermination"); !*out.DisableApiTermination.Value {
		t.Errorf("protection %v", out)
	}
	_, err := r.client.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{id}})
	wantCode(t, err, "OperationNotPermitted")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{Attribute: "disableApiTermination", Value: str("false")}), "")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{Attribute: "instanceInitiatedShutdownBehavior", Value: str("terminate")}), "")
	if out := get("instanceInitiatedShutdownBehavior"); *out.InstanceInitiatedShutdownBehavior.Value != "terminate" {
		t.Errorf("%v", out)
	}
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{InstanceType: textValue("t3.small")}), "IncorrectInstanceState")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{InstanceType: textValue("t3.bogus")}), "InvalidParameterValue")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{}), "MissingParameter")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{SourceDestCheck: truth(false)}), "UnsupportedOperation")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{Groups: []string{"sg-00000000"}}), "UnsupportedOperation")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{DisableApiTermination: truth(true), InstanceType: textValue("t3.small")}), "InvalidParameterCombination")
	if _, err := r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	r.observe(id, fsm.InstanceStopped)
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{InstanceType: textValue("t3.small")}), "")
	wantCode(t, set(sdk.ModifyInstanceAttributeInput{UserData: &types.SecureBlobAttributeValue{Value: []byte("#!x")}}), "")
	if out := get("userData"); *out.UserData.Value != base64.StdEncoding.EncodeToString([]byte("#!x")) {
		t.Errorf("user data %v", *out.UserData.Value)
	}
	if _, err := r.client.StartInstances(ctx, &sdk.StartInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	r.view(func(v *fsm.View) {
		i, _ := fsm.Instances.Get(v, fsm.InstanceID(id))
		if u := fsm.UseOf(v, i.Node); u.Memory != 2048 {
			t.Errorf("the node promises %+v to a t3.small", u)
		}
	})
}

func TestMetadataOptionsAreToldAndChanged(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	in := launchOf(r.image(), "t3.nano", 1, 1)
	in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(2)}
	out, err := r.client.RunInstances(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	if o := describe(t, r, id)[0].MetadataOptions; o.HttpTokens != "required" || *o.HttpPutResponseHopLimit != 2 || o.HttpEndpoint != "enabled" {
		t.Errorf("launched with %+v", o)
	}
	set := func(in sdk.ModifyInstanceMetadataOptionsInput) error {
		in.InstanceId = &id
		_, err := r.client.ModifyInstanceMetadataOptions(ctx, &in)
		return err
	}
	wantCode(t, set(sdk.ModifyInstanceMetadataOptionsInput{HttpEndpoint: types.InstanceMetadataEndpointStateDisabled}), "")
	if o := describe(t, r, id)[0].MetadataOptions; o.HttpTokens != "required" || *o.HttpPutResponseHopLimit != 2 || o.HttpEndpoint != "disabled" {
		t.Errorf("changed to %+v", o)
	}
	wantCode(t, set(sdk.ModifyInstanceMetadataOptionsInput{HttpPutResponseHopLimit: aws.Int32(0)}), "InvalidParameterValue")
	r.observe(id, fsm.InstanceTerminated)
	wantCode(t, set(sdk.ModifyInstanceMetadataOptionsInput{HttpTokens: types.HttpTokensStateOptional}), "IncorrectInstanceState")
}

func TestChangesOfInstancesAreRefusedInTheWordsOfEC2(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	ids := r.run(r.image(), "t3.nano", 2)
	r.observe(ids[0], fsm.InstanceRunning)
	start := func(ids ...string) error {
		_, err := r.client.StartInstances(ctx, &sdk.StartInstancesInput{InstanceIds: ids})
		return err
	}
	wantCode(t, start("i-xyz"), "InvalidInstanceID.Malformed")
	wantCode(t, start("i-00000000000000000"), "InvalidInstanceID.NotFound")
	_, err := r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: ids[1:]}) // never ran
	wantCode(t, err, "IncorrectInstanceState")
	_, err = r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: ids[:1], DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperation")
	_, err = r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: ids[:1], Hibernate: aws.Bool(true)})
	wantCode(t, err, "UnsupportedOperation")
	_, err = r.bob.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: ids[:1]})
	wantCode(t, err, "InvalidInstanceID.NotFound")
	if _, err := r.client.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: ids[:1]}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, start(ids...), "IncorrectInstanceState")
	_, err = r.client.RebootInstances(ctx, &sdk.RebootInstancesInput{InstanceIds: ids})
	wantCode(t, err, "IncorrectInstanceState")
	_, err = r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: ids})
	wantCode(t, err, "IncorrectInstanceState")
	r.view(func(v *fsm.View) {
		if i, _ := fsm.Instances.Get(v, fsm.InstanceID(ids[1])); i.State != fsm.InstancePending || i.Reboots != 0 {
			t.Errorf("a refused request changed %+v", i)
		}
	})
}
