package iam

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// sessionName is the value of a parameter that names a session.
func sessionName(value *string, parameter string, longest int) (string, error) {
	name, err := required(value, parameter, longest)
	if err != nil {
		return "", err
	}
	if len(name) < 2 {
		return "", constraint(quoted(name), parameter, "Member must have length greater than or equal to 2")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) {
		return "", constraint(quoted(name), parameter, `Member must satisfy regular expression pattern: [\w+=,.@-]*`)
	}
	return name, nil
}

// narrow takes the policies of a request into a session; managed ones are of the account. Errors:
// MalformedPolicyDocument, PackedPolicyTooLarge, ValidationError.
func (s *STS) narrow(ctx context.Context, sess *principal.Session, account string, text *string, arns []types.PolicyDescriptorType) error {
	if text != nil {
		if utf8.RuneCountInString(*text) > maxSessionPolicy {
			return constraint(quoted(*text), "policy", "Member must have length less than or equal to 2048")
		}
		if err := checkSessionPolicy(*text); err != nil {
			return err
		}
		sess.Policies = []string{*text}
	}
	if len(arns) > maxPolicyARNs {
		return invalid("You cannot pass more than %d managed policies.", maxPolicyARNs)
	}
	for _, d := range arns {
		arn, err := validARN(d.Arn)
		if err != nil {
			return err
		}
		if !slices.Contains(sess.PolicyARNs, arn) {
			sess.PolicyARNs = append(sess.PolicyARNs, arn)
		}
	}
	sess.Restricted = text != nil || len(arns) > 0
	if len(sess.PolicyARNs) == 0 {
		return nil
	}
	return s.read(ctx, func(v *fsm.View) error {
		for _, arn := range sess.PolicyARNs {
			if _, ok := managedDocument(v, fsm.AccountID(account), arn); !ok {
				return protocol.Errorf(http.StatusBadRequest, "MalformedPolicyDocument", "The policy with ARN %s does not exist or is not attachable.", arn)
			}
		}
		return nil
	})
}

func checkSessionPolicy(text string) error {
	_, err := policy.Parse([]byte(text), policy.Identity)
	if bad := (*policy.MalformedError)(nil); errors.As(err, &bad) {
		return malformedPolicy(bad.Message)
	}
	return err
}

// sessionTags are the tags of a session. Keys are one whatever their case.
func sessionTags(tags []types.Tag) ([]principal.Tag, error) {
	out := make([]principal.Tag, len(tags))
	for i, t := range tags {
		if t.Key == nil || t.Value == nil {
			return nil, constraint("null", "tags", "Member must not be null")
		}
		out[i] = principal.Tag{Key: *t.Key, Value: *t.Value}
	}
	return out, checkSessionTags(out)
}

func checkSessionTags(tags []principal.Tag) error {
	if len(tags) > maxTags {
		return constraint("tags", "tags", "Member must have length less than or equal to 50")
	}
	for i, t := range tags {
		bad := func(r rune) bool { return !tagRune(r) }
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey || strings.ContainsFunc(t.Key, bad):
			return constraint(quoted(t.Key), "tags", `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`)
		case utf8.RuneCountInString(t.Value) > maxTagValue || strings.ContainsFunc(t.Value, bad):
			return constraint(quoted(t.Value), "tags", `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return invalidValue("Tag keys that start with aws: are reserved for system use.")
		case tagOf(tags[:i], t.Key) != nil:
			return invalidValue("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
	}
	return nil
}

func invalidValue(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, "InvalidParameterValue", format, args...)
}

// tagOf is the tag of a key in any case, nil when there is none.
func tagOf(tags []principal.Tag, key string) *principal.Tag {
	i := slices.IndexFunc(tags, func(t principal.Tag) bool { return strings.EqualFold(t.Key, key) })
	if i < 0 {
		return nil
	}
	return &tags[i]
}

// inherit gives a session the transitive tags of the caller's, which cannot be set anew, and marks its own transitive ones.
func inherit(sess *principal.Session, c *principal.Caller, keys []string) error {
	for _, key := range keys {
		own := tagOf(sess.Tags, key)
		if own == nil {
			return invalidValue("The specified transitive tag key must be included in the requested tags.")
		}
		if !slices.Contains(sess.Transitive, own.Key) {
			sess.Transitive = append(sess.Transitive, own.Key)
		}
	}
	if c.Session == nil {
		return nil
	}
	for _, key := range c.Session.Transitive {
		have := tagOf(c.Session.Tags, key)
		if have == nil {
			continue
		}
		if tagOf(sess.Tags, key) != nil {
			return invalidValue("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		sess.Tags, sess.Transitive = append(sess.Tags, *have), append(sess.Transitive, have.Key)
	}
	return nil
}

// tagKeys are the condition keys of a session's tags.
func tagKeys(tags []principal.Tag, transitive []string) map[string][]string {
	keys := map[string][]string{}
	for _, t := range tags {
		keys["aws:requesttag/"+strings.ToLower(t.Key)] = []string{t.Value}
		keys["aws:tagkeys"] = append(keys["aws:tagkeys"], t.Key)
	}
	if len(transitive) > 0 {
		keys["sts:transitivetagkeys"] = transitive
	}
	return keys
}
