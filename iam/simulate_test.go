package iam

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
)

func statement(effect, action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":%q,"Action":%q,"Resource":%q}]}`, effect, action, resource)
}

// decisions are what a simulation says, in order.
func decisions(results []types.EvaluationResult) (out []string) {
	for _, r := range results {
		out = append(out, *r.EvalActionName+" "+*r.EvalResourceName+" "+string(r.EvalDecision))
	}
	return out
}

func TestCustomPoliciesAreSimulated(t *testing.T) {
	r := newRig(t)
	custom := func(in awsiam.SimulateCustomPolicyInput) *awsiam.SimulateCustomPolicyOutput {
		t.Helper()
		return must(r.SimulateCustomPolicy(t.Context(), r.root, &in))(t)
	}
	out := custom(awsiam.SimulateCustomPolicyInput{
		PolicyInputList: []string{
			statement("Allow", "s3:*", "arn:aws:s3:::b/*"), statement("Deny", "s3:PutObject", "arn:aws:s3:::b/secret*"),
		},
		ActionNames:  []string{"s3:GetObject", "s3:PutObject"},
		ResourceArns: []string{"arn:aws:s3:::b/x", "arn:aws:s3:::b/secret", "arn:aws:s3:::c/x"},
	})
	want := []string{
		"s3:GetObject arn:aws:s3:::b/x allowed", "s3:GetObject arn:aws:s3:::b/secret allowed", "s3:GetObject arn:aws:s3:::c/x implicitDeny",
		"s3:PutObject arn:aws:s3:::b/x allowed", "s3:PutObject arn:aws:s3:::b/secret explicitDeny", "s3:PutObject arn:aws:s3:::c/x implicitDeny",
	}
	if got := decisions(out.EvaluationResults); !slices.Equal(got, want) || out.IsTruncated {
		t.Errorf("%q", got)
	}
	denied := out.EvaluationResults[4].MatchedStatements
	if len(denied) != 1 || *denied[0].SourcePolicyId != "PolicyInputList.2" || denied[0].SourcePolicyType != "IAM Policy" ||
		denied[0].StartPosition.Line != 1 || denied[0].StartPosition.Column < 30 || denied[0].EndPosition.Column <= denied[0].StartPosition.Column {
		t.Errorf("%+v", denied)
	}
	if got := out.EvaluationResults[2].MatchedStatements; got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}

	bounded := custom(awsiam.SimulateCustomPolicyInput{
		PolicyInputList: []string{statement("Allow", "*", "*")}, PermissionsBoundaryPolicyInputList: []string{statement("Allow", "s3:*", "*")},
		ActionNames: []string{"s3:ListAllMyBuckets", "ec2:RunInstances"},
	})
	if got := decisions(bounded.EvaluationResults); !slices.Equal(got, []string{"s3:ListAllMyBuckets * allowed", "ec2:RunInstances * implicitDeny"}) ||
		!bounded.EvaluationResults[0].PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary ||
		bounded.EvaluationResults[1].PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary {
		t.Errorf("%q", got)
	}
}

