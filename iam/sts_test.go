package iam_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/pquerna/otp/totp"

	"hive/awsd"
	"hive/awsd/iamapi"
	"hive/awsd/stsapi"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/internal/fsmtest"
	"hive/internal/seal"
)

const (
	home   = "123456789012"
	abroad = "999999999999"
	region = "eu-north-1"
)

// wire is awsd over IAM and STS, asked by the SDK's clients.
type wire struct {
	t     *testing.T
	group *fsmtest.Group
	box   *seal.Box
	users *iam.Service
	sts   *iam.STS
	auth  *iam.Authorizer
	keys  *iam.Keys
	root  map[string]aws.Credentials // of each account
	url   string

	mu  sync.Mutex // guards now
	now time.Time
}

func (w *wire) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass lets time go by. The SDK signs by the real clock, so that what is signed is signed anew with the shift.
func (w *wire) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t, group: fsmtest.New(t, fsm.Control), root: map[string]aws.Credentials{}, now: time.Now().Truncate(time.Second)}
	var err error
	if w.box, err = seal.New(bytes.Repeat([]byte{7}, seal.KeySize), rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, account := range []fsm.AccountID{home, abroad} {
		first, err := iam.Bootstrap(iam.BootstrapOptions{AccountID: account, Sealer: w.box, Now: w.now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		w.propose(first.Commands...)
		w.root[string(account)] = aws.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}
	}
	w.serve()
	return w
}

func (w *wire) serve() {
	log := slog.New(slog.DiscardHandler)
	w.users = iam.New(iam.Config{Group: w.group, Sealer: w.box, Clock: w.clock, Rand: rand.Reader, Log: log})
	w.auth = iam.NewAuthorizer(w.group, w.box, w.clock)
	w.sts = iam.NewSTS(iam.STSConfig{Group: w.group, Sealer: w.box, Authorizer: w.auth, MFA: w.users.VerifyMFA, Clock: w.clock, Rand: rand.Reader, Log: log})
	w.keys = iam.NewKeys(w.group, w.box, w.clock)
	needs := actions.New(region, w.group.View)
	server := httptest.NewServer(awsd.New(awsd.Config{
		Region: region, Keys: w.keys, Authorizer: w.auth, Log: log, Clock: time.Now,
		Services: []awsd.Service{
			{API: iamapi.API(), Handlers: iamapi.Bind(w.users), Access: needs.Access("iam")},
			{API: stsapi.API(), Handlers: stsapi.Bind(w.sts), Access: needs.Access("sts"), Unsigned: iam.UnsignedSTS()},
		},
	}))
	w.t.Cleanup(server.Close)
	w.url = server.URL
}

func (w *wire) propose(cmds ...fsm.Command) {
	w.t.Helper()
	for _, cmd := range cmds {
		if err := w.group.Propose(w.t.Context(), cmd); err != nil {
			w.t.Fatalf("%T: %v", cmd, err)
		}
	}
}

func (w *wire) stsOf(c aws.Credentials) *sts.Client {
	return sts.New(sts.Options{Region: region, BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: wholeBodies{}, Credentials: provider(c)})
}

func (w *wire) iamOf(c aws.Credentials) *awsiam.Client {
	return awsiam.New(awsiam.Options{Region: region, BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: wholeBodies{}, Credentials: provider(c)})
}

func provider(c aws.Credentials) aws.CredentialsProvider {
	if c.AccessKeyID == "" {
		return aws.AnonymousCredentials{}
	}
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

func keysOf(c *types.Credentials) aws.Credentials {
	return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
}

func ok[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wants checks that err is AWS's error of that code, with that in its message.
func wants(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), message) {
		t.Errorf("%v, want %s: …%s…", err, code, message)
	}
}

// user makes a user of the home account with a key.
func (w *wire) user(name string, policies ...string) aws.Credentials {
	w.t.Helper()
	ctx, root := w.t.Context(), w.iamOf(w.root[home])
	ok(root.CreateUser(ctx, &awsiam.CreateUserInput{UserName: &name}))(w.t)
	for i, doc := range policies {
		w.put("AIDA", name, string(rune('a'+i)), doc)
	}
	key := ok(root.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: &name}))(w.t)
	return aws.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}
}

