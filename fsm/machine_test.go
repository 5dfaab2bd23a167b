package fsm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// open opens the control group's machine at path; what it logs goes to the returned buffer.
func open(t testing.TB, path, boot string) (*Machine, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	m, err := Open(Config{Path: path, Class: Control, BootID: boot, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return m, log
}

// newMachine is an empty machine that is closed when the test ends.
func newMachine(t testing.TB) *Machine {
	t.Helper()
	m, _ := open(t, filepath.Join(t.TempDir(), "state"), "boot")
	t.Cleanup(func() { closeMachine(t, m) })
	return m
}

func closeMachine(t testing.TB, m *Machine) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func entry(t testing.TB, index uint64, cmd Command) *raft.Log {
	t.Helper()
	data, err := EncodeCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
}

func token(i int) *CreateToken {
	return &CreateToken{Token: Token{ID: fmt.Sprintf("t-%06d", i), Hash: bytes.Repeat([]byte{byte(i)}, 32), Expires: int64(i)}}
}

// fill applies n tokens after what is there, as one batch.
func fill(t testing.TB, m *Machine, n int) {
	t.Helper()
	var entries []*raft.Log
	for range n {
		i := m.Applied() + uint64(len(entries)) + 1
		entries = append(entries, entry(t, i, token(int(i))))
	}
	for _, answer := range m.ApplyBatch(entries) {
		if answer != nil {
			t.Fatal(answer)
		}
	}
}

func digest(t testing.TB, m *Machine) [32]byte {
	t.Helper()
	_, sum, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func countTokens(t testing.TB, m *Machine) (n int) {
	t.Helper()
	err := m.View(func(v *View) error {
		for range Tokens.Scan(v, "") {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// crash copies the state file as a killed process leaves it, while m goes on.
func crash(t testing.TB, m *Machine) string {
	t.Helper()
	data, err := os.ReadFile(m.cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, data)
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "state")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestReplaySkipsWhatTheStateHas(t *testing.T) {
	m := newMachine(t)
	entries := []*raft.Log{
		entry(t, 3, token(1)), entry(t, 4, &RevokeToken{ID: "t-000001"}), {Index: 5, Type: raft.LogConfiguration}, entry(t, 7, token(2)),
	}
	m.ApplyBatch(entries)
	before := digest(t, m)
	for from := range entries {
		for i, answer := range m.ApplyBatch(entries[from:]) {
			if answer != nil {
				t.Errorf("replay from %d, entry %d: %v", from, i, answer)
			}
		}
	}
	if digest(t, m) != before || m.Applied() != 7 {
		t.Errorf("replay changed the state, applied %d", m.Applied())
	}
}

func TestRefusedCommandIsAnsweredAndMovesTheIndex(t *testing.T) {
	m := newMachine(t)
	answers := m.ApplyBatch([]*raft.Log{entry(t, 1, token(1)), entry(t, 2, token(1)), entry(t, 3, token(3))})
	if err, ok := answers[1].(error); !ok || !errors.Is(err, ErrExists) || answers[0] != nil || answers[2] != nil {
		t.Errorf("%v", answers)
	}
	if m.Applied() != 3 || countTokens(t, m) != 2 {
		t.Errorf("applied %d, %d tokens", m.Applied(), countTokens(t, m))
	}
	err := m.View(func(v *View) error {
		if tok, _ := Tokens.Get(v, "t-000003"); tok.Rev != 3 || v.Index() != 3 {
			t.Errorf("rev %d, index %d", tok.Rev, v.Index())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Record cannot fail: what no table can hold is refused on every node, and nothing of it is written.
func TestCommandThatNoTableCanHoldIsRefusedWhole(t *testing.T) {
	m := newMachine(t)
	long := &InitCluster{ // its token is written last
		Cluster: Cluster{ID: "c-1"}, Member: Member{ID: "n-1"}, Token: Token{ID: strings.Repeat("x", 40_000)},
	}
	answers := m.ApplyBatch([]*raft.Log{
		entry(t, 1, token(1)), entry(t, 2, &CreateToken{}), entry(t, 3, token(3)), entry(t, 4, long), entry(t, 5, token(5)),
	})
	for i, answer := range answers {
		err, _ := answer.(error)
		if unfit := i == 1 || i == 3; unfit != errors.Is(err, ErrInvalid) || !unfit && err != nil {
			t.Errorf("entry %d: %v", i+1, answer)
		}
	}
	err := m.View(func(v *View) error {
		if _, ok := TheCluster(v); ok || Members.Has(v, "n-1") {
			t.Error("half of a refused command was written")
		}
		return nil
	})
	if err != nil || m.Failure() != nil || m.Applied() != 5 || countTokens(t, m) != 3 {
		t.Errorf("applied %d, %v, %v", m.Applied(), err, m.Failure())
	}
	again, log := open(t, crash(t, m), "boot")
	defer closeMachine(t, again)
	if again.Rebuilt() {
		t.Errorf("the file does not count what it holds: %s", log)
	}
}

func TestCommandThatWouldNotDecodeNeverEntersTheLog(t *testing.T) {
	if _, err := EncodeCommand(&RevokeToken{ID: "\xff"}); err == nil {
		t.Error("a string that is not UTF-8 was encoded")
	}
}

// A newer version's command: its kind is not in the table.
func unknownEntry(index uint64) *raft.Log {
	data := binary.BigEndian.AppendUint16([]byte{commandFormat}, 99)
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: append(data, 0xa0)}
}

func TestUnknownKindStopsTheMachineAndNothingIsAppliedAfter(t *testing.T) {
	for name, bad := range map[string]*raft.Log{
		"kind":        unknownEntry(2),
		"format":      {Index: 2, Type: raft.LogCommand, Data: []byte{9, 0, 6, 0xa0}},
		"field":       {Index: 2, Type: raft.LogCommand, Data: []byte{commandFormat, 0, 7, 0xa2, 1, 0x61, 'x', 2, 1}},
		"not CBOR":    {Index: 2, Type: raft.LogCommand, Data: []byte{commandFormat, 0, 7, 0xff}},
		"other class": {Index: 2, Type: raft.LogCommand, Data: []byte{commandFormat, 1100 >> 8, 1100 & 255, 0xa0}},
		"no command":  {Index: 2, Type: raft.LogCommand},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			answers := m.ApplyBatch([]*raft.Log{entry(t, 1, token(1)), bad, entry(t, 3, token(3))})
			if answers[0] != nil || answers[1] == nil || answers[2] == nil {
				t.Errorf("%v", answers)
			}
			select {
			case <-m.Failed():
			default:
				t.Error("Failed is open")
			}
			wantUnknown := name == "kind" || name == "format" || name == "field"
			if err := m.Failure(); err == nil || errors.Is(err, ErrUnknownKind) != wantUnknown {
				t.Errorf("%v", err)
			}
			if answer := m.Apply(entry(t, 3, token(3))); answer == nil {
				t.Error("an entry was applied after the failure")
			}
			if _, err := m.Snapshot(); err == nil {
				t.Error("a snapshot was taken after the failure")
			}
			if err := m.Restore(io.NopCloser(bytes.NewReader(nil))); err == nil || errors.Is(err, ErrBadSnapshot) {
				t.Errorf("restore after the failure: %v", err)
			}
			if err := m.Wait(t.Context(), 3); err == nil {
				t.Error("Wait went on")
			}
			if m.Applied() != 1 || countTokens(t, m) != 1 {
				t.Errorf("applied %d", m.Applied())
			}
		})
	}
}

func TestStateIsBelievedAfterAKillUnderTheSameBootOnly(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 100)
	want := digest(t, m)
	left := crash(t, m)

	same, log := open(t, left, "boot")
	if same.Rebuilt() || same.Applied() != 100 || digest(t, same) != want || log.Len() != 0 {
		t.Errorf("same boot: rebuilt %v, applied %d, log %s", same.Rebuilt(), same.Applied(), log)
	}
	closeMachine(t, same)

	other, log := open(t, crash(t, m), "another boot")
	defer closeMachine(t, other)
	if !other.Rebuilt() || other.Applied() != 0 || countTokens(t, other) != 0 || !strings.Contains(log.String(), "rebuilt") {
		t.Errorf("other boot: rebuilt %v, applied %d, log %s", other.Rebuilt(), other.Applied(), log)
	}
}

func TestStateIsBelievedAfterACleanClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	m, _ := open(t, path, "one")
	if !m.Rebuilt() {
		t.Error("a new state is not empty")
	}
	fill(t, m, 100)
	want := digest(t, m)
	closeMachine(t, m)

	m, log := open(t, path, "two")
	if m.Rebuilt() || digest(t, m) != want || log.Len() != 0 {
		t.Errorf("rebuilt %v, log %s", m.Rebuilt(), log)
	}
	fill(t, m, 1)
	left := crash(t, m) // killed: what is open under boot two counts under boot two only
	closeMachine(t, m)
	m, _ = open(t, left, "three")
	defer closeMachine(t, m)
	if !m.Rebuilt() {
		t.Error("a state that was open when the machine went down is believed")
	}
}

func TestStateOfAnotherClassIsNotBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	m, _ := open(t, path, "boot")
	fill(t, m, 1)
	closeMachine(t, m)
	other, err := Open(Config{Path: path, Class: Index, BootID: "boot", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer closeMachine(t, other)
	if !other.Rebuilt() {
		t.Error("the control group's state passes for an index group's")
	}
}

func TestStateInUseIsLeftAlone(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 10)
	_, err := Open(Config{Path: m.cfg.Path, Class: Control, BootID: "another boot", Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, ErrStateInUse) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(m.cfg.Path); err != nil || countTokens(t, m) != 10 {
		t.Errorf("the state was touched: %v", err)
	}
}

func TestUnreadablePathIsAnErrorAndNotRebuilt(t *testing.T) {
	_, err := Open(Config{Path: t.TempDir(), Class: Control, BootID: "boot", Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Error("a directory was opened")
	}
	_, err = Open(Config{Path: filepath.Join(t.TempDir(), "no", "state"), Class: Control, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestWaitReturnsWhenTheEntryIsThere(t *testing.T) {
	m := newMachine(t)
	changed := m.Changed()
	done := make(chan error)
	go func() { done <- m.Wait(t.Context(), 2) }()
	m.Apply(entry(t, 1, token(1)))
	<-changed
	select {
	case err := <-done:
		t.Errorf("returned before the entry: %v", err)
	default:
	}
	m.Apply(entry(t, 2, token(2)))
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Wait(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// An entry that grows the file must not wait for a reader whose own end waits for the entry.
func TestEntriesAreAppliedWhileAReaderStaysOpen(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 10)
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	err = m.View(func(v *View) error {
		for range 20 {
			fill(t, m, 2000)
		}
		if v.Index() != 10 || Tokens.Has(v, "t-000011") {
			t.Error("an open view changed")
		}
		return nil
	})
	if err != nil || m.Applied() != 40_010 {
		t.Errorf("applied %d, %v", m.Applied(), err)
	}
}

func TestRecordThatCannotBeReadEndsTheViewWithAnError(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 1)
	wrong := Table[string, struct {
		ID int `cbor:"1,keyasint"`
	}]{Name: Tokens.Name}
	err := m.View(func(v *View) error {
		wrong.Get(v, "t-000001")
		t.Error("a record of another type was read")
		return nil
	})
	if !errors.Is(err, ErrStateCorrupt) {
		t.Errorf("%v", err)
	}
}

func TestTablesAreReadInOrderOfKey(t *testing.T) {
	m := newMachine(t)
	fill(t, m, 30)
	err := m.View(func(v *View) error {
		var got []string
		for k := range Tokens.Scan(v, "t-00002") {
			got = append(got, k)
		}
		if len(got) != 10 || got[0] != "t-000020" || got[9] != "t-000029" {
			t.Errorf("%v", got)
		}
		for k := range Tokens.From(v, "t-000029x") {
			if k != "t-000030" {
				t.Errorf("%s", k)
			}
			return nil
		}
		return errors.New("nothing after t-000029x")
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkApplyBatchOf64(b *testing.B) {
	m := newMachine(b)
	n := 0
	for b.Loop() {
		entries := make([]*raft.Log, 64)
		for i := range entries {
			n++
			entries[i] = entry(b, uint64(n), token(n))
		}
		m.ApplyBatch(entries)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
}

func BenchmarkOpen200kRecords(b *testing.B) {
	m := newMachine(b)
	for range 20 {
		fill(b, m, 10_000)
	}
	path := crash(b, m)
	for b.Loop() {
		again, _ := open(b, path, "boot")
		closeMachine(b, again)
	}
}
