package ec2

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/fsm"
)

// maxFilterValues is how many values the filters of one request can have together, as in EC2.
const maxFilterValues = 200

// filterTable says what the filters of one describe look at: for each documented name the values that a record has.
type filterTable[T any] struct {
	names map[string]func(T) []string
	tags  func(T) []fsm.Tag // for tag:KEY, tag-key and tag-value; nil where the resource has no tags
}

// compile makes one test of a request's filters: all filters must hold, and of each at least one value. A value may
// have * for any characters and ? for one; a backslash takes the next character as it is.
// Source: "List and filter your resources", Amazon EC2 User Guide.
func (t filterTable[T]) compile(filters []types.Filter) (func(T) bool, error) {
	type test struct {
		values   func(T) []string
		patterns []string
	}
	tests, count := make([]test, 0, len(filters)), 0
	for _, f := range filters {
		values, err := t.find(f.Name)
		if err != nil {
			return nil, err
		}
		if count += len(f.Values); count > maxFilterValues {
			return nil, bad("FilterLimitExceeded", "The maximum number of filter values specified on a single call is %d", maxFilterValues)
		}
		tests = append(tests, test{values, f.Values})
	}
	return func(x T) bool {
		for _, f := range tests {
			if !anyMatch(f.patterns, f.values(x)) {
				return false
			}
		}
		return true
	}, nil
}

// find is what the filter of a name looks at.
func (t filterTable[T]) find(name *string) (func(T) []string, error) {
	if name == nil || *name == "" {
		return nil, missing("Filter.Name")
	}
	if values, ok := t.names[*name]; ok {
		return values, nil
	}
	key, isTag := strings.CutPrefix(*name, "tag:")
	switch {
	case t.tags == nil:
	case isTag:
		return t.tagValues(func(tag fsm.Tag) (string, bool) { return tag.Value, tag.Key == key }), nil
	case *name == "tag-key":
		return t.tagValues(func(tag fsm.Tag) (string, bool) { return tag.Key, true }), nil
	case *name == "tag-value":
		return t.tagValues(func(tag fsm.Tag) (string, bool) { return tag.Value, true }), nil
	}
	return nil, invalid("The filter '%s' is invalid", *name)
}

func (t filterTable[T]) tagValues(pick func(fsm.Tag) (string, bool)) func(T) []string {
	return func(x T) (out []string) {
		for _, tag := range t.tags(x) {
			if value, ok := pick(tag); ok {
				out = append(out, value)
			}
		}
		return out
	}
}

func anyMatch(patterns, values []string) bool {
	for _, p := range patterns {
		for _, v := range values {
			if wildcard(p, v) {
				return true
			}
		}
	}
	return false
}

// wildcard tells whether pattern matches all of s. It goes back to the last * alone, so its work is bounded by the
// product of the lengths.
func wildcard(pattern, s string) bool {
	p, v := []rune(pattern), []rune(s)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(v) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
			continue
		case i < len(p) && p[i] == '\\' && i+1 < len(p):
			if p[i+1] == v[j] {
				i, j = i+2, j+1
				continue
			}
		case i < len(p) && (p[i] == '?' || p[i] == v[j]):
			i, j = i+1, j+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star+1, mark
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// Values of filters: one string, as long as it is not empty.
func one[S ~string](s S) []string {
	if s == "" {
		return nil
	}
	return []string{string(s)}
}

func yesNo(b bool) []string { return []string{strconv.FormatBool(b)} }

func number[N ~int | ~int32 | ~int64](n N) []string { return []string{strconv.FormatInt(int64(n), 10)} }

// moment is a time as filters compare it: as it stands in answers.
func moment(ms int64) []string {
	if ms == 0 {
		return nil
	}
	return []string{timeOf(ms).Format("2006-01-02T15:04:05.000Z")}
}
