package cluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
)

func TestSettingsAreSetAndTold(t *testing.T) {
	var have Tuning
	for _, s := range [][2]string{
		{"throttle.ec2:RunInstances", "5/20"}, {"throttle.ec2:*", "0.5"}, {"throttle.*", "100/200"}, {"audit.days", "30"},
		{"audit.keep", "1000"}, {"nats.url", "nats://u:p@host:4222"}, {"throttle.*", ""},
	} {
		if err := have.Set(s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(have.Settings()); got != "[[audit.days 30] [audit.keep 1000] [nats.url nats://u:p@host:4222] [throttle.ec2:* 0.5/1] [throttle.ec2:RunInstances 5/20]]" {
		t.Error(got)
	}
	for op, want := range map[string]Rate{"RunInstances": {5, 20}, "StopInstances": {0.5, 1}} {
		if got, ok := have.Limit("ec2", op); !ok || got != want {
			t.Errorf("%s: %v", op, got)
		}
	}
	if _, ok := have.Limit("iam", "CreateUser"); ok {
		t.Error("a limit where none is set")
	}
}

func TestASettingThatCannotBeIsRefusedAndChangesNothing(t *testing.T) {
	for _, s := range [][2]string{
		{"nonsense", "1"}, {"throttle.", "1/1"}, {"throttle.ec2", "1/1"}, {"throttle.*", "0/1"}, {"throttle.*", "NaN"}, {"throttle.*", "1/0"},
		{"audit.days", "-1"}, {"audit.days", "x"}, {"audit.keep", "1e9"}, {"nats.url", "http://h"}, {"nats.url", "nats://"},
	} {
		var have Tuning
		if err := have.Set(s[0], s[1]); !errors.Is(err, ErrBadInput) {
			t.Errorf("%v: %v", s, err)
		}
		if len(have.Throttle) > 0 || have.AuditDays != 0 || have.AuditKeep != 0 || have.NATSURL != "" {
			t.Errorf("%v: changed to %+v", s, have)
		}
	}
}

func TestSettingsThatNodesWouldNotBelieveAreNeverSigned(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBundle("c-0123abcd", 1, 1, nil)
	b.Tuning.Throttle = map[string]Rate{} // is read back as none
	if _, err := b.Sign(private); !errors.Is(err, ErrBadSignature) {
		t.Errorf("signed: %v", err)
	}
	for _, s := range [][2]string{{"throttle.*", "0.0001/2"}, {"throttle.*", "1e-7/2"}, {"throttle.*", "123456.789/2"}, {"throttle.*", ""}, {"nats.url", "nats://a&b:p@h:1"}} {
		if err := b.Tuning.Set(s[0], s[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Sign(private); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
}
