//lint:file-ignore SA1019 PackedPolicySize is deprecated, and still told

package iam_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

func TestRoleIsAssumedByWhomItTrusts(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("sts:AssumeRole", "*"))
	bob := w.user("bob")
	open := w.role(home, "open", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	named := w.role(home, "named", trusts(`{"AWS":"arn:aws:iam::123456789012:user/bob"}`, `"sts:AssumeRole"`, ""), nil)
	got := ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &open}))(t)
	who := w.identity(keysOf(got.Credentials))
	if *who.Arn != "arn:aws:sts::123456789012:assumed-role/open/session" || *who.UserId != *got.AssumedRoleUser.AssumedRoleId ||
		*who.Arn != *got.AssumedRoleUser.Arn || !strings.HasSuffix(*who.UserId, ":session") || !strings.HasPrefix(*who.UserId, "AROA") {
		t.Errorf("%v %v", *who.Arn, *who.UserId)
	}
	if got.Credentials.Expiration.Sub(w.now) != time.Hour || got.PackedPolicySize != nil {
		t.Errorf("%+v", got)
	}
	for name, c := range map[string]struct {
		who  aws.Credentials
		role string
	}{
		"no policy of its own":    {bob, open},
		"not the one named":       {alice, named},
		"no such role":            {alice, "arn:aws:iam::123456789012:role/none"},
		"no such account":         {alice, "arn:aws:iam::111111111111:role/open"},
		"another path":            {alice, "arn:aws:iam::123456789012:role/x/open"},
		"another account's trust": {alice, w.role(abroad, "own", trusts(`{"AWS":"999999999999"}`, `"sts:AssumeRole"`, ""), nil)},
	} {
		_, err := w.assume(c.who, &sts.AssumeRoleInput{RoleArn: &c.role})
		wants(t, err, "AccessDenied", "is not authorized to perform: sts:AssumeRole on resource: "+c.role)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	ok(w.assume(bob, &sts.AssumeRoleInput{RoleArn: &named}))(t)
	_, err := w.assume(w.root[home], &sts.AssumeRoleInput{RoleArn: &open})
	wants(t, err, "AccessDenied", "Roles may not be assumed by root accounts.")
	for arn, message := range map[string]string{
		"arn:aws:iam::123456789012:user/alice": "Request ARN is invalid", "arn:aws:iam::12345678901:role/open": "Request ARN is invalid",
		"no arn but as long as one": "no arn but as long as one is invalid",
	} {
		_, err := w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn})
		wants(t, err, "ValidationError", message)
	}
	_, err = w.stsOf(alice).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &open, RoleSessionName: aws.String("no spaces")})
	wants(t, err, "ValidationError", "roleSessionName")
}

func TestRoleOfAnotherAccountNeedsBothSides(t *testing.T) {
	w := newWire(t)
	trust := trusts(trustHome, `"sts:AssumeRole"`, `{"StringEquals":{"sts:ExternalId":"secret"}}`)
	arn := w.role(abroad, "guest", trust, nil)
	alice, bob := w.user("alice", allows("sts:AssumeRole", arn)), w.user("bob")
	in := &sts.AssumeRoleInput{RoleArn: &arn, ExternalId: aws.String("secret")}
	got := ok(w.assume(alice, in))(t)
	if who := w.identity(keysOf(got.Credentials)); *who.Account != abroad {
		t.Errorf("%v", *who.Arn)
	}
	_, err := w.assume(bob, in)
	wants(t, err, "AccessDenied", "sts:AssumeRole")
	in.ExternalId = aws.String("other")
	_, err = w.assume(alice, in)
	wants(t, err, "AccessDenied", "sts:AssumeRole")
	in.ExternalId = nil
	_, err = w.assume(alice, in)
	wants(t, err, "AccessDenied", "sts:AssumeRole")
}

