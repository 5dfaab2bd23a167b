package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/test/rig"
)

// user makes a user through n and a key for it.
func user(t *testing.T, n *rig.Node, by key, name string) key {
	t.Helper()
	client := iamClient(n, by)
	_, err := client.CreateUser(soon(t), &iam.CreateUserInput{UserName: &name})
	must(t, err)
	made, err := client.CreateAccessKey(soon(t), &iam.CreateAccessKeyInput{UserName: &name})
	must(t, err)
	return key{*made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey}
}

func attach(t *testing.T, n *rig.Node, by key, name, policy string) {
	t.Helper()
	_, err := iamClient(n, by).AttachUserPolicy(soon(t), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/" + policy)})
	must(t, err)
}

func inline(t *testing.T, n *rig.Node, by key, name, document string) {
	t.Helper()
	_, err := iamClient(n, by).PutUserPolicy(soon(t), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("inline"), PolicyDocument: &document})
	must(t, err)
}

// keysEverywhere: what one node has answered, the next request to another node may rely on. Many times, because a race
// would be lost rarely.
func keysEverywhere(t *testing.T, c *rig.Cluster) {
	k := root(c)
	bucket(t, s3Client(c.Nodes[0], k), "everywhere")
	for i := range 30 {
		a, b := c.Nodes[i%3], c.Nodes[(i+1+i/3%2)%3]
		name := fmt.Sprintf("everywhere-%d", i)
		made := user(t, a, k, name)
		if _, err := s3Client(b, made).ListBuckets(soon(t), &s3.ListBucketsInput{}); code(err) != "AccessDenied" {
			t.Fatalf("a user without a policy, just made on %s, got %v from %s", a.Name, err, b.Name)
		}
		attach(t, a, k, name, "AmazonS3FullAccess")
		put(t, s3Client(b, made), "everywhere", name, []byte(name))
		_, err := iamClient(a, k).UpdateAccessKey(soon(t), &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: &made.id, Status: types.StatusTypeInactive})
		must(t, err)
		// What is granted holds at once; what is taken away, on every node, when it has heard of it.
		waitFor(t, "an inactive key to be refused", func() error {
			if _, err := s3Client(b, made).ListBuckets(soon(t), &s3.ListBucketsInput{}); code(err) != "InvalidAccessKeyId" {
				return fmt.Errorf("%s answers %w", b.Name, err)
			}
			return nil
		})
		_, err = iamClient(b, k).DeleteAccessKey(soon(t), &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &made.id})
		must(t, err)
		_, err = iamClient(a, k).DetachUserPolicy(soon(t), &iam.DetachUserPolicyInput{UserName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonS3FullAccess")})
		must(t, err)
		_, err = iamClient(b, k).DeleteUser(soon(t), &iam.DeleteUserInput{UserName: &name})
		must(t, err)
	}
}

