package fsm

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// tablesWith are the tables, but that of notices, in which an account's id stands in a key or a record.
func tablesWith(t *testing.T, m *Machine, account string) (names []string) {
	t.Helper()
	view(t, m, func(v *View) {
		err := v.tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if string(name) == notices.Name {
				return nil
			}
			return b.ForEach(func(k, raw []byte) error {
				if (bytes.Contains(k, []byte(account)) || bytes.Contains(raw, []byte(account))) && !slices.Contains(names, string(name)) {
					names = append(names, string(name))
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return names
}

func TestADeletedAccountLeavesNothingBehind(t *testing.T) {
	m := newMachine(t)
	index := uint64(0)
	apply := func(cmd Command) error {
		entry, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		index++
		err, _ = m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: entry}).(error)
		return err
	}
	for _, id := range []AccountID{"999999999999", goldenAccount} {
		if err := apply(&CreateAccount{Account: Account{ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	// The examples that make something, again and again until what they need is there; each with ids of its own.
	made := map[Kind]bool{}
	for range 4 {
		for _, cmd := range slices.Concat(iamGolden, entityGolden, recordsGolden, accountGolden) {
			name := reflect.TypeOf(cmd).Elem().Name()
			if made[cmd.Kind()] || strings.HasPrefix(name, "Delete") || strings.HasPrefix(name, "Remove") || strings.HasPrefix(name, "Detach") {
				continue
			}
			made[cmd.Kind()] = apply(cmd) == nil
		}
	}
	have := tablesWith(t, m, goldenAccount)
	t.Logf("%d tables have something of the account: %v", len(have), have)
	if len(have) < 20 {
		t.Errorf("only %d tables have something of the account, so the test shows little", len(have))
	}
	if err := apply(&DeleteAccount{ID: goldenAccount}); err == nil || !strings.Contains(err.Error(), "1 users") {
		t.Errorf("an account with a user: %v", err)
	}
	if err := apply(&DeleteAccount{ID: goldenAccount, Entities: true}); err != nil {
		t.Fatal(err)
	}
	if left := tablesWith(t, m, goldenAccount); len(left) > 0 {
		t.Errorf("still in %v", left)
	}
	if err := apply(&CreateAccount{Account: Account{ID: goldenAccount}}); err != nil {
		t.Errorf("the account again: %v", fmt.Sprint(err))
	}
}