func TestRoleSessionMayWhatItsRoleMayAndStopsWithIt(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("sts:AssumeRole", "*"))
	arn := w.role(home, "reader", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	session := keysOf(ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn}))(t).Credentials)
	_, err := w.iamOf(session).ListUsers(ctx, nil)
	wants(t, err, "AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/reader/session is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::123456789012:user/ because no identity-based policy allows the iam:ListUsers action")
	w.put("AROA", "reader", "p", allows("iam:ListUsers", "*"))
	ok(w.iamOf(session).ListUsers(ctx, nil))(t)

	narrow := keysOf(ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, Policy: aws.String(allows("iam:GetUser", "*"))}))(t).Credentials)
	_, err = w.iamOf(narrow).ListUsers(ctx, nil)
	wants(t, err, "AccessDenied", "because no session policy allows the iam:ListUsers action")
	by := keysOf(ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}}))(t).Credentials)
	ok(w.iamOf(by).ListUsers(ctx, nil))(t)

	// AWSRevokeOlderSessions, as the console writes it.
	w.pass(time.Minute)
	revoke := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"],
		"Condition":{"DateLessThan":{"aws:TokenIssueTime":"` + w.now.UTC().Format(time.RFC3339) + `"}}}]}`
	w.put("AROA", "reader", "AWSRevokeOlderSessions", revoke)
	_, err = w.iamOf(session).ListUsers(ctx, nil)
	wants(t, err, "AccessDenied", "with an explicit deny in an identity-based policy")
	newer := keysOf(ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn}))(t).Credentials)
	ok(w.iamOf(newer).ListUsers(ctx, nil))(t)

	var role fsm.Role
	find := func() {
		t.Helper()
		if err := w.group.View(func(v *fsm.View) error { role, _ = fsm.RoleByName(v, home, "reader"); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	find()
	role.Boundary = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
	w.propose(&fsm.UpdateRole{Role: role})
	_, err = w.iamOf(newer).ListUsers(ctx, nil)
	wants(t, err, "AccessDenied", "because no permissions boundary allows the iam:ListUsers action")

	for _, name := range []string{"p", "AWSRevokeOlderSessions"} {
		w.propose(&fsm.DeleteInlinePolicy{Account: home, Owner: role.ID, Name: name})
	}
	w.propose(&fsm.DeleteRole{Account: home, ID: role.ID})
	_, err = w.iamOf(newer).ListUsers(ctx, nil)
	wants(t, err, "InvalidClientTokenId", "")
	// One of the same name is another role.
	role.ID, role.Boundary = "AROAANOTHER0000000000", ""
	w.propose(&fsm.CreateRole{Role: role})
	_, err = w.stsOf(newer).GetCallerIdentity(ctx, nil)
	wants(t, err, "InvalidClientTokenId", "")
}

func TestRoleIsNoUserOfItsOwn(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("sts:AssumeRole", "*"))
	arn := w.role(home, "admin", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	w.put("AROA", "admin", "all", allows("*", "*"))
	admin := w.iamOf(keysOf(ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn}))(t).Credentials))
	const message = "Must specify userName when calling with non-User credentials"
	_, err := admin.GetUser(ctx, &awsiam.GetUserInput{})
	wants(t, err, "ValidationError", message)
	_, err = admin.ListAccessKeys(ctx, &awsiam.ListAccessKeysInput{})
	wants(t, err, "ValidationError", message)
	_, err = admin.GetLoginProfile(ctx, &awsiam.GetLoginProfileInput{})
	wants(t, err, "ValidationError", message)
	_, err = admin.DeactivateMFADevice(ctx, &awsiam.DeactivateMFADeviceInput{SerialNumber: aws.String("arn:aws:iam::123456789012:mfa/x")})
	wants(t, err, "ValidationError", message)
	ok(admin.GetUser(ctx, &awsiam.GetUserInput{UserName: aws.String("alice")}))(t)
}

func TestLivesOfRoleSessionsAreBounded(t *testing.T) {
	w := newWire(t)
	alice := w.user("alice", allows("sts:AssumeRole", "*"))
	arn := w.role(home, "first", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	next := w.role(home, "next", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	w.put("AROA", "first", "p", allows("sts:AssumeRole", "*"))
	two := ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, DurationSeconds: aws.Int32(7200)}))(t)
	if two.Credentials.Expiration.Sub(w.now) != 2*time.Hour {
		t.Errorf("%v", two.Credentials.Expiration)
	}
	_, err := w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, DurationSeconds: aws.Int32(7201)})
	wants(t, err, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	_, err = w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, DurationSeconds: aws.Int32(43201)})
	wants(t, err, "ValidationError", "less than or equal to 43200")
	_, err = w.assume(keysOf(two.Credentials), &sts.AssumeRoleInput{RoleArn: &next, DurationSeconds: aws.Int32(3601)})
	wants(t, err, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	ok(w.assume(keysOf(two.Credentials), &sts.AssumeRoleInput{RoleArn: &next, DurationSeconds: aws.Int32(3600)}))(t)
	// What GetSessionToken gives is no role.
	own := keysOf(ok(w.stsOf(alice).GetSessionToken(t.Context(), nil))(t).Credentials)
	ok(w.assume(own, &sts.AssumeRoleInput{RoleArn: &next, DurationSeconds: aws.Int32(7200)}))(t)
	sized := ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, MinimumSessionTokenSize: aws.Int32(2000)}))(t)
	if len(*sized.Credentials.SessionToken) < 2000 || int(*sized.SessionTokenSize) != len(*sized.Credentials.SessionToken) || *sized.SessionTokenUtilization < 48 {
		t.Errorf("%d, %d, %d %%", len(*sized.Credentials.SessionToken), *sized.SessionTokenSize, *sized.SessionTokenUtilization)
	}
	w.identity(keysOf(sized.Credentials))
}

func TestSessionPoliciesAreCheckedAndPacked(t *testing.T) {
	w := newWire(t)
	alice := w.user("alice", allows("sts:AssumeRole", "*"))
	arn := w.role(home, "r", trusts(trustHome, assumes, ""), nil)
	got := ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, Policy: aws.String(allows("s3:*", "*"))}))(t)
	if got.PackedPolicySize == nil || *got.PackedPolicySize < 1 || *got.PackedPolicySize > 20 {
		t.Errorf("%v", got.PackedPolicySize)
	}
	_, err := w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, Policy: aws.String(`{"Version":"2012-10-17"`)})
	wants(t, err, "MalformedPolicyDocument", "")
	_, err = w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::123456789012:policy/none")}}})
	wants(t, err, "MalformedPolicyDocument", "does not exist")
	carol := w.user("carol", allows("sts:*", "*"))
	noise := make([]types.Tag, 50)
	for i := range noise {
		raw := make([]byte, 0, 250)
		for j := range 25 {
			raw = fmt.Appendf(raw, "%09x", (i*25+j)*2654435761%(1<<36))
		}
		noise[i] = types.Tag{Key: aws.String(fmt.Sprint("key-", i)), Value: aws.String(string(raw))}
	}
	_, err = w.assume(carol, &sts.AssumeRoleInput{RoleArn: &arn, Tags: noise})
	wants(t, err, "PackedPolicyTooLarge", "Packed size of session tags consumes ")
}

func TestSessionTagsTravelAlongChainsOfRoles(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("sts:*", "*"))
	first := w.role(home, "first", trusts(trustHome, assumes, ""), nil)
	second := w.role(home, "second", trusts(trustHome, assumes, `{"StringEquals":{"aws:PrincipalTag/Team":"blue"}}`), func(r *fsm.Role) {
		r.Tags = []fsm.Tag{{Key: "Team", Value: "none"}}
	})
	plain := w.role(home, "plain", trusts(trustHome, `"sts:AssumeRole"`, ""), nil)
	w.put("AROA", "first", "p", allows("sts:*", "*"))
	w.put("AROA", "second", "p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*",
		"Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue"},"Null":{"aws:PrincipalTag/Other":"true"},"StringLike":{"aws:SourceIdentity":"alice"}}}]}`)
	tag := func(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }
	one := ok(w.assume(alice, &sts.AssumeRoleInput{
		RoleArn: &first, Tags: []types.Tag{tag("Team", "blue"), tag("Other", "x")}, TransitiveTagKeys: []string{"team"}, SourceIdentity: aws.String("alice"),
	}))(t)
	if aws.ToString(one.SourceIdentity) != "alice" {
		t.Errorf("%v", one.SourceIdentity)
	}
	chained := keysOf(one.Credentials)
	two := ok(w.assume(chained, &sts.AssumeRoleInput{RoleArn: &second}))(t)
	ok(w.iamOf(keysOf(two.Credentials)).ListUsers(ctx, nil))(t)

	for name, c := range map[string]struct {
		in            sts.AssumeRoleInput
		code, message string
	}{
		"a key that was inherited":  {sts.AssumeRoleInput{RoleArn: &second, Tags: []types.Tag{tag("TEAM", "red")}}, "InvalidParameterValue", "conflicts with a transitive tag key"},
		"another source identity":   {sts.AssumeRoleInput{RoleArn: &second, SourceIdentity: aws.String("bob")}, "AccessDenied", "sts:SetSourceIdentity"},
		"a role that takes no tags": {sts.AssumeRoleInput{RoleArn: &plain}, "AccessDenied", "sts:TagSession"},
		"a transitive key alone":    {sts.AssumeRoleInput{RoleArn: &second, TransitiveTagKeys: []string{"x"}}, "InvalidParameterValue", "must be included in the requested tags"},
		"two keys but for case":     {sts.AssumeRoleInput{RoleArn: &first, Tags: []types.Tag{tag("a", "1"), tag("A", "2")}}, "InvalidParameterValue", "Duplicate tag keys"},
		"a reserved key":            {sts.AssumeRoleInput{RoleArn: &first, Tags: []types.Tag{tag("aws:x", "1")}}, "InvalidParameterValue", "reserved"},
	} {
		_, err := w.assume(chained, &c.in)
		if wants(t, err, c.code, c.message); t.Failed() {
			t.Fatal(name)
		}
	}
	_, err := w.assume(w.user("bob", allows("sts:AssumeRole", "*")), &sts.AssumeRoleInput{RoleArn: &first, Tags: []types.Tag{tag("a", "1")}})
	wants(t, err, "AccessDenied", "sts:TagSession")
	_, err = w.assume(alice, &sts.AssumeRoleInput{RoleArn: &plain, SourceIdentity: aws.String("alice")})
	wants(t, err, "AccessDenied", "sts:SetSourceIdentity")
}

