package fsm

import (
	"slices"
	"strings"
)

// MaxMFADevicesPerUser is AWS's limit of devices that are enabled for one user.
const MaxMFADevicesPerUser = 8

// maxMFADevices bounds an account's virtual devices: AWS allows as many as users.
const maxMFADevices = MaxUsersPerAccount

// MFADevice is a virtual MFA device: a seed from which its holder's application makes codes (TOTP, RFC 6238: SHA-1, 30
// seconds, 6 digits).
type MFADevice struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint"`           // in the case it was given
	Path    string    `cbor:"3,keyasint"`           // begins and ends with a slash
	Created int64     `cbor:"4,keyasint"`           // Unix seconds
	Seed    []byte    `cbor:"5,keyasint"`           // sealed for "mfa/" and the serial number
	User    EntityID  `cbor:"6,keyasint,omitempty"` // for whom it is enabled; empty: for nobody
	Enabled int64     `cbor:"7,keyasint,omitempty"` // Unix seconds of that
	Step    int64     `cbor:"8,keyasint,omitempty"` // the time step of the newest code that was used: none up to it is good again
	Skew    int64     `cbor:"9,keyasint,omitempty"` // how many steps its clock is ahead of ours, as codes showed
	Tags    []Tag     `cbor:"10,keyasint,omitempty"`
}

// Serial is the serial number of a virtual device: arn:aws:iam::ACCOUNT:mfa/PATH/NAME.
func (d MFADevice) Serial() string {
	return mfaPrefix(d.Account) + d.Path + d.Name
}

func mfaPrefix(account AccountID) string { return "arn:aws:iam::" + string(account) + ":mfa" }

// SealContext is what the seed is sealed for.
func (d MFADevice) SealContext() string { return "mfa/" + d.Serial() }

func (d MFADevice) resource() string { return "mfa/" + d.Serial() }

func (d MFADevice) valid() bool {
	return d.Account.Valid() && validIAM(d.Name, 2*maxIAMName) && !strings.Contains(d.Name, "/") && len(d.Seed) > 0 && validIAM(d.Path, maxIAMPath) &&
		strings.HasPrefix(d.Path, "/") && strings.HasSuffix(d.Path, "/") && (d.User == "" || validIAM(string(d.User), maxIAMName))
}

// mfaKey is an account, a zero byte and a device's path and name in lower case.
type mfaKey string

func keyOfMFA(account AccountID, pathAndName string) mfaKey {
	return mfaKey(Key(string(account), strings.ToLower(pathAndName)))
}

func (d MFADevice) key() mfaKey { return keyOfMFA(d.Account, d.Path+d.Name) }

var (
	mfaDevices = Table[mfaKey, MFADevice]{Name: "iam-mfa", Watch: watchMFA}
	userMFA    = Table[userPartKey, mfaOfUser]{Name: "iam-user-mfa"}
)

// mfaOfUser is a row from a user to a device that is enabled for it.
type mfaOfUser struct {
	Device mfaKey `cbor:"1,keyasint"`
}

// MFADeviceBySerial is an account's virtual device.
func MFADeviceBySerial(v *View, account AccountID, serial string) (MFADevice, bool) {
	rest, ok := strings.CutPrefix(serial, mfaPrefix(account))
	if !ok || !validIAM(rest, maxIAMPath+2*maxIAMName) {
		return MFADevice{}, false
	}
	d, ok := mfaDevices.Get(v, keyOfMFA(account, rest))
	return d, ok && d.Serial() == serial
}

// MFADevicesFrom yields an account's virtual devices in order of path and name (in lower case), from the first that is not
// before start, until yield answers false.
func MFADevicesFrom(v *View, account AccountID, start string, yield func(MFADevice) bool) {
	prefix := string(keyOfMFA(account, ""))
	for key, d := range mfaDevices.From(v, keyOfMFA(account, start)) {
		if !strings.HasPrefix(string(key), prefix) || !yield(d) {
			return
		}
	}
}

// MFADevicesOf are the devices that are enabled for a user, in order of path and name.
func MFADevicesOf(v *View, account AccountID, user EntityID) []MFADevice {
	var out []MFADevice
	for _, row := range userMFA.Scan(v, keyOfUserPart(account, user, "")) {
		if d, ok := mfaDevices.Get(v, row.Device); ok {
			out = append(out, d)
		}
	}
	return out
}

