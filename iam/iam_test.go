package iam

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/stsapi"
	"hive/fsm"
	"hive/iam/principal"
	"hive/internal/fsmtest"
	"hive/internal/seal"
)

const account = "123456789012"

var started = time.Date(2024, 5, 17, 12, 30, 0, 0, time.UTC)

// node is IAM as one node has it.
type node struct {
	*Service
	keys *Keys
	auth *Authorizer
}

type rig struct {
	node
	t     testing.TB
	group *fsmtest.Group
	box   *seal.Box
	log   *bytes.Buffer
	root  *principal.Caller
	first Bootstrapped
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, group: fsmtest.New(t, fsm.Control), log: new(bytes.Buffer)}
	var err error
	if r.box, err = seal.New(bytes.Repeat([]byte{7}, seal.KeySize), rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.first, err = Bootstrap(BootstrapOptions{AccountID: account, Sealer: r.box, Now: started, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range r.first.Commands {
		if err := r.group.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	r.node = r.on(r.group)
	r.root = r.caller(r.first.AccessKeyID)
	return r
}

func (r *rig) on(g Group) node {
	clock := func() time.Time { return started }
	log := slog.New(slog.NewTextHandler(r.log, nil))
	return node{
		New(Config{Group: g, Sealer: r.box, Clock: clock, Rand: rand.Reader, Log: log}),
		NewKeys(g, r.box, clock), NewAuthorizer(g, r.box, clock),
	}
}

func (r *rig) caller(key string) *principal.Caller {
	r.t.Helper()
	_, c, err := r.keys.Lookup(r.t.Context(), key, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return &c
}

// user makes a user with a key and returns it as a caller.
func (r *rig) user(name string) *principal.Caller {
	r.t.Helper()
	must(r.CreateUser(r.t.Context(), r.root, &awsiam.CreateUserInput{UserName: &name}))(r.t)
	key := must(r.CreateAccessKey(r.t.Context(), r.root, &awsiam.CreateAccessKeyInput{UserName: &name}))(r.t)
	return r.caller(*key.AccessKey.AccessKeyId)
}

func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// wantCode checks that err is AWS's error of that code and status.
func wantCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status || e.Message == "" || strings.Contains(e.Message, "%!") {
		t.Errorf("%v, want %s with status %d", err, code, status)
	}
}

func TestEveryHandlerIsBoundToItsOperation(t *testing.T) {
	bound := iamapi.Bind(&Service{})
	for _, op := range slices.Concat(entityOperations, recordOperations) {
		if bound[op] == nil {
			t.Errorf("%s has no handler", op)
		}
		delete(bound, op)
	}
	for op := range bound {
		t.Errorf("%s is bound but not listed here", op)
	}
	bound = stsapi.Bind(&STS{})
	for _, op := range []string{
		"AssumeRole", "AssumeRoleWithWebIdentity", "DecodeAuthorizationMessage", "GetAccessKeyInfo", "GetCallerIdentity",
		"GetFederationToken", "GetSessionToken",
	} {
		if bound[op] == nil {
			t.Errorf("%s has no handler", op)
		}
		delete(bound, op)
	}
	for op := range bound {
		t.Errorf("%s is bound but not listed here", op)
	}
}

func TestUserGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	made := must(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{
		UserName: aws.String("Alice"), Path: aws.String("/staff/"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	}))(t).User
	if *made.Arn != "arn:aws:iam::123456789012:user/staff/Alice" || !strings.HasPrefix(*made.UserId, "AIDA") || len(*made.UserId) != 21 ||
		!made.CreateDate.Equal(started) || *made.Path != "/staff/" || len(made.Tags) != 1 {
		t.Errorf("%+v", made)
	}
	got := must(r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: aws.String("alice")}))(t).User
	if *got.UserId != *made.UserId || *got.UserName != "Alice" || len(got.Tags) != 1 {
		t.Errorf("%+v", got)
	}
	must(r.UpdateUser(ctx, r.root, &awsiam.UpdateUserInput{
		UserName: aws.String("Alice"), NewUserName: aws.String("Anna"), NewPath: aws.String("/"),
	}))(t)
	_, err := r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: aws.String("Alice")})
	wantCode(t, err, 404, "NoSuchEntity")
	if got := must(r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: aws.String("Anna")}))(t).User; *got.UserId != *made.UserId || *got.Path != "/" {
		t.Errorf("%+v", got)
	}
	must(r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: aws.String("Anna")}))(t)
	_, err = r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: aws.String("Anna")})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestGetUserWithoutNameIsTheCaller(t *testing.T) {
	r := newRig(t)
	alice := r.user("alice")
	if got := must(r.GetUser(t.Context(), alice, &awsiam.GetUserInput{}))(t).User; *got.Arn != alice.ARN {
		t.Errorf("%s", *got.Arn)
	}
	if got := must(r.GetUser(t.Context(), r.root, &awsiam.GetUserInput{}))(t).User; *got.Arn != "arn:aws:iam::123456789012:root" || *got.UserId != account {
		t.Errorf("%s", *got.Arn)
	}
	for _, c := range []*principal.Caller{alice, r.root} {
		id := must((&STS{}).GetCallerIdentity(t.Context(), c, &sts.GetCallerIdentityInput{}))(t)
		if *id.Account != account || *id.Arn != c.ARN || *id.UserId != c.UserID || *id.UserId == "" {
			t.Errorf("%+v", id)
		}
	}
}

