package iam

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
)

const goodPassword = "correct-Horse7"

// at is IAM at another time than the rig's.
func (r *rig) at(now time.Time) *Service {
	cfg := r.node.cfg
	cfg.Clock = func() time.Time { return now }
	return New(cfg)
}

func (r *rig) login(user, password string) error {
	_, err := r.CreateLoginProfile(r.t.Context(), r.root, &awsiam.CreateLoginProfileInput{UserName: &user, Password: &password})
	return err
}

func TestLoginProfileGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("Alice")
	alice := r.user("Alice")
	_, err := r.GetLoginProfile(ctx, r.root, &awsiam.GetLoginProfileInput{UserName: name})
	wantCode(t, err, 404, "NoSuchEntity")
	made := must(r.CreateLoginProfile(ctx, r.root, &awsiam.CreateLoginProfileInput{UserName: aws.String("alice"), Password: aws.String(goodPassword), PasswordResetRequired: true}))(t).LoginProfile
	if *made.UserName != "Alice" || !made.CreateDate.Equal(started) || !made.PasswordResetRequired {
		t.Errorf("%+v", made)
	}
	wantCode(t, r.login("Alice", goodPassword), 409, "EntityAlreadyExists")
	must(r.UpdateLoginProfile(ctx, r.root, &awsiam.UpdateLoginProfileInput{UserName: name, PasswordResetRequired: aws.Bool(false)}))(t)
	got := must(r.GetLoginProfile(ctx, alice, &awsiam.GetLoginProfileInput{}))(t).LoginProfile
	if *got.UserName != "Alice" || got.PasswordResetRequired || !got.CreateDate.Equal(started) {
		t.Errorf("%+v", got)
	}
	_, err = r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: name})
	wantCode(t, err, 409, "DeleteConflict")
	must(r.DeleteLoginProfile(ctx, r.root, &awsiam.DeleteLoginProfileInput{UserName: name}))(t)
	_, err = r.DeleteLoginProfile(ctx, r.root, &awsiam.DeleteLoginProfileInput{UserName: name})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.UpdateLoginProfile(ctx, r.root, &awsiam.UpdateLoginProfileInput{UserName: name, Password: aws.String(goodPassword)})
	wantCode(t, err, 404, "NoSuchEntity")
	wantCode(t, r.login("nobody", goodPassword), 404, "NoSuchEntity")
}

