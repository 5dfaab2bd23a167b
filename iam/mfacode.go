package iam

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp/totp"

	"hive/awsd/protocol"
	"hive/fsm"
)

// ErrMFA is a code that does not prove possession of the device: wrong, used already, or the device is not this user's.
var ErrMFA = errors.New("the MFA code is not valid for this user's device")

// Codes are TOTP (RFC 6238).
const (
	stepSeconds = 30
	codeLength  = 6
	// stepsAround is how far a code may be from the time that the device's clock is known by (RFC 6238, 5.2).
	stepsAround = 1
	// stepsToFind is how far a clock may be off when two codes in a row show by how much: ten minutes.
	stepsToFind = 20
	// triesPerStep is how many wrong codes a device takes in one step of time before it is closed for the rest of it, so that
	// a million codes cannot be tried.
	triesPerStep = 5
)

// codeAt is a seed's code for a step of time. The seed is in base32.
func codeAt(seed string, step int64) (string, error) {
	code, err := totp.GenerateCode(seed, time.Unix(step*stepSeconds, 0))
	if err != nil {
		return "", fmt.Errorf("compute an MFA code: %w", err)
	}
	return code, nil
}

// sameCode compares in constant time.
func sameCode(seed string, step int64, code string) (bool, error) {
	want, err := codeAt(seed, step)
	return err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1, err
}

// findTwo is the step of the second of two codes in a row, near now and after the newest step that was used.
func findTwo(seed string, now, used int64, first, second string) (step int64, ok bool, err error) {
	for off := int64(0); off <= stepsToFind; off++ {
		for _, at := range []int64{now + off, now - off} {
			if at-1 <= used {
				continue
			}
			one, err := sameCode(seed, at-1, first)
			if err != nil {
				return 0, false, err
			}
			two, err := sameCode(seed, at, second)
			if err != nil {
				return 0, false, err
			}
			if one && two {
				return at, true, nil
			}
		}
	}
	return 0, false, nil
}

// findOne is the step of a code near now and after the newest step that was used.
func findOne(seed string, now, used int64, code string) (step int64, ok bool, err error) {
	for at := max(now-stepsAround, used+1); at <= now+stepsAround; at++ {
		if same, err := sameCode(seed, at, code); same || err != nil {
			return at, same, err
		}
	}
	return 0, false, nil
}

func validCode(value *string, parameter string) (string, error) {
	if value == nil {
		return "", constraint("null", parameter, "Member must not be null")
	}
	if len(*value) != codeLength || strings.Trim(*value, "0123456789") != "" {
		return "", constraint("'***'", parameter, `Member must satisfy regular expression pattern: [\d]{6}`)
	}
	return *value, nil
}

func badCode() error {
	return protocol.Errorf(http.StatusForbidden, "InvalidAuthenticationCode", "Authentication code for device is not valid.")
}

// codeTries counts wrong codes per device in the present step of time. It is this node's memory only.
type codeTries struct {
	mu    sync.Mutex // guards what follows
	step  int64
	wrong map[string]int
}

// take counts a try of a device as a wrong one before it is made, so that no number of tries at once is more than there may
// be; false when there were as many in this step.
func (t *codeTries) take(serial string, step int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if step != t.step || t.wrong == nil {
		t.step, t.wrong = step, map[string]int{}
	}
	if t.wrong[serial] >= triesPerStep {
		return false
	}
	t.wrong[serial]++
	return true
}

// right takes back what was counted: the code was right.
func (t *codeTries) right(serial string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong[serial] > 0 {
		t.wrong[serial]--
	}
}

// seed is a device's seed in base32.
func (s *Service) seed(d fsm.MFADevice) (string, error) {
	seed, err := s.cfg.Sealer.Open(d.Seed, d.SealContext())
	if err != nil {
		return "", fmt.Errorf("open the seed of %s: %w", d.Serial(), err)
	}
	return string(seed), nil
}

func (s *Service) step() int64 { return s.cfg.Clock().Unix() / stepSeconds }

// VerifyMFA proves that a user holds one of its MFA devices by the device's present code. Each code counts once: the step
// that it belongs to is recorded before the answer. serial is the device's serial number. ErrMFA: it proves nothing; any
// other error: it could not be told.
func (s *Service) VerifyMFA(ctx context.Context, account fsm.AccountID, user fsm.EntityID, serial, code string) error {
	now := s.step()
	if err := s.cfg.Group.ReadIndex(ctx); err != nil {
		return fmt.Errorf("verify an MFA code: %w", err)
	}
	var d fsm.MFADevice
	err := s.cfg.Group.View(func(v *fsm.View) error {
		var ok bool
		if d, ok = fsm.MFADeviceBySerial(v, account, serial); !ok || user == "" || d.User != user {
			return ErrMFA
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !s.tries.take(serial, now) {
		return ErrMFA
	}
	seed, err := s.seed(d)
	if err != nil {
		return err
	}
	step, ok, err := findOne(seed, now+d.Skew, d.Step, code)
	if err != nil {
		return err
	}
	if !ok {
		return ErrMFA
	}
	s.tries.right(serial)
	d.Step = step
	switch err := s.cfg.Group.Propose(ctx, &fsm.UpdateMFADevice{Device: d}); {
	case errors.Is(err, fsm.ErrConflict), errors.Is(err, fsm.ErrNotFound): // the code was used, or the device changed, meanwhile
		return ErrMFA
	case err != nil:
		return fmt.Errorf("record that an MFA code was used: %w", err)
	}
	return nil
}
