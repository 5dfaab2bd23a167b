package iam

import (
	"context"
	"slices"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
	"hive/iam/principal"
)

// GetContextKeysForCustomPolicy lists the condition keys that the policies given name. Errors: InvalidInput.
func (s *Service) GetContextKeysForCustomPolicy(_ context.Context, _ *principal.Caller, in *awsiam.GetContextKeysForCustomPolicyInput) (*awsiam.GetContextKeysForCustomPolicyOutput, error) {
	if in.PolicyInputList == nil {
		return nil, constraint("null", "policyInputList", "Member must not be null")
	}
	var from sources
	if err := from.given(in.PolicyInputList, "policyInputList"); err != nil {
		return nil, err
	}
	return &awsiam.GetContextKeysForCustomPolicyOutput{ContextKeyNames: from.contextKeys()}, nil
}

// GetContextKeysForPrincipalPolicy lists the condition keys that the policies of a user (with its groups'), group or role
// name, and further ones. Errors: NoSuchEntity, InvalidInput.
func (s *Service) GetContextKeysForPrincipalPolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetContextKeysForPrincipalPolicyInput) (*awsiam.GetContextKeysForPrincipalPolicyOutput, error) {
	var from sources
	err := s.read(ctx, func(v *fsm.View) error {
		h, err := sourceIn(v, c, in.PolicySourceArn, "policySourceArn")
		if err != nil {
			return err
		}
		if from, err = h.policies(v); err != nil {
			return err
		}
		return from.given(in.PolicyInputList, "policyInputList")
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: from.contextKeys()}, nil
}

// contextKeys are the keys that documents name, each once and sorted.
func (s *sources) contextKeys() []string {
	keys := []string{}
	for _, doc := range s.docs {
		keys = append(keys, doc.ContextKeys()...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