func TestListingsArePagedInOrder(t *testing.T) {
	r := newRig(t)
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("User-%02d", i)
		path := "/a/"
		if i%5 == 0 {
			path = "/b/"
		}
		must(r.CreateUser(t.Context(), r.root, &awsiam.CreateUserInput{UserName: &name, Path: &path}))(t)
		if path == "/a/" {
			want = append(want, name)
		}
	}
	for _, size := range []int32{1, 3, 10, 20, 21, 1000} {
		var got []string
		in := &awsiam.ListUsersInput{PathPrefix: aws.String("/a"), MaxItems: &size}
		for {
			out := must(r.ListUsers(t.Context(), r.root, in))(t)
			for _, u := range out.Users {
				got = append(got, *u.UserName)
			}
			if out.IsTruncated != (out.Marker != nil) || len(out.Users) > int(size) {
				t.Fatalf("%d users, truncated %v", len(out.Users), out.IsTruncated)
			}
			if in.Marker = out.Marker; !out.IsTruncated {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", size, got)
		}
	}
	policies := must(r.ListPolicies(t.Context(), r.root, &awsiam.ListPoliciesInput{MaxItems: aws.Int32(3)}))(t)
	rest := must(r.ListPolicies(t.Context(), r.root, &awsiam.ListPoliciesInput{Marker: policies.Marker, MaxItems: aws.Int32(1000)}))(t)
	if len(policies.Policies) != 3 || !policies.IsTruncated || len(rest.Policies) != len(managedPolicies())-3 || rest.IsTruncated {
		t.Errorf("%d and %d policies", len(policies.Policies), len(rest.Policies))
	}
	for _, in := range []*awsiam.ListUsersInput{
		{MaxItems: aws.Int32(0)}, {MaxItems: aws.Int32(1001)}, {Marker: aws.String("!")}, {Marker: aws.String("")},
		{PathPrefix: aws.String("a")}, {PathPrefix: aws.String("")},
	} {
		_, err := r.ListUsers(t.Context(), r.root, in)
		wantCode(t, err, 400, "ValidationError")
	}
}

