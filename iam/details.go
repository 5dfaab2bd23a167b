package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// details gathers a page of everything: sections one after the other, each in its own order. A marker is a section's
// letter and the key of the last item of it that the client has.
type details struct {
	v       *fsm.View
	account fsm.AccountID
	page    page
	out     *awsiam.GetAccountAuthorizationDetailsOutput
	items   int
	last    string // marker of the last item
	full    bool
}

// section is one kind of what GetAccountAuthorizationDetails lists.
type section struct {
	letter string
	filter types.EntityType
	list   func(d *details, start string)
}

// sections are in order of letter.
func sections() []section {
	return []section{
		{"a", types.EntityTypeUser, (*details).users},
		{"b", types.EntityTypeGroup, (*details).groups},
		{"c", types.EntityTypeRole, (*details).roles},
		{"d", types.EntityTypeLocalManagedPolicy, (*details).localPolicies},
		{"e", types.EntityTypeAWSManagedPolicy, (*details).awsPolicies},
	}
}

// GetAccountAuthorizationDetails lists users, groups, roles and managed policies with their relations, of AWS's managed
// policies those that the account uses. Errors: ValidationError.
func (s *Service) GetAccountAuthorizationDetails(ctx context.Context, c *principal.Caller, in *awsiam.GetAccountAuthorizationDetailsInput) (*awsiam.GetAccountAuthorizationDetailsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	for _, f := range in.Filter {
		if !slices.Contains(f.Values(), f) {
			return nil, constraint(quoted(string(f)), "filter", "Member must satisfy constraint: [Member must satisfy enum value set: [AWSManagedPolicy, Group, LocalManagedPolicy, Role, User]]")
		}
	}
	out := &awsiam.GetAccountAuthorizationDetailsOutput{
		UserDetailList: []types.UserDetail{}, GroupDetailList: []types.GroupDetail{}, RoleDetailList: []types.RoleDetail{}, Policies: []types.ManagedPolicyDetail{},
	}
	err = s.read(ctx, func(v *fsm.View) error {
		d := details{v: v, account: fsm.AccountID(c.Account), page: p, out: out}
		for _, sec := range sections() {
			if len(in.Filter) == 0 || slices.Contains(in.Filter, sec.filter) {
				d.section(sec)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (d *details) section(sec section) {
	letter, key, _ := strings.Cut(d.page.after, "/")
	switch {
	case d.full || letter > sec.letter:
	case letter == sec.letter:
		sec.list(d, key)
	default:
		sec.list(d, "")
	}
}

// take tells whether an item belongs to the page: it is not the one before it, and there is room. It notes where the page
// ends.
func (d *details) take(letter, key string) (belongs, goOn bool) {
	marked := letter + "/" + key
	if marked == d.page.after {
		return false, true
	}
	if d.items == d.page.max {
		d.full, d.out.IsTruncated, d.out.Marker = true, true, marker(d.last)
		return false, false
	}
	d.items, d.last = d.items+1, marked
	return true, true
}

func (d *details) users(start string) {
	fsm.UsersFrom(d.v, d.account, start, func(u fsm.User) bool {
		belongs, goOn := d.take("a", strings.ToLower(u.Name))
		if belongs {
			d.out.UserDetailList = append(d.out.UserDetailList, d.user(u))
		}
		return goOn
	})
}

func (d *details) user(u fsm.User) types.UserDetail {
	out := types.UserDetail{
		Arn: aws.String(u.ARN()), CreateDate: date(u.Created), Path: aws.String(u.Path), UserId: aws.String(string(u.ID)), UserName: aws.String(u.Name),
		UserPolicyList: d.inline(u.ID), AttachedManagedPolicies: d.attached(u.ID), GroupList: []string{}, Tags: tagsOut(u.Tags),
		PermissionsBoundary: boundaryOut(u.Boundary),
	}
	for _, g := range fsm.GroupsOfUser(d.v, d.account, u.ID) {
		out.GroupList = append(out.GroupList, g.Name)
	}
	return out
}

func (d *details) inline(owner fsm.EntityID) []types.PolicyDetail {
	out := []types.PolicyDetail{}
	for _, p := range fsm.InlinePoliciesOf(d.v, d.account, owner) {
		out = append(out, types.PolicyDetail{PolicyName: aws.String(p.Name), PolicyDocument: encodeDocument(p.Document)})
	}
	return out
}

func (d *details) attached(owner fsm.EntityID) []types.AttachedPolicy {
	out := []types.AttachedPolicy{}
	for _, a := range fsm.AttachedPoliciesOf(d.v, d.account, owner) {
		out = append(out, types.AttachedPolicy{PolicyArn: aws.String(a.ARN), PolicyName: aws.String(a.ARN[strings.LastIndexByte(a.ARN, '/')+1:])})
	}
	return out
}

func (d *details) groups(start string) {
	fsm.IAMGroupsFrom(d.v, d.account, start, func(g fsm.IAMGroup) bool {
		belongs, goOn := d.take("b", strings.ToLower(g.Name))
		if belongs {
			d.out.GroupDetailList = append(d.out.GroupDetailList, types.GroupDetail{
				Arn: aws.String(g.ARN()), CreateDate: date(g.Created), Path: aws.String(g.Path), GroupId: aws.String(string(g.ID)), GroupName: aws.String(g.Name),
				GroupPolicyList: d.inline(g.ID), AttachedManagedPolicies: d.attached(g.ID),
			})
		}
		return goOn
	})
}

func (d *details) roles(start string) {
	fsm.RolesFrom(d.v, d.account, start, func(r fsm.Role) bool {
		belongs, goOn := d.take("c", strings.ToLower(r.Name))
		if belongs {
			d.out.RoleDetailList = append(d.out.RoleDetailList, d.role(r))
		}
		return goOn
	})
}

func (d *details) role(r fsm.Role) types.RoleDetail {
	out := types.RoleDetail{
		Arn: aws.String(r.ARN()), CreateDate: date(r.Created), Path: aws.String(r.Path), RoleId: aws.String(string(r.ID)), RoleName: aws.String(r.Name),
		AssumeRolePolicyDocument: encodeDocument(r.TrustNow(d.v)), RolePolicyList: d.inline(r.ID), AttachedManagedPolicies: d.attached(r.ID),
		InstanceProfileList: []types.InstanceProfile{}, Tags: tagsOut(r.Tags), PermissionsBoundary: boundaryOut(r.Boundary), RoleLastUsed: &types.RoleLastUsed{},
	}
	for p := range fsm.InstanceProfilesOfRole(d.v, d.account, r.ID, "") {
		out.InstanceProfileList = append(out.InstanceProfileList, profileOut(d.v, p))
	}
	if used, ok := fsm.RoleLastUsed(d.v, d.account, r.ID); ok {
		out.RoleLastUsed.LastUsedDate, out.RoleLastUsed.Region = date(used.Time), optional(used.Region)
	}
	return out
}

func (d *details) localPolicies(start string) {
	fsm.ManagedPoliciesFrom(d.v, d.account, start, func(p fsm.ManagedPolicy) bool {
		belongs, goOn := d.take("d", strings.ToLower(p.Name))
		if !belongs {
			return goOn
		}
		var versions []types.PolicyVersion
		for _, version := range fsm.PolicyVersionsOf(d.v, d.account, p.ID) {
			shown := versionOut(version, version.Number == p.Default)
			shown.Document = encodeDocument(version.Document)
			versions = append(versions, shown)
		}
		d.policy(ownListed(p), p.Description, versions)
		return true
	})
}

// awsPolicies lists those of AWS's managed policies that the account uses.
func (d *details) awsPolicies(start string) {
	for _, m := range managedPolicies() {
		use := fsm.PolicyUseOf(d.v, d.account, m.arn())
		if m.Name < start || use == (fsm.PolicyUse{}) {
			continue
		}
		belongs, goOn := d.take("e", m.Name)
		if !goOn {
			return
		}
		if belongs {
			d.policy(m.listed(), m.Description, []types.PolicyVersion{{
				VersionId: aws.String(m.Version), IsDefaultVersion: true, CreateDate: date(m.Updated), Document: encodeDocument(m.document),
			}})
		}
	}
}

func (d *details) policy(l listedPolicy, description string, versions []types.PolicyVersion) {
	p := l.out(fsm.PolicyUseOf(d.v, d.account, l.arn))
	d.out.Policies = append(d.out.Policies, types.ManagedPolicyDetail{
		Arn: p.Arn, PolicyName: p.PolicyName, PolicyId: p.PolicyId, Path: p.Path, DefaultVersionId: p.DefaultVersionId, Description: optional(description),
		AttachmentCount: p.AttachmentCount, PermissionsBoundaryUsageCount: p.PermissionsBoundaryUsageCount, IsAttachable: p.IsAttachable,
		CreateDate: p.CreateDate, UpdateDate: p.UpdateDate, PolicyVersionList: versions,
	})
}
