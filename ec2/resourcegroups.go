package ec2

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Tagging answers the Resource Groups Tagging API over the resources of EC2.
// Source: Resource Groups Tagging API reference.
type Tagging struct{ s *Service }

// NewTagging is a Tagging over the resources of s.
func NewTagging(s *Service) *Tagging { return &Tagging{s} }

// Limits of the API.
const (
	maxTagFilters      = 50
	maxTagFilterValues = 20
	maxNamedARNs       = 100
	maxTagTargets      = 20
	defaultResources   = 50
	maxResources       = 100
	tagPage            = 200 // keys and values of an answer
)

func badTagging(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, "InvalidParameterException", format, args...)
}

// arnOf is the ARN of an EC2 resource of an account.
func (t *Tagging) arnOf(account fsm.AccountID, id string) string {
	kind, _ := resourceOf(id)
	owner := string(account)
	if kind.prefix == "ami" || kind.prefix == "snap" {
		owner = ""
	}
	return "arn:aws:ec2:" + t.s.cfg.Region + ":" + owner + ":" + kind.tagType + "/" + id
}

// taggedRow is a resource with its tags.
type taggedRow struct {
	arn, kind string
	tags      []fsm.Tag
}

func (t *Tagging) rows(ctx context.Context, c *principal.Caller) (out []taggedRow, err error) {
	err = t.s.read(ctx, func(v *fsm.View) error {
		out = nil
		for id, r := range fsm.TaggedResources(v) {
			if r.Account == account(c) {
				kind, _ := resourceOf(id)
				out = append(out, taggedRow{t.arnOf(r.Account, id), "ec2:" + kind.tagType, r.Tags})
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b taggedRow) int { return strings.Compare(a.arn, b.arn) })
	return out, err
}

// GetResources lists resources that have tags, in order of ARN.
func (t *Tagging) GetResources(ctx context.Context, c *principal.Caller, in *sdk.GetResourcesInput) (*sdk.GetResourcesOutput, error) {
	if err := checkGetResources(in); err != nil {
		return nil, err
	}
	rows, err := t.rows(ctx, c)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r taggedRow) bool { return !wanted(in, r) })
	limit := defaultResources
	if in.ResourcesPerPage != nil {
		limit = int(*in.ResourcesPerPage)
	}
	rows, next := placed(rows, func(r taggedRow) string { return r.arn }, in.PaginationToken, limit)
	out := &sdk.GetResourcesOutput{ResourceTagMappingList: []types.ResourceTagMapping{}, PaginationToken: next}
	for _, r := range rows {
		m := types.ResourceTagMapping{ResourceARN: aws.String(r.arn), Tags: []types.Tag{}}
		for _, tag := range r.tags {
			m.Tags = append(m.Tags, types.Tag{Key: aws.String(tag.Key), Value: aws.String(tag.Value)})
		}
		out.ResourceTagMappingList = append(out.ResourceTagMappingList, m)
	}
	return out, nil
}

