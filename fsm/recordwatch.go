package fsm

// What UsedOf calls an account's virtual MFA devices, and those of them that are enabled for somebody.
const (
	MFADevicesThere = "mfa-devices"
	MFADevicesInUse = "mfa-devices-in-use"
)

// watchRecord tells what becomes of records that stand for themselves: what says whose a record is, its ARN and its id.
func watchRecord[K ~string, V any](name string, what func(V) (AccountID, string, string)) func(*Writer, K, *V, *V) {
	return func(w *Writer, _ K, old, now *V) {
		account, arn, id := what(*either(old, now))
		w.tellChange("aws.iam", "IAM "+name, account, arn, id, changeOf(old, now))
	}
}

// watchOwned tells what becomes of records that belong to a user, under the user's ARN; id is the record's own.
func watchOwned[K ~string, V any](name string, what func(V) (account AccountID, user EntityID, id string)) func(*Writer, K, *V, *V) {
	return func(w *Writer, _ K, old, now *V) {
		account, id, part := what(*either(old, now))
		arn := "arn:aws:iam::" + string(account) + ":root" // of a user that goes with its account
		if user, ok := UserByID(&w.View, account, id); ok {
			arn = user.ARN()
		}
		w.tellChange("aws.iam", "IAM "+name, account, arn, part, changeOf(old, now))
	}
}

func watchSettings(w *Writer, account AccountID, old, now *AccountSettings) {
	w.tellChange("aws.iam", "IAM Account Settings", account, "arn:aws:iam::"+string(account)+":root", string(account), changeOf(old, now))
}

// watchMFA counts devices and tells of them, but not that a code was used.
func watchMFA(w *Writer, _ mfaKey, old, now *MFADevice) {
	d := either(old, now)
	w.count(d.Account, MFADevicesThere, one(now)-one(old))
	w.count(d.Account, MFADevicesInUse, one(enabled(now))-one(enabled(old)))
	if old != nil && now != nil && old.User == now.User && (old.Step != now.Step || old.Skew != now.Skew) {
		return
	}
	w.tellChange("aws.iam", "IAM MFA Device", d.Account, d.Serial(), d.Serial(), changeOf(old, now))
}

// enabled is the device if it is enabled for somebody.
func enabled(d *MFADevice) *MFADevice {
	if d == nil || d.User == "" {
		return nil
	}
	return d
}
