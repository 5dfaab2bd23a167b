package iam

import (
	"context"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// maxVersionsInUse is AWS's quota of policy versions in an account.
const maxVersionsInUse = 10_000

// GetAccountSummary counts what the account has in IAM, and tells its quotas.
func (s *Service) GetAccountSummary(ctx context.Context, c *principal.Caller, _ *awsiam.GetAccountSummaryInput) (*awsiam.GetAccountSummaryOutput, error) {
	out := &awsiam.GetAccountSummaryOutput{}
	err := s.read(ctx, func(v *fsm.View) error {
		out.SummaryMap = summary(v, fsm.AccountID(c.Account))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func summary(v *fsm.View, account fsm.AccountID) map[string]int32 {
	used := func(name string) int32 { return int32(fsm.UsedOf(v, account, name)) }
	quota := func(name string) int32 { return int32(fsm.QuotaOf(v, account, name)) }
	present := func(n int) int32 { return int32(min(n, 1)) }
	out := map[types.SummaryKeyType]int32{
		types.SummaryKeyTypeUsers:            used(fsm.QuotaUsers),
		types.SummaryKeyTypeGroups:           used(fsm.QuotaGroups),
		types.SummaryKeyTypeRoles:            used(fsm.QuotaRoles),
		types.SummaryKeyTypeInstanceProfiles: used(fsm.QuotaInstanceProfiles),
		types.SummaryKeyTypePolicies:         used(fsm.QuotaPolicies),

		types.SummaryKeyTypeUsersQuota:            quota(fsm.QuotaUsers),
		types.SummaryKeyTypeGroupsQuota:           quota(fsm.QuotaGroups),
		types.SummaryKeyTypeRolesQuota:            quota(fsm.QuotaRoles),
		types.SummaryKeyTypeInstanceProfilesQuota: quota(fsm.QuotaInstanceProfiles),
		types.SummaryKeyTypePoliciesQuota:         quota(fsm.QuotaPolicies),

		types.SummaryKeyTypePolicyVersionsInUse:               used(fsm.VersionsInUse),
		types.SummaryKeyTypeMFADevices:                        used(fsm.MFADevicesThere),
		types.SummaryKeyTypeMFADevicesInUse:                   used(fsm.MFADevicesInUse),
		types.SummaryKeyTypeServerCertificates:                int32(len(fsm.ServerCertificatesOf(v, account))),
		types.SummaryKeyTypeProviders:                         int32(len(fsm.OIDCProvidersOf(v, account)) + len(fsm.SAMLProvidersOf(v, account))),
		types.SummaryKeyTypeAccountAccessKeysPresent:          present(len(fsm.AccessKeysOf(v, account, ""))),
		types.SummaryKeyTypeAccountMFAEnabled:                 0, // the root user has access keys
		types.SummaryKeyTypeAccountPasswordPresent:            0, // and nothing else to enter with
		types.SummaryKeyTypeAccountSigningCertificatesPresent: 0,

		types.SummaryKeyTypeServerCertificatesQuota:         fsm.MaxServerCertificates,
		types.SummaryKeyTypeUserPolicySizeQuota:             fsm.MaxInlineUserPolicyText,
		types.SummaryKeyTypeGroupPolicySizeQuota:            fsm.MaxInlineGroupPolicyText,
		types.SummaryKeyTypeRolePolicySizeQuota:             fsm.MaxInlineRolePolicyText,
		types.SummaryKeyTypePolicySizeQuota:                 fsm.MaxManagedPolicyText,
		types.SummaryKeyTypeAssumeRolePolicySizeQuota:       fsm.MaxTrustPolicyText,
		types.SummaryKeyTypeGroupsPerUserQuota:              fsm.MaxGroupsPerUser,
		types.SummaryKeyTypeSigningCertificatesPerUserQuota: fsm.MaxSigningCertificatesPerUser,
		types.SummaryKeyTypeAccessKeysPerUserQuota:          fsm.MaxAccessKeysPerOwner,
		types.SummaryKeyTypeAttachedPoliciesPerGroupQuota:   fsm.MaxAttachedPolicies,
		types.SummaryKeyTypeAttachedPoliciesPerRoleQuota:    fsm.MaxAttachedPolicies,
		types.SummaryKeyTypeAttachedPoliciesPerUserQuota:    fsm.MaxAttachedPolicies,
		types.SummaryKeyTypePolicyVersionsInUseQuota:        maxVersionsInUse,
		types.SummaryKeyTypeVersionsPerPolicyQuota:          fsm.MaxPolicyVersions,
		types.SummaryKeyTypeGlobalEndpointTokenVersion:      2, // tokens are good in every region
	}
	plain := make(map[string]int32, len(out))
	for key, n := range out {
		plain[string(key)] = n
	}
	return plain
}