func TestPasswordsLieHashedAndSealedAndNowhereElse(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	if err := r.login("alice", goodPassword); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.login("alice", "weak"), 409, "EntityAlreadyExists")
	bad := strings.Repeat("Secret-7", 20)
	err := r.login("alice", bad)
	wantCode(t, err, 400, "ValidationError")
	if strings.Contains(err.Error(), "Secret") {
		t.Errorf("the refusal shows the password: %v", err)
	}
	if strings.Contains(r.log.String(), goodPassword) {
		t.Error("the log holds the password")
	}
	err = r.group.View(func(v *fsm.View) error {
		user, _ := fsm.UserByName(v, account, "alice")
		p, _ := fsm.LoginProfileOf(v, account, user.ID)
		if bytes.Contains(p.Hash, []byte("$2a$")) || bytes.Contains(p.Hash, []byte(goodPassword)) {
			t.Error("the hash is not sealed")
		}
		if plain, err := r.box.Open(p.Hash, p.SealContext()); err != nil || !bytes.HasPrefix(plain, []byte("$2a$")) {
			t.Errorf("not bcrypt: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUserChangesItsOwnPasswordOnly(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	alice := r.user("alice")
	change := func(before, after string) error {
		_, err := r.ChangePassword(ctx, alice, &awsiam.ChangePasswordInput{OldPassword: &before, NewPassword: &after})
		return err
	}
	wantCode(t, change(goodPassword, goodPassword+"2"), 404, "NoSuchEntity")
	if err := r.login("alice", goodPassword); err != nil {
		t.Fatal(err)
	}
	wantCode(t, change("wrong", goodPassword+"2"), 403, "AccessDenied")
	wantCode(t, change(goodPassword, "weak"), 400, "PasswordPolicyViolation")
	if err := change(goodPassword, goodPassword+"2"); err != nil {
		t.Error(err)
	}
	wantCode(t, change(goodPassword, goodPassword+"3"), 403, "AccessDenied")
	_, err := r.ChangePassword(ctx, r.root, &awsiam.ChangePasswordInput{OldPassword: aws.String("x"), NewPassword: aws.String("y")})
	wantCode(t, err, 400, "InvalidUserType")
	_, err = r.ChangePassword(ctx, alice, &awsiam.ChangePasswordInput{NewPassword: aws.String("y")})
	wantCode(t, err, 400, "ValidationError")
}

func (r *rig) passwordPolicy(in awsiam.UpdateAccountPasswordPolicyInput) {
	r.t.Helper()
	must(r.UpdateAccountPasswordPolicy(r.t.Context(), r.root, &in))(r.t)
}

func TestPasswordsConformToThePolicy(t *testing.T) {
	r := newRig(t)
	for i, weak := range []string{"short7A", "onlyletters", "alllower-case", "NoSymbolButTwo", "Carol-0007", "12345678-90"} {
		const name = "Carol-0007"
		if i == 0 {
			r.user(name)
		}
		wantCode(t, r.login(name, weak), 400, "PasswordPolicyViolation")
	}
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{
		MinimumPasswordLength: aws.Int32(6), RequireLowercaseCharacters: true, RequireNumbers: true, RequireSymbols: true, RequireUppercaseCharacters: true,
	})
	r.user("dave")
	for _, weak := range []string{"aA1!x", "AAAA1!", "aaaa1!", "aaaaA!", "aaaaA1", "aaaA1é"} {
		wantCode(t, r.login("dave", weak), 400, "PasswordPolicyViolation")
	}
	if err := r.login("dave", "aA1|xx"); err != nil {
		t.Error(err)
	}
}

func TestPreviousPasswordsAreNotUsedAgain(t *testing.T) {
	r := newRig(t)
	alice := r.user("alice")
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{PasswordReusePrevention: aws.Int32(2)})
	if err := r.login("alice", "first-1"); err != nil {
		t.Fatal(err)
	}
	change := func(before, after string) error {
		_, err := r.ChangePassword(t.Context(), alice, &awsiam.ChangePasswordInput{OldPassword: &before, NewPassword: &after})
		return err
	}
	wantCode(t, change("first-1", "first-1"), 400, "PasswordPolicyViolation")
	for _, step := range [][2]string{{"first-1", "second-2"}, {"second-2", "third-3"}, {"third-3", "first-1"}} {
		if err := change(step[0], step[1]); err != nil {
			t.Errorf("%v: %v", step, err)
		}
	}
	wantCode(t, change("first-1", "third-3"), 400, "PasswordPolicyViolation")
	_, err := r.UpdateLoginProfile(t.Context(), r.root, &awsiam.UpdateLoginProfileInput{UserName: aws.String("alice"), Password: aws.String("third-3")})
	wantCode(t, err, 400, "PasswordPolicyViolation")
}

func TestExpiredPasswordIsChangedUnlessThePolicySaysNo(t *testing.T) {
	r := newRig(t)
	alice := r.user("alice")
	if err := r.login("alice", goodPassword); err != nil {
		t.Fatal(err)
	}
	late := r.at(started.Add(31 * 24 * time.Hour))
	change := func(before, after string) error {
		_, err := late.ChangePassword(t.Context(), alice, &awsiam.ChangePasswordInput{OldPassword: &before, NewPassword: &after})
		return err
	}
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{MaxPasswordAge: aws.Int32(30), HardExpiry: aws.Bool(true)})
	wantCode(t, change(goodPassword, goodPassword+"2"), 403, "AccessDenied")
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{MaxPasswordAge: aws.Int32(30)})
	if err := change(goodPassword, goodPassword+"2"); err != nil {
		t.Error(err)
	}
}

