// Package fsmtest offers a Raft group of one for unit tests: a real state machine whose log is
// applied at once. It is never in the binary.
package fsmtest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// Group is a group without Raft: what it accepts is applied at once.
type Group struct {
	*fsm.Machine

	mu   sync.Mutex // guards next and orders proposals
	next uint64
}

// New is an empty group of the given class, closed when the test ends.
func New(t testing.TB, class fsm.Class) *Group {
	t.Helper()
	m, err := fsm.Open(fsm.Config{
		Path: filepath.Join(t.TempDir(), "state.db"), Class: class, BootID: "test",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Group{Machine: m}
}

// Propose applies cmd and answers its Check's error. The command goes through its encoding, as
// it would through a log.
func (g *Group) Propose(ctx context.Context, cmd fsm.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entry, err := fsm.EncodeCommand(cmd)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next++
	switch answer := g.Apply(&raft.Log{Index: g.next, Type: raft.LogCommand, Data: entry}).(type) {
	case nil:
		return nil
	case error:
		return answer
	default:
		panic("fsm answers nil or an error")
	}
}

// ReadIndex has nothing to wait for.
func (g *Group) ReadIndex(ctx context.Context) error { return ctx.Err() }
