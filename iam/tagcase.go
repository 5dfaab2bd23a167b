package iam

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
)

// tagCase is when two keys of tags are one.
type tagCase bool

// On users and roles keys that differ in case only are one, on all else they are two. Source: "Tags for AWS Identity and
// Access Management resources".
const (
	anyCase tagCase = false
	inCase  tagCase = true
)

// of is the same for keys that are one.
func (k tagCase) of(key string) string {
	if k == inCase {
		return key
	}
	return strings.ToLower(key)
}

func (k tagCase) duplicate() string {
	if k == inCase {
		return "Duplicate tag keys found."
	}
	return "Duplicate tag keys found. Please note that Tag keys are case insensitive."
}

// valid are tags that may stand on one thing together.
func (k tagCase) valid(tags []types.Tag) ([]fsm.Tag, error) {
	if len(tags) > maxTags {
		return nil, constraint("tags", "tags", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
	}
	out := make([]fsm.Tag, len(tags))
	seen := map[string]bool{}
	for i, tag := range tags {
		key, err := validTagKey(tag.Key, fmt.Sprintf("tags.%d.member.key", i+1))
		if err != nil {
			return nil, err
		}
		if seen[k.of(key)] {
			return nil, invalidInput("%s", k.duplicate())
		}
		seen[k.of(key)] = true
		where := fmt.Sprintf("tags.%d.member.value", i+1)
		if tag.Value == nil {
			return nil, constraint("null", where, "Member must not be null")
		}
		if utf8.RuneCountInString(*tag.Value) > maxTagValue {
			return nil, constraint(quoted(*tag.Value), where, fmt.Sprintf("Member must have length less than or equal to %d", maxTagValue))
		}
		if strings.ContainsFunc(*tag.Value, func(r rune) bool { return !tagRune(r) }) {
			return nil, constraint(quoted(*tag.Value), where, `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
		}
		out[i] = fsm.Tag{Key: key, Value: *tag.Value}
	}
	return out, nil
}

// put are the tags that a thing has once tags are put over it. quota is the limit's name in AWS's message.
func (k tagCase) put(have []fsm.Tag, tags []types.Tag, quota string) ([]fsm.Tag, error) {
	if tags == nil {
		return nil, constraint("null", "tags", "Member must not be null")
	}
	add, err := k.valid(tags)
	if err != nil {
		return nil, err
	}
	for _, tag := range add {
		have = append(k.without(have, tag.Key), tag)
	}
	if len(have) > maxTags {
		return nil, fsm.Errorf(fsm.ErrLimit, "quota/%s: %d", quota, maxTags)
	}
	return have, nil
}

// take are the tags that a thing has once those of keys are taken. A key that it does not have is passed over.
func (k tagCase) take(have []fsm.Tag, keys []string) ([]fsm.Tag, error) {
	if keys == nil {
		return nil, constraint("null", "tagKeys", "Member must not be null")
	}
	for i := range keys {
		if _, err := validTagKey(&keys[i], "tagKeys"); err != nil {
			return nil, err
		}
		have = k.without(have, keys[i])
	}
	return have, nil
}

func (k tagCase) without(tags []fsm.Tag, key string) []fsm.Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t fsm.Tag) bool { return k.of(t.Key) == k.of(key) })
}