func TestBadInputsGetAWSsErrors(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	ctx := t.Context()
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	many := func(n int) (out []types.Tag) {
		for i := range n {
			out = append(out, tag(fmt.Sprint(i), ""))
		}
		return out
	}
	create := func(in awsiam.CreateUserInput) error { _, err := r.CreateUser(ctx, r.root, &in); return err }
	put := func(name, doc string) error {
		_, err := r.PutUserPolicy(ctx, r.root, &awsiam.PutUserPolicyInput{UserName: aws.String("alice"), PolicyName: &name, PolicyDocument: &doc})
		return err
	}
	update := func(in awsiam.UpdateAccessKeyInput) error { _, err := r.UpdateAccessKey(ctx, r.root, &in); return err }
	attach := func(user, arn string) error {
		_, err := r.AttachUserPolicy(ctx, r.root, &awsiam.AttachUserPolicyInput{UserName: &user, PolicyArn: &arn})
		return err
	}
	for i, c := range []struct {
		err    error
		status int
		code   string
	}{
		{create(awsiam.CreateUserInput{}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("a b")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("a/b")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("é")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String(strings.Repeat("x", 65))}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("ALICE")}), 409, "EntityAlreadyExists"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Path: aws.String("x")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Path: aws.String("/x")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Path: aws.String("/a b/")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Path: aws.String("/" + strings.Repeat("x", 512) + "/")}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), PermissionsBoundary: aws.String("arn:aws:iam::aws:policy/X")}), 404, "NoSuchEntity"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Tags: many(51)}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Tags: []types.Tag{tag("a", ""), tag("A", "")}}), 400, "InvalidInput"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Tags: []types.Tag{tag("aws:x", "")}}), 400, "InvalidInput"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Tags: []types.Tag{tag("a", "\x00")}}), 400, "ValidationError"},
		{create(awsiam.CreateUserInput{UserName: aws.String("b"), Tags: []types.Tag{{Key: aws.String("a")}}}), 400, "ValidationError"},
		{put("p", "{}"), 400, "MalformedPolicyDocument"},
		{put("p", "x"), 400, "MalformedPolicyDocument"},
		{put("p", ""), 400, "ValidationError"},
		{put("a b", allow("s3:*", "*")), 400, "ValidationError"},
		{put("p", allow("s3:*", "arn:aws:s3:::"+strings.Repeat("x", 2048))), 409, "LimitExceeded"},
		{update(awsiam.UpdateAccessKeyInput{AccessKeyId: aws.String("AKIANOSUCHKEY0000000"), Status: types.StatusTypeActive}), 404, "NoSuchEntity"},
		{update(awsiam.UpdateAccessKeyInput{AccessKeyId: aws.String("short"), Status: types.StatusTypeActive}), 400, "ValidationError"},
		{update(awsiam.UpdateAccessKeyInput{Status: types.StatusTypeActive}), 400, "ValidationError"},
		{update(awsiam.UpdateAccessKeyInput{AccessKeyId: &r.first.AccessKeyID, Status: "On"}), 400, "ValidationError"},
		{update(awsiam.UpdateAccessKeyInput{AccessKeyId: &r.first.AccessKeyID, Status: types.StatusTypeActive, UserName: aws.String("alice")}), 404, "NoSuchEntity"},
		{attach("alice", "arn:aws:iam::aws:policy/NoSuchPolicy"), 404, "NoSuchEntity"},
		{attach("alice", "ReadOnlyAccess-and-more"), 400, "ValidationError"},
		{attach("alice", "arn"), 400, "ValidationError"},
		{attach("nobody", "arn:aws:iam::aws:policy/ReadOnlyAccess"), 404, "NoSuchEntity"},
	} {
		var e *protocol.Error
		if !errors.As(c.err, &e) || e.Code != c.code || e.Status != c.status || e.Message == "" || strings.Contains(e.Message, "%!") {
			t.Errorf("case %d: %v, want %s", i, c.err, c.code)
		}
	}
}

func TestUserWithKeysOrPoliciesIsNotDeleted(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("alice")
	alice := r.user("alice")
	must(r.PutUserPolicy(ctx, r.root, &awsiam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("p"), PolicyDocument: aws.String(allow("s3:*", "*"))}))(t)
	arn := aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")
	must(r.AttachUserPolicy(ctx, r.root, &awsiam.AttachUserPolicyInput{UserName: name, PolicyArn: arn}))(t)
	del := func() error {
		_, err := r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: name})
		return err
	}
	wantCode(t, del(), 409, "DeleteConflict")
	must(r.DeleteAccessKey(ctx, r.root, &awsiam.DeleteAccessKeyInput{UserName: name, AccessKeyId: &alice.AccessKey}))(t)
	wantCode(t, del(), 409, "DeleteConflict")
	must(r.DeleteUserPolicy(ctx, r.root, &awsiam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String("p")}))(t)
	wantCode(t, del(), 409, "DeleteConflict")
	must(r.DetachUserPolicy(ctx, r.root, &awsiam.DetachUserPolicyInput{UserName: name, PolicyArn: arn}))(t)
	if err := del(); err != nil {
		t.Error(err)
	}
}

func TestAccessKeysAreTwoPerUserAndTheirSecretIsShownOnce(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("alice")
	alice := r.user("alice")
	second := must(r.CreateAccessKey(ctx, alice, &awsiam.CreateAccessKeyInput{}))(t).AccessKey
	if *second.UserName != "alice" || len(*second.SecretAccessKey) != 40 || !strings.HasPrefix(*second.AccessKeyId, "AKIA") || len(*second.AccessKeyId) != 20 {
		t.Errorf("key %s of %s", *second.AccessKeyId, *second.UserName)
	}
	if secret, _, err := r.keys.Lookup(ctx, *second.AccessKeyId, ""); err != nil || secret != *second.SecretAccessKey {
		t.Errorf("the key that was made is not the one that is found: %v", err)
	}
	_, err := r.CreateAccessKey(ctx, r.root, &awsiam.CreateAccessKeyInput{UserName: name})
	wantCode(t, err, 409, "LimitExceeded")
	must(r.UpdateAccessKey(ctx, r.root, &awsiam.UpdateAccessKeyInput{UserName: name, AccessKeyId: second.AccessKeyId, Status: types.StatusTypeInactive}))(t)
	list := must(r.ListAccessKeys(ctx, alice, &awsiam.ListAccessKeysInput{}))(t).AccessKeyMetadata
	states := map[string]types.StatusType{}
	for _, k := range list {
		states[*k.AccessKeyId] = k.Status
	}
	if len(states) != 2 || states[*second.AccessKeyId] != types.StatusTypeInactive || states[alice.AccessKey] != types.StatusTypeActive {
		t.Errorf("%v", states)
	}
	if strings.Contains(r.log.String(), *second.SecretAccessKey) || r.log.Len() == 0 {
		t.Error("the log is empty or holds the secret")
	}
}

