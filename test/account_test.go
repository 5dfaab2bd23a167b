package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/test/rig"
)

// hiveJSON runs the program on a node and reads its answer.
func hiveJSON(t *testing.T, n *rig.Node, into any, args ...string) {
	t.Helper()
	out, err := hive(t, append(args, "--output", "json", "--hive-dir", n.Dir)...)
	must(t, err)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// tenant makes an account and answers its id and its root user's key.
func tenant(t *testing.T, n *rig.Node, name string) (account string, k key) {
	t.Helper()
	var made struct {
		Account string `json:"account_id"`
		ID      string `json:"access_key_id"`
		Secret  string `json:"secret_access_key"`
	}
	hiveJSON(t, n, &made, "account", "create", name)
	return made.Account, key{made.ID, made.Secret}
}

// accounts come and go; one sees nothing of another, has what its quotas allow, and can be suspended.
func accountsLive(t *testing.T, c *rig.Cluster) {
	n, k := c.Nodes, root(c)
	id, own := tenant(t, n[0], "tenant")
	if got := awsCLI(t, n[1], own, "sts", "get-caller-identity", "--query", "Account", "--output", "text"); got != id {
		t.Errorf("the account is %s, want %s", got, id)
	}
	out, err := hive(t, "account", "create", "tenant", "--hive-dir", n[2].Dir)
	refused(t, out, err, "tenant", "already")

	bucket(t, s3Client(n[0], k), "roots-own")
	put(t, s3Client(n[0], k), "roots-own", "secret", []byte("secret"))
	_, err = s3Client(n[1], own).GetObject(soon(t), &s3.GetObjectInput{Bucket: aws.String("roots-own"), Key: aws.String("secret")})
	wantCode(t, err, "AccessDenied")
	if list := awsCLI(t, n[1], own, "s3", "ls"); list != "" {
		t.Errorf("a new account has buckets: %s", list)
	}

	must(t, second(hive(t, "account", "quota", id, "buckets=1", "users=1", "--hive-dir", n[1].Dir)))
	bucket(t, s3Client(n[2], own), "tenants-one")
	_, err = s3Client(n[0], own).CreateBucket(soon(t), &s3.CreateBucketInput{Bucket: aws.String("tenants-two"),
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: rig.Region}})
	wantCode(t, err, "TooManyBuckets")
	user(t, n[0], own, "only")
	_, err = iamClient(n[1], own).CreateUser(soon(t), &iam.CreateUserInput{UserName: aws.String("more")})
	wantCode(t, err, "LimitExceeded")
	out, err = hive(t, "account", "quota", id, "nonsense=1", "--hive-dir", n[1].Dir)
	refused(t, out, err, "nonsense", "hive account quota")

	must(t, second(hive(t, "account", "suspend", "tenant", "--hive-dir", n[0].Dir)))
	for _, node := range n {
		waitFor(t, "a suspended account to be refused", func() error {
			if out, err := tryAWS(t, node, own, "s3", "ls"); err == nil {
				return fmt.Errorf("%s lists buckets: %s", node.Name, out)
			}
			return nil
		})
	}
	must(t, second(hive(t, "account", "resume", id, "--hive-dir", n[2].Dir)))
	put(t, s3Client(n[2], own), "tenants-one", "k", []byte("v"))

	out, err = hive(t, "account", "delete", "tenant", "--hive-dir", n[1].Dir)
	refused(t, out, err, "1 buckets", "1 users", "--force")
	var gone struct{ Steps []string }
	hiveJSON(t, n[1], &gone, "account", "delete", "tenant", "--force", "--yes")
	if len(gone.Steps) < 3 {
		t.Errorf("steps of the deletion: %v", gone.Steps)
	}
	_, err = s3Client(n[0], own).ListBuckets(soon(t), &s3.ListBucketsInput{})
	wantCode(t, err, "InvalidAccessKeyId")
	if list, err := hive(t, "account", "list", "--hive-dir", n[0].Dir); err != nil || strings.Contains(list, id) {
		t.Errorf("a deleted account is listed: %v %s", err, list)
	}
}

func second(_ string, err error) error { return err }

// auditTells: what was changed is found by the account itself, and by the operator, with its node and index, and without
// secrets.
func auditTells(t *testing.T, c *rig.Cluster) {
	n := c.Nodes
	id, own := tenant(t, n[0], "audited")
	made := user(t, n[0], own, "watched")
	_, err := iamClient(n[1], made).CreateUser(soon(t), &iam.CreateUserInput{UserName: aws.String("forbidden")})
	wantCode(t, err, "AccessDenied")
	list := func(node *rig.Node, attribute string) string {
		return awsCLI(t, node, own, "cloudtrail", "lookup-events", "--lookup-attributes", attribute,
			"--query", "Events[].[EventName,Username,EventSource,CloudTrailEvent]", "--output", "text")
	}
	events := list(n[2], "AttributeKey=EventName,AttributeValue=CreateUser") // on another node, at once
	if !strings.Contains(events, "CreateUser\troot\tiam.amazonaws.com") || !strings.Contains(events, `"userName":"watched"`) || !strings.Contains(events, `"raftIndex":`) {
		t.Errorf("the event of a change: %s", events)
	}
	waitFor(t, "the event of a refusal", func() error {
		if events := list(n[0], "AttributeKey=Username,AttributeValue=watched"); !strings.Contains(events, "AccessDenied") {
			return fmt.Errorf("not there: %s", events)
		}
		return nil
	})
	keys := list(n[1], "AttributeKey=EventName,AttributeValue=CreateAccessKey")
	if !strings.Contains(keys, made.id) || strings.Contains(keys, made.secret) {
		t.Errorf("the event of a key, which must not have its secret: %s", keys)
	}
	out, err := tryAWS(t, n[0], root(c), "cloudtrail", "lookup-events", "--lookup-attributes", "AttributeKey=ResourceName,AttributeValue=watched", "--query", "Events", "--output", "text")
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("another account sees events: %v %s", err, out)
	}
	tail, err := hive(t, "audit", "tail", "--once", "--account", "audited", "--hive-dir", n[1].Dir)
	if err != nil || !strings.Contains(tail, "arn:aws:iam::"+id+":root iam.amazonaws.com CreateUser") || !strings.Contains(tail, "AccessDenied") {
		t.Errorf("hive audit tail: %v %s", err, tail)
	}
	must(t, second(hive(t, "account", "delete", "audited", "--force", "--yes", "--hive-dir", n[0].Dir)))
}

