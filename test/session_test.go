package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/test/rig"
)

func stsClient(n *rig.Node, k key) *sts.Client {
	return sts.New(sts.Options{
		Region: rig.Region, BaseEndpoint: aws.String(n.Endpoint()), Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{},
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, ""),
	})
}

// sessionsEndEverywhere: a role that was made through one node is assumed through another and used at a third, and what
// revokes its sessions at one node counts at all of them at once: no waiting, and many times.
func sessionsEndEverywhere(t *testing.T, c *rig.Cluster) {
	k := root(c)
	bucket(t, s3Client(c.Nodes[0], k), "sessions")
	who := user(t, c.Nodes[0], k, "assumer")
	inline(t, c.Nodes[0], k, "assumer", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`
	for i := range 12 {
		a, b, other := c.Nodes[i%3], c.Nodes[(i+1)%3], c.Nodes[(i+2)%3]
		name := fmt.Sprintf("role-%d", i)
		admin := iamClient(a, k)
		made, err := admin.CreateRole(soon(t), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trust)})
		must(t, err)
		put := func(policy, document string) {
			t.Helper()
			_, err := admin.PutRolePolicy(soon(t), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: &policy, PolicyDocument: &document})
			must(t, err)
		}
		put("s3", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
		got, err := stsClient(b, who).AssumeRole(soon(t), &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: aws.String("session")})
		must(t, err)
		read := func(n *rig.Node) error {
			session := credentials.NewStaticCredentialsProvider(*got.Credentials.AccessKeyId, *got.Credentials.SecretAccessKey, *got.Credentials.SessionToken)
			client := s3.New(s3.Options{
				Region: rig.Region, BaseEndpoint: aws.String(n.Endpoint()), UsePathStyle: true, Retryer: aws.NopRetryer{}, Credentials: session,
			})
			_, err := client.ListObjectsV2(soon(t), &s3.ListObjectsV2Input{Bucket: aws.String("sessions")})
			return err
		}
		for _, n := range c.Nodes {
			must(t, read(n))
		}
		put("AWSRevokeOlderSessions", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*",
			"Condition":{"DateLessThan":{"aws:TokenIssueTime":%q}}}]}`, time.Now().Add(time.Minute).UTC().Format(time.RFC3339)))
		for _, n := range []*rig.Node{other, b} {
			if err := read(n); code(err) != "AccessDenied" {
				t.Fatalf("a session that was just revoked on %s got %v from %s", a.Name, err, n.Name)
			}
		}
		for _, policy := range []string{"s3", "AWSRevokeOlderSessions"} {
			_, err := admin.DeleteRolePolicy(soon(t), &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: &policy})
			must(t, err)
		}
		_, err = admin.DeleteRole(soon(t), &iam.DeleteRoleInput{RoleName: &name})
		must(t, err)
		for _, n := range []*rig.Node{other, b} {
			if err := read(n); code(err) != "InvalidToken" {
				t.Fatalf("a session whose role was just deleted on %s got %v from %s", a.Name, err, n.Name)
			}
		}
	}
}