// put writes an inline policy into the home account's user ("AIDA") or role ("AROA") of that name.
func (w *wire) put(kind, owner, name, doc string) {
	w.t.Helper()
	var id fsm.EntityID
	err := w.group.View(func(v *fsm.View) error {
		if kind == "AIDA" {
			u, _ := fsm.UserByName(v, home, owner)
			id = u.ID
		} else {
			r, _ := fsm.RoleByName(v, home, owner)
			id = r.ID
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.propose(&fsm.PutInlinePolicy{Account: home, Owner: id, Policy: fsm.InlinePolicy{Name: name, Document: doc}})
}

// role makes a role and answers with its ARN.
func (w *wire) role(account fsm.AccountID, name, trust string, change func(*fsm.Role)) string {
	w.t.Helper()
	role := fsm.Role{
		Account: account, ID: fsm.EntityID("AROA" + strings.ToUpper(strings.Repeat("A", 17-len(name))+name)), Name: name, Path: "/", Trust: trust,
		MaxSession: 7200, Created: w.now.Unix(),
	}
	if change != nil {
		change(&role)
	}
	w.propose(&fsm.CreateRole{Role: role})
	return role.ARN()
}

func trusts(principal, actions, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":` + actions + condition + `}]}`
}

func allows(action, resource string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}]}`
}

const (
	trustHome = `{"AWS":"123456789012"}`
	assumes   = `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`
)

func (w *wire) identity(c aws.Credentials) *sts.GetCallerIdentityOutput {
	w.t.Helper()
	return ok(w.stsOf(c).GetCallerIdentity(w.t.Context(), nil))(w.t)
}

func TestSessionTokenSpeaksForItsUser(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("*", "*"))
	got := ok(w.stsOf(alice).GetSessionToken(ctx, nil))(t)
	if left := got.Credentials.Expiration.Sub(w.now); left != 12*time.Hour {
		t.Errorf("it lasts %v", left)
	}
	temporary := keysOf(got.Credentials)
	own, long := w.identity(temporary), w.identity(alice)
	if *own.Arn != *long.Arn || *own.UserId != *long.UserId || *own.Account != home {
		t.Errorf("%v, want %v", *own.Arn, *long.Arn)
	}
	_, err := w.iamOf(temporary).ListUsers(ctx, nil)
	wants(t, err, "InvalidClientTokenId", "")
	_, err = w.stsOf(temporary).GetSessionToken(ctx, nil)
	wants(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	_, err = w.stsOf(temporary).GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("bob")})
	wants(t, err, "AccessDenied", "Cannot call GetFederationToken with session credentials")
	root := ok(w.stsOf(w.root[home]).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(36000)}))(t)
	if left := root.Credentials.Expiration.Sub(w.now); left != time.Hour {
		t.Errorf("the root user's lasts %v", left)
	}
	if who := w.identity(keysOf(root.Credentials)); *who.Arn != "arn:aws:iam::123456789012:root" || *who.UserId != home {
		t.Errorf("%v", *who.Arn)
	}
	_, err = w.stsOf(alice).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(899)})
	wants(t, err, "ValidationError", "greater than or equal to 900")
	_, err = w.stsOf(alice).GetSessionToken(ctx, &sts.GetSessionTokenInput{TokenCode: aws.String("123456")})
	wants(t, err, "AccessDenied", "must provide both MFA serial number and one time pass code")
}

func TestTokenIsRefusedThatIsNotOfItsKey(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice")
	one := keysOf(ok(w.stsOf(alice).GetSessionToken(ctx, nil))(t).Credentials)
	two := keysOf(ok(w.stsOf(alice).GetSessionToken(ctx, nil))(t).Credentials)
	for name, c := range map[string]aws.Credentials{
		"another session's": {AccessKeyID: one.AccessKeyID, SecretAccessKey: one.SecretAccessKey, SessionToken: two.SessionToken},
		"none":              {AccessKeyID: one.AccessKeyID, SecretAccessKey: one.SecretAccessKey},
		"of a lasting key":  {AccessKeyID: alice.AccessKeyID, SecretAccessKey: alice.SecretAccessKey, SessionToken: one.SessionToken},
		"made up":           {AccessKeyID: one.AccessKeyID, SecretAccessKey: one.SecretAccessKey, SessionToken: "made up"},
	} {
		_, err := w.stsOf(c).GetCallerIdentity(ctx, nil)
		if wants(t, err, "InvalidClientTokenId", ""); t.Failed() {
			t.Fatal(name)
		}
	}
	one.SecretAccessKey = two.SecretAccessKey
	_, err := w.stsOf(one).GetCallerIdentity(ctx, nil)
	wants(t, err, "SignatureDoesNotMatch", "")
}

func TestSessionEndsWithItsTimeItsUserAndItsAccount(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice")
	session := keysOf(ok(w.stsOf(alice).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)}))(t).Credentials)
	w.pass(899 * time.Second)
	w.identity(session)
	w.pass(time.Second)
	_, err := w.stsOf(session).GetCallerIdentity(ctx, nil)
	wants(t, err, "ExpiredToken", "The security token included in the request is expired")

	session = keysOf(ok(w.stsOf(alice).GetSessionToken(ctx, nil))(t).Credentials)
	var have fsm.Account
	suspend := func(on bool) {
		t.Helper()
		if err := w.group.View(func(v *fsm.View) error { have, _ = fsm.AccountOf(v, home); return nil }); err != nil {
			t.Fatal(err)
		}
		have.Suspended = on
		w.propose(&fsm.UpdateAccount{Account: have})
	}
	suspend(true)
	for _, c := range []aws.Credentials{session, alice, w.root[home]} {
		_, err = w.stsOf(c).GetCallerIdentity(ctx, nil)
		wants(t, err, "InvalidClientTokenId", "")
	}
	suspend(false)
	w.identity(session)

	root := w.iamOf(w.root[home])
	name := "alice"
	ok(root.DeleteAccessKey(ctx, &awsiam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &alice.AccessKeyID}))(t)
	w.identity(session) // the session outlives the key that it was asked for with
	ok(root.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: &name}))(t)
	_, err = w.stsOf(session).GetCallerIdentity(ctx, nil)
	wants(t, err, "InvalidClientTokenId", "")
}

func TestKeyTellsItsAccount(t *testing.T) {
	w := newWire(t)
	ctx := t.Context()
	alice := w.user("alice", allows("sts:*", "*"))
	session := keysOf(ok(w.stsOf(w.root[abroad]).GetSessionToken(ctx, nil))(t).Credentials)
	for key, account := range map[string]string{alice.AccessKeyID: home, w.root[abroad].AccessKeyID: abroad, session.AccessKeyID: abroad} {
		got := ok(w.stsOf(alice).GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: &key}))(t)
		if *got.Account != account {
			t.Errorf("%s: %s", key, *got.Account)
		}
	}
	_, err := w.stsOf(alice).GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: aws.String("AKIANOSUCHKEY0000000")})
	wants(t, err, "ValidationError", "")
	_, err = w.stsOf(w.user("bob")).GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: &session.AccessKeyID})
	wants(t, err, "AccessDenied", "sts:GetAccessKeyInfo")
}

func totpAt(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	return ok(totp.GenerateCode(seed, at))(t)
}

func (w *wire) assume(c aws.Credentials, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	w.t.Helper()
	if in.RoleSessionName == nil {
		in.RoleSessionName = aws.String("session")
	}
	return w.stsOf(c).AssumeRole(context.WithoutCancel(w.t.Context()), in)
}

func TestRootsSessionEndsWithItsAccountForGood(t *testing.T) {
	w := newWire(t)
	ctx, was := t.Context(), w.stsOf(w.root[abroad])
	old := []aws.Credentials{
		keysOf(ok(was.GetSessionToken(ctx, nil))(t).Credentials),
		keysOf(ok(was.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("bob"), Policy: aws.String(allows("*", "*"))}))(t).Credentials),
	}
	w.pass(5 * time.Minute)
	w.propose(&fsm.DeleteAccount{ID: abroad, Entities: true})
	again, err := iam.Bootstrap(iam.BootstrapOptions{AccountID: abroad, Sealer: w.box, Now: w.clock(), Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	w.propose(again.Commands...)
	for _, c := range old {
		_, err := w.stsOf(c).GetCallerIdentity(ctx, nil)
		wants(t, err, "InvalidClientTokenId", "")
	}
	root := aws.Credentials{AccessKeyID: again.AccessKeyID, SecretAccessKey: again.SecretAccessKey}
	w.identity(keysOf(ok(w.stsOf(root).GetSessionToken(ctx, nil))(t).Credentials))
}