// settingsHold: a limit on calls that one node was told is kept by all, until it is taken back.
func settingsHold(t *testing.T, c *rig.Cluster) {
	n := c.Nodes
	_, own := tenant(t, n[0], "limited")
	must(t, second(hive(t, "cluster", "settings", "throttle.iam:ListUsers=0.0001/2", "--hive-dir", n[1].Dir)))
	for _, node := range n {
		waitFor(t, "calls to be limited on "+node.Name, func() error {
			_, err := iamClient(node, own).ListUsers(soon(t), &iam.ListUsersInput{})
			if code(err) != "Throttling" {
				return fmt.Errorf("%w", err)
			}
			return nil
		})
		_, err := iamClient(node, own).ListRoles(soon(t), &iam.ListRolesInput{})
		must(t, err)
		_, err = iamClient(node, root(c)).ListUsers(soon(t), &iam.ListUsersInput{})
		must(t, err)
	}
	out, err := hive(t, "cluster", "settings", "throttle.iam:ListUsers=fast", "--hive-dir", n[0].Dir)
	refused(t, out, err, "CALLS-PER-SECOND")
	must(t, second(hive(t, "cluster", "settings", "throttle.iam:ListUsers=", "--hive-dir", n[2].Dir)))
	for _, node := range n {
		waitFor(t, "calls not to be limited on "+node.Name, func() error {
			_, err := iamClient(node, own).ListUsers(soon(t), &iam.ListUsersInput{})
			return err
		})
	}
	must(t, second(hive(t, "account", "delete", "limited", "--force", "--yes", "--hive-dir", n[0].Dir)))
}

// secretsStay: no file of any node, its logs, Raft's log and what a crash leaves among them, holds a secret in the clear.
func secretsStay(t *testing.T, c *rig.Cluster) {
	n := c.Nodes
	_, own := tenant(t, n[0], "secretive")
	made := user(t, n[1], own, "holder")
	const password = "Correct-Horse-9-Battery"
	_, err := iamClient(n[2], own).CreateLoginProfile(soon(t), &iam.CreateLoginProfileInput{UserName: aws.String("holder"), Password: aws.String(password)})
	must(t, err)
	mfa, err := iamClient(n[0], own).CreateVirtualMFADevice(soon(t), &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("phone")})
	must(t, err)
	session := strings.Fields(awsCLI(t, n[0], made, "sts", "get-session-token", "--query", "Credentials.[SecretAccessKey,SessionToken]", "--output", "text"))
	if len(session) != 2 {
		t.Fatalf("a session: %v", session)
	}
	secrets := map[string]string{
		"the root user's secret key": own.secret, "a user's secret key": made.secret, "a password": password,
		"an MFA seed": string(mfa.VirtualMFADevice.Base32StringSeed), "a session's secret key": session[0], "a session token": session[1][:60],
	}
	// What a crash leaves is a file too: the stacks of all goroutines, on the way of a request.
	must(t, n[2].Signal(syscall.SIGQUIT))
	if err := n[2].Exited(soon(t)); err == nil {
		t.Error("SIGQUIT has not ended the daemon")
	}
	dump, err := os.ReadFile(n[2].LogFile)
	must(t, err)
	if !bytes.Contains(dump, []byte("goroutine ")) {
		t.Error("the crash has left no stacks")
	}
	files := 0
	for _, node := range n {
		must(t, filepath.WalkDir(node.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || filepath.Base(path) == "credentials" { // what init gave its operator
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for what, secret := range secrets {
				if bytes.Contains(raw, []byte(secret)) {
					t.Errorf("%s of %s holds %s", filepath.Base(path), node.Name, what)
				}
			}
			return nil
		}))
		log, err := os.ReadFile(node.LogFile)
		must(t, err)
		for what, secret := range secrets {
			if bytes.Contains(log, []byte(secret)) {
				t.Errorf("the log of %s holds %s", node.Name, what)
			}
		}
	}
	must(t, n[2].Start())
	must(t, c.Ready(soon(t)))
	t.Logf("%d files looked through", files)
	if files < 10 {
		t.Errorf("only %d files were looked through", files)
	}
	must(t, second(hive(t, "account", "delete", "secretive", "--force", "--yes", "--hive-dir", n[0].Dir)))
}