func TestFederatedUserMayWhatBothItsPoliciesAndItsIssuerMay(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("sts:*", "*"), allows("s3:*", "*"))
	in := &sts.GetFederationTokenInput{Name: aws.String("bob"), Policy: aws.String(allows("s3:GetObject", "*"))}
	got := ok(w.stsOf(alice).GetFederationToken(ctx, in))(t)
	if *got.FederatedUser.Arn != "arn:aws:sts::123456789012:federated-user/bob" || *got.FederatedUser.FederatedUserId != home+":bob" ||
		got.Credentials.Expiration.Sub(w.now) != 12*time.Hour || got.PackedPolicySize == nil {
		t.Errorf("%+v", got)
	}
	bob := keysOf(got.Credentials)
	if who := w.identity(bob); *who.Arn != *got.FederatedUser.Arn || *who.UserId != home+":bob" {
		t.Errorf("%v", *who.Arn)
	}
	_, err := w.iamOf(bob).ListUsers(ctx, nil)
	wants(t, err, "InvalidClientTokenId", "")
	arn := w.role(home, "r", trusts(`{"AWS":"*"}`, assumes, ""), nil)
	_, err = w.assume(bob, &sts.AssumeRoleInput{RoleArn: &arn})
	wants(t, err, "AccessDenied", "Cannot call AssumeRole with session credentials")
	c := w.caller(bob)
	may := func(action string) error {
		return w.auth.Authorize(ctx, c, []protocol.Access{{Action: action, Resource: "arn:aws:s3:::b/k"}})
	}
	if err := may("s3:GetObject"); err != nil {
		t.Error(err)
	}
	if err := may("s3:PutObject"); err == nil || !strings.HasSuffix(err.Error(), "because no session policy allows the s3:PutObject action") {
		t.Error(err)
	}
	w.propose(&fsm.DeleteInlinePolicy{Account: home, Owner: fsm.EntityID(c.Session.Issuer), Name: "b"})
	if err := may("s3:GetObject"); err == nil || !strings.HasSuffix(err.Error(), "because no identity-based policy allows the s3:GetObject action") {
		t.Error(err)
	}
	// Of the root user a federated one has what its policies allow, and without any nothing.
	root := w.stsOf(w.root[home])
	c = w.caller(keysOf(ok(root.GetFederationToken(ctx, in))(t).Credentials))
	if err := may("s3:GetObject"); err != nil {
		t.Error(err)
	}
	c = w.caller(keysOf(ok(root.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("eve")}))(t).Credentials))
	if err := may("s3:GetObject"); err == nil {
		t.Error("without a policy it may all")
	}
}

