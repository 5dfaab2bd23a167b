package iam

import (
	"strings"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Access is what an operation of IAM needs to be permitted: the action of its name on the ARN that its
// input names. Source: "Actions, resources, and condition keys for AWS Identity and Access Management".
// The ARN of a user holds its path, which is looked up in this node's state.
func (s *Service) Access(c *principal.Caller, op string, input any) []protocol.Access {
	action := "iam:" + op
	one := func(resource string) []protocol.Access {
		return []protocol.Access{{Action: action, Resource: resource}}
	}
	onPolicy := func(user, arn *string) []protocol.Access {
		need := one(s.userARN(c, user))
		if arn != nil {
			need[0].Context = map[string][]string{"iam:policyarn": {*arn}}
		}
		return need
	}
	switch in := input.(type) {
	case *awsiam.CreateUserInput:
		path := "/"
		if in.Path != nil {
			path = *in.Path
		}
		return one(userARN(c.Account, path, text(in.UserName)))
	case *awsiam.UpdateUserInput:
		return append(one(s.userARN(c, in.UserName)), one(s.movedARN(c, in))...)
	case *awsiam.ListUsersInput:
		return one(userARN(c.Account, pathPrefix(in.PathPrefix), ""))
	case *awsiam.AttachUserPolicyInput:
		return onPolicy(in.UserName, in.PolicyArn)
	case *awsiam.DetachUserPolicyInput:
		return onPolicy(in.UserName, in.PolicyArn)
	case *awsiam.GetPolicyInput:
		return one(text(in.PolicyArn))
	case *awsiam.GetPolicyVersionInput:
		return one(text(in.PolicyArn))
	case *awsiam.ListPoliciesInput:
		return one("arn:aws:iam::" + c.Account + ":policy" + pathPrefix(in.PathPrefix))
	}
	if name, ok := userOf(input); ok {
		return one(s.userARN(c, name))
	}
	return one("*")
}

// userOf is the user that an operation is about, nil for the caller.
func userOf(input any) (name *string, ok bool) {
	switch in := input.(type) {
	case *awsiam.GetUserInput:
		return in.UserName, true
	case *awsiam.DeleteUserInput:
		return in.UserName, true
	case *awsiam.TagUserInput:
		return in.UserName, true
	case *awsiam.UntagUserInput:
		return in.UserName, true
	case *awsiam.ListUserTagsInput:
		return in.UserName, true
	case *awsiam.CreateAccessKeyInput:
		return in.UserName, true
	case *awsiam.ListAccessKeysInput:
		return in.UserName, true
	case *awsiam.UpdateAccessKeyInput:
		return in.UserName, true
	case *awsiam.DeleteAccessKeyInput:
		return in.UserName, true
	case *awsiam.PutUserPolicyInput:
		return in.UserName, true
	case *awsiam.GetUserPolicyInput:
		return in.UserName, true
	case *awsiam.ListUserPoliciesInput:
		return in.UserName, true
	case *awsiam.DeleteUserPolicyInput:
		return in.UserName, true
	case *awsiam.ListAttachedUserPoliciesInput:
		return in.UserName, true
	}
	return nil, false
}

// userARN is the ARN of the user of that name, with its path; nil is the caller. A user that is not there
// has no path, and the operation fails anyway.
func (s *Service) userARN(c *principal.Caller, name *string) string {
	if name == nil {
		return c.ARN
	}
	user, ok := s.glance(c, *name)
	if !ok {
		return userARN(c.Account, "/", *name)
	}
	return user.ARN()
}

// movedARN is what UpdateUser would make of the user's ARN: renaming needs the permission on both.
func (s *Service) movedARN(c *principal.Caller, in *awsiam.UpdateUserInput) string {
	user, ok := s.glance(c, text(in.UserName))
	if !ok {
		user = fsm.User{Name: text(in.UserName), Path: "/"}
	}
	if in.NewUserName != nil {
		user.Name = *in.NewUserName
	}
	if in.NewPath != nil {
		user.Path = *in.NewPath
	}
	return userARN(c.Account, user.Path, user.Name)
}

// glance looks a user up in this node's state. A state that cannot be read is like a user that is not
// there: the handler reads it again and reports why it cannot.
func (s *Service) glance(c *principal.Caller, name string) (user fsm.User, ok bool) {
	err := s.cfg.Group.View(func(v *fsm.View) error {
		user, ok = fsm.UserByName(v, fsm.AccountID(c.Account), name)
		return nil
	})
	return user, ok && err == nil
}

func userARN(account, path, name string) string {
	return "arn:aws:iam::" + account + ":user" + path + name
}

func pathPrefix(prefix *string) string {
	if prefix == nil || !strings.HasPrefix(*prefix, "/") {
		return "/"
	}
	return *prefix
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
