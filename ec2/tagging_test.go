package ec2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func tagsOf(t *testing.T, r *rig, id string) map[string]string {
	t.Helper()
	out, err := r.client.DescribeTags(t.Context(), &sdk.DescribeTagsInput{Filters: []types.Filter{{Name: str("resource-id"), Values: []string{id}}}})
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]string{}
	for _, x := range out.Tags {
		tags[*x.Key] = *x.Value
		if x.ResourceType != types.ResourceTypeInstance {
			t.Errorf("a tag of %s", x.ResourceType)
		}
	}
	return tags
}

func TestTagsAreGivenReplacedAndTaken(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	id := r.run(r.image(), "t3.nano", 1)[0]
	give := func(key, value string) error {
		_, err := r.client.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: &key, Value: &value}}})
		return err
	}
	take := func(tags ...types.Tag) {
		t.Helper()
		if _, err := r.client.DeleteTags(ctx, &sdk.DeleteTagsInput{Resources: []string{id}, Tags: tags}); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range [][2]string{{"a", "1"}, {"b", "2"}, {"a", "3"}, {"c", ""}} {
		wantCode(t, give(x[0], x[1]), "")
	}
	if got := tagsOf(t, r, id); len(got) != 3 || got["a"] != "3" {
		t.Errorf("%v", got)
	}
	take(types.Tag{Key: str("a"), Value: str("1")}, types.Tag{Key: str("b")})
	if got := tagsOf(t, r, id); len(got) != 2 || got["a"] != "3" {
		t.Errorf("%v", got)
	}
	take()
	if got := tagsOf(t, r, id); len(got) != 0 {
		t.Errorf("%v", got)
	}
	wantCode(t, give("aws:x", "1"), "InvalidParameterValue")
	wantCode(t, give(strings.Repeat("k", 129), "1"), "InvalidParameterValue")
	wantCode(t, give(strings.Repeat("é", 128), strings.Repeat("é", 256)), "")
	wantCode(t, give("k", strings.Repeat("v", 257)), "InvalidParameterValue")
	for i := range 49 {
		wantCode(t, give(fmt.Sprint("k", i), ""), "")
	}
	wantCode(t, give("one too many", ""), "TagLimitExceeded")
	_, err := r.client.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{"x-1"}, Tags: []types.Tag{{Key: str("a")}}})
	wantCode(t, err, "InvalidID")
	_, err = r.client.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{"vol-00000000"}, Tags: []types.Tag{{Key: str("a")}}})
	wantCode(t, err, "InvalidVolume.NotFound")
	_, err = r.client.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: str("a")}, {Key: str("a")}}})
	wantCode(t, err, "InvalidParameterValue")
	_, err = r.client.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: str("k0")}}, DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperation")
	_, err = r.bob.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: str("a")}}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}
