package ec2

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	groups "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	grouptypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"

	"hive/awsd/protocol"
	"hive/fsm"
)

func TestTaggedResourcesAreFoundByTagAndType(t *testing.T) {
	r := newRig(t)
	tagging := NewTagging(r.service)
	volume := func(tags ...types.Tag) string {
		out, err := r.client.CreateVolume(t.Context(), &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1a"), Size: aws.Int32(1),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tags}}})
		if err != nil {
			t.Fatal(err)
		}
		return "arn:aws:ec2:" + testRegion + ":" + string(aliceID) + ":volume/" + *out.VolumeId
	}
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	a, b, c := volume(tag("env", "prod"), tag("team", "x")), volume(tag("env", "dev")), volume(tag("team", "x"))
	find := func(in *groups.GetResourcesInput) (arns []string) {
		for {
			out, err := tagging.GetResources(t.Context(), alice, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range out.ResourceTagMappingList {
				arns = append(arns, *m.ResourceARN)
			}
			if in.PaginationToken = out.PaginationToken; *out.PaginationToken == "" {
				return arns
			}
		}
	}
	filter := func(key string, values ...string) []grouptypes.TagFilter {
		return []grouptypes.TagFilter{{Key: &key, Values: values}}
	}
	for what, tt := range map[string]struct {
		in   *groups.GetResourcesInput
		want []string
	}{
		"all, one a page":   {&groups.GetResourcesInput{ResourcesPerPage: aws.Int32(1)}, []string{a, b, c}},
		"a key":             {&groups.GetResourcesInput{TagFilters: filter("team")}, []string{a, c}},
		"values":            {&groups.GetResourcesInput{TagFilters: filter("env", "dev", "test")}, []string{b}},
		"two filters":       {&groups.GetResourcesInput{TagFilters: append(filter("env"), filter("team", "x")...)}, []string{a}},
		"a type":            {&groups.GetResourcesInput{ResourceTypeFilters: []string{"ec2:volume"}}, []string{a, b, c}},
		"a service":         {&groups.GetResourcesInput{ResourceTypeFilters: []string{"ec2"}}, []string{a, b, c}},
		"another type":      {&groups.GetResourcesInput{ResourceTypeFilters: []string{"ec2:instance"}}, nil},
		"by ARN":            {&groups.GetResourcesInput{ResourceARNList: []string{b}}, []string{b}},
		"another's account": {&groups.GetResourcesInput{ResourceARNList: []string{"arn:aws:ec2:r:999999999999:volume/vol-1"}}, nil},
	} {
		slices.Sort(tt.want)
		if got := find(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", what, got, tt.want)
		}
	}
	if out, err := tagging.GetResources(t.Context(), bob, &groups.GetResourcesInput{}); err != nil || len(out.ResourceTagMappingList) != 0 {
		t.Errorf("another account: %v %v", out, err)
	}
	keys, err := tagging.GetTagKeys(t.Context(), alice, &groups.GetTagKeysInput{})
	if err != nil || fmt.Sprint(keys.TagKeys) != "[env team]" {
		t.Errorf("keys %v %v", keys, err)
	}
	values, err := tagging.GetTagValues(t.Context(), alice, &groups.GetTagValuesInput{Key: str("env")})
	if err != nil || fmt.Sprint(values.TagValues) != "[dev prod]" {
		t.Errorf("values %v %v", values, err)
	}
}

func TestTagsGoToResourcesByARNAndFailuresAreToldForEach(t *testing.T) {
	r := newRig(t)
	tagging := NewTagging(r.service)
	made, err := r.client.CreateVolume(t.Context(), &sdk.CreateVolumeInput{AvailabilityZone: str("us-test-1a"), Size: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:ec2:" + testRegion + ":" + string(aliceID) + ":volume/"
	out, err := tagging.TagResources(t.Context(), alice, &groups.TagResourcesInput{
		ResourceARNList: []string{arn + *made.VolumeId, arn + "vol-0123456789abcdef0", "arn:aws:sqs:r:1:q"}, Tags: map[string]string{"k": "v"},
	})
	if err != nil || len(out.FailedResourcesMap) != 2 || out.FailedResourcesMap["arn:aws:sqs:r:1:q"].ErrorCode != grouptypes.ErrorCodeInvalidParameterException {
		t.Errorf("%+v %v", out, err)
	}
	has := func() (tags []fsm.Tag) {
		r.view(func(v *fsm.View) { tags = fsm.TagsOf(v, *made.VolumeId) })
		return tags
	}
	if got := has(); len(got) != 1 || got[0] != (fsm.Tag{Key: "k", Value: "v"}) {
		t.Errorf("%v", got)
	}
	// Another account cannot.
	stolen, err := tagging.UntagResources(t.Context(), bob, &groups.UntagResourcesInput{ResourceARNList: []string{arn + *made.VolumeId}, TagKeys: []string{"k"}})
	if err != nil || len(stolen.FailedResourcesMap) != 1 || len(has()) != 1 {
		t.Errorf("%+v %v %v", stolen, err, has())
	}
	if out, err := tagging.UntagResources(t.Context(), alice, &groups.UntagResourcesInput{ResourceARNList: []string{arn + *made.VolumeId}, TagKeys: []string{"k"}}); err != nil || len(out.FailedResourcesMap) != 0 || len(has()) != 0 {
		t.Errorf("%+v %v %v", out, err, has())
	}
	for i, bad := range []func() error{
		func() error {
			_, err := tagging.TagResources(t.Context(), alice, &groups.TagResourcesInput{})
			return err
		},
		func() error {
			_, err := tagging.TagResources(t.Context(), alice, &groups.TagResourcesInput{ResourceARNList: []string{arn}, Tags: map[string]string{"aws:x": "y"}})
			return err
		},
		func() error {
			_, err := tagging.UntagResources(t.Context(), alice, &groups.UntagResourcesInput{ResourceARNList: []string{arn}})
			return err
		},
		func() error {
			_, err := tagging.GetResources(t.Context(), alice, &groups.GetResourcesInput{ResourcesPerPage: aws.Int32(101)})
			return err
		},
		func() error {
			_, err := tagging.GetResources(t.Context(), alice, &groups.GetResourcesInput{ResourceARNList: []string{arn}, TagFilters: []grouptypes.TagFilter{{Key: str("k")}}})
			return err
		},
	} {
		refusal := (*protocol.Error)(nil)
		if err := bad(); !errors.As(err, &refusal) || refusal.Code != "InvalidParameterException" || refusal.Status != http.StatusBadRequest {
			t.Errorf("%d: %v", i, err)
		}
	}
}
