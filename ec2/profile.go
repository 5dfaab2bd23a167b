package ec2

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// profileSpecified is the instance profile that a request names by name or ARN; none where it names none.
func profileSpecified(v *fsm.View, owner fsm.AccountID, spec *types.IamInstanceProfileSpecification) (fsm.InstanceProfile, error) {
	var none fsm.InstanceProfile
	name, arn := "", ""
	if spec != nil {
		name, arn = aws.ToString(spec.Name), aws.ToString(spec.Arn)
	}
	switch {
	case name == "" && arn == "":
		return none, nil
	case name != "" && arn != "":
		return none, bad(codeCombination, "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'")
	case arn != "":
		if p, ok := fsm.InstanceProfileByARN(v, owner, arn); ok {
			return p, nil
		}
		return none, invalid("Value (%s) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", arn)
	}
	if p, ok := fsm.InstanceProfileByName(v, owner, name); ok {
		return p, nil
	}
	return none, invalid("Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
}

func profileOut(p *fsm.InstanceProfile) *types.IamInstanceProfile {
	if p == nil {
		return nil
	}
	return &types.IamInstanceProfile{Arn: aws.String(p.Entity().ARN()), Id: aws.String(string(p.ID))}
}

// ofProfile is what of says of a row's profile.
func ofProfile(r instanceRow, of func(*fsm.InstanceProfile) string) []string {
	if r.profile == nil {
		return nil
	}
	return one(of(r.profile))
}

// tieOut is an association as EC2 tells of it.
func tieOut(r instanceRow, state types.IamInstanceProfileAssociationState) *types.IamInstanceProfileAssociation {
	return &types.IamInstanceProfileAssociation{
		AssociationId: aws.String(r.ProfileTie), InstanceId: aws.String(string(r.ID)), IamInstanceProfile: profileOut(r.profile),
		State: state, Timestamp: unless0(r.ProfileAt),
	}
}

// AssociateIamInstanceProfile gives an instance without one an instance profile. Its guest has the role's credentials at once.
func (s *Service) AssociateIamInstanceProfile(ctx context.Context, c *principal.Caller, in *sdk.AssociateIamInstanceProfileInput) (*sdk.AssociateIamInstanceProfileOutput, error) {
	id, err := requiredID("i", "InstanceId", in.InstanceId)
	if err != nil {
		return nil, err
	}
	if in.IamInstanceProfile == nil {
		return nil, missing("IamInstanceProfile")
	}
	row, err := s.tie(ctx, c, in.IamInstanceProfile, nil, func(i fsm.Instance) (bool, error) {
		if string(i.ID) == id && i.ProfileTie != "" {
			return true, bad("IncorrectState", "There is an existing association for instance %s", id)
		}
		return string(i.ID) == id, nil
	}, notFound(id))
	if err != nil {
		return nil, err
	}
	return &sdk.AssociateIamInstanceProfileOutput{IamInstanceProfileAssociation: tieOut(row, types.IamInstanceProfileAssociationStateAssociating)}, nil
}

// ReplaceIamInstanceProfileAssociation gives an instance another instance profile than it has.
func (s *Service) ReplaceIamInstanceProfileAssociation(ctx context.Context, c *principal.Caller, in *sdk.ReplaceIamInstanceProfileAssociationInput) (*sdk.ReplaceIamInstanceProfileAssociationOutput, error) {
	id, err := requiredID(tiePrefix, "AssociationId", in.AssociationId)
	if err != nil {
		return nil, err
	}
	if in.IamInstanceProfile == nil {
		return nil, missing("IamInstanceProfile")
	}
	row, err := s.tie(ctx, c, in.IamInstanceProfile, nil, tiedBy(id), notFound(id))
	if err != nil {
		return nil, err
	}
	return &sdk.ReplaceIamInstanceProfileAssociationOutput{IamInstanceProfileAssociation: tieOut(row, types.IamInstanceProfileAssociationStateAssociating)}, nil
}

// DisassociateIamInstanceProfile takes its instance profile from an instance.
func (s *Service) DisassociateIamInstanceProfile(ctx context.Context, c *principal.Caller, in *sdk.DisassociateIamInstanceProfileInput) (*sdk.DisassociateIamInstanceProfileOutput, error) {
	id, err := requiredID(tiePrefix, "AssociationId", in.AssociationId)
	if err != nil {
		return nil, err
	}
	var before instanceRow
	if _, err := s.tie(ctx, c, nil, &before, tiedBy(id), notFound(id)); err != nil {
		return nil, err
	}
	return &sdk.DisassociateIamInstanceProfileOutput{IamInstanceProfileAssociation: tieOut(before, types.IamInstanceProfileAssociationStateDisassociating)}, nil
}

// tiePrefix is what ids of associations begin with.
const tiePrefix = "iip-assoc"

func tiedBy(id string) func(fsm.Instance) (bool, error) {
	return func(i fsm.Instance) (bool, error) { return i.ProfileTie == id, nil }
}

// tie gives the account's instance that which picks another profile, none for a nil spec. It answers the instance as it is
// then, and in before, unless nil, as it was.
func (s *Service) tie(ctx context.Context, c *principal.Caller, spec *types.IamInstanceProfileSpecification, before *instanceRow,
	which func(fsm.Instance) (bool, error), none *protocol.Error,
) (row instanceRow, err error) {
	tie := ""
	if spec != nil {
		if tie, err = s.newID(tiePrefix); err != nil {
			return row, err
		}
	}
	err = s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		i, err := instanceOf(v, account(c), which, none)
		if err != nil {
			return nil, err
		}
		profile, err := profileSpecified(v, account(c), spec)
		if err != nil {
			return nil, err
		}
		if spec != nil && profile.ID == "" {
			return nil, missing("IamInstanceProfile.Name")
		}
		if i.State == fsm.InstanceShuttingDown || i.State == fsm.InstanceTerminated {
			return nil, wrongState(string(i.ID), "given an instance profile")
		}
		if before != nil {
			*before = newInstanceRow(v, i)
		}
		row = newInstanceRow(v, i)
		row.ProfileTie, row.ProfileAt, row.profile = tie, s.now(), &profile
		return &fsm.SetInstanceProfile{ID: i.ID, Account: i.Account, Rev: i.Rev, Profile: profile.ID, Tie: tie, Now: row.ProfileAt}, nil
	}, fsm.ErrInvalid, fsm.ErrNotFound)
	if errors.Is(err, fsm.ErrInvalid) || errors.Is(err, fsm.ErrNotFound) {
		err = bad("IncorrectState", "The instance or the instance profile has changed meanwhile: look again.")
	}
	if err == nil {
		s.changed(ctx, c, "instance profile changed", "instance", row.ID, "profile", row.Profile)
	}
	return row, err
}

