package iam

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"hive/fsm"
)

// BootstrapOptions say how the first account is made. What is empty is drawn.
type BootstrapOptions struct {
	AccountID       fsm.AccountID // 12 digits
	Name            string
	AccessKeyID     string // 16 to 128 letters, digits and underscores; with SecretAccessKey
	SecretAccessKey string // 8 to 128 printable characters; with AccessKeyID
	Sealer          Sealer
	Now             time.Time
	Rand            io.Reader
}

// Bootstrapped is the first account and its root user's key. The secret stands nowhere else in the clear.
type Bootstrapped struct {
	Commands        []fsm.Command // to be proposed to the control group
	AccountID       fsm.AccountID
	AccessKeyID     string
	SecretAccessKey string
}

// Bootstrap decides on the first account. Errors: ErrBadInput for what an operator gave.
func Bootstrap(o BootstrapOptions) (Bootstrapped, error) {
	out := Bootstrapped{AccountID: o.AccountID, AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey}
	if err := out.fill(o.Rand); err != nil {
		return Bootstrapped{}, err
	}
	if err := out.validate(); err != nil {
		return Bootstrapped{}, err
	}
	key := fsm.AccessKey{Account: out.AccountID, ID: fsm.AccessKeyID(out.AccessKeyID), Created: o.Now.Unix()}
	var err error
	if key.Secret, err = o.Sealer.Seal([]byte(out.SecretAccessKey), key.ID.SealContext()); err != nil {
		return Bootstrapped{}, fmt.Errorf("seal the root key: %w", err)
	}
	out.Commands = []fsm.Command{&fsm.CreateAccount{
		Account:  fsm.Account{ID: out.AccountID, Name: o.Name, Created: o.Now.Unix()},
		RootKeys: []fsm.AccessKey{key},
	}}
	return out, nil
}

func (b *Bootstrapped) fill(random io.Reader) (err error) {
	if (b.AccessKeyID == "") != (b.SecretAccessKey == "") {
		return fmt.Errorf("access key and secret key: one without the other %w", ErrBadInput)
	}
	if b.AccountID == "" {
		if b.AccountID, err = drawAccountID(random); err != nil {
			return err
		}
	}
	if b.AccessKeyID == "" {
		if b.AccessKeyID, err = drawID(random, "AKIA", keyIDLength); err != nil {
			return err
		}
		b.SecretAccessKey, err = drawSecret(random)
	}
	return err
}

func (b *Bootstrapped) validate() error {
	switch {
	case !b.AccountID.Valid():
		return fmt.Errorf("account %q %w: it must be 12 digits", b.AccountID, ErrBadInput)
	case !wordPattern(b.AccessKeyID, minKeyID, maxKeyID):
		return fmt.Errorf("access key %q %w: it must be %d to %d letters, digits or underscores", b.AccessKeyID, ErrBadInput, minKeyID, maxKeyID)
	case len(b.SecretAccessKey) < 8 || len(b.SecretAccessKey) > 128 || strings.ContainsFunc(b.SecretAccessKey, unprintable):
		return fmt.Errorf("the secret key %w: it must be 8 to 128 printable ASCII characters without spaces", ErrBadInput)
	}
	return nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// drawAccountID draws 12 digits, the first of them not 0, evenly.
func drawAccountID(random io.Reader) (fsm.AccountID, error) {
	const lowest, count = 100_000_000_000, 900_000_000_000
	const even = (1<<63)/count*count - 1 // above it the remainders are not even
	var raw [8]byte
	for {
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return "", fmt.Errorf("draw an account id: %w", err)
		}
		if n := binary.BigEndian.Uint64(raw[:]) >> 1; n <= even {
			return fsm.AccountID(fmt.Sprint(lowest + n%count)), nil
		}
	}
}
