package protocol_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"hive/awsd/protocol"
)

func TestWhatBreaksTheModelIsToldInAWSsWords(t *testing.T) {
	long := strings.Repeat("a", 65)
	const one = "1 validation error detected: "
	for _, c := range []struct {
		service, action string
		form            url.Values
		code, message   string
	}{
		{"iam", "CreateUser", formOf("UserName", long), "ValidationError",
			one + "Value '" + long + "' at 'userName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"iam", "CreateUser", url.Values{"UserName": {""}}, "ValidationError",
			"2 validation errors detected: Value '' at 'userName' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				"Value '' at 'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]+"},
		{"iam", "CreateUser", formOf("UserName", "a b"), "ValidationError",
			"The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"},
		{"iam", "CreateRole", formOf("RoleName", "r", "AssumeRolePolicyDocument", "{}", "Path", "x"), "ValidationError",
			"The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters."},
		{"iam", "ListUsers", formOf("PathPrefix", "x"), "ValidationError",
			"The specified value for pathPrefix is invalid. It must begin with / and contain only alphanumeric characters and/or / characters."},
		{"iam", "ListUsers", formOf("MaxItems", "1001"), "ValidationError",
			one + "Value '1001' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 1000"},
		{"iam", "ListUsers", formOf("MaxItems", "0"), "ValidationError",
			one + "Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"iam", "UpdateAccessKey", formOf("Status", "Sleeping"), "ValidationError",
			"2 validation errors detected: Value null at 'accessKeyId' failed to satisfy constraint: Member must not be null; " +
				"Value 'Sleeping' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Expired, Inactive]"},
		{"iam", "TagUser", formOf("UserName", "u", "Tags.member.1.Key", "k", "Tags.member.1.Value", "v", "Tags.member.2.Key", strings.Repeat("k", 129), "Tags.member.2.Value", "{}"), "ValidationError",
			"2 validation errors detected: Value '" + strings.Repeat("k", 129) + "' at 'tags.2.member.key' failed to satisfy constraint: Member must have length less than or equal to 128; " +
				"Value '{}' at 'tags.2.member.value' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*"},
		{"iam", "UntagUser", formOf("UserName", "u", "TagKeys.member.1", "fine", "TagKeys.member.2", "bad{"), "ValidationError",
			one + "Value '[fine, bad{]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, " +
				"Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+]"},
		{"iam", "CreateLoginProfile", formOf("UserName", "u", "Password", "ünsterblich\u20AC"), "ValidationError",
			one + "Value at 'password' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"},
		{"iam", "CreateAccountAlias", formOf("AccountAlias", "two--hyphens"), "ValidationError",
			one + "Value 'two--hyphens' at 'accountAlias' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$"},
		{"sts", "AssumeRole", formOf("RoleArn", "arn:aws:iam::1:role/x", "RoleSessionName", "a b", "DurationSeconds", "60"), "ValidationError",
			"2 validation errors detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*; " +
				"Value '60' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		{"ec2", "DescribeAddressTransfers", formOf("MaxResults", "2"), "InvalidParameterValue",
			"Value ( 2 ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."},
	} {
		_, err := decodeQuery(t, c.service, c.action, c.form)
		var e *protocol.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Code != c.code || e.Message != c.message {
			t.Errorf("%s %v:\ngot  %v\nwant %s: %s", c.action, c.form, err, c.code, c.message)
		}
	}
}

func TestWhatTheModelAllowsPasses(t *testing.T) {
	for _, c := range []struct {
		service, action string
		form            url.Values
	}{
		{"iam", "CreateUser", formOf("UserName", strings.Repeat("a", 64), "Path", "/", "PermissionsBoundary", "arn:aws:iam::aws:policy/x")},
		{"iam", "CreateUser", formOf("UserName", "a", "Path", "/a!~/", "Tags.member.1.Key", "größe", "Tags.member.1.Value", "1 m²")},
		{"iam", "CreateAccountAlias", formOf("AccountAlias", "a-b-c")},
		{"iam", "TagUser", url.Values{"UserName": {"u"}, "Tags.member.1.Key": {"k"}, "Tags.member.1.Value": {""}}},
		{"iam", "CreatePolicy", formOf("PolicyName", "p", "PolicyDocument", "{\"a\":\"\u00ff\"}\r\n\t")},
		{"sts", "AssumeRole", formOf("RoleArn", "arn:aws:iam::123456789012:role/\U0001F600", "RoleSessionName", "s@1", "Policy", "{\"a\":\"\u00ff\"}")},
		{"ec2", "CreateImage", formOf("InstanceId", "i-1", "Name", "ab")}, // EC2 itself words what is wrong with it
	} {
		if _, err := decodeQuery(t, c.service, c.action, c.form); err != nil {
			t.Errorf("%s %v: %v", c.action, c.form, err)
		}
	}
}

func TestEveryPatternOfEveryModelCompiles(t *testing.T) {
	for _, r := range rigs {
		api := r.api()
		ops, err := api.Operations()
		must(t, err)
		for _, op := range ops { // an empty request joins the operation's shapes
			if _, err := api.Decode(op, request(t, "POST", "/b/k"), nil, newBody(nil)); err != nil && !errors.As(err, new(*protocol.Error)) {
				t.Errorf("%s %s: %v", r.name, op.Name, err)
			}
		}
	}
}

func TestTheEBSDirectAPIsTellTheReason(t *testing.T) {
	for target, reason := range map[string]string{
		"/snapshots/vol-1/blocks":                  "INVALID_SNAPSHOT_ID",
		"/snapshots/snap-1/blocks?pageToken=%21":   "INVALID_PAGE_TOKEN",
		"/snapshots/snap-1/blocks?maxResults=1":    "INVALID_PARAMETER_VALUE",
		"/snapshots/snap-1/blocks/-1?blockToken=t": "INVALID_BLOCK",
	} {
		_, err := decodeJSON(t, "GET", target, "")
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != "ValidationException" || len(e.Fields) != 1 || e.Fields[0].Value != reason {
			t.Errorf("%s: %v", target, err)
		}
	}
	in, err := decodeJSON(t, "GET", "/snapshots/snap-1/blocks?maxResults=100", "")
	if err != nil || *in.(*ebs.ListSnapshotBlocksInput).MaxResults != 100 {
		t.Errorf("%v, %v", in, err)
	}
}

func TestAwsJSONAggregatesWhatIsWrong(t *testing.T) {
	_, err := targeted(t, "tagging", "ResourceGroupsTaggingAPI_20170126.TagResources", `{"ResourceARNList":[],"Tags":{"":"v"}}`)
	if d := wantError(err, 400, "InvalidParameterException", "2 validation errors detected: Value '[]' at 'resourceARNList' failed to satisfy constraint: Member must have length greater than or equal to 1; "+
		"Value '{=v}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, "); d != "" {
		t.Error(d)
	}
	_, err = targeted(t, "cloudtrail", "CloudTrail_20131101.LookupEvents", `{"LookupAttributes":[{"AttributeKey":"Colour"}],"MaxResults":51}`)
	if d := wantError(err, 400, "InvalidLookupAttributesException", "3 validation errors detected: Value 'Colour' at 'lookupAttributes.1.member.attributeKey' failed to satisfy constraint: Member must satisfy enum value set: ["); d != "" {
		t.Error(d)
	}
	_, err = targeted(t, "cloudtrail", "CloudTrail_20131101.LookupEvents", `{"MaxResults":51}`)
	if d := wantError(err, 400, "InvalidMaxResultsException", "less than or equal to 50"); d != "" {
		t.Error(d)
	}
	_, err = targeted(t, "cloudtrail", "CloudTrail_20131101.GetTrail", `{}`)
	if d := wantError(err, 400, "ValidationException", "Value null at 'name'"); d != "" {
		t.Error(d)
	}
}