func checkGetResources(in *sdk.GetResourcesInput) error {
	switch {
	case len(in.ResourceARNList) > 0 && (len(in.TagFilters) > 0 || len(in.ResourceTypeFilters) > 0 || in.ResourcesPerPage != nil):
		return badTagging("ResourceARNList cannot be given together with TagFilters, ResourceTypeFilters or ResourcesPerPage.")
	case len(in.ResourceARNList) > maxNamedARNs:
		return badTagging("ResourceARNList can have %d ARNs at most.", maxNamedARNs)
	case in.ResourcesPerPage != nil && (*in.ResourcesPerPage < 1 || *in.ResourcesPerPage > maxResources):
		return badTagging("ResourcesPerPage must be between 1 and %d.", maxResources)
	case in.TagsPerPage != nil && (*in.TagsPerPage < 100 || *in.TagsPerPage > 500 || *in.TagsPerPage%100 != 0):
		return badTagging("TagsPerPage must be a multiple of 100 from 100 to 500.")
	case len(in.TagFilters) > maxTagFilters:
		return badTagging("There can be %d TagFilters at most.", maxTagFilters)
	case aws.ToBool(in.ExcludeCompliantResources) && !aws.ToBool(in.IncludeComplianceDetails):
		return badTagging("ExcludeCompliantResources can be given only with IncludeComplianceDetails.")
	case aws.ToBool(in.IncludeComplianceDetails):
		return badTagging("IncludeComplianceDetails is not supported: there are no tag policies here.")
	}
	for _, f := range in.TagFilters {
		if aws.ToString(f.Key) == "" {
			return badTagging("A tag filter must have a key.")
		}
		if len(f.Values) > maxTagFilterValues {
			return badTagging("A tag filter can have %d values at most.", maxTagFilterValues)
		}
	}
	for _, kind := range in.ResourceTypeFilters {
		if service, _, _ := strings.Cut(kind, ":"); service == "" || strings.ContainsAny(kind, " /") {
			return badTagging("%q is no resource type: give SERVICE or SERVICE:TYPE, such as ec2:instance.", kind)
		}
	}
	for _, arn := range in.ResourceARNList {
		if strings.Count(arn, ":") < 5 || !strings.HasPrefix(arn, "arn:") {
			return badTagging("%q is no ARN.", arn)
		}
	}
	return nil
}

// wanted tells whether a resource is asked for: of one of the types, with a tag for each filter.
func wanted(in *sdk.GetResourcesInput, r taggedRow) bool {
	if len(in.ResourceARNList) > 0 && !slices.Contains(in.ResourceARNList, r.arn) {
		return false
	}
	if len(in.ResourceTypeFilters) > 0 && !slices.Contains(in.ResourceTypeFilters, "ec2") && !slices.Contains(in.ResourceTypeFilters, r.kind) {
		return false
	}
	for _, f := range in.TagFilters {
		has := func(tag fsm.Tag) bool {
			return tag.Key == *f.Key && (len(f.Values) == 0 || slices.Contains(f.Values, tag.Value))
		}
		if !slices.ContainsFunc(r.tags, has) {
			return false
		}
	}
	return true
}

// placed is the items after a token, limit at most, and the next token: empty, as this API has it, when there is none.
func placed[T any](items []T, key func(T) string, token *string, limit int) ([]T, *string) {
	start := 0
	if after := aws.ToString(token); after != "" {
		start, _ = slices.BinarySearchFunc(items, after, func(x T, after string) int {
			if key(x) <= after {
				return -1
			}
			return 1
		})
	}
	items = items[start:]
	if len(items) <= limit {
		return items, aws.String("")
	}
	return items[:limit], aws.String(key(items[limit-1]))
}

// GetTagKeys lists the keys of all tags, in order.
func (t *Tagging) GetTagKeys(ctx context.Context, c *principal.Caller, in *sdk.GetTagKeysInput) (*sdk.GetTagKeysOutput, error) {
	found, err := t.collect(ctx, c, func(tag fsm.Tag) (string, bool) { return tag.Key, true })
	keys, next := placed(found, func(s string) string { return s }, in.PaginationToken, tagPage)
	return &sdk.GetTagKeysOutput{TagKeys: keys, PaginationToken: next}, err
}

// GetTagValues lists the values that tags of a key have, in order.
func (t *Tagging) GetTagValues(ctx context.Context, c *principal.Caller, in *sdk.GetTagValuesInput) (*sdk.GetTagValuesOutput, error) {
	found, err := t.collect(ctx, c, func(tag fsm.Tag) (string, bool) { return tag.Value, tag.Key == aws.ToString(in.Key) })
	values, next := placed(found, func(s string) string { return s }, in.PaginationToken, tagPage)
	return &sdk.GetTagValuesOutput{TagValues: values, PaginationToken: next}, err
}

