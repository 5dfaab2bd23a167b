package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
)

func (g iamGroup) twoUsers() {
	g.t.Helper()
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA1", "alice")})
	g.must(&fsm.CreateUser{User: user(accountA, "AIDA2", "bob")})
}

func TestLoginProfileIsMadeOnceAndReplacedAsItWasRead(t *testing.T) {
	g := newIAM(t)
	g.twoUsers()
	p := fsm.LoginProfile{Account: accountA, User: "AIDA1", Hash: []byte("sealed"), Created: 1, Changed: 1}
	g.refused(&fsm.PutLoginProfile{Profile: p}, fsm.ErrNotFound)
	g.must(&fsm.PutLoginProfile{Profile: p, Make: true})
	g.refused(&fsm.PutLoginProfile{Profile: p, Make: true}, fsm.ErrExists)
	g.view(func(v *fsm.View) {
		var ok bool
		if p, ok = fsm.LoginProfileOf(v, accountA, "AIDA1"); !ok || string(p.Hash) != "sealed" {
			t.Errorf("%+v, %v", p, ok)
		}
		if _, ok := fsm.LoginProfileOf(v, accountA, "AIDA2"); ok {
			t.Error("another user has the profile")
		}
	})
	p.Previous = [][]byte{p.Hash}
	g.must(&fsm.PutLoginProfile{Profile: p})
	g.refused(&fsm.PutLoginProfile{Profile: p}, fsm.ErrConflict)
	p.Previous = make([][]byte, fsm.MaxPreviousPasswords+1)
	g.refused(&fsm.PutLoginProfile{Profile: p}, fsm.ErrLimit)
	g.refused(&fsm.PutLoginProfile{Profile: fsm.LoginProfile{Account: accountA, User: "AIDA2"}, Make: true}, fsm.ErrInvalid)
	g.refused(&fsm.PutLoginProfile{Profile: fsm.LoginProfile{Account: accountB, User: "AIDA1", Hash: []byte("x")}, Make: true}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteLoginProfile{Account: accountA, User: "AIDA2"}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteLoginProfile{Account: accountB, User: "AIDA1"}, fsm.ErrNotFound)
	g.must(&fsm.DeleteLoginProfile{Account: accountA, User: "AIDA1"})
	g.refused(&fsm.DeleteLoginProfile{Account: accountA, User: "AIDA1"}, fsm.ErrNotFound)
}

func TestAccountAliasIsOneInTheCluster(t *testing.T) {
	g := newIAM(t)
	alias := func(want fsm.AccountID, alias string) {
		t.Helper()
		g.view(func(v *fsm.View) {
			if got, _ := fsm.AccountOfAlias(v, alias); got != want {
				t.Errorf("%s is %s, want %s", alias, got, want)
			}
		})
	}
	g.must(&fsm.SetAccountAlias{Account: accountA, Alias: "corp"})
	g.refused(&fsm.SetAccountAlias{Account: accountA, Alias: "corp"}, fsm.ErrExists)
	g.refused(&fsm.SetAccountAlias{Account: accountB, Alias: "corp"}, fsm.ErrExists)
	g.refused(&fsm.SetAccountAlias{Account: accountB, Alias: "corp", Take: true}, fsm.ErrNotFound)
	g.refused(&fsm.SetAccountAlias{Account: "999999999999", Alias: "x-corp"}, fsm.ErrNotFound)
	g.must(&fsm.SetAccountAlias{Account: accountA, Alias: "corp-2"})
	alias("", "corp")
	alias(accountA, "corp-2")
	g.must(&fsm.SetAccountAlias{Account: accountB, Alias: "corp"})
	alias(accountB, "corp")
	g.must(&fsm.SetAccountAlias{Account: accountB, Alias: "corp", Take: true})
	alias("", "corp")
	g.refused(&fsm.SetAccountAlias{Account: accountB, Alias: "corp", Take: true}, fsm.ErrNotFound)
	for _, bad := range []string{"", "ab", "-abc", "abc-", "a--b", "Corp", "a b", "a.b", strings.Repeat("x", 64), "a\x00b"} {
		g.refused(&fsm.SetAccountAlias{Account: accountA, Alias: bad}, fsm.ErrInvalid)
	}
}