func TestSimulationTellsMissingContextAndTakesWhatIsGiven(t *testing.T) {
	r := newRig(t)
	in := awsiam.SimulateCustomPolicyInput{
		PolicyInputList: []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*","Condition":{
			"StringEquals":{"ec2:InstanceType":"t3.micro"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}`},
		ActionNames: []string{"ec2:RunInstances"},
	}
	got := must(r.SimulateCustomPolicy(t.Context(), r.root, &in))(t).EvaluationResults[0]
	if got.EvalDecision != types.PolicyEvaluationDecisionTypeImplicitDeny || !slices.Equal(got.MissingContextValues, []string{"aws:SourceIp", "ec2:InstanceType"}) {
		t.Errorf("%s, %q", got.EvalDecision, got.MissingContextValues)
	}
	in.ContextEntries = []types.ContextEntry{
		{ContextKeyName: aws.String("EC2:InstanceType"), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{"t3.micro"}},
		{ContextKeyName: aws.String("aws:SourceIp"), ContextKeyType: types.ContextKeyTypeEnumIp, ContextKeyValues: []string{"10.1.2.3"}},
	}
	got = must(r.SimulateCustomPolicy(t.Context(), r.root, &in))(t).EvaluationResults[0]
	if got.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed || len(got.MissingContextValues) != 0 {
		t.Errorf("%s, %q", got.EvalDecision, got.MissingContextValues)
	}
}

func TestUsersPoliciesAndItsGroupsAreSimulated(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	id := r.userID("alice")
	r.propose(&fsm.CreateGroup{Group: fsm.IAMGroup{Account: account, ID: "AGPADEVS", Name: "devs", Path: "/", Created: 1}})
	r.propose(&fsm.AddUserToGroup{Account: account, Group: "AGPADEVS", User: id})
	r.propose(&fsm.PutInlinePolicy{Account: account, Owner: id, Policy: fsm.InlinePolicy{Name: "own", Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::${aws:username}/*"}]}`}})
	r.propose(&fsm.PutInlinePolicy{Account: account, Owner: "AGPADEVS", Policy: fsm.InlinePolicy{Name: "team", Document: statement("Allow", "ec2:Describe*", "*")}})
	r.propose(&fsm.AttachPolicy{Account: account, Owner: "AGPADEVS", ARN: "arn:aws:iam::aws:policy/AmazonS3FullAccess"})
	simulate := func(arn string, more ...string) []types.EvaluationResult {
		return must(r.SimulatePrincipalPolicy(t.Context(), r.root, &awsiam.SimulatePrincipalPolicyInput{
			PolicySourceArn: &arn, PolicyInputList: more, ActionNames: []string{"s3:GetObject", "ec2:DescribeInstances", "iam:GetUser"},
			ResourceArns: []string{"arn:aws:s3:::alice/x"},
		}))(t).EvaluationResults
	}
	alice := simulate("arn:aws:iam::123456789012:user/alice")
	if got := decisions(alice); !slices.Equal(got, []string{
		"s3:GetObject arn:aws:s3:::alice/x allowed", "ec2:DescribeInstances arn:aws:s3:::alice/x allowed", "iam:GetUser arn:aws:s3:::alice/x implicitDeny",
	}) {
		t.Errorf("%q", got)
	}
	var names []string
	for _, m := range alice[0].MatchedStatements {
		names = append(names, *m.SourcePolicyId)
	}
	if !slices.Equal(names, []string{"user_alice_own", "AmazonS3FullAccess"}) || *alice[1].MatchedStatements[0].SourcePolicyId != "group_devs_team" {
		t.Errorf("%q", names)
	}
	if got := simulate("arn:aws:iam::123456789012:group/devs", statement("Allow", "iam:*", "*")); got[2].EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
		t.Errorf("%q", decisions(got))
	}
	keys := must(r.GetContextKeysForPrincipalPolicy(t.Context(), r.root, &awsiam.GetContextKeysForPrincipalPolicyInput{
		PolicySourceArn: aws.String("arn:aws:iam::123456789012:user/alice"),
		PolicyInputList: []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`},
	}))(t).ContextKeyNames
	if !slices.Equal(keys, []string{"aws:SecureTransport", "aws:username"}) {
		t.Errorf("%q", keys)
	}
}

func TestBoundaryAndTagsOfARoleCountInSimulations(t *testing.T) {
	r := newRig(t)
	r.propose(&fsm.CreateManagedPolicy{
		Policy:   fsm.ManagedPolicy{Account: account, ID: "ANPALIMIT", Name: "limit", Path: "/", Created: 1, Updated: 1, Default: 1},
		Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue"}}}]}`,
	})
	role := fsm.Role{
		Account: account, ID: "AROAAPP", Name: "app", Path: "/svc/", Created: 1, Trust: statement("Allow", "sts:AssumeRole", "*"), MaxSession: 3600,
		Tags: []fsm.Tag{{Key: "Team", Value: "blue"}}, Boundary: "arn:aws:iam::123456789012:policy/limit",
	}
	r.propose(&fsm.CreateRole{Role: role})
	r.propose(&fsm.PutInlinePolicy{Account: account, Owner: role.ID, Policy: fsm.InlinePolicy{Name: "p", Document: statement("Allow", "s3:*", "*")}})
	in := &awsiam.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(role.ARN()), ActionNames: []string{"s3:GetObject", "ec2:RunInstances"}}
	got := must(r.SimulatePrincipalPolicy(t.Context(), r.root, in))(t).EvaluationResults
	if want := []string{"s3:GetObject * allowed", "ec2:RunInstances * implicitDeny"}; !slices.Equal(decisions(got), want) {
		t.Errorf("%q", decisions(got))
	}
	if !got[1].PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary {
		t.Errorf("%+v", got[1])
	}
	// What revokes a role's sessions asks when they were issued, which a simulation does not know by itself.
	in.PolicyInputList = []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2024-01-01T00:00:00Z"}}}]}`}
	got = must(r.SimulatePrincipalPolicy(t.Context(), r.root, in))(t).EvaluationResults
	if got[0].EvalDecision != types.PolicyEvaluationDecisionTypeAllowed || !slices.Equal(got[0].MissingContextValues, []string{"aws:TokenIssueTime"}) {
		t.Errorf("%q, missing %q", decisions(got), got[0].MissingContextValues)
	}
	in.PermissionsBoundaryPolicyInputList = []string{statement("Allow", "ec2:*", "*")}
	if got := must(r.SimulatePrincipalPolicy(t.Context(), r.root, in))(t).EvaluationResults; got[0].EvalDecision != types.PolicyEvaluationDecisionTypeImplicitDeny {
		t.Errorf("another boundary: %q", decisions(got))
	}
}

