package fsm

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

var quiet = slog.New(slog.DiscardHandler)

// Whatever stands in a log entry, it decodes to a command that encodes, or it is an error; and no
// command that decodes stops the machine or makes it panic.
func FuzzDecodeCommand(f *testing.F) {
	for _, cmd := range goldenExamples {
		data, err := EncodeCommand(cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{})
	f.Add([]byte{commandFormat, 0xff, 0xff})
	machines := map[Class]*Machine{Control: newMachine(f)}
	m, err := Open(Config{Path: filepath.Join(f.TempDir(), "state"), Class: Index, BootID: "boot", Log: quiet})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { closeMachine(f, m) })
	machines[Index] = m
	index := uint64(0)
	f.Fuzz(func(t *testing.T, data []byte) {
		for class, m := range machines {
			cmd, err := DecodeCommand(class, data)
			if err != nil {
				continue
			}
			again, err := EncodeCommand(cmd)
			if err != nil {
				t.Fatalf("%T decodes and does not encode: %v", cmd, err)
			}
			if _, err := DecodeCommand(class, again); err != nil {
				t.Fatalf("%T does not decode again: %v", cmd, err)
			}
			index++
			m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: data})
			if err := m.Failure(); err != nil {
				t.Fatalf("%T stopped the machine: %v", cmd, err)
			}
		}
	})
}

// Whatever a snapshot stream holds, it is restored or refused, and refused it changes nothing.
func FuzzRestore(f *testing.F) {
	source := newMachine(f)
	fill(f, source, 3)
	snap := takeSnapshot(f, source)
	f.Add(snap)
	f.Add(snap[:len(snap)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Open(Config{Path: filepath.Join(t.TempDir(), "state"), Class: Control, BootID: "boot", Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer closeMachine(t, m)
		before := digest(t, m)
		err = restore(m, data)
		if err != nil && !errors.Is(err, ErrBadSnapshot) {
			t.Errorf("an error of another kind: %v", err)
		}
		if err != nil && digest(t, m) != before {
			t.Error("a refused snapshot changed the state")
		}
		if err == nil && !bytes.HasPrefix(data, []byte(snapMagic)) {
			t.Error("restored from something else")
		}
	})
}