func TestPasswordPolicyComesAndGoes(t *testing.T) {
	g := newIAM(t)
	g.refused(&fsm.SetPasswordPolicy{Account: accountA}, fsm.ErrNotFound)
	g.refused(&fsm.SetPasswordPolicy{Account: "999999999999", Policy: &fsm.PasswordPolicy{MinLength: 6}}, fsm.ErrNotFound)
	for _, bad := range []fsm.PasswordPolicy{{MinLength: 5}, {MinLength: 129}, {MinLength: 6, MaxAge: 1096}, {MinLength: 6, Reuse: 25}, {MinLength: 6, MaxAge: -1}, {MinLength: 6, Reuse: -1}} {
		g.refused(&fsm.SetPasswordPolicy{Account: accountA, Policy: &bad}, fsm.ErrInvalid)
	}
	g.must(&fsm.SetAccountAlias{Account: accountA, Alias: "corp"})
	g.must(&fsm.SetPasswordPolicy{Account: accountA, Policy: &fsm.PasswordPolicy{MinLength: 14, Symbols: true}})
	g.view(func(v *fsm.View) {
		if s := fsm.SettingsOf(v, accountA); s.Password == nil || s.Password.MinLength != 14 || s.Alias != "corp" {
			t.Errorf("%+v", s)
		}
		if s := fsm.SettingsOf(v, accountB); s.Password != nil {
			t.Errorf("the other account: %+v", s)
		}
	})
	g.must(&fsm.SetPasswordPolicy{Account: accountA})
	g.refused(&fsm.SetPasswordPolicy{Account: accountA}, fsm.ErrNotFound)
}

func device(a fsm.AccountID, name string) fsm.MFADevice {
	return fsm.MFADevice{Account: a, Name: name, Path: "/", Created: 1, Seed: []byte("sealed")}
}

func (g iamGroup) device(serial string) (d fsm.MFADevice) {
	g.t.Helper()
	g.view(func(v *fsm.View) {
		var ok bool
		if d, ok = fsm.MFADeviceBySerial(v, accountA, serial); !ok {
			g.t.Errorf("no device %s", serial)
		}
	})
	return d
}

func TestMFADeviceIsEnabledForOneUser(t *testing.T) {
	g := newIAM(t)
	g.twoUsers()
	const serial = "arn:aws:iam::111111111111:mfa/Phone"
	g.must(&fsm.CreateMFADevice{Device: device(accountA, "Phone")})
	g.refused(&fsm.CreateMFADevice{Device: device(accountA, "pHONE")}, fsm.ErrExists)
	g.must(&fsm.CreateMFADevice{Device: device(accountB, "Phone")})
	d := g.device(serial)
	d.User, d.Enabled, d.Step = "AIDA1", 5, 100
	g.must(&fsm.UpdateMFADevice{Device: d})
	g.refused(&fsm.UpdateMFADevice{Device: d}, fsm.ErrConflict) // its code was used
	g.refused(&fsm.DeleteMFADevice{Account: accountA, Serial: serial}, fsm.ErrInUse)
	g.refused(&fsm.DeleteUser{Account: accountA, ID: "AIDA1"}, fsm.ErrInUse)
	d = g.device(serial)
	d.User = "AIDA2"
	g.refused(&fsm.UpdateMFADevice{Device: d}, fsm.ErrExists)
	d.User = ""
	g.must(&fsm.UpdateMFADevice{Device: d})
	g.view(func(v *fsm.View) {
		if n := len(fsm.MFADevicesOf(v, accountA, "AIDA1")); n != 0 {
			t.Errorf("the user still has %d devices", n)
		}
	})
	d = g.device(serial)
	d.User = "AIDA9"
	g.refused(&fsm.UpdateMFADevice{Device: d}, fsm.ErrNotFound)
	g.must(&fsm.DeleteMFADevice{Account: accountA, Serial: serial})
	g.refused(&fsm.DeleteMFADevice{Account: accountA, Serial: serial}, fsm.ErrNotFound)
	g.refused(&fsm.UpdateMFADevice{Device: d}, fsm.ErrNotFound)
	g.view(func(v *fsm.View) {
		if fsm.UsedOf(v, accountA, fsm.MFADevicesThere) != 0 || fsm.UsedOf(v, accountB, fsm.MFADevicesThere) != 1 ||
			fsm.UsedOf(v, accountA, fsm.MFADevicesInUse) != 0 {
			t.Error("the devices are not counted right")
		}
	})
}

