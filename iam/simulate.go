package iam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// simulation is what a request asks to be decided.
type simulation struct {
	identity, boundary, resource sources
	hasBoundary                  bool
	owner                        string // account of the resources; "" for the caller's own
	caller                       *principal.Caller
	actions, resources           []string
	context                      map[string][]string
}

// sources are documents and what answers call them.
type sources struct {
	docs  []*policy.Document
	names []string
}

// add reads a document. Errors: InvalidInput.
func (s *sources) add(text string, kind policy.Kind, name string) error {
	doc, err := policy.Parse([]byte(text), kind)
	if bad := (*policy.MalformedError)(nil); errors.As(err, &bad) {
		return invalidInput("Invalid policy %s: %s", name, bad.Message)
	}
	if err != nil {
		return err
	}
	s.docs, s.names = append(s.docs, doc), append(s.names, name)
	return nil
}

// given adds the documents of a request's list.
func (s *sources) given(list []string, parameter string) error {
	for i := range list {
		text, err := required(&list[i], parameter, maxDocument)
		if err != nil {
			return err
		}
		if err := s.add(text, policy.Identity, fmt.Sprintf("%s.%d", strings.ToUpper(parameter[:1])+parameter[1:], i+1)); err != nil {
			return err
		}
	}
	return nil
}

// of adds all policies of a user, group or role.
func (s *sources) of(v *fsm.View, e fsm.Entity) error {
	for _, p := range fsm.InlinePoliciesOf(v, e.Account, e.ID) {
		if err := s.add(p.Document, policy.Identity, string(e.ID.Kind())+"_"+e.Name+"_"+p.Name); err != nil {
			return err
		}
	}
	for _, a := range fsm.AttachedPoliciesOf(v, e.Account, e.ID) {
		if err := s.managed(v, e.Account, a.ARN); err != nil {
			return err
		}
	}
	return nil
}

func (s *sources) managed(v *fsm.View, account fsm.AccountID, arn string) error {
	text, ok := managedDocument(v, account, arn)
	if !ok {
		return nil
	}
	return s.add(text, policy.Managed, arn[strings.LastIndexByte(arn, '/')+1:])
}

// source is the user, group or role whose policies are simulated.
type source struct {
	entity   fsm.Entity
	boundary string
	tags     []fsm.Tag
}

// sourceIn is what a parameter with an ARN names. Errors: InvalidInput, NoSuchEntity.
func sourceIn(v *fsm.View, c *principal.Caller, value *string, parameter string) (h source, err error) {
	arn, err := validARNOf(value, parameter)
	if err != nil {
		return h, err
	}
	account := fsm.AccountID(c.Account)
	kind, rest, _ := strings.Cut(strings.TrimPrefix(arn, "arn:aws:iam::"+c.Account+":"), "/")
	name := rest[strings.LastIndexByte(rest, '/')+1:]
	if accountOf(arn) != c.Account || !slices.Contains([]string{"user", "group", "role"}, kind) {
		return h, invalidInput("Invalid Entity Arn: %s does not clearly define entity type and name.", arn)
	}
	e, ok := fsm.EntityByName(v, account, fsm.EntityKind(kind), name)
	if !ok || e.ARN() != arn {
		return h, fsm.Errorf(fsm.ErrNotFound, kind+"/"+name)
	}
	h.entity = e
	if user, ok := fsm.UserByID(v, account, e.ID); ok {
		h.boundary, h.tags = user.Boundary, user.Tags
	}
	if role, ok := fsm.RoleByID(v, account, e.ID); ok {
		h.boundary, h.tags = role.Boundary, role.Tags
	}
	return h, nil
}