// CreateMFADevice makes a virtual device that is enabled for nobody.
type CreateMFADevice struct {
	Device MFADevice `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateMFADevice) Kind() Kind { return 248 }

// Check refuses an unknown account (ErrNotFound), a path and name that are taken whatever their case (ErrExists), one that
// is enabled already (ErrInvalid) and one device too many (ErrLimit).
func (c *CreateMFADevice) Check(v *View) error {
	d := c.Device
	if !d.valid() || d.User != "" {
		return Errorf(ErrInvalid, d.resource())
	}
	if !accounts.Has(v, d.Account) {
		return Errorf(ErrNotFound, "account/"+string(d.Account))
	}
	if mfaDevices.Has(v, d.key()) {
		return Errorf(ErrExists, d.resource())
	}
	if UsedOf(v, d.Account, MFADevicesThere) >= maxMFADevices {
		return Errorf(ErrLimit, "quota/MFADevicesPerAccount: %d", maxMFADevices)
	}
	return nil
}

// Record writes the device.
func (c *CreateMFADevice) Record(w *Writer) { mfaDevices.Put(w, c.Device.key(), c.Device) }

// UpdateMFADevice enables a device for a user or for nobody, takes note of codes that were used, or replaces its tags.
// Device.Rev is that of the record which the decision was made on, so that no code counts twice.
type UpdateMFADevice struct {
	Device MFADevice `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateMFADevice) Kind() Kind { return 249 }

// Check refuses a device that is gone (ErrNotFound) or was changed since (ErrConflict), one that is enabled for another
// user (ErrExists), a user that is not there (ErrNotFound) and one device too many for it (ErrLimit).
func (c *UpdateMFADevice) Check(v *View) error {
	d := c.Device
	if !d.valid() {
		return Errorf(ErrInvalid, d.resource())
	}
	have, ok := mfaDevices.Get(v, d.key())
	switch {
	case !ok:
		return Errorf(ErrNotFound, d.resource())
	case have.Rev != d.Rev:
		return Errorf(ErrConflict, d.resource())
	case d.User == have.User || d.User == "":
		return nil
	case have.User != "":
		return Errorf(ErrExists, "enabled-mfa/"+d.Serial())
	case len(MFADevicesOf(v, d.Account, d.User)) >= MaxMFADevicesPerUser:
		return Errorf(ErrLimit, "quota/MFADevicesPerUser: %d", MaxMFADevicesPerUser)
	}
	if _, ok := UserByID(v, d.Account, d.User); !ok {
		return Errorf(ErrNotFound, "user/"+string(d.User))
	}
	return nil
}

// Record writes the device. Its name, path, seed and time of creation stay.
func (c *UpdateMFADevice) Record(w *Writer) {
	key := c.Device.key()
	have, _ := mfaDevices.Get(&w.View, key)
	if have.User != "" {
		userMFA.Delete(w, keyOfUserPart(have.Account, have.User, have.Path+have.Name))
	}
	d := c.Device
	have.User, have.Enabled, have.Step, have.Skew, have.Tags = d.User, d.Enabled, d.Step, d.Skew, slices.Clone(d.Tags)
	if have.User != "" {
		userMFA.Put(w, keyOfUserPart(have.Account, have.User, have.Path+have.Name), mfaOfUser{key})
	}
	mfaDevices.Put(w, key, have)
}

// DeleteMFADevice removes a virtual device that is enabled for nobody.
type DeleteMFADevice struct {
	Account AccountID `cbor:"1,keyasint"`
	Serial  string    `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteMFADevice) Kind() Kind { return 250 }

// Check refuses a device that is not there (ErrNotFound) or is enabled for somebody (ErrInUse).
func (c *DeleteMFADevice) Check(v *View) error {
	d, ok := MFADeviceBySerial(v, c.Account, c.Serial)
	if !ok {
		return Errorf(ErrNotFound, "mfa/"+c.Serial)
	}
	if d.User != "" {
		return Errorf(ErrInUse, d.resource())
	}
	return nil
}

// Record removes the device.
func (c *DeleteMFADevice) Record(w *Writer) {
	d, _ := MFADeviceBySerial(&w.View, c.Account, c.Serial)
	mfaDevices.Delete(w, d.key())
}