func TestUserHasEightMFADevicesAndTheyAreListedInOrder(t *testing.T) {
	g := newIAM(t)
	g.twoUsers()
	for i := range fsm.MaxMFADevicesPerUser + 1 {
		name := fmt.Sprintf("d%d", 9-i)
		g.must(&fsm.CreateMFADevice{Device: device(accountA, name)})
		d := g.device("arn:aws:iam::111111111111:mfa/" + name)
		d.User = "AIDA1"
		if i < fsm.MaxMFADevicesPerUser {
			g.must(&fsm.UpdateMFADevice{Device: d})
		} else {
			g.refused(&fsm.UpdateMFADevice{Device: d}, fsm.ErrLimit)
		}
	}
	g.view(func(v *fsm.View) {
		var all, its []string
		fsm.MFADevicesFrom(v, accountA, "/d2", func(d fsm.MFADevice) bool { all = append(all, d.Name); return d.Name != "d8" })
		for _, d := range fsm.MFADevicesOf(v, accountA, "AIDA1") {
			its = append(its, d.Name)
		}
		if !slices.Equal(all, []string{"d2", "d3", "d4", "d5", "d6", "d7", "d8"}) || !slices.Equal(its, []string{"d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"}) {
			t.Errorf("%v, %v", all, its)
		}
		if _, ok := fsm.MFADeviceBySerial(v, accountB, "arn:aws:iam::111111111111:mfa/d2"); ok {
			t.Error("another account finds the device")
		}
	})
}

func TestUserWithRecordsIsNotDeleted(t *testing.T) {
	g := newIAM(t)
	g.twoUsers()
	del := &fsm.DeleteUser{Account: accountA, ID: "AIDA1"}
	g.must(&fsm.PutLoginProfile{Profile: fsm.LoginProfile{Account: accountA, User: "AIDA1", Hash: []byte("x")}, Make: true})
	g.refused(del, fsm.ErrInUse)
	g.must(&fsm.DeleteLoginProfile{Account: accountA, User: "AIDA1"})
	g.must(&fsm.CreateCredential{Credential: credential("APKA1", "f1")})
	g.refused(del, fsm.ErrInUse)
	g.must(&fsm.DeleteCredential{Account: accountA, User: "AIDA1", Type: fsm.SSHPublicKey, ID: "APKA1"})
	g.must(del)
}

func credential(id, print string) fsm.UserCredential {
	return fsm.UserCredential{Account: accountA, User: "AIDA1", Type: fsm.SSHPublicKey, ID: id, Created: 1, Body: "b", Fingerprint: print}
}