func policiesDecide(t *testing.T, c *rig.Cluster) {
	k := root(c)
	client := s3Client(c.Nodes[0], k)
	bucket(t, client, "decide")
	put(t, client, "decide", "open/a", []byte("a"))
	put(t, client, "decide", "shut/a", []byte("a"))
	made := user(t, c.Nodes[0], k, "decider")
	inline(t, c.Nodes[1], k, "decider", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:Get*","s3:PutObject"],"Resource":"arn:aws:s3:::decide/*"},
		{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::decide/shut/*"}]}`)
	as := s3Client(c.Nodes[2], made)
	if got := get(t, as, "decide", "open/a"); string(got) != "a" {
		t.Errorf("got %q", got)
	}
	put(t, as, "decide", "open/b", []byte("b"))
	_, err := as.GetObject(soon(t), &s3.GetObjectInput{Bucket: aws.String("decide"), Key: aws.String("shut/a")})
	wantCode(t, err, "AccessDenied")
	_, err = as.DeleteObject(soon(t), &s3.DeleteObjectInput{Bucket: aws.String("decide"), Key: aws.String("open/a")})
	wantCode(t, err, "AccessDenied")
	_, err = as.ListObjectsV2(soon(t), &s3.ListObjectsV2Input{Bucket: aws.String("decide")})
	wantCode(t, err, "AccessDenied")
	_, err = iamClient(c.Nodes[0], made).CreateUser(soon(t), &iam.CreateUserInput{UserName: aws.String("more")})
	wantCode(t, err, "AccessDenied")
	// Deny holds against an administrator's Allow.
	attach(t, c.Nodes[0], k, "decider", "AdministratorAccess")
	_, err = as.GetObject(soon(t), &s3.GetObjectInput{Bucket: aws.String("decide"), Key: aws.String("shut/a")})
	wantCode(t, err, "AccessDenied")
	_, err = as.ListObjectsV2(soon(t), &s3.ListObjectsV2Input{Bucket: aws.String("decide")})
	must(t, err)
	reader := user(t, c.Nodes[1], k, "reader")
	attach(t, c.Nodes[1], k, "reader", "ReadOnlyAccess")
	if got := get(t, s3Client(c.Nodes[0], reader), "decide", "open/a"); string(got) != "a" {
		t.Errorf("got %q", got)
	}
	_, err = s3Client(c.Nodes[0], reader).PutObject(soon(t), &s3.PutObjectInput{Bucket: aws.String("decide"), Key: aws.String("open/c"), Body: strings.NewReader("c")})
	wantCode(t, err, "AccessDenied")
}

func iamByCLI(t *testing.T, c *rig.Cluster) {
	k, n := root(c), c.Nodes
	arn := awsCLI(t, n[0], k, "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
	if !strings.HasPrefix(arn, "arn:aws:iam::") || !strings.HasSuffix(arn, ":root") {
		t.Errorf("root is %s", arn)
	}
	if got := awsCLI(t, n[0], k, "iam", "create-user", "--user-name", "ann", "--query", "User.Arn", "--output", "text"); !strings.HasSuffix(got, ":user/ann") {
		t.Errorf("ann is %s", got)
	}
	out, err := tryAWS(t, n[1], k, "iam", "create-user", "--user-name", "ann")
	refused(t, out, err, "EntityAlreadyExists")
	fields := strings.Fields(awsCLI(t, n[1], k, "iam", "create-access-key", "--user-name", "ann", "--query", "AccessKey.[AccessKeyId,SecretAccessKey]", "--output", "text"))
	if len(fields) != 2 {
		t.Fatalf("a key: %v", fields)
	}
	ann := key{fields[0], fields[1]}
	if got := awsCLI(t, n[2], ann, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"); !strings.HasSuffix(got, ":user/ann") {
		t.Errorf("ann's key is %s's", got)
	}
	if got := awsCLI(t, n[0], k, "iam", "list-access-keys", "--user-name", "ann", "--query", "AccessKeyMetadata[].[AccessKeyId,Status]", "--output", "text"); got != ann.id+"\tActive" {
		t.Errorf("list-access-keys: %q", got)
	}
	awsCLI(t, n[0], k, "iam", "put-user-policy", "--user-name", "ann", "--policy-name", "p", "--policy-document",
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}}`)
	awsCLI(t, n[1], ann, "s3", "ls")
	if got := awsCLI(t, n[2], k, "iam", "list-user-policies", "--user-name", "ann", "--query", "PolicyNames[0]", "--output", "text"); got != "p" {
		t.Errorf("list-user-policies: %q", got)
	}
	out, err = tryAWS(t, n[0], k, "iam", "delete-user", "--user-name", "ann")
	refused(t, out, err, "DeleteConflict")
	awsCLI(t, n[0], k, "iam", "delete-user-policy", "--user-name", "ann", "--policy-name", "p")
	out, err = tryAWS(t, n[1], ann, "s3", "ls")
	refused(t, out, err, "AccessDenied")
	awsCLI(t, n[1], k, "iam", "delete-access-key", "--user-name", "ann", "--access-key-id", ann.id)
	awsCLI(t, n[2], k, "iam", "delete-user", "--user-name", "ann")
	out, err = tryAWS(t, n[0], k, "iam", "get-user", "--user-name", "ann")
	refused(t, out, err, "NoSuchEntity")
	out, err = tryAWS(t, n[0], ann, "sts", "get-caller-identity")
	refused(t, out, err, "InvalidClientTokenId")
}

// onePort: the service is chosen by the signature, and an operation without a handler has its service's own error.
func onePort(t *testing.T, c *rig.Cluster) {
	k, n := root(c), c.Nodes[1]
	out, err := tryAWS(t, n, k, "ec2", "describe-vpn-gateways")
	refused(t, out, err, "UnsupportedOperation")
	out, err = tryAWS(t, n, k, "iam", "get-organizations-access-report", "--job-id", "01234567-0123-0123-0123-0123456789ab")
	refused(t, out, err, "InvalidAction")
	out, err = tryAWS(t, n, k, "s3api", "get-bucket-website", "--bucket", "none")
	refused(t, out, err, "An error occurred")
	for _, path := range []string{"/", "/none", "/none/key"} {
		resp, err := http.Get(n.Endpoint() + path)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusForbidden || resp.Header.Get("x-amz-request-id") == "" {
			t.Errorf("anonymous GET %s: %s, %v", path, resp.Status, resp.Header)
		}
	}
}

func wrongSignatures(t *testing.T, c *rig.Cluster) {
	k, n := root(c), c.Nodes[0]
	_, err := s3Client(n, key{"AKIAAAAAAAAAAAAAAAAA", k.secret}).ListBuckets(soon(t), &s3.ListBucketsInput{})
	wantCode(t, err, "InvalidAccessKeyId")
	_, err = s3Client(n, key{k.id, k.secret + "x"}).ListBuckets(soon(t), &s3.ListBucketsInput{})
	wantCode(t, err, "SignatureDoesNotMatch")
	_, err = iamClient(n, key{"AKIAAAAAAAAAAAAAAAAA", k.secret}).ListUsers(soon(t), &iam.ListUsersInput{})
	wantCode(t, err, "InvalidClientTokenId")
	_, err = iamClient(n, key{k.id, k.secret + "x"}).ListUsers(soon(t), &iam.ListUsersInput{})
	wantCode(t, err, "SignatureDoesNotMatch")
}
