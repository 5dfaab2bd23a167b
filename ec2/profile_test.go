package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

func TestAnInstanceHasTheProfileThatItWasGiven(t *testing.T) {
	r := newRig(t)
	ami := r.image()
	for _, p := range []fsm.InstanceProfile{
		{Account: aliceID, ID: "AIPAALICE1", Name: "web", Path: "/app/", Created: 1}, {Account: aliceID, ID: "AIPAALICE2", Name: "batch", Path: "/", Created: 1},
		{Account: bobID, ID: "AIPABOB1", Name: "bobs", Path: "/", Created: 1},
	} {
		r.must(&fsm.CreateInstanceProfile{Profile: p})
	}
	web := "arn:aws:iam::" + string(aliceID) + ":instance-profile/app/web"
	in := launchOf(ami, "t3.micro", 1, 1)
	in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Arn: &web}
	made, err := r.client.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	id := made.Instances[0].InstanceId
	if p := made.Instances[0].IamInstanceProfile; p == nil || *p.Arn != web || *p.Id != "AIPAALICE1" {
		t.Errorf("launched with %+v", p)
	}
	ties := func(filters ...types.Filter) []types.IamInstanceProfileAssociation {
		out, err := r.client.DescribeIamInstanceProfileAssociations(t.Context(), &sdk.DescribeIamInstanceProfileAssociationsInput{Filters: filters})
		if err != nil {
			t.Fatal(err)
		}
		return out.IamInstanceProfileAssociations
	}
	have := ties(types.Filter{Name: str("instance-id"), Values: []string{*id}}, types.Filter{Name: str("state"), Values: []string{"associated"}})
	if len(have) != 1 || *have[0].IamInstanceProfile.Arn != web || have[0].State != "associated" {
		t.Fatalf("%+v", have)
	}
	byARN, err := r.client.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{Filters: []types.Filter{{Name: str("iam-instance-profile.arn"), Values: []string{web}}}})
	if err != nil || len(byARN.Reservations) != 1 {
		t.Errorf("by filter: %v %v", byARN, err)
	}
	batch := &types.IamInstanceProfileSpecification{Name: str("Batch")} // whatever the case
	_, err = r.client.AssociateIamInstanceProfile(t.Context(), &sdk.AssociateIamInstanceProfileInput{InstanceId: id, IamInstanceProfile: batch})
	wantCode(t, err, "IncorrectState")
	_, err = r.client.ReplaceIamInstanceProfileAssociation(t.Context(), &sdk.ReplaceIamInstanceProfileAssociationInput{
		AssociationId: have[0].AssociationId, IamInstanceProfile: batch,
	})
	if err != nil {
		t.Fatal(err)
	}
	now := ties()
	if len(now) != 1 || *now[0].IamInstanceProfile.Id != "AIPAALICE2" || *now[0].AssociationId == *have[0].AssociationId {
		t.Fatalf("%+v", now)
	}
	_, err = r.client.DisassociateIamInstanceProfile(t.Context(), &sdk.DisassociateIamInstanceProfileInput{AssociationId: have[0].AssociationId})
	wantCode(t, err, "InvalidAssociationID.NotFound")
	_, err = r.bob.DisassociateIamInstanceProfile(t.Context(), &sdk.DisassociateIamInstanceProfileInput{AssociationId: now[0].AssociationId})
	wantCode(t, err, "InvalidAssociationID.NotFound")
	out, err := r.client.DisassociateIamInstanceProfile(t.Context(), &sdk.DisassociateIamInstanceProfileInput{AssociationId: now[0].AssociationId})
	if err != nil || out.IamInstanceProfileAssociation.State != "disassociating" || len(ties()) != 0 {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := r.client.AssociateIamInstanceProfile(t.Context(), &sdk.AssociateIamInstanceProfileInput{InstanceId: id, IamInstanceProfile: batch}); err != nil || len(ties()) != 1 {
		t.Error(err)
	}
	for _, spec := range []*types.IamInstanceProfileSpecification{
		{Name: str("bobs")}, {Arn: aws.String("arn:aws:iam::" + string(bobID) + ":instance-profile/bobs")}, {Name: str("nobody")},
	} {
		in.ClientToken, in.IamInstanceProfile = nil, spec
		_, err := r.client.RunInstances(t.Context(), in)
		wantCode(t, err, "InvalidParameterValue")
	}
}
