package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// roleCredentials: a guest that is given an instance profile finds its role's credentials at the metadata service, as the
// SDKs look for them; they are good for what the role may, on every node, and for no more.
func roleCredentials(t *testing.T, l *lab) {
	n := l.Nodes
	awsCLI(t, n[0], l.k, "iam", "create-role", "--role-name", "guest", "--path", "/vm/", "--assume-role-policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	awsCLI(t, n[1], l.k, "iam", "put-role-policy", "--role-name", "guest", "--policy-name", "p", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}]}`)
	awsCLI(t, n[2], l.k, "iam", "create-instance-profile", "--instance-profile-name", "guest")
	awsCLI(t, n[0], l.k, "iam", "add-role-to-instance-profile", "--instance-profile-name", "guest", "--role-name", "guest")
	const credentials = "wget -qO- http://169.254.169.254/latest/meta-data/iam/security-credentials/"
	if out := l.on(t, l.a.id, credentials+" || true"); strings.Contains(out, "guest") {
		t.Errorf("a guest without a profile has %s", out)
	}
	tied, err := l.via(2).AssociateIamInstanceProfile(soon(t), &ec2.AssociateIamInstanceProfileInput{
		InstanceId: &l.a.id, IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String("guest")},
	})
	must(t, err)
	l.waitSh(t, l.a.id, "the role's name", credentials+" | grep -q '^guest$'")
	var found struct{ Code, Type, AccessKeyId, SecretAccessKey, Token, Expiration string }
	must(t, json.Unmarshal([]byte(l.on(t, l.a.id, credentials+"guest")), &found))
	if found.Code != "Success" || found.Type != "AWS-HMAC" || !strings.HasPrefix(found.AccessKeyId, "ASIA") {
		t.Fatalf("the guest has found %s %s %s", found.Code, found.Type, found.AccessKeyId)
	}
	as := func(args ...string) (string, error) {
		env := append(key{found.AccessKeyId, found.SecretAccessKey}.env(), "AWS_SESSION_TOKEN="+found.Token)
		return command(t, env, append([]string{"aws", "--endpoint-url", n[2].Endpoint()}, args...)...)
	}
	who, err := as("sts", "get-caller-identity", "--query", "Arn", "--output", "text")
	must(t, err)
	if !strings.Contains(who, ":assumed-role/guest/"+l.a.id) {
		t.Errorf("the guest is %s", who)
	}
	_, err = as("s3", "ls")
	must(t, err)
	out, err := as("iam", "list-users")
	refused(t, out, err, "AccessDenied", "assumed-role/guest/"+l.a.id)

	_, err = l.via(3).DisassociateIamInstanceProfile(soon(t), &ec2.DisassociateIamInstanceProfileInput{AssociationId: tied.IamInstanceProfileAssociation.AssociationId})
	must(t, err)
	l.waitSh(t, l.a.id, "no credentials", "! "+credentials+"guest")
	// What the guest may have kept is over at once when its role's sessions are revoked.
	awsCLI(t, n[1], l.k, "iam", "put-role-policy", "--role-name", "guest", "--policy-name", "AWSRevokeOlderSessions", "--policy-document", fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"%s"}}}]}`, found.Expiration))
	out, err = as("s3", "ls")
	refused(t, out, err, "AccessDenied", "explicit deny")
}