// policies are its own and, of a user, those of its groups.
func (h source) policies(v *fsm.View) (out sources, err error) {
	if err := out.of(v, h.entity); err != nil {
		return out, err
	}
	if h.entity.ID.Kind() == fsm.UserEntity {
		for _, g := range fsm.GroupsOfUser(v, h.entity.Account, h.entity.ID) {
			if err := out.of(v, g.Entity()); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// caller is a source as the one who asks. A role has no session: when it was issued is context that a simulation may be given.
func (h source) caller() *principal.Caller {
	c := &principal.Caller{Account: string(h.entity.Account), ARN: h.entity.ARN(), UserID: string(h.entity.ID)}
	if h.entity.ID.Kind() == fsm.UserEntity {
		c.UserName = h.entity.Name
	}
	return c
}

// SimulatePrincipalPolicy decides actions by the policies of a user (with its groups'), group or role, and by further ones.
// Errors: NoSuchEntity, InvalidInput, ValidationError.
func (s *Service) SimulatePrincipalPolicy(ctx context.Context, c *principal.Caller, in *awsiam.SimulatePrincipalPolicyInput) (*awsiam.SimulatePrincipalPolicyOutput, error) {
	out := &awsiam.SimulatePrincipalPolicyOutput{}
	err := s.read(ctx, func(v *fsm.View) error {
		h, err := sourceIn(v, c, in.PolicySourceArn, "policySourceArn")
		if err != nil {
			return err
		}
		sim := simulation{caller: h.caller(), actions: in.ActionNames, resources: in.ResourceArns}
		if sim.identity, err = h.policies(v); err != nil {
			return err
		}
		if err := sim.identity.given(in.PolicyInputList, "policyInputList"); err != nil {
			return err
		}
		if h.boundary != "" && len(in.PermissionsBoundaryPolicyInputList) == 0 {
			sim.hasBoundary = true
			if err := sim.boundary.managed(v, h.entity.Account, h.boundary); err != nil {
				return err
			}
		}
		sim.context = map[string][]string{}
		for _, t := range h.tags {
			sim.context["aws:principaltag/"+strings.ToLower(t.Key)] = []string{t.Value}
		}
		needsCaller := in.ResourcePolicy != nil && h.entity.ID.Kind() != fsm.UserEntity
		if err := sim.more(v, c, simulated{in.PermissionsBoundaryPolicyInputList, in.ResourcePolicy, in.ResourceOwner, in.CallerArn, in.ContextEntries, needsCaller}); err != nil {
			return err
		}
		out.EvaluationResults, out.Marker, err = s.simulate(&sim, in.Marker, in.MaxItems)
		out.IsTruncated = out.Marker != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// SimulateCustomPolicy decides actions by the policies given. Errors: InvalidInput, ValidationError.
func (s *Service) SimulateCustomPolicy(ctx context.Context, c *principal.Caller, in *awsiam.SimulateCustomPolicyInput) (*awsiam.SimulateCustomPolicyOutput, error) {
	if in.PolicyInputList == nil {
		return nil, constraint("null", "policyInputList", "Member must not be null")
	}
	out := &awsiam.SimulateCustomPolicyOutput{}
	err := s.read(ctx, func(v *fsm.View) (err error) {
		sim := simulation{
			caller: &principal.Caller{Account: c.Account}, actions: in.ActionNames, resources: in.ResourceArns, context: map[string][]string{},
		}
		if err := sim.identity.given(in.PolicyInputList, "policyInputList"); err != nil {
			return err
		}
		if err := sim.more(v, c, simulated{in.PermissionsBoundaryPolicyInputList, in.ResourcePolicy, in.ResourceOwner, in.CallerArn, in.ContextEntries, in.ResourcePolicy != nil}); err != nil {
			return err
		}
		out.EvaluationResults, out.Marker, err = s.simulate(&sim, in.Marker, in.MaxItems)
		out.IsTruncated = out.Marker != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// simulated is what both requests have besides their policies.
type simulated struct {
	boundary      []string
	resource      *string
	owner, caller *string
	entries       []types.ContextEntry
	needsCaller   bool
}

// more reads what both requests have besides their policies. Errors: InvalidInput, ValidationError.
func (sim *simulation) more(v *fsm.View, c *principal.Caller, in simulated) error {
	if len(in.boundary) > 0 {
		sim.hasBoundary = true
		if err := sim.boundary.given(in.boundary, "permissionsBoundaryPolicyInputList"); err != nil {
			return err
		}
	}
	if in.resource != nil {
		if err := sim.resource.add(*in.resource, policy.Resource, "ResourcePolicy"); err != nil {
			return err
		}
	}
	if in.owner != nil {
		if sim.owner = ownerOf(*in.owner); sim.owner == "" {
			return invalidInput("Invalid resource owner: %s", *in.owner)
		}
	}
	if in.needsCaller && in.caller == nil {
		return invalidInput("CallerArn is required when a resource policy is simulated and the policy source is not a user.")
	}
	if in.caller != nil {
		caller, err := simulatedCaller(v, c, *in.caller)
		if err != nil {
			return err
		}
		sim.caller = caller
	}
	for _, e := range in.entries {
		if text(e.ContextKeyName) == "" || e.ContextKeyType != "" && !slices.Contains(e.ContextKeyType.Values(), e.ContextKeyType) {
			return invalidInput("Invalid context entry: a name and a known type are needed.")
		}
		sim.context[strings.ToLower(*e.ContextKeyName)] = e.ContextKeyValues
	}
	return sim.checkActions()
}

// ownerOf is the account that a ResourceOwner names, by its id or an ARN of it.
func ownerOf(owner string) string {
	if account := accountOf(owner); account != "" {
		owner = account
	}
	if !fsm.AccountID(owner).Valid() {
		return ""
	}
	return owner
}

// simulatedCaller is the user whom CallerArn names. Errors: InvalidInput.
func simulatedCaller(v *fsm.View, c *principal.Caller, arn string) (*principal.Caller, error) {
	account := accountOf(arn)
	rest, isUser := strings.CutPrefix(arn, "arn:aws:iam::"+account+":user/")
	if account == "" || !isUser || rest == "" {
		return nil, invalidInput("Invalid caller ARN: %s is not the ARN of an IAM user.", arn)
	}
	caller := &principal.Caller{Account: account, ARN: arn, UserName: rest[strings.LastIndexByte(rest, '/')+1:]}
	if user, ok := fsm.UserByName(v, fsm.AccountID(account), caller.UserName); ok && account == c.Account && user.ARN() == arn {
		caller.UserID = string(user.ID)
	}
	return caller, nil
}

// checkActions refuses actions that are not of the form service:Action, without wildcards, and resources that are no ARNs.
func (sim *simulation) checkActions() error {
	if len(sim.actions) == 0 {
		return constraint("null", "actionNames", "Member must not be null")
	}
	for _, action := range sim.actions {
		service, name, ok := strings.Cut(action, ":")
		if !ok || service == "" || name == "" || strings.ContainsAny(action, "*? ") {
			return invalidInput("Invalid Input: %s is not a valid action name.", quoted(action))
		}
	}
	if len(sim.resources) == 0 {
		sim.resources = []string{"*"}
	}
	for _, r := range sim.resources {
		if r != "*" && (!strings.HasPrefix(r, "arn:") || strings.Count(r, ":") < 5) {
			return invalidInput("Invalid Input: %s is not a valid resource ARN.", quoted(r))
		}
	}
	return nil
}

// simulate is a page of the decisions on every action and resource, and the marker of the next.
func (s *Service) simulate(sim *simulation, after *string, items *int32) ([]types.EvaluationResult, *string, error) {
	p, err := newPage(after, items)
	if err != nil {
		return nil, nil, err
	}
	out, all, i := []types.EvaluationResult{}, len(sim.actions)*len(sim.resources), 0
	if p.after != "" {
		last, err := strconv.Atoi(p.after)
		if err != nil || last < 0 {
			return nil, nil, invalid("Invalid Marker: use the Marker of the answer before, as it is.")
		}
		i = min(last, all) + 1
	}
	for ; i < all; i++ {
		if len(out) == p.max {
			return out, marker(strconv.Itoa(i - 1)), nil
		}
		out = append(out, s.evaluate(sim, sim.actions[i/len(sim.resources)], sim.resources[i%len(sim.resources)]))
	}
	return out, nil, nil
}

func (s *Service) evaluate(sim *simulation, action, resource string) types.EvaluationResult {
	decision, how := policy.Explain(&policy.Policies{
		Identity: sim.identity.docs, Boundary: sim.boundary.docs, HasBoundary: sim.hasBoundary, Resource: sim.resource.docs, ResourceAccount: sim.owner,
	}, &policy.Request{Action: action, Resource: resource, Caller: sim.caller, Now: s.cfg.Clock(), Context: sim.context})
	out := types.EvaluationResult{
		EvalActionName: aws.String(action), EvalResourceName: aws.String(resource), EvalDecision: decisionOut(decision.Effect),
		MatchedStatements: []types.Statement{}, MissingContextValues: append([]string{}, how.Missing...),
	}
	for _, m := range how.Matched {
		out.MatchedStatements = append(out.MatchedStatements, sim.statement(m))
	}
	if sim.hasBoundary {
		out.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: decision.Boundary == policy.Allow}
	}
	if sim.owner != "" && sim.owner != sim.caller.Account && len(sim.resource.docs) > 0 {
		out.EvalDecisionDetails = map[string]types.PolicyEvaluationDecisionType{
			"IAM Policy": decisionOut(decision.Identity), "Resource Policy": decisionOut(decision.Resource),
		}
	}
	return out
}

func decisionOut(e policy.Effect) types.PolicyEvaluationDecisionType {
	switch e {
	case policy.Allow:
		return types.PolicyEvaluationDecisionTypeAllowed
	case policy.ExplicitDeny:
		return types.PolicyEvaluationDecisionTypeExplicitDeny
	default:
		return types.PolicyEvaluationDecisionTypeImplicitDeny
	}
}

// statement is a statement that applied, as answers show it. AWS's name for the type of all IAM policies is not among those
// that its model lists.
func (sim *simulation) statement(m policy.Match) types.Statement {
	from, kind := sim.identity, types.PolicySourceType("IAM Policy")
	switch m.Cause {
	case policy.BoundaryPolicy:
		from, kind = sim.boundary, "IAM Permissions Boundary Policy"
	case policy.ResourcePolicy:
		from, kind = sim.resource, "Resource Policy"
	}
	position := func(p policy.Position) *types.Position {
		return &types.Position{Line: int32(p.Line), Column: int32(p.Column)}
	}
	return types.Statement{
		SourcePolicyId: aws.String(from.names[m.Document]), SourcePolicyType: kind, StartPosition: position(m.Start), EndPosition: position(m.End),
	}
}
