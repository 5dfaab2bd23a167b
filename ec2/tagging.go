package ec2

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
	"hive/iam/principal"
)

// maxTagged is how many resources one request can tag, as in EC2.
const maxTagged = 1000

// checkTagged refuses resources that cannot have tags.
func checkTagged(ids []string) error {
	if len(ids) == 0 {
		return missing("ResourceId")
	}
	if len(ids) > maxTagged {
		return invalid("One request can name %d resources at most", maxTagged)
	}
	for _, id := range ids {
		kind, ok := resourceOf(id)
		if !ok {
			return bad("InvalidID", "The ID '%s' is not valid", id)
		}
		if err := checkID(kind.prefix, id); err != nil {
			return err
		}
	}
	return nil
}

// CreateTags gives tags to resources, replacing those of the same key.
func (s *Service) CreateTags(ctx context.Context, c *principal.Caller, in *sdk.CreateTagsInput) (*sdk.CreateTagsOutput, error) {
	if err := checkTagged(in.Resources); err != nil {
		return nil, err
	}
	tags, err := validTags(in.Tags)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, missing("Tag")
	}
	err = s.changeTags(ctx, c, in.Resources, in.DryRun, &fsm.AddTags{Account: account(c), Resources: in.Resources, Tags: tags})
	return &sdk.CreateTagsOutput{}, err
}

// DeleteTags takes tags from resources: those of a key, of a key and a value, or all.
func (s *Service) DeleteTags(ctx context.Context, c *principal.Caller, in *sdk.DeleteTagsInput) (*sdk.DeleteTagsOutput, error) {
	if err := checkTagged(in.Resources); err != nil {
		return nil, err
	}
	cmd := &fsm.RemoveTags{Account: account(c), Resources: in.Resources}
	for _, t := range in.Tags {
		if err := checkTagKey(aws.ToString(t.Key)); err != nil {
			return nil, err
		}
		cmd.Tags = append(cmd.Tags, fsm.TagMatch{Key: *t.Key, Value: t.Value})
	}
	err := s.changeTags(ctx, c, in.Resources, in.DryRun, cmd)
	return &sdk.DeleteTagsOutput{}, err
}

func (s *Service) changeTags(ctx context.Context, c *principal.Caller, ids []string, dry *bool, cmd fsm.Command) error {
	err := s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if err := cmd.Check(v); err != nil {
			return nil, err
		}
		return cmd, dryRun(dry)
	})
	if errors.Is(err, fsm.ErrLimit) {
		return errTagLimit()
	}
	if err == nil {
		s.changed(ctx, c, "tags changed", "resources", ids)
	}
	return err
}

// tagRow is one tag of one resource.
type tagRow struct {
	fsm.Tag
	resource, kind string
}

func (r tagRow) order() string { return fsm.Key(r.resource, r.Key) }

var tagFilters = filterTable[tagRow]{
	names: map[string]func(tagRow) []string{
		"key":           func(r tagRow) []string { return one(r.Key) },
		"resource-id":   func(r tagRow) []string { return one(r.resource) },
		"resource-type": func(r tagRow) []string { return one(r.kind) },
		"value":         func(r tagRow) []string { return []string{r.Value} },
	},
	tags: func(r tagRow) []fsm.Tag { return []fsm.Tag{r.Tag} },
}

// DescribeTags tells of tags, in order of resource and key.
func (s *Service) DescribeTags(ctx context.Context, c *principal.Caller, in *sdk.DescribeTagsInput) (*sdk.DescribeTagsOutput, error) {
	rows, next, err := list(ctx, s, c, listing[tagRow]{
		op: "DescribeTags", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken, dry: in.DryRun,
		table: tagFilters, order: tagRow.order, rows: func(v *fsm.View) ([]tagRow, error) { return tagRows(v, account(c)), nil },
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeTagsOutput{NextToken: next, Tags: make([]types.TagDescription, 0, len(rows))}
	for _, r := range rows {
		out.Tags = append(out.Tags, types.TagDescription{
			Key: aws.String(r.Key), Value: aws.String(r.Value), ResourceId: aws.String(r.resource), ResourceType: types.ResourceType(r.kind),
		})
	}
	return out, nil
}

// tagRows are all tags of an account's resources.
func tagRows(v *fsm.View, owner fsm.AccountID) []tagRow {
	var out []tagRow
	for id, r := range fsm.TaggedResources(v) {
		if r.Account != owner {
			continue
		}
		kind, _ := resourceOf(id)
		for _, t := range r.Tags {
			out = append(out, tagRow{t, id, kind.tagType})
		}
	}
	return out
}