func (t *Tagging) collect(ctx context.Context, c *principal.Caller, of func(fsm.Tag) (string, bool)) ([]string, error) {
	rows, err := t.rows(ctx, c)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, r := range rows {
		for _, tag := range r.tags {
			if s, ok := of(tag); ok {
				found[s] = true
			}
		}
	}
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(found)))), nil
}

// TagResources gives tags to resources. What cannot have them is told for each by itself.
func (t *Tagging) TagResources(ctx context.Context, c *principal.Caller, in *sdk.TagResourcesInput) (*sdk.TagResourcesOutput, error) {
	if err := checkTargets(in.ResourceARNList); err != nil {
		return nil, err
	}
	var tags []fsm.Tag
	for _, key := range slices.Sorted(maps.Keys(in.Tags)) {
		if err := checkTagKey(key); err != nil {
			return nil, badTagging("%v", err)
		}
		tags = append(tags, fsm.Tag{Key: key, Value: in.Tags[key]})
	}
	if len(tags) == 0 || len(tags) > fsm.MaxResourceTags {
		return nil, badTagging("Tags must have 1 to %d tags.", fsm.MaxResourceTags)
	}
	failed := t.each(ctx, c, in.ResourceARNList, func(id string) fsm.Command {
		return &fsm.AddTags{Account: account(c), Resources: []string{id}, Tags: tags}
	})
	return &sdk.TagResourcesOutput{FailedResourcesMap: failed}, nil
}

// UntagResources takes tags from resources.
func (t *Tagging) UntagResources(ctx context.Context, c *principal.Caller, in *sdk.UntagResourcesInput) (*sdk.UntagResourcesOutput, error) {
	if err := checkTargets(in.ResourceARNList); err != nil {
		return nil, err
	}
	if len(in.TagKeys) == 0 || len(in.TagKeys) > fsm.MaxResourceTags {
		return nil, badTagging("TagKeys must have 1 to %d keys.", fsm.MaxResourceTags)
	}
	var match []fsm.TagMatch
	for _, key := range in.TagKeys {
		match = append(match, fsm.TagMatch{Key: key})
	}
	failed := t.each(ctx, c, in.ResourceARNList, func(id string) fsm.Command {
		return &fsm.RemoveTags{Account: account(c), Resources: []string{id}, Tags: match}
	})
	return &sdk.UntagResourcesOutput{FailedResourcesMap: failed}, nil
}

func checkTargets(arns []string) error {
	if len(arns) == 0 || len(arns) > maxTagTargets {
		return badTagging("ResourceARNList must have 1 to %d ARNs.", maxTagTargets)
	}
	return nil
}

// each proposes a command for each resource and collects the failures.
func (t *Tagging) each(ctx context.Context, c *principal.Caller, arns []string, cmd func(id string) fsm.Command) map[string]types.FailureInfo {
	failed := map[string]types.FailureInfo{}
	for _, arn := range arns {
		id := arn[strings.LastIndexByte(arn, '/')+1:]
		err := error(badTagging("%s is no resource that this region can tag.", arn))
		if _, ok := resourceOf(id); ok && t.arnOf(account(c), id) == arn {
			err = t.s.changeTags(ctx, c, []string{id}, nil, cmd(id))
		}
		if err == nil {
			continue
		}
		info := types.FailureInfo{StatusCode: http.StatusBadRequest, ErrorCode: types.ErrorCodeInvalidParameterException, ErrorMessage: aws.String(err.Error())}
		if refusal := (*protocol.Error)(nil); !errors.As(err, &refusal) {
			t.s.cfg.Log.ErrorContext(ctx, "tags were not changed", "resource", id, "err", err)
			info = types.FailureInfo{StatusCode: http.StatusInternalServerError, ErrorCode: types.ErrorCodeInternalServiceException, ErrorMessage: aws.String("Try again.")}
		} else {
			info.ErrorMessage = &refusal.Message
		}
		failed[arn] = info
	}
	return failed
}
