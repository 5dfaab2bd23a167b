package raftnode

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// A proposal names itself in the entry that carries it (raft.Log.Extensions), so that the node which
// proposed it sees it come by in its own state machine, whatever became of the request to the leader:
//
//	1 byte format | 8 bytes node's run | 8 bytes number | 8 bytes term that it was proposed for
//
// An entry that stands in the log under another term than it was proposed for is void: every node skips
// it. So once a later term's entries are applied, a proposal that was not seen can never be, and may be
// made again.
const (
	tagFormat = 1
	tagSize   = 1 + 8 + 8 + 8
)

// proposalID is unique over all nodes and their runs.
type proposalID struct {
	run    uint64 // random, one for each run of a node
	number uint64
}

func encodeTag(id proposalID, term uint64) []byte {
	out := append(make([]byte, 0, tagSize), tagFormat)
	out = binary.BigEndian.AppendUint64(out, id.run)
	out = binary.BigEndian.AppendUint64(out, id.number)
	return binary.BigEndian.AppendUint64(out, term)
}

func decodeTag(tag []byte) (id proposalID, term uint64, err error) {
	if len(tag) != tagSize || tag[0] != tagFormat {
		return id, 0, fmt.Errorf("tag %x: %w", tag, fsm.ErrUnknownKind)
	}
	id.run, id.number = binary.BigEndian.Uint64(tag[1:]), binary.BigEndian.Uint64(tag[9:])
	return id, binary.BigEndian.Uint64(tag[17:]), nil
}

// errVoid is the answer to an entry that stands under another term than it was proposed for.
var errVoid = errors.New("proposed for another term")

// proposal is a command that a caller of Propose waits for.
type proposal struct {
	entry []byte
	// restores is how many snapshots had been installed when the proposal was numbered.
	restores uint64
	answer   chan error // has room for one
}

// applier stands between raft and the machine: it skips void entries and answers the proposals that were
// made here.
type applier struct {
	machine *fsm.Machine
	fail    func(error)
	// restoring is called when a snapshot has been received, before it becomes the state.
	restoring func() error
	run       uint64
	notice    chan struct{} // has room for one: entries were applied
	moved     signal        // fires when entries have come by

	// applying is held from before entries are applied until their proposals are answered.
	applying sync.Mutex
	stopped  error // guarded by applying: why nothing more is applied
	restores atomic.Uint64
	last     atomic.Pointer[raft.Log] // the last entry that came by, void ones too; nil for none

	mu      sync.Mutex // guards what is below
	number  uint64
	pending map[proposalID]*proposal
}

func newApplier(m *fsm.Machine, fail func(error)) (*applier, error) {
	var run [8]byte
	if _, err := rand.Read(run[:]); err != nil {
		return nil, fmt.Errorf("number of this run: %w", err)
	}
	a := &applier{
		machine: m, fail: fail, run: binary.BigEndian.Uint64(run[:]),
		notice: make(chan struct{}, 1), pending: make(map[proposalID]*proposal),
	}
	a.moved.init()
	return a, nil
}

// register numbers p and answers it when it comes by.
func (a *applier) register(p *proposal) proposalID {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.number++
	id := proposalID{a.run, a.number}
	p.restores = a.restores.Load()
	a.pending[id] = p
	return id
}

func (a *applier) forget(id proposalID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, id)
}

// settled waits until the proposals among the applied entries are answered.
func (a *applier) settled() {
	a.applying.Lock()
	//lint:ignore SA2001 whoever held it has answered
	a.applying.Unlock()
}

// Apply is ApplyBatch for one entry.
func (a *applier) Apply(entry *raft.Log) any { return a.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch hands entries that count to the machine. An answer is nil, the command's refusal, errVoid,
// or why the machine has stopped.
func (a *applier) ApplyBatch(entries []*raft.Log) []any {
	a.applying.Lock()
	defer a.applying.Unlock()
	answers := make([]any, len(entries))
	ids := make([]proposalID, len(entries))
	apply := make([]*raft.Log, 0, len(entries))
	from := make([]int, 0, len(entries)) // where each of apply stands in entries
	for i, entry := range entries {
		var void bool
		if ids[i], void = a.read(entry); void {
			answers[i] = errVoid
		}
		if a.stopped != nil {
			answers[i] = a.stopped
		} else if !void {
			apply, from = append(apply, entry), append(from, i)
		}
	}
	if len(apply) > 0 {
		for i, answer := range a.machine.ApplyBatch(apply) {
			answers[from[i]] = answer
		}
	}
	a.resolve(ids, answers)
	a.last.Store(entries[len(entries)-1])
	a.moved.fire()
	select {
	case a.notice <- struct{}{}:
	default:
	}
	return answers
}

// wait returns once the entry at index, one that raft hands to a state machine, has come by.
func (a *applier) wait(ctx context.Context, index uint64) error {
	for {
		moved := a.moved.wait()
		if last := a.last.Load(); last != nil && last.Index >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read is an entry's proposal, and whether it is void. A tag of a newer version stops the applier.
func (a *applier) read(entry *raft.Log) (id proposalID, void bool) {
	if entry.Type != raft.LogCommand {
		return id, false
	}
	id, term, err := decodeTag(entry.Extensions)
	if err != nil && a.stopped == nil {
		a.stopped = fmt.Errorf("entry %d: %w", entry.Index, err)
		a.fail(a.stopped)
	}
	return id, term != entry.Term
}

func (a *applier) resolve(ids []proposalID, answers []any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, id := range ids {
		p, ok := a.pending[id]
		if !ok || answers[i] == errVoid {
			continue
		}
		delete(a.pending, id)
		err, _ := answers[i].(error)
		p.answer <- err
	}
}

// Snapshot is the machine's.
func (a *applier) Snapshot() (raft.FSMSnapshot, error) { return a.machine.Snapshot() }

// Restore is the machine's. Entries that the snapshot covers will not come by.
func (a *applier) Restore(r io.ReadCloser) error {
	a.applying.Lock()
	defer a.applying.Unlock()
	a.restores.Add(1)
	if err := a.restoring(); err != nil {
		return errors.Join(err, r.Close())
	}
	return a.machine.Restore(r)
}