func TestCredentialsAreLimitedAndTheirUsers(t *testing.T) {
	g := newIAM(t)
	g.twoUsers()
	for i := range fsm.MaxSSHKeysPerUser {
		g.must(&fsm.CreateCredential{Credential: credential(fmt.Sprint("APKA", i), fmt.Sprint(i))})
	}
	g.refused(&fsm.CreateCredential{Credential: credential("APKA9", "0")}, fsm.ErrExists) // the same key
	g.refused(&fsm.CreateCredential{Credential: credential("APKA0", "9")}, fsm.ErrExists)
	g.refused(&fsm.CreateCredential{Credential: credential("APKA9", "9")}, fsm.ErrLimit)
	cert := credential("CERT1", "1")
	cert.Type = fsm.SigningCertificate
	g.must(&fsm.CreateCredential{Credential: cert})
	service := func(id, name string) *fsm.CreateCredential {
		c := credential(id, "")
		c.Type, c.Body = fsm.ServiceSpecific, name
		return &fsm.CreateCredential{Credential: c}
	}
	g.must(service("ACCA1", "a"))
	g.must(service("ACCA2", "a"))
	g.refused(service("ACCA3", "a"), fsm.ErrLimit)
	g.must(service("ACCA3", "b"))
	bad := credential("APKA9", "9")
	bad.Type = "x"
	g.refused(&fsm.CreateCredential{Credential: bad}, fsm.ErrInvalid)
	bad = credential("APKA9", "9")
	bad.User = "AIDA9"
	g.refused(&fsm.CreateCredential{Credential: bad}, fsm.ErrNotFound)
	g.must(&fsm.UpdateCredential{Account: accountA, User: "AIDA1", Type: fsm.SSHPublicKey, ID: "APKA1", Inactive: true})
	g.must(&fsm.UpdateCredential{Account: accountA, User: "AIDA1", Type: fsm.SSHPublicKey, ID: "APKA1", Secret: []byte("s")})
	g.view(func(v *fsm.View) {
		if c, ok := fsm.CredentialOf(v, accountA, "AIDA1", fsm.SSHPublicKey, "APKA1"); !ok || !c.Inactive || string(c.Secret) != "s" {
			t.Errorf("%+v, %v", c, ok)
		}
	})
	g.refused(&fsm.UpdateCredential{Account: accountA, User: "AIDA2", Type: fsm.SSHPublicKey, ID: "APKA1"}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteCredential{Account: accountB, User: "AIDA1", Type: fsm.SSHPublicKey, ID: "APKA1"}, fsm.ErrNotFound)
}

func TestServerCertificateKeepsItsKeyWhenRenamed(t *testing.T) {
	g := newIAM(t)
	cert := func(name string) fsm.ServerCertificate {
		return fsm.ServerCertificate{Account: accountA, ID: fsm.EntityID("ASCA" + name), Name: name, Path: "/", Created: 1, Expires: 2, Body: "b", Key: []byte("sealed")}
	}
	for i := range fsm.MaxServerCertificates {
		g.must(&fsm.CreateServerCertificate{Certificate: cert(fmt.Sprintf("c%02d", i))})
	}
	g.refused(&fsm.CreateServerCertificate{Certificate: cert("more")}, fsm.ErrLimit)
	g.refused(&fsm.CreateServerCertificate{Certificate: cert("C00")}, fsm.ErrExists)
	bad := cert("x")
	bad.Key = nil
	g.refused(&fsm.CreateServerCertificate{Certificate: bad}, fsm.ErrInvalid)
	bad = cert("x")
	bad.Account = "999999999999"
	g.refused(&fsm.CreateServerCertificate{Certificate: bad}, fsm.ErrNotFound)
	var have fsm.ServerCertificate
	read := func(name string) {
		g.view(func(v *fsm.View) { have, _ = fsm.ServerCertificateByName(v, accountA, name) })
	}
	read("c00")
	up := &fsm.UpdateServerCertificate{Account: accountA, Name: "c00", Rev: have.Rev, NewName: "web", NewPath: "/w/"}
	taken := *up
	taken.NewName = "C01"
	g.refused(&taken, fsm.ErrExists)
	taken.NewName = ""
	g.refused(&taken, fsm.ErrInvalid)
	g.must(up)
	read("WEB")
	if have.ID != "ASCAc00" || have.Path != "/w/" || string(have.Key) != "sealed" || have.ARN() != "arn:aws:iam::111111111111:server-certificate/w/web" {
		t.Errorf("%+v", have)
	}
	g.refused(up, fsm.ErrNotFound)
	g.refused(&fsm.UpdateServerCertificate{Account: accountA, Name: "web", Rev: 1, NewName: "web", NewPath: "/"}, fsm.ErrConflict)
	g.refused(&fsm.DeleteServerCertificate{Account: accountB, Name: "web"}, fsm.ErrNotFound)
	g.must(&fsm.DeleteServerCertificate{Account: accountA, Name: "web"})
	g.refused(&fsm.DeleteServerCertificate{Account: accountA, Name: "web"}, fsm.ErrNotFound)
}