// instanceOf is the account's instance that which picks.
func instanceOf(v *fsm.View, owner fsm.AccountID, which func(fsm.Instance) (bool, error), none *protocol.Error) (fsm.Instance, error) {
	for _, i := range fsm.Instances.Scan(v, "") {
		if i.Account != owner {
			continue
		}
		if ok, err := which(i); ok || err != nil {
			return i, err
		}
	}
	return fsm.Instance{}, none
}

var tieFilters = filterTable[instanceRow]{names: map[string]func(instanceRow) []string{
	"instance-id": func(r instanceRow) []string { return one(r.ID) },
	"state": func(instanceRow) []string {
		return []string{string(types.IamInstanceProfileAssociationStateAssociated)}
	},
}}

// DescribeIamInstanceProfileAssociations lists which instances have which instance profiles.
func (s *Service) DescribeIamInstanceProfileAssociations(ctx context.Context, c *principal.Caller, in *sdk.DescribeIamInstanceProfileAssociationsInput) (*sdk.DescribeIamInstanceProfileAssociationsOutput, error) {
	if err := checkIDs(tiePrefix, in.AssociationIds); err != nil {
		return nil, err
	}
	rows, next, err := list(ctx, s, c, listing[instanceRow]{
		op: "DescribeIamInstanceProfileAssociations", in: in, filters: in.Filters, maxResults: in.MaxResults, token: in.NextToken,
		table: tieFilters, order: func(r instanceRow) string { return r.ProfileTie },
		rows: func(v *fsm.View) ([]instanceRow, error) {
			all, err := instanceRows(v, account(c), nil)
			all = slices.DeleteFunc(all, func(r instanceRow) bool { return r.ProfileTie == "" || r.State == fsm.InstanceTerminated })
			if err != nil {
				return nil, err
			}
			return chosen(all, in.AssociationIds, func(r instanceRow) string { return r.ProfileTie })
		},
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeIamInstanceProfileAssociationsOutput{NextToken: next, IamInstanceProfileAssociations: []types.IamInstanceProfileAssociation{}}
	for _, r := range rows {
		out.IamInstanceProfileAssociations = append(out.IamInstanceProfileAssociations, *tieOut(r, types.IamInstanceProfileAssociationStateAssociated))
	}
	return out, nil
}
