package iam

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/pquerna/otp/totp"

	"hive/fsm"
)

const phoneSerial = "arn:aws:iam::123456789012:mfa/phone"

// phone makes a virtual device and answers its seed.
func (r *rig) phone() (seed string) {
	r.t.Helper()
	made := must(r.CreateVirtualMFADevice(r.t.Context(), r.root, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("phone")}))(r.t).VirtualMFADevice
	if *made.SerialNumber != phoneSerial || len(made.Base32StringSeed) != 64 {
		r.t.Errorf("%s, a seed of %d characters", *made.SerialNumber, len(made.Base32StringSeed))
	}
	return string(made.Base32StringSeed)
}

// code is what a holder's application shows.
func code(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	return must(totp.GenerateCode(seed, at))(t)
}

func (r *rig) enable(s *Service, user, one, two string) error {
	_, err := s.EnableMFADevice(r.t.Context(), r.root, &awsiam.EnableMFADeviceInput{
		UserName: &user, SerialNumber: aws.String(phoneSerial), AuthenticationCode1: &one, AuthenticationCode2: &two,
	})
	return err
}

const later = 30 * time.Second

func TestMFADeviceGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx, serial, name := t.Context(), aws.String(phoneSerial), aws.String("alice")
	alice := r.user("alice")
	seed := r.phone()
	_, err := r.CreateVirtualMFADevice(ctx, r.root, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("PHONE")})
	wantCode(t, err, 409, "EntityAlreadyExists")
	if err := r.enable(r.Service, "alice", code(t, seed, started.Add(-later)), code(t, seed, started)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.enable(r.Service, "alice", code(t, seed, started), code(t, seed, started.Add(later))), 409, "EntityAlreadyExists")
	list := must(r.ListMFADevices(ctx, alice, &awsiam.ListMFADevicesInput{}))(t).MFADevices
	if len(list) != 1 || *list[0].SerialNumber != phoneSerial || *list[0].UserName != "alice" || !list[0].EnableDate.Equal(started) {
		t.Errorf("%+v", list)
	}
	got := must(r.GetMFADevice(ctx, r.root, &awsiam.GetMFADeviceInput{SerialNumber: serial, UserName: name}))(t)
	if *got.UserName != "alice" || *got.SerialNumber != phoneSerial || !got.EnableDate.Equal(started) {
		t.Errorf("%+v", got)
	}
	_, err = r.DeleteVirtualMFADevice(ctx, r.root, &awsiam.DeleteVirtualMFADeviceInput{SerialNumber: serial})
	wantCode(t, err, 409, "DeleteConflict")
	_, err = r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: name})
	wantCode(t, err, 409, "DeleteConflict")
	must(r.DeactivateMFADevice(ctx, r.root, &awsiam.DeactivateMFADeviceInput{UserName: name, SerialNumber: serial}))(t)
	_, err = r.DeactivateMFADevice(ctx, r.root, &awsiam.DeactivateMFADeviceInput{UserName: name, SerialNumber: serial})
	wantCode(t, err, 404, "NoSuchEntity")
	must(r.DeleteVirtualMFADevice(ctx, r.root, &awsiam.DeleteVirtualMFADeviceInput{SerialNumber: serial}))(t)
	_, err = r.DeleteVirtualMFADevice(ctx, r.root, &awsiam.DeleteVirtualMFADeviceInput{SerialNumber: serial})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestMFASeedIsShownOnceAndLiesSealed(t *testing.T) {
	r := newRig(t)
	must(r.CreateAccountAlias(t.Context(), r.root, &awsiam.CreateAccountAliasInput{AccountAlias: aws.String("corp")}))(t)
	made := must(r.CreateVirtualMFADevice(t.Context(), r.root, &awsiam.CreateVirtualMFADeviceInput{
		VirtualMFADeviceName: aws.String("phone"), Path: aws.String("/staff/"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}},
	}))(t).VirtualMFADevice
	if _, err := png.Decode(bytes.NewReader(made.QRCodePNG)); err != nil || *made.SerialNumber != "arn:aws:iam::123456789012:mfa/staff/phone" || len(made.Tags) != 1 {
		t.Errorf("%s: %v", *made.SerialNumber, err)
	}
	list := must(r.ListVirtualMFADevices(t.Context(), r.root, &awsiam.ListVirtualMFADevicesInput{}))(t).VirtualMFADevices
	if len(list) != 1 || list[0].Base32StringSeed != nil || list[0].QRCodePNG != nil || list[0].User != nil || list[0].EnableDate != nil {
		t.Errorf("%+v", list)
	}
	err := r.group.View(func(v *fsm.View) error {
		d, ok := fsm.MFADeviceBySerial(v, account, *made.SerialNumber)
		if !ok || bytes.Contains(d.Seed, made.Base32StringSeed) {
			t.Errorf("the seed is not sealed, or there is none: %v", ok)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.log.String(), string(made.Base32StringSeed)) {
		t.Error("the log holds the seed")
	}
}

func TestMFADeviceIsEnabledByTwoCodesInARowOnly(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	seed := r.phone()
	for i, c := range [][2]string{
		{code(t, seed, started), code(t, seed, started)},
		{code(t, seed, started), code(t, seed, started.Add(-later))},
		{code(t, seed, started.Add(-later)), code(t, seed, started.Add(later))},
		{code(t, seed, started.Add(-time.Hour)), code(t, seed, started.Add(-time.Hour+later))}, // two of another time
	} {
		if err := r.enable(r.Service, "alice", c[0], c[1]); err == nil {
			t.Errorf("case %d: enabled", i)
		} else {
			wantCode(t, err, 403, "InvalidAuthenticationCode")
		}
	}
	wantCode(t, r.enable(r.Service, "alice", "12345", "123456"), 400, "ValidationError")
	wantCode(t, r.enable(r.Service, "alice", "12345x", "123456"), 400, "ValidationError")
	wantCode(t, r.enable(r.Service, "nobody", "123456", "123456"), 404, "NoSuchEntity")
	// A clock that is five minutes ahead is learned.
	ahead := started.Add(5 * time.Minute)
	if err := r.enable(r.Service, "alice", code(t, seed, ahead), code(t, seed, ahead.Add(later))); err != nil {
		t.Fatal(err)
	}
	user := r.userID("alice")
	now := started.Add(2 * later)
	s := r.at(now)
	if err := s.VerifyMFA(t.Context(), account, user, phoneSerial, code(t, seed, now)); !errors.Is(err, ErrMFA) {
		t.Errorf("a code by our clock: %v", err)
	}
	if err := s.VerifyMFA(t.Context(), account, user, phoneSerial, code(t, seed, now.Add(5*time.Minute))); err != nil {
		t.Errorf("a code by the device's clock: %v", err)
	}
}

func (r *rig) userID(name string) (id fsm.EntityID) {
	r.t.Helper()
	err := r.group.View(func(v *fsm.View) error {
		user, ok := fsm.UserByName(v, account, name)
		if !ok {
			return fmt.Errorf("no user %s", name)
		}
		id = user.ID
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func TestMFACodeCountsOnce(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.user("alice")
	r.user("bob")
	seed := r.phone()
	if err := r.enable(r.Service, "alice", code(t, seed, started.Add(-later)), code(t, seed, started)); err != nil {
		t.Fatal(err)
	}
	alice := r.userID("alice")
	verify := func(at time.Time, user fsm.EntityID, code string) error {
		return r.at(at).VerifyMFA(ctx, account, user, phoneSerial, code)
	}
	wrong := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrMFA) {
			t.Errorf("%s: %v", what, err)
		}
	}
	next := started.Add(later)
	wrong("a code that enabled the device", verify(next, alice, code(t, seed, started)))
	wrong("another user's device", verify(next, r.userID("bob"), code(t, seed, next)))
	wrong("nobody's device", verify(next, "", code(t, seed, next)))
	wrong("another account's user", r.at(next).VerifyMFA(ctx, "999999999999", alice, phoneSerial, code(t, seed, next)))
	wrong("no device", r.at(next).VerifyMFA(ctx, account, alice, phoneSerial+"2", code(t, seed, next)))
	wrong("two steps early", verify(next, alice, code(t, seed, next.Add(2*later))))
	if err := verify(next, alice, code(t, seed, next)); err != nil {
		t.Errorf("a good code: %v", err)
	}
	wrong("a code again", verify(next, alice, code(t, seed, next)))
	if err := verify(next, alice, code(t, seed, next.Add(later))); err != nil {
		t.Errorf("the next code, one step early: %v", err)
	}
	wrong("a code older than one that was used", verify(next.Add(later), alice, code(t, seed, next)))
	must(r.DeactivateMFADevice(ctx, r.root, &awsiam.DeactivateMFADeviceInput{UserName: aws.String("alice"), SerialNumber: aws.String(phoneSerial)}))(t)
	after := next.Add(3 * later)
	wrong("a device that is not enabled", verify(after, alice, code(t, seed, after)))
}

func TestCodesCannotBeTriedOutWithoutEnd(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	seed := r.phone()
	if err := r.enable(r.Service, "alice", code(t, seed, started.Add(-later)), code(t, seed, started)); err != nil {
		t.Fatal(err)
	}
	alice, now := r.userID("alice"), started.Add(4*later)
	s := r.at(now)
	good := []string{code(t, seed, now), code(t, seed, now.Add(later)), code(t, seed, now.Add(-later))}
	for n, tried := 0, 0; tried < triesPerStep; n++ {
		guess := fmt.Sprintf("%06d", n)
		if slices.Contains(good, guess) {
			continue
		}
		tried++
		if err := s.VerifyMFA(t.Context(), account, alice, phoneSerial, guess); !errors.Is(err, ErrMFA) {
			t.Fatal(err)
		}
	}
	if err := s.VerifyMFA(t.Context(), account, alice, phoneSerial, good[0]); !errors.Is(err, ErrMFA) {
		t.Errorf("the right code after %d wrong ones: %v", triesPerStep, err)
	}
	after := now.Add(2 * later)
	s.cfg.Clock = func() time.Time { return after }
	if err := s.VerifyMFA(t.Context(), account, alice, phoneSerial, code(t, seed, after)); err != nil {
		t.Errorf("in another step: %v", err)
	}
}

// As many requests as come at once must not all be let through before the first of them is found wrong.
func TestTriesAtOnceAreCountedBeforeTheyAreMade(t *testing.T) {
	var tries codeTries
	let := 0
	for range 100 {
		if tries.take("a", 7) {
			let++
		}
	}
	if let != triesPerStep || !tries.take("b", 7) || !tries.take("a", 8) {
		t.Errorf("%d tries of one device at once", let)
	}
}

func TestResyncLearnsTheDevicesClock(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	r.user("bob")
	seed := r.phone()
	if err := r.enable(r.Service, "alice", code(t, seed, started.Add(-later)), code(t, seed, started)); err != nil {
		t.Fatal(err)
	}
	now := started.Add(time.Hour)
	slow := now.Add(-3 * time.Minute)
	s := r.at(now)
	resync := func(user, one, two string) error {
		_, err := s.ResyncMFADevice(t.Context(), r.root, &awsiam.ResyncMFADeviceInput{
			UserName: &user, SerialNumber: aws.String(phoneSerial), AuthenticationCode1: &one, AuthenticationCode2: &two,
		})
		return err
	}
	wantCode(t, resync("bob", code(t, seed, slow), code(t, seed, slow.Add(later))), 404, "NoSuchEntity")
	wantCode(t, resync("alice", code(t, seed, slow), code(t, seed, slow)), 403, "InvalidAuthenticationCode")
	if err := resync("alice", code(t, seed, slow), code(t, seed, slow.Add(later))); err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyMFA(t.Context(), account, r.userID("alice"), phoneSerial, code(t, seed, slow.Add(2*later))); err != nil {
		t.Errorf("a code by the slow clock: %v", err)
	}
}

func TestVirtualMFADevicesAreListedByPageAndAssignment(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	seed := r.phone()
	if err := r.enable(r.Service, "alice", code(t, seed, started.Add(-later)), code(t, seed, started)); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		must(r.CreateVirtualMFADevice(t.Context(), r.root, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String(fmt.Sprint("Spare", i))}))(t)
	}
	list := func(status types.AssignmentStatusType) (names []string) {
		in := &awsiam.ListVirtualMFADevicesInput{AssignmentStatus: status, MaxItems: aws.Int32(2)}
		for {
			out := must(r.ListVirtualMFADevices(t.Context(), r.root, in))(t)
			for _, d := range out.VirtualMFADevices {
				names = append(names, (*d.SerialNumber)[strings.LastIndexByte(*d.SerialNumber, '/')+1:])
				if (d.User != nil) != (*d.SerialNumber == phoneSerial) {
					t.Errorf("%+v", d)
				}
			}
			if in.Marker = out.Marker; !out.IsTruncated {
				return names
			}
		}
	}
	spares := []string{"Spare0", "Spare1", "Spare2", "Spare3", "Spare4", "Spare5"}
	if all := list(""); !slices.Equal(all, append([]string{"phone"}, spares...)) {
		t.Errorf("%v", all)
	}
	if free := list(types.AssignmentStatusTypeUnassigned); !slices.Equal(free, spares) {
		t.Errorf("%v", free)
	}
	if used := list(types.AssignmentStatusTypeAssigned); !slices.Equal(used, []string{"phone"}) {
		t.Errorf("%v", used)
	}
	serial := aws.String(phoneSerial)
	must(r.TagMFADevice(t.Context(), r.root, &awsiam.TagMFADeviceInput{SerialNumber: serial, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(t)
	if tags := must(r.ListMFADeviceTags(t.Context(), r.root, &awsiam.ListMFADeviceTagsInput{SerialNumber: serial}))(t).Tags; len(tags) != 1 || *tags[0].Value != "v" {
		t.Errorf("%+v", tags)
	}
	must(r.UntagMFADevice(t.Context(), r.root, &awsiam.UntagMFADeviceInput{SerialNumber: serial, TagKeys: []string{"k"}}))(t)
	if tags := must(r.ListMFADeviceTags(t.Context(), r.root, &awsiam.ListMFADeviceTagsInput{SerialNumber: serial}))(t).Tags; len(tags) != 0 {
		t.Errorf("%+v", tags)
	}
}
