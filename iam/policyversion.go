package iam

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// numberOf is the number of the version that a request names; 0 for one that no policy has.
func numberOf(version *string) (string, int, error) {
	id, err := required(version, "versionId", maxPolicyName)
	if err != nil {
		return "", 0, err
	}
	digits, ok := strings.CutPrefix(id, "v")
	whole, _, _ := strings.Cut(digits, ".")
	number, err := strconv.Atoi(whole)
	if !ok || err != nil && len(whole) < 10 || strings.HasPrefix(whole, "0") {
		return "", 0, constraint(quoted(id), "versionId", `Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)
	}
	if whole != digits {
		number = 0
	}
	return id, number, nil
}

func noVersion(arn, id string) error {
	return fsm.Errorf(fsm.ErrNotFound, "policy-version/"+arn+" version "+id)
}

// versionOut is a version as answers show it, without its document.
func versionOut(version fsm.PolicyVersion, counts bool) types.PolicyVersion {
	return types.PolicyVersion{
		VersionId: aws.String(versionID(version.Number)), IsDefaultVersion: counts, CreateDate: date(version.Created),
	}
}

// CreatePolicyVersion gives a managed policy a new text. Errors: LimitExceeded when it has five, MalformedPolicyDocument,
// NoSuchEntity.
func (s *Service) CreatePolicyVersion(ctx context.Context, c *principal.Caller, in *awsiam.CreatePolicyVersionInput) (*awsiam.CreatePolicyVersionOutput, error) {
	doc, err := required(in.PolicyDocument, "policyDocument", maxDocument)
	if err != nil {
		return nil, err
	}
	if err := checkPolicy(doc, policy.Managed); err != nil {
		return nil, err
	}
	version := fsm.PolicyVersion{Document: doc, Created: s.cfg.Clock().Unix()}
	err = s.decide(ctx, c, text(in.PolicyArn), func(v *fsm.View) (fsm.Command, error) {
		p, err := ownPolicyIn(v, c, "CreatePolicyVersion", in.PolicyArn)
		version.Number = p.Latest + 1
		return &fsm.CreatePolicyVersion{Account: p.Account, Policy: p.ID, Version: version, Default: in.SetAsDefault}, err
	})
	if err != nil {
		return nil, err
	}
	out := versionOut(version, in.SetAsDefault)
	return &awsiam.CreatePolicyVersionOutput{PolicyVersion: &out}, nil
}

// GetPolicyVersion is a text of a managed policy, URL-encoded. Those of AWS have one version here.
func (s *Service) GetPolicyVersion(ctx context.Context, c *principal.Caller, in *awsiam.GetPolicyVersionInput) (*awsiam.GetPolicyVersionOutput, error) {
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	id, number, err := numberOf(in.VersionId)
	if err != nil {
		return nil, err
	}
	var out types.PolicyVersion
	err = s.read(ctx, func(v *fsm.View) error {
		if m, ok := managedPolicy(arn); ok && id == m.Version {
			out = m.versionOut()
			out.Document = encodeDocument(m.document)
			return nil
		}
		p, _ := fsm.ManagedPolicyByARN(v, fsm.AccountID(c.Account), arn)
		version, ok := fsm.PolicyVersionOf(v, p.Account, p.ID, number)
		if !ok {
			return noVersion(arn, id)
		}
		out = versionOut(version, number == p.Default)
		out.Document = encodeDocument(version.Document)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetPolicyVersionOutput{PolicyVersion: &out}, nil
}

// ListPolicyVersions lists the versions of a managed policy, the newest first, without their texts.
func (s *Service) ListPolicyVersions(ctx context.Context, c *principal.Caller, in *awsiam.ListPolicyVersionsInput) (*awsiam.ListPolicyVersionsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	if m, ok := managedPolicy(arn); ok {
		return &awsiam.ListPolicyVersionsOutput{Versions: []types.PolicyVersion{m.versionOut()}}, nil
	}
	out := &awsiam.ListPolicyVersionsOutput{Versions: []types.PolicyVersion{}}
	err = s.read(ctx, func(v *fsm.View) error {
		owner, ok := fsm.ManagedPolicyByARN(v, fsm.AccountID(c.Account), arn)
		if !ok {
			return fsm.Errorf(fsm.ErrNotFound, "policy/"+arn)
		}
		var versions []fsm.PolicyVersion
		versions, out.Marker = cut(p, fsm.PolicyVersionsOf(v, owner.Account, owner.ID), versionKey)
		for _, version := range versions {
			out.Versions = append(out.Versions, versionOut(version, version.Number == owner.Default))
		}
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// versionKey orders versions with the newest first.
func versionKey(version fsm.PolicyVersion) string {
	const far = 1_000_000_000_000
	return strconv.Itoa(2*far - version.Number)
}

// DeletePolicyVersion removes a version. Errors: NoSuchEntity; DeleteConflict for the one that counts.
func (s *Service) DeletePolicyVersion(ctx context.Context, c *principal.Caller, in *awsiam.DeletePolicyVersionInput) (*awsiam.DeletePolicyVersionOutput, error) {
	return done[awsiam.DeletePolicyVersionOutput](s.decide(ctx, c, text(in.PolicyArn), func(v *fsm.View) (fsm.Command, error) {
		p, number, err := versionIn(v, c, "DeletePolicyVersion", in.PolicyArn, in.VersionId)
		return &fsm.DeletePolicyVersion{Account: p.Account, Policy: p.ID, Number: number}, err
	}))
}

// SetDefaultPolicyVersion says which version counts. Errors: NoSuchEntity.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, c *principal.Caller, in *awsiam.SetDefaultPolicyVersionInput) (*awsiam.SetDefaultPolicyVersionOutput, error) {
	return done[awsiam.SetDefaultPolicyVersionOutput](s.decide(ctx, c, text(in.PolicyArn), func(v *fsm.View) (fsm.Command, error) {
		p, number, err := versionIn(v, c, "SetDefaultPolicyVersion", in.PolicyArn, in.VersionId)
		return &fsm.SetDefaultPolicyVersion{Account: p.Account, Policy: p.ID, Number: number}, err
	}))
}

// versionIn finds the policy of the account's own and its version that a request names.
func versionIn(v *fsm.View, c *principal.Caller, op string, arn, version *string) (fsm.ManagedPolicy, int, error) {
	id, number, err := numberOf(version)
	if err != nil {
		return fsm.ManagedPolicy{}, 0, err
	}
	p, err := ownPolicyIn(v, c, op, arn)
	if errors.Is(err, fsm.ErrNotFound) {
		return p, 0, noVersion(text(arn), id)
	}
	if err != nil {
		return p, 0, err
	}
	if _, ok := fsm.PolicyVersionOf(v, p.Account, p.ID, number); !ok {
		return p, 0, noVersion(p.ARN(), id)
	}
	return p, number, nil
}

// ListEntitiesForPolicy lists what a managed policy is attached to and what it bounds, in order of id, each once.
func (s *Service) ListEntitiesForPolicy(ctx context.Context, c *principal.Caller, in *awsiam.ListEntitiesForPolicyInput) (*awsiam.ListEntitiesForPolicyOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListEntitiesForPolicyOutput{
		PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{},
	}
	err = s.read(ctx, func(v *fsm.View) error {
		_, aws := managedPolicy(arn)
		if _, own := fsm.ManagedPolicyByARN(v, fsm.AccountID(c.Account), arn); !aws && !own {
			return fsm.Errorf(fsm.ErrNotFound, "policy/"+arn)
		}
		var found []fsm.Entity
		found, out.Marker = listed(p, func(start string, yield func(fsm.EntityID) bool) {
			usersOfPolicy(v, fsm.AccountID(c.Account), arn, in.PolicyUsageFilter, fsm.EntityID(start), yield)
		}, func(id fsm.EntityID) string { return string(id) }, func(id fsm.EntityID) (fsm.Entity, bool) {
			e, ok := fsm.EntityByID(v, fsm.AccountID(c.Account), id)
			return e, ok && strings.HasPrefix(e.Path, prefix) && filtered(in.EntityFilter, id)
		})
		out.IsTruncated = out.Marker != nil
		for _, e := range found {
			addEntity(out, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// filtered tells whether an entity is of the kind that a filter lets through.
func filtered(filter types.EntityType, id fsm.EntityID) bool {
	switch filter {
	case types.EntityTypeUser:
		return id.Kind() == fsm.UserEntity
	case types.EntityTypeGroup:
		return id.Kind() == fsm.GroupEntity
	case types.EntityTypeRole:
		return id.Kind() == fsm.RoleEntity
	case "":
		return true
	}
	return false
}

// usersOfPolicy yields, in order of id, what a managed policy is attached to or bounds, as filter says.
func usersOfPolicy(v *fsm.View, account fsm.AccountID, arn string, filter types.PolicyUsageType, start fsm.EntityID, yield func(fsm.EntityID) bool) {
	switch filter {
	case types.PolicyUsageTypePermissionsPolicy:
		fsm.AttachedTo(v, account, arn, start)(yield)
	case types.PolicyUsageTypePermissionsBoundary:
		fsm.BoundaryUses(v, account, arn, start)(yield)
	default:
		merged(fsm.AttachedTo(v, account, arn, start), fsm.BoundaryUses(v, account, arn, start), yield)
	}
}

func addEntity(out *awsiam.ListEntitiesForPolicyOutput, e fsm.Entity) {
	name, id := aws.String(e.Name), aws.String(string(e.ID))
	switch e.ID.Kind() {
	case fsm.UserEntity:
		out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserName: name, UserId: id})
	case fsm.GroupEntity:
		out.PolicyGroups = append(out.PolicyGroups, types.PolicyGroup{GroupName: name, GroupId: id})
	case fsm.RoleEntity:
		out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleName: name, RoleId: id})
	}
}

// merged yields what two sequences in order yield, in order, and what both yield once.
func merged(a, b iter.Seq[fsm.EntityID], yield func(fsm.EntityID) bool) {
	nextB, stop := iter.Pull(b)
	defer stop()
	fromB, more := nextB()
	for fromA := range a {
		for ; more && fromB < fromA; fromB, more = nextB() {
			if !yield(fromB) {
				return
			}
		}
		if more && fromB == fromA {
			fromB, more = nextB()
		}
		if !yield(fromA) {
			return
		}
	}
	for ; more && yield(fromB); fromB, more = nextB() {
	}
}
