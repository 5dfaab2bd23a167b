package iam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// knownServices are the services that Hive has, by the prefix of their actions. Names are those of the service
// authorization reference.
func knownServices() []struct{ namespace, name string } {
	return []struct{ namespace, name string }{
		{"cloudtrail", "AWS CloudTrail"}, {"ebs", "Amazon Elastic Block Store"}, {"ec2", "Amazon EC2"},
		{"iam", "AWS Identity and Access Management"}, {"s3", "Amazon S3"}, {"sts", "AWS Security Token Service"},
		{"tag", "Amazon Resource Group Tagging API"},
	}
}

// oneOrMore is a string or a list of them, as policies have both.
type oneOrMore []string

// UnmarshalJSON reads either.
func (l *oneOrMore) UnmarshalJSON(raw []byte) error {
	var one string
	if err := json.Unmarshal(raw, &one); err == nil {
		*l = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(l))
}

// outline is as much of a policy as tells which services it is about.
type outline struct {
	Statement oneOrMoreStatements
}

type outlined struct {
	Effect            string
	Action, NotAction oneOrMore
}

type oneOrMoreStatements []outlined

// UnmarshalJSON reads a statement or a list of them.
func (l *oneOrMoreStatements) UnmarshalJSON(raw []byte) error {
	var one outlined
	if err := json.Unmarshal(raw, &one); err == nil {
		*l = oneOrMoreStatements{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]outlined)(l))
}

func outlineOf(doc string) (o outline, err error) {
	if err := json.Unmarshal([]byte(doc), &o); err != nil {
		return o, fmt.Errorf("read a policy's outline: %w", err)
	}
	return o, nil
}

// grants tells whether a policy allows any action of a service. Denials, resources and conditions do not count, as in AWS.
func (o outline) grants(namespace string) bool {
	return slices.ContainsFunc(o.Statement, func(s outlined) bool {
		if s.Effect != "Allow" {
			return false
		}
		if len(s.NotAction) > 0 {
			return !slices.ContainsFunc(s.NotAction, func(a string) bool { return a == "*" || strings.EqualFold(a, namespace+":*") })
		}
		return slices.ContainsFunc(s.Action, func(a string) bool {
			service, _, _ := strings.Cut(strings.ToLower(a), ":")
			return service == "*" || service == namespace
		})
	})
}

// granting is a policy with where it stands.
type granting struct {
	entity    fsm.Entity // whose it is or is attached to
	name, arn string     // arn is of a managed policy
	outline
}

// grantingOf are the policies of a user (with its groups'), group or role.
func grantingOf(v *fsm.View, e fsm.Entity) (out []granting, err error) {
	add := func(name, arn, doc string) {
		o, bad := outlineOf(doc)
		out, err = append(out, granting{e, name, arn, o}), errors.Join(err, bad)
	}
	for _, p := range fsm.InlinePoliciesOf(v, e.Account, e.ID) {
		add(p.Name, "", p.Document)
	}
	for _, a := range fsm.AttachedPoliciesOf(v, e.Account, e.ID) {
		if doc, ok := managedDocument(v, e.Account, a.ARN); ok {
			add(a.ARN[strings.LastIndexByte(a.ARN, '/')+1:], a.ARN, doc)
		}
	}
	if e.ID.Kind() == fsm.UserEntity {
		for _, g := range fsm.GroupsOfUser(v, e.Account, e.ID) {
			more, bad := grantingOf(v, g.Entity())
			out, err = append(out, more...), errors.Join(err, bad)
		}
	}
	return out, err
}

// out is a policy as ListPoliciesGrantingServiceAccess shows it.
func (g granting) out() types.PolicyGrantingServiceAccess {
	if g.arn != "" {
		return types.PolicyGrantingServiceAccess{PolicyName: aws.String(g.name), PolicyType: types.PolicyTypeManaged, PolicyArn: aws.String(g.arn)}
	}
	kind := types.PolicyOwnerEntityTypeUser
	switch g.entity.ID.Kind() {
	case fsm.GroupEntity:
		kind = types.PolicyOwnerEntityTypeGroup
	case fsm.RoleEntity:
		kind = types.PolicyOwnerEntityTypeRole
	}
	return types.PolicyGrantingServiceAccess{
		PolicyName: aws.String(g.name), PolicyType: types.PolicyTypeInline, EntityName: aws.String(g.entity.Name), EntityType: kind,
	}
}

// ListPoliciesGrantingServiceAccess lists, for each service asked for, the policies by which a user (also as a member of
// groups), group or role may use it. Errors: NoSuchEntity, InvalidInput.
func (s *Service) ListPoliciesGrantingServiceAccess(ctx context.Context, c *principal.Caller, in *awsiam.ListPoliciesGrantingServiceAccessInput) (*awsiam.ListPoliciesGrantingServiceAccessOutput, error) {
	if len(in.ServiceNamespaces) == 0 {
		return nil, constraint("null", "serviceNamespaces", "Member must not be null")
	}
	p, err := newPage(in.Marker, nil)
	if err != nil {
		return nil, err
	}
	var policies []granting
	err = s.read(ctx, func(v *fsm.View) error {
		from, err := sourceIn(v, c, in.Arn, "arn")
		if err != nil {
			return err
		}
		policies, err = grantingOf(v, from.entity)
		return err
	})
	if err != nil {
		return nil, err
	}
	entries := []types.ListPoliciesGrantingServiceAccessEntry{}
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(in.ServiceNamespaces))) {
		entry := types.ListPoliciesGrantingServiceAccessEntry{ServiceNamespace: aws.String(namespace), Policies: []types.PolicyGrantingServiceAccess{}}
		for _, g := range policies {
			if g.grants(strings.ToLower(namespace)) {
				entry.Policies = append(entry.Policies, g.out())
			}
		}
		entries = append(entries, entry)
	}
	entries, next := cut(p, entries, func(e types.ListPoliciesGrantingServiceAccessEntry) string { return *e.ServiceNamespace })
	return &awsiam.ListPoliciesGrantingServiceAccessOutput{PoliciesGrantingServiceAccess: entries, IsTruncated: next != nil, Marker: next}, nil
}
