package fsm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// sink is a snapshot in memory.
type sink struct {
	bytes.Buffer
	cancelled, closed bool
	fail              error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Buffer.Write(p)
}
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }
func (s *sink) ID() string    { return "test" }

func takeSnapshot(t testing.TB, m *Machine) []byte {
	t.Helper()
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	out := new(sink)
	if err := snap.Persist(out); err != nil || !out.closed {
		t.Fatal(err)
	}
	return out.Bytes()
}

func restore(m *Machine, data []byte) error { return m.Restore(io.NopCloser(bytes.NewReader(data))) }

func TestSnapshotRestoresTheSameState(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 25_000) // more than one transaction of Restore
	m.Apply(entry(t, 25_001, &RevokeToken{ID: "t-000001"}))
	want, snap := digest(t, m), takeSnapshot(t, m)

	other := newMachine(t)
	fill(t, other, 5)
	changed := other.Changed()
	if err := restore(other, snap); err != nil {
		t.Fatal(err)
	}
	<-changed
	if digest(t, other) != want || other.Applied() != 25_001 {
		t.Errorf("applied %d", other.Applied())
	}
	if !bytes.Equal(takeSnapshot(t, other), snap) {
		t.Error("the restored state makes another snapshot")
	}
	fill(t, m, 10)
	fill(t, other, 10)
	if digest(t, m) != digest(t, other) {
		t.Error("the two went apart after the restore")
	}
	again, log := open(t, crash(t, other), "boot")
	defer closeMachine(t, again)
	if again.Rebuilt() || digest(t, again) != digest(t, m) {
		t.Errorf("the restored file is not believed after a kill: %s", log)
	}
}

func TestSnapshotIsOfTheMomentItWasTaken(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 10)
	want := digest(t, m)
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	fill(t, m, 1000)
	out := new(sink)
	if err := snap.Persist(out); err != nil {
		t.Fatal(err)
	}
	snap.Release()
	snap.Release() // twice is no harm
	other := newMachine(t)
	if err := restore(other, out.Bytes()); err != nil || digest(t, other) != want {
		t.Errorf("applied %d, %v", other.Applied(), err)
	}
}

func TestSnapshotThatCannotBeWrittenIsCancelled(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 10)
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	out := &sink{fail: errors.New("disk full")}
	if err := snap.Persist(out); !errors.Is(err, out.fail) || !out.cancelled || out.closed {
		t.Errorf("%v, cancelled %v", err, out.cancelled)
	}
}

func TestDamagedSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	source := newMachine(t)
	fill(t, source, 20)
	snap := takeSnapshot(t, source)
	m := newMachine(t)
	fill(t, m, 5)
	want := digest(t, m)
	refused := func(what string, at int, data []byte) {
		t.Helper()
		if err := restore(m, data); !errors.Is(err, ErrBadSnapshot) {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
		if digest(t, m) != want {
			t.Fatalf("%s at %d changed the state", what, at)
		}
	}
	for n := 0; n < len(snap); n += 37 {
		refused("cut", n, snap[:n])
	}
	refused("cut", len(snap)-1, snap[:len(snap)-1])
	for i := 0; i < len(snap); i += 19 {
		bad := slices.Clone(snap)
		bad[i] ^= 1 << (i % 8)
		refused("flip", i, bad)
	}
	refused("trailing", len(snap), append(slices.Clone(snap), 0))
	if _, err := os.Stat(m.cfg.Path + ".restore"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused snapshot left its file: %v", err)
	}
	if err := restore(m, snap); err != nil || digest(t, m) != digest(t, source) {
		t.Errorf("the good one: %v", err)
	}
}

func TestOlderSnapshotNeverReplacesANewerState(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 5)
	old := takeSnapshot(t, m)
	fill(t, m, 5)
	want := digest(t, m)
	if err := restore(m, old); err != nil {
		t.Fatal(err)
	}
	if digest(t, m) != want || m.Applied() != 10 {
		t.Errorf("applied %d", m.Applied())
	}
}

func TestSnapshotOfAnotherClassIsRefused(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 5)
	snap := takeSnapshot(t, m)
	snap[9] = byte(Index)
	if err := restore(newMachine(t), snap); !errors.Is(err, ErrBadSnapshot) {
		t.Errorf("%v", err)
	}
}

func TestLeftoverOfAnInterruptedRestoreIsNoHarm(t *testing.T) {
	source := newMachine(t)
	fill(t, source, 20)
	m := newMachine(t)
	if err := os.WriteFile(m.cfg.Path+".restore", []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(m, takeSnapshot(t, source)); err != nil || digest(t, m) != digest(t, source) {
		t.Error(err)
	}
}

func TestEmptiedTableIsTheSameStateAsNone(t *testing.T) {
	account := AccountID("123456789012")
	one, two := newMachine(t), newMachine(t)
	for _, m := range []*Machine{one, two} {
		m.Apply(entry(t, 1, &CreateAccount{Account: Account{ID: account}}))
	}
	one.Apply(entry(t, 2, &SetQuota{Account: account, Name: QuotaUsers, Limit: 1}))
	one.Apply(entry(t, 4, &SetQuota{Account: account, Name: QuotaUsers, Limit: -1}))
	two.Apply(&raft.Log{Index: 4, Type: raft.LogConfiguration})
	if digest(t, one) != digest(t, two) {
		t.Error("a table that was emptied shows in the digest")
	}
}