func TestAccountPasswordPolicyComesBackAsItWasGiven(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	_, err := r.GetAccountPasswordPolicy(ctx, r.root, &awsiam.GetAccountPasswordPolicyInput{})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.DeleteAccountPasswordPolicy(ctx, r.root, &awsiam.DeleteAccountPasswordPolicyInput{})
	wantCode(t, err, 404, "NoSuchEntity")
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{})
	got := must(r.GetAccountPasswordPolicy(ctx, r.root, &awsiam.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *got.MinimumPasswordLength != 6 || got.ExpirePasswords || got.MaxPasswordAge != nil || got.PasswordReusePrevention != nil || got.HardExpiry != nil || got.AllowUsersToChangePassword {
		t.Errorf("%+v", got)
	}
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{
		MinimumPasswordLength: aws.Int32(14), RequireSymbols: true, AllowUsersToChangePassword: true, MaxPasswordAge: aws.Int32(90),
		PasswordReusePrevention: aws.Int32(24), HardExpiry: aws.Bool(false),
	})
	got = must(r.GetAccountPasswordPolicy(ctx, r.root, &awsiam.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *got.MinimumPasswordLength != 14 || !got.ExpirePasswords || *got.MaxPasswordAge != 90 || *got.PasswordReusePrevention != 24 || *got.HardExpiry ||
		!got.RequireSymbols || got.RequireNumbers || !got.AllowUsersToChangePassword {
		t.Errorf("%+v", got)
	}
	must(r.DeleteAccountPasswordPolicy(ctx, r.root, &awsiam.DeleteAccountPasswordPolicyInput{}))(t)
	for _, in := range []awsiam.UpdateAccountPasswordPolicyInput{
		{MinimumPasswordLength: aws.Int32(5)}, {MinimumPasswordLength: aws.Int32(129)}, {MaxPasswordAge: aws.Int32(0)}, {MaxPasswordAge: aws.Int32(1096)},
		{PasswordReusePrevention: aws.Int32(0)}, {PasswordReusePrevention: aws.Int32(25)},
	} {
		_, err := r.UpdateAccountPasswordPolicy(ctx, r.root, &in)
		wantCode(t, err, 400, "ValidationError")
	}
}

func TestAccountHasOneAlias(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	create := func(alias string) error {
		_, err := r.CreateAccountAlias(ctx, r.root, &awsiam.CreateAccountAliasInput{AccountAlias: &alias})
		return err
	}
	list := func() []string {
		return must(r.ListAccountAliases(ctx, r.root, &awsiam.ListAccountAliasesInput{}))(t).AccountAliases
	}
	if got := list(); got == nil || len(got) != 0 {
		t.Errorf("%v", got)
	}
	if err := create("corp"); err != nil {
		t.Error(err)
	}
	wantCode(t, create("corp"), 409, "EntityAlreadyExists")
	if err := create("corp-2"); err != nil {
		t.Error(err)
	}
	if got := list(); len(got) != 1 || got[0] != "corp-2" {
		t.Errorf("%v", got)
	}
	wantCode(t, create("Corp"), 400, "ValidationError")
	_, err := r.DeleteAccountAlias(ctx, r.root, &awsiam.DeleteAccountAliasInput{AccountAlias: aws.String("corp")})
	wantCode(t, err, 404, "NoSuchEntity")
	must(r.DeleteAccountAlias(ctx, r.root, &awsiam.DeleteAccountAliasInput{AccountAlias: aws.String("corp-2")}))(t)
	if got := list(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	_, err = r.DeleteAccountAlias(ctx, r.root, &awsiam.DeleteAccountAliasInput{})
	wantCode(t, err, 400, "ValidationError")
}