func TestResourcePolicyIsSimulatedWithItsOwner(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	bucket := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}`
	in := &awsiam.SimulatePrincipalPolicyInput{
		PolicySourceArn: aws.String("arn:aws:iam::123456789012:user/alice"), ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::b/x"},
		ResourcePolicy: &bucket,
	}
	got := must(r.SimulatePrincipalPolicy(t.Context(), r.root, in))(t).EvaluationResults[0]
	if got.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
		t.Errorf("own bucket: %s", got.EvalDecision)
	}
	in.ResourceOwner = aws.String("arn:aws:iam::999999999999:root")
	got = must(r.SimulatePrincipalPolicy(t.Context(), r.root, in))(t).EvaluationResults[0]
	if got.EvalDecision != types.PolicyEvaluationDecisionTypeImplicitDeny || got.EvalDecisionDetails["Resource Policy"] != types.PolicyEvaluationDecisionTypeAllowed ||
		got.EvalDecisionDetails["IAM Policy"] != types.PolicyEvaluationDecisionTypeImplicitDeny {
		t.Errorf("another account's bucket: %+v", got)
	}
}

func TestSimulationsHavePages(t *testing.T) {
	r := newRig(t)
	in := &awsiam.SimulateCustomPolicyInput{PolicyInputList: []string{statement("Allow", "*", "*")}, MaxItems: aws.Int32(2)}
	for i := range 5 {
		in.ActionNames = append(in.ActionNames, fmt.Sprint("s3:Action", i))
	}
	var names []string
	for {
		out := must(r.SimulateCustomPolicy(t.Context(), r.root, in))(t)
		for _, e := range out.EvaluationResults {
			names = append(names, *e.EvalActionName)
		}
		if in.Marker = out.Marker; !out.IsTruncated {
			break
		}
	}
	if !slices.Equal(names, in.ActionNames) {
		t.Errorf("%q", names)
	}
}

func TestBadSimulationsAreRefused(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	all := []string{statement("Allow", "*", "*")}
	act := []string{"s3:GetObject"}
	custom := func(in awsiam.SimulateCustomPolicyInput) error {
		_, err := r.SimulateCustomPolicy(t.Context(), r.root, &in)
		return err
	}
	from := func(arn string) error {
		_, err := r.SimulatePrincipalPolicy(t.Context(), r.root, &awsiam.SimulatePrincipalPolicyInput{PolicySourceArn: &arn, ActionNames: act})
		return err
	}
	_, keys := r.GetContextKeysForCustomPolicy(t.Context(), r.root, &awsiam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{"{}"}})
	bucket := aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}`)
	for i, c := range []struct {
		err    error
		status int
		code   string
	}{
		{custom(awsiam.SimulateCustomPolicyInput{ActionNames: act}), 400, "ValidationError"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all}), 400, "ValidationError"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: []string{"{}"}, ActionNames: act}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: []string{"s3:*"}}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: []string{"GetObject"}}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: act, ResourceArns: []string{"b"}}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: act, ResourcePolicy: bucket}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: act, CallerArn: aws.String("arn:aws:iam::123456789012:role/x")}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: act, ResourceOwner: aws.String("me")}), 400, "InvalidInput"},
		{custom(awsiam.SimulateCustomPolicyInput{PolicyInputList: all, ActionNames: act, ContextEntries: []types.ContextEntry{{ContextKeyName: aws.String("aws:x"), ContextKeyType: "odd"}}}), 400, "InvalidInput"},
		{from("arn:aws:iam::123456789012:user/nobody"), 404, "NoSuchEntity"},
		{from("arn:aws:iam::123456789012:user/path/alice"), 404, "NoSuchEntity"},
		{from("arn:aws:iam::123456789012:policy/x"), 400, "InvalidInput"},
		{from("arn:aws:iam::999999999999:user/alice"), 400, "InvalidInput"},
		{keys, 400, "InvalidInput"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, c.err, c.status, c.code) })
	}
}

// All pairs of what a request may name would be gigabytes.
func TestASimulationOfManyPairsCostsItsPageOnly(t *testing.T) {
	r := newRig(t)
	in := &awsiam.SimulateCustomPolicyInput{
		PolicyInputList: []string{statement("Allow", "*", "*")},
		ActionNames:     slices.Repeat([]string{"s3:GetObject"}, 10_000), ResourceArns: slices.Repeat([]string{"*"}, 10_000), MaxItems: aws.Int32(1),
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := must(r.SimulateCustomPolicy(t.Context(), r.root, in))(t)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; len(out.EvaluationResults) != 1 || used > 64<<20 {
		t.Errorf("%d results for %d MiB", len(out.EvaluationResults), used>>20)
	}
}