func TestSecretsLieSealedInTheState(t *testing.T) {
	r := newRig(t)
	err := r.group.View(func(v *fsm.View) error {
		key, ok := fsm.AccessKeyByID(v, fsm.AccessKeyID(r.first.AccessKeyID))
		if !ok || bytes.Contains(key.Secret, []byte(r.first.SecretAccessKey)) {
			t.Error("the secret can be read in the record")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPoliciesComeBackAsTheyWereGiven(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	ctx, name := t.Context(), aws.String("alice")
	doc := "{\n \"Version\": \"2012-10-17\", \"Statement\": {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b/+ %é*\"}}"
	must(r.PutUserPolicy(ctx, r.root, &awsiam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("p"), PolicyDocument: &doc}))(t)
	got := must(r.GetUserPolicy(ctx, r.root, &awsiam.GetUserPolicyInput{UserName: name, PolicyName: aws.String("p")}))(t)
	plain, err := url.PathUnescape(*got.PolicyDocument)
	if err != nil || plain != doc || strings.ContainsAny(*got.PolicyDocument, " +\n{\"") {
		t.Errorf("%s, %v", *got.PolicyDocument, err)
	}
	if names := must(r.ListUserPolicies(ctx, r.root, &awsiam.ListUserPoliciesInput{UserName: name}))(t).PolicyNames; !slices.Equal(names, []string{"p"}) {
		t.Errorf("%v", names)
	}
	_, err = r.GetUserPolicy(ctx, r.root, &awsiam.GetUserPolicyInput{UserName: name, PolicyName: aws.String("q")})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestTagsAreMergedWhateverTheirCase(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	ctx, name := t.Context(), aws.String("alice")
	set := func(k, v string) {
		t.Helper()
		must(r.TagUser(ctx, r.root, &awsiam.TagUserInput{UserName: name, Tags: []types.Tag{{Key: &k, Value: &v}}}))(t)
	}
	set("team", "red")
	set("Team", "blue")
	set("cost", "1")
	must(r.UntagUser(ctx, r.root, &awsiam.UntagUserInput{UserName: name, TagKeys: []string{"COST", "none"}}))(t)
	tags := must(r.ListUserTags(ctx, r.root, &awsiam.ListUserTagsInput{UserName: name}))(t).Tags
	if len(tags) != 1 || *tags[0].Key != "Team" || *tags[0].Value != "blue" {
		t.Errorf("%+v", tags)
	}
	for i := range maxTags - 1 {
		set(fmt.Sprint("k", i), "")
	}
	_, err := r.TagUser(ctx, r.root, &awsiam.TagUserInput{UserName: name, Tags: []types.Tag{{Key: aws.String("more"), Value: aws.String("")}}})
	wantCode(t, err, 409, "LimitExceeded")
}

func TestConcurrentChangesOfOneUserAreAllKept(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for i := range 4 {
		wg.Go(func() {
			_, err := r.TagUser(t.Context(), r.root, &awsiam.TagUserInput{
				UserName: aws.String("alice"), Tags: []types.Tag{{Key: aws.String(fmt.Sprint(i)), Value: aws.String("")}},
			})
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if tags := must(r.ListUserTags(t.Context(), r.root, &awsiam.ListUserTagsInput{UserName: aws.String("alice")}))(t).Tags; len(tags) != 4 {
		t.Errorf("%d tags", len(tags))
	}
}

func TestAccountsDoNotSeeEachOther(t *testing.T) {
	r := newRig(t)
	other, err := Bootstrap(BootstrapOptions{Sealer: r.box, Now: started, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.group.Propose(t.Context(), other.Commands[0]); err != nil {
		t.Fatal(err)
	}
	alice := r.user("alice")
	stranger := r.caller(other.AccessKeyID)
	_, err = r.GetUser(t.Context(), stranger, &awsiam.GetUserInput{UserName: aws.String("alice")})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.DeleteAccessKey(t.Context(), stranger, &awsiam.DeleteAccessKeyInput{AccessKeyId: &alice.AccessKey})
	wantCode(t, err, 404, "NoSuchEntity")
	if users := must(r.ListUsers(t.Context(), stranger, &awsiam.ListUsersInput{}))(t).Users; len(users) != 0 {
		t.Errorf("%d users", len(users))
	}
}