func TestSAMLProviderIsMadeOnceAndReplacedAsItWasRead(t *testing.T) {
	g := newIAM(t)
	p := fsm.SAMLProvider{Account: accountA, Name: "corp", Created: 1, Metadata: "<x/>"}
	g.refused(&fsm.PutSAMLProvider{Provider: p}, fsm.ErrNotFound)
	g.must(&fsm.PutSAMLProvider{Provider: p, Make: true})
	g.refused(&fsm.PutSAMLProvider{Provider: p, Make: true}, fsm.ErrExists)
	g.refused(&fsm.PutSAMLProvider{Provider: p}, fsm.ErrConflict)
	g.view(func(v *fsm.View) { p, _ = fsm.SAMLProviderByARN(v, accountA, p.ARN()) })
	p.Metadata = "<y/>"
	g.must(&fsm.PutSAMLProvider{Provider: p})
	for i := range fsm.MaxSAMLProviders - 1 {
		g.must(&fsm.PutSAMLProvider{Provider: fsm.SAMLProvider{Account: accountA, Name: fmt.Sprint("p", i), Metadata: "<x/>"}, Make: true})
	}
	g.refused(&fsm.PutSAMLProvider{Provider: fsm.SAMLProvider{Account: accountA, Name: "more", Metadata: "<x/>"}, Make: true}, fsm.ErrLimit)
	g.refused(&fsm.PutSAMLProvider{Provider: fsm.SAMLProvider{Account: accountA, Name: "empty"}, Make: true}, fsm.ErrInvalid)
	g.refused(&fsm.PutSAMLProvider{Provider: fsm.SAMLProvider{Account: "999999999999", Name: "x", Metadata: "<x/>"}, Make: true}, fsm.ErrNotFound)
	g.refused(&fsm.DeleteSAMLProvider{Account: accountB, Name: "corp"}, fsm.ErrNotFound)
	g.must(&fsm.DeleteSAMLProvider{Account: accountA, Name: "corp"})
	g.refused(&fsm.DeleteSAMLProvider{Account: accountA, Name: "corp"}, fsm.ErrNotFound)
}

func TestOldestJobsGo(t *testing.T) {
	g := newIAM(t)
	for i := range fsm.JobsKept + 3 {
		g.must(&fsm.PutJob{Job: fsm.Job{Account: accountA, Type: fsm.AccessReport, ID: fmt.Sprint("j", i), Created: 1, Result: []byte("x")}})
	}
	g.must(&fsm.PutJob{Job: fsm.Job{Account: accountA, Type: fsm.CredentialReport, ID: "r", Created: 1}})
	g.view(func(v *fsm.View) {
		for i := range fsm.JobsKept + 3 {
			if _, ok := fsm.JobOf(v, accountA, fsm.AccessReport, fmt.Sprint("j", i)); ok != (i >= 3) {
				t.Errorf("job %d is there: %v", i, ok)
			}
		}
		if _, ok := fsm.JobOf(v, accountB, fsm.CredentialReport, "r"); ok {
			t.Error("another account has the report")
		}
	})
	g.refused(&fsm.PutJob{Job: fsm.Job{Account: accountA, Type: "x", ID: "j"}}, fsm.ErrInvalid)
	g.refused(&fsm.PutJob{Job: fsm.Job{Account: accountA, Type: fsm.AccessReport}}, fsm.ErrInvalid)
	g.refused(&fsm.PutJob{Job: fsm.Job{Account: "999999999999", Type: fsm.AccessReport, ID: "j"}}, fsm.ErrNotFound)
	g.refused(&fsm.PutJob{Job: fsm.Job{Account: accountA, Type: fsm.AccessReport, ID: "j", Result: make([]byte, 17<<20)}}, fsm.ErrLimit)
}
