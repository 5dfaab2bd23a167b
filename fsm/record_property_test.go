package fsm

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// drawRecordCommand draws commands on aliases, devices and logins over few names. Decisions carry the revisions that the
// state has, or old ones.
func drawRecordCommand(t *rapid.T, v *View) Command {
	account := rapid.SampledFrom([]AccountID{"111111111111", "222222222222"}).Draw(t, "account")
	n := func(what string) int { return rapid.IntRange(0, 2).Draw(t, what) }
	user := EntityID(fmt.Sprint("AIDA", n("user")))
	d := MFADevice{Account: account, Name: fmt.Sprint("d", n("device")), Path: "/", Created: 1, Seed: []byte("s")}
	if have, ok := MFADeviceBySerial(v, account, d.Serial()); ok && rapid.Bool().Draw(t, "read") {
		d = have
	}
	changed := d
	changed.User, changed.Step = rapid.SampledFrom([]EntityID{"", user}).Draw(t, "for"), int64(n("step"))
	login, _ := LoginProfileOf(v, account, user)
	login.Account, login.User, login.Hash = account, user, []byte("h")
	return rapid.SampledFrom([]Command{
		&CreateUser{User: User{Account: account, ID: user, Name: string(user), Path: "/"}},
		&DeleteUser{Account: account, ID: user},
		&SetAccountAlias{Account: account, Alias: fmt.Sprint("alias", n("alias")), Take: rapid.Bool().Draw(t, "take")},
		&SetPasswordPolicy{Account: account, Policy: &PasswordPolicy{MinLength: 8}},
		&CreateMFADevice{Device: d},
		&UpdateMFADevice{Device: changed},
		&DeleteMFADevice{Account: account, Serial: d.Serial()},
		&PutLoginProfile{Profile: login, Make: rapid.Bool().Draw(t, "make")},
		&DeleteLoginProfile{Account: account, User: user},
		&CreateCredential{Credential: UserCredential{Account: account, User: user, Type: SSHPublicKey, ID: fmt.Sprint("APKA", n("key")), Body: "b", Fingerprint: fmt.Sprint(n("print"))}},
		&DeleteCredential{Account: account, User: user, Type: SSHPublicKey, ID: fmt.Sprint("APKA", n("key"))},
		&DeleteAccount{ID: account, Entities: true},
		&CreateAccount{Account: Account{ID: account}},
	}).Draw(t, "command")
}

func TestRecordsAgreeWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t)
		for i := range rapid.IntRange(1, 60).Draw(rt, "length") {
			var cmd Command = &CreateAccount{Account: Account{ID: AccountID([]string{"111111111111", "222222222222"}[i%2])}}
			if i > 1 {
				view(t, m, func(v *View) { cmd = drawRecordCommand(rt, v) })
			}
			entry, err := EncodeCommand(cmd)
			if err != nil {
				rt.Fatal(err)
			}
			m.Apply(&raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: entry})
			if err := m.Failure(); err != nil {
				rt.Fatal(err)
			}
			view(t, m, func(v *View) { agree(rt, v) })
		}
	})
}

// agree checks that indexes and counts say what the records say, and that nothing belongs to a user that is gone.
func agree(t *rapid.T, v *View) {
	there, inUse, indexed := map[AccountID]int64{}, map[AccountID]int64{}, 0
	for _, d := range mfaDevices.Scan(v, "") {
		there[d.Account]++
		if d.User == "" {
			continue
		}
		inUse[d.Account]++
		if _, ok := UserByID(v, d.Account, d.User); !ok {
			t.Fatalf("%s is enabled for %s, who is gone", d.Serial(), d.User)
		}
	}
	for _, row := range userMFA.Scan(v, "") {
		if d, ok := mfaDevices.Get(v, row.Device); !ok || d.User == "" {
			t.Fatalf("the index has %q, which is enabled for nobody", row.Device)
		}
		indexed++
	}
	var total int64
	for _, a := range []AccountID{"111111111111", "222222222222"} {
		if UsedOf(v, a, MFADevicesThere) != there[a] || UsedOf(v, a, MFADevicesInUse) != inUse[a] {
			t.Fatalf("%s counts %d and %d devices, has %d and %d", a, UsedOf(v, a, MFADevicesThere), UsedOf(v, a, MFADevicesInUse), there[a], inUse[a])
		}
		total += inUse[a]
	}
	if total != int64(indexed) {
		t.Fatalf("%d devices in use, %d in the index", total, indexed)
	}
	for alias, owner := range accountAliases.Scan(v, "") {
		if SettingsOf(v, owner.Account).Alias != alias {
			t.Fatalf("%s is %s, which calls itself %q", alias, owner.Account, SettingsOf(v, owner.Account).Alias)
		}
	}
	for _, p := range loginProfiles.Scan(v, "") {
		if _, ok := UserByID(v, p.Account, p.User); !ok {
			t.Fatalf("a login of %s, who is gone", p.User)
		}
	}
	for _, c := range userCredentials.Scan(v, "") {
		if _, ok := UserByID(v, c.Account, c.User); !ok {
			t.Fatalf("a credential of %s, who is gone", c.User)
		}
	}
}
