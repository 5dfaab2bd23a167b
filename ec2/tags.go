package ec2

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
)

// Limits of tags. Source: "Tag restrictions", Amazon EC2 User Guide.
const (
	maxTagKey   = 128
	maxTagValue = 256
)

func errTagLimit() *protocol.Error {
	return bad("TagLimitExceeded", "The maximum number of tags for a resource has been reached: it can have %d.", fsm.MaxResourceTags)
}

// specified are the tags of a request's TagSpecifications by the type of resource that they are for; fits are the types
// that the operation makes.
func specified(specs []types.TagSpecification, fits ...types.ResourceType) (map[types.ResourceType][]fsm.Tag, error) {
	out := map[types.ResourceType][]fsm.Tag{}
	for _, spec := range specs {
		kind := spec.ResourceType
		switch {
		case kind == "":
			return nil, bad(codeMissing, "Tag specification resource type must have a value")
		case !slices.Contains(fits, kind):
			return nil, invalid("'%s' is not a valid taggable resource type for this operation.", kind)
		case out[kind] != nil:
			return nil, invalid("The tag specification of resource type '%s' is given twice", kind)
		}
		tags, err := validTags(spec.Tags)
		if err != nil {
			return nil, err
		}
		if tags == nil {
			return nil, bad(codeMissing, "Tag specification must have at least one tag")
		}
		out[kind] = tags
	}
	return out, nil
}

// validTags checks tags that a caller gives.
func validTags(tags []types.Tag) ([]fsm.Tag, error) {
	var out []fsm.Tag
	for _, t := range tags {
		tag := fsm.Tag{Key: aws.ToString(t.Key), Value: aws.ToString(t.Value)}
		if err := checkTagKey(tag.Key); err != nil {
			return nil, err
		}
		switch {
		case !utf8.ValidString(tag.Key) || !utf8.ValidString(tag.Value):
			return nil, invalid("Tag keys and values must be UTF-8.")
		case utf8.RuneCountInString(tag.Value) > maxTagValue:
			return nil, invalid("Tag value exceeds the maximum length of %d characters", maxTagValue)
		case slices.ContainsFunc(out, func(o fsm.Tag) bool { return o.Key == tag.Key }):
			return nil, invalid("Duplicate tag key '%s' specified.", tag.Key)
		}
		out = append(out, tag)
	}
	if len(out) > fsm.MaxResourceTags {
		return nil, errTagLimit()
	}
	return out, nil
}

func checkTagKey(key string) error {
	switch {
	case key == "":
		return invalid("Tag key cannot be null or empty.")
	case utf8.RuneCountInString(key) > maxTagKey:
		return invalid("Tag key exceeds the maximum length of %d characters", maxTagKey)
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return invalid("Tag keys starting with 'aws:' are reserved for internal use")
	}
	return nil
}

// tagsOut are tags as answers have them; empty, not nil, where there are none.
func tagsOut(tags []fsm.Tag) []types.Tag {
	out := make([]types.Tag, 0, len(tags))
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}