// caller is whom awsd would find behind credentials.
func (w *wire) caller(c aws.Credentials) *principal.Caller {
	w.t.Helper()
	_, caller, err := w.keys.Lookup(w.t.Context(), c.AccessKeyID, c.SessionToken)
	if err != nil {
		w.t.Fatal(err)
	}
	return &caller
}

func TestDenialOfEC2IsDecodedByItsAccountAlone(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", `{"Version":"2012-10-17","Statement":[{"Sid":"No","Effect":"Deny","Action":"ec2:*","Resource":"*"}]}`)
	need := protocol.Access{Action: "ec2:StopInstances", Resource: "arn:aws:ec2:eu-north-1:123456789012:instance/i-1", Context: map[string][]string{"ec2:region": {"eu-north-1"}}}
	err := w.auth.Authorize(ctx, w.caller(alice), []protocol.Access{need})
	if err == nil {
		t.Fatal("allowed")
	}
	text, encoded, found := strings.Cut(err.Error(), ". Encoded authorization failure message: ")
	if !found || text != "UnauthorizedOperation: You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/alice is not authorized to perform: "+
		"ec2:StopInstances on resource: arn:aws:ec2:eu-north-1:123456789012:instance/i-1 with an explicit deny in an identity-based policy" {
		t.Errorf("%v", err)
	}
	decode := &sts.DecodeAuthorizationMessageInput{EncodedMessage: &encoded}
	_, err = w.stsOf(alice).DecodeAuthorizationMessage(ctx, decode)
	wants(t, err, "AccessDenied", "sts:DecodeAuthorizationMessage")
	got := ok(w.stsOf(w.root[home]).DecodeAuthorizationMessage(ctx, decode))(t)
	var shown struct {
		Allowed, ExplicitDeny bool
		MatchedStatements     struct {
			Items []struct{ StatementID, Effect string }
		}
		Context struct {
			Principal        struct{ ID, Name, ARN string }
			Action, Resource string
			Conditions       struct {
				Items []struct {
					Key    string
					Values struct{ Items []struct{ Value string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(*got.DecodedMessage), &shown); err != nil {
		t.Fatal(err)
	}
	pass := protocol.Access{Action: "iam:PassRole", Resource: "arn:aws:iam::123456789012:role/x"}
	run := protocol.Access{Action: "ec2:RunInstances", Resource: "*"}
	bob := w.caller(w.user("bob", allows("ec2:*", "*")))
	if err := w.auth.Authorize(ctx, bob, []protocol.Access{run, pass}); err == nil || !strings.HasPrefix(err.Error(), "UnauthorizedOperation: ") ||
		!strings.Contains(err.Error(), "is not authorized to perform: iam:PassRole on resource: "+pass.Resource) {
		t.Errorf("%v", err)
	}
	c := shown.Context
	if m := shown.MatchedStatements.Items; len(m) != 1 || m[0].StatementID != "No" || m[0].Effect != "DENY" {
		t.Errorf("%s", *got.DecodedMessage)
	}
	if shown.Allowed || !shown.ExplicitDeny || c.Principal.Name != "alice" || c.Action != need.Action || c.Resource != need.Resource ||
		len(c.Conditions.Items) != 1 || c.Conditions.Items[0].Values.Items[0].Value != "eu-north-1" {
		t.Errorf("%s", *got.DecodedMessage)
	}
	_, err = w.stsOf(w.root[abroad]).DecodeAuthorizationMessage(ctx, decode)
	wants(t, err, "InvalidAuthorizationMessageException", "")
	_, err = w.stsOf(w.root[home]).DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: aws.String(encoded + "A")})
	wants(t, err, "InvalidAuthorizationMessageException", "")
}

func TestSecondFactorIsInTheSession(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	const needsMFA = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListUsers","sts:*"],"Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}]}`
	alice := w.user("alice", needsMFA)
	serial, code := w.device("alice")
	in := &sts.GetSessionTokenInput{SerialNumber: &serial, TokenCode: aws.String("000000")}
	_, err := w.stsOf(alice).GetSessionToken(ctx, in)
	wants(t, err, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code")
	in.TokenCode = aws.String(code())
	session := keysOf(ok(w.stsOf(alice).GetSessionToken(ctx, in))(t).Credentials)
	ok(w.iamOf(session).ListUsers(ctx, nil))(t)
	_, err = w.stsOf(alice).GetSessionToken(ctx, in)
	wants(t, err, "AccessDenied", "MultiFactorAuthentication failed") // a code counts once
	_, err = w.iamOf(alice).ListUsers(ctx, nil)
	wants(t, err, "AccessDenied", "iam:ListUsers")
	arn := w.role(home, "r", trusts(trustHome, `"sts:AssumeRole"`, `{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`), nil)
	_, err = w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn})
	wants(t, err, "AccessDenied", "sts:AssumeRole")
	ok(w.assume(session, &sts.AssumeRoleInput{RoleArn: &arn}))(t)
	w.pass(time.Minute)
	ok(w.assume(alice, &sts.AssumeRoleInput{RoleArn: &arn, SerialNumber: &serial, TokenCode: aws.String(code())}))(t)
}

// device enables an MFA device for a user and answers with its serial number and what makes its codes.
func (w *wire) device(user string) (serial string, code func() string) {
	w.t.Helper()
	ctx, root := w.t.Context(), w.iamOf(w.root[home])
	made := ok(root.CreateVirtualMFADevice(ctx, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: &user}))(w.t)
	seed := string(made.VirtualMFADevice.Base32StringSeed)
	first := totpAt(w.t, seed, w.clock().Add(-30*time.Second))
	second := totpAt(w.t, seed, w.clock())
	ok(root.EnableMFADevice(ctx, &awsiam.EnableMFADeviceInput{UserName: &user, SerialNumber: made.VirtualMFADevice.SerialNumber, AuthenticationCode1: &first, AuthenticationCode2: &second}))(w.t)
	w.pass(time.Minute) // the codes of its enabling are used
	return *made.VirtualMFADevice.SerialNumber, func() string { return totpAt(w.t, seed, w.clock()) }
}
