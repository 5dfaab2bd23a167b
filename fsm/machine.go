package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Machine is the state of one Raft group on this node: a bbolt file that follows the log.
// It is raft's FSM. The file is derived: it is written without a sync per transaction and
// believed only as Open says.
type Machine struct {
	cfg     Config
	rebuilt bool

	// mu guards db against being swapped by Restore while a View reads it.
	mu sync.RWMutex
	db *bbolt.DB

	// notify guards what is below.
	notify  sync.Mutex
	applied uint64
	changed chan struct{} // closed at the next change
	failure error
	failed  chan struct{} // closed when failure is set
}

// Config is what a Machine needs.
type Config struct {
	Path  string // of the state file
	Class Class
	// BootID is the machine's boot id: while it is the one the file was opened under, a killed
	// process has left the page cache whole and the file can be believed.
	BootID string
	Log    *slog.Logger
}

// bbolt maps this much of the state file from the start. As long as the file is smaller, a commit never
// has to wait for readers (a snapshot being sent, a View whose caller waits for a proposal) to map it
// anew. It is address space, not memory.
const initialMap = 16 << 30

// Open opens or makes the state file. A file that was neither closed cleanly nor opened under the
// present boot id, or that is not whole to the last record, is removed; Rebuilt then says so, and the
// caller must restore the newest snapshot before it replays the log.
// It answers ErrStateInUse when another process has the file open.
func Open(cfg Config) (*Machine, error) {
	rebuilt := false
	err := believe(cfg)
	if errors.Is(err, ErrStateCorrupt) {
		cfg.Log.Warn("state file will be rebuilt from snapshot and log", "path", cfg.Path, "cause", err)
		err = os.Remove(cfg.Path)
		rebuilt = true
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
		rebuilt = true
	}
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	db, applied, err := openState(cfg)
	if err != nil {
		return nil, err
	}
	return &Machine{
		cfg: cfg, db: db, applied: applied, rebuilt: rebuilt || applied == 0,
		changed: make(chan struct{}), failed: make(chan struct{}),
	}, nil
}

// believe answers nil when the state file is whole and may be believed.
func believe(cfg Config) error {
	h, err := checkState(cfg.Path)
	if err != nil {
		return err
	}
	if h.class != cfg.Class {
		return corruptf("it is of class %v", h.class)
	}
	if !h.clean && h.boot != cfg.BootID {
		return corruptf("it was open when the machine went down")
	}
	return nil
}

// Rebuilt tells that the state is empty: the newest snapshot, if any, must be restored.
func (m *Machine) Rebuilt() bool { return m.rebuilt }

// openState opens a file that believe has passed, or an empty one, and marks it as open under this boot.
func openState(cfg Config) (*bbolt.DB, uint64, error) {
	db, err := bbolt.Open(cfg.Path, 0o600, &bbolt.Options{
		NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: initialMap, Timeout: time.Second,
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		err = ErrStateInUse
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open state file %s: %w", cfg.Path, err)
	}
	var applied uint64
	err = updateSynced(db, func(tx *bbolt.Tx) error {
		h := header{}
		if tx.Bucket(metaBucket) != nil {
			h = headerOf(tx)
		}
		applied = h.applied
		h.class, h.boot, h.clean = cfg.Class, cfg.BootID, false
		return h.write(tx)
	})
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("mark state file %s: %w", cfg.Path, err), db.Close())
	}
	return db, applied, nil
}

// updateSynced runs fn in a transaction whose pages are on disk before the page that makes them count:
// after a power cut the marks that believe reads are the old ones or the new ones, never a mix.
func updateSynced(db *bbolt.DB, fn func(*bbolt.Tx) error) (err error) {
	defer catchCorrupt(&err)
	db.NoSync = false
	defer func() { db.NoSync = true }()
	return db.Update(fn)
}

// Close syncs the file and marks it as closed cleanly. It waits for Views and snapshots to end.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.db.Sync() // everything before the mark
	if err == nil {
		err = updateSynced(m.db, func(tx *bbolt.Tx) error {
			h := headerOf(tx)
			h.clean = true
			return h.write(tx)
		})
	}
	return errors.Join(err, m.db.Close())
}

// View runs fn on a consistent read of the state. A record that cannot be read ends it with
// ErrStateCorrupt. fn must not call View again: a Restore between the two would wait for the first
// and hold up the second.
func (m *Machine) View(fn func(*View) error) (err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	defer catchCorrupt(&err)
	return m.db.View(func(tx *bbolt.Tx) error {
		return fn(&View{tx: tx, index: headerOf(tx).applied})
	})
}

func catchCorrupt(err *error) {
	switch p := recover().(type) {
	case nil:
	case corruptState:
		*err = fmt.Errorf("%w: %w", ErrStateCorrupt, p.err)
	default:
		panic(p)
	}
}

// Applied is the index of the last entry in the state.
func (m *Machine) Applied() uint64 {
	m.notify.Lock()
	defer m.notify.Unlock()
	return m.applied
}

// Changed is closed when the next entries have been applied.
func (m *Machine) Changed() <-chan struct{} {
	m.notify.Lock()
	defer m.notify.Unlock()
	return m.changed
}

// Wait returns once the state contains the entry at index.
func (m *Machine) Wait(ctx context.Context, index uint64) error {
	for {
		m.notify.Lock()
		applied, changed, failure := m.applied, m.changed, m.failure
		m.notify.Unlock()
		if failure != nil {
			return failure
		}
		if applied >= index {
			return nil
		}
		select {
		case <-changed:
		case <-m.failed:
		case <-ctx.Done():
			return fmt.Errorf("wait for index %d, at %d: %w", index, applied, ctx.Err())
		}
	}
}

// Failed is closed when an entry could not be applied. Nothing is applied after that: the node
// must stop, and Failure says why.
func (m *Machine) Failed() <-chan struct{} { return m.failed }

// Failure is why Failed is closed.
func (m *Machine) Failure() error {
	m.notify.Lock()
	defer m.notify.Unlock()
	return m.failure
}

func (m *Machine) fail(err error) error {
	m.notify.Lock()
	defer m.notify.Unlock()
	if m.failure == nil {
		m.failure = fmt.Errorf("%v state machine stopped: %w", m.cfg.Class, err)
		close(m.failed)
	}
	return m.failure
}

func (m *Machine) advance(applied uint64) {
	m.notify.Lock()
	defer m.notify.Unlock()
	m.applied = applied
	close(m.changed)
	m.changed = make(chan struct{})
}

// Apply is ApplyBatch for one entry.
func (m *Machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch applies committed entries in one transaction. Each answer is nil or the error that
// the command's Check gave; entries that the state contains already are skipped. An entry that this
// version does not understand stops the machine: what stood before it is applied, so that the state
// does not depend on how entries were batched, and nothing after.
func (m *Machine) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	done, err := m.applyAll(entries, answers)
	if err != nil {
		err = m.fail(err)
		for i := done; i < len(answers); i++ {
			answers[i] = err
		}
	}
	return answers
}

// applyAll applies entries and says how many of them are in the state, and why not all.
func (m *Machine) applyAll(entries []*raft.Log, answers []any) (done int, err error) {
	if err := m.Failure(); err != nil {
		return 0, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := batch{class: m.cfg.Class, entries: entries, answers: answers}
	before := m.Applied()
	for again := true; again; {
		if again, err = b.commit(m.db); err != nil {
			return 0, err
		}
	}
	if b.header.applied > before {
		m.advance(b.header.applied)
	}
	return b.done, b.stop
}

// batch is entries on their way into one transaction.
type batch struct {
	class   Class
	entries []*raft.Log
	answers []any
	unfit   map[uint64]error // entries that turned out to write what no table can hold, by index
	header  header
	done    int
	stop    error // why entries[done] and what follows are not applied
}

// errAgain rolls a transaction back that is to be made again without an unfit entry.
var errAgain = errors.New("apply the batch again")

// commit applies the batch in one transaction. It answers again when an entry turned out to be unfit
// after some of it had been written: nothing was committed, and the next try refuses that entry.
func (b *batch) commit(db *bbolt.DB) (again bool, err error) {
	err = func() (err error) {
		defer catchCorrupt(&err)
		return db.Update(b.apply)
	}()
	if errors.Is(err, errAgain) {
		return true, nil
	}
	return false, err
}

func (b *batch) apply(tx *bbolt.Tx) error {
	b.header, b.done, b.stop = headerOf(tx), 0, nil
	for i, entry := range b.entries {
		refusal, err := b.applyOne(tx, entry)
		if errors.Is(err, errAgain) {
			return err
		}
		if err != nil {
			b.stop = fmt.Errorf("entry %d: %w", entry.Index, err)
			break
		}
		if refusal != nil {
			b.answers[i] = refusal
		}
		b.header.applied = max(b.header.applied, entry.Index)
		b.done++
	}
	return b.header.write(tx)
}

func (b *batch) applyOne(tx *bbolt.Tx, entry *raft.Log) (refusal, failure error) {
	if entry.Index <= b.header.applied || entry.Type != raft.LogCommand {
		return nil, nil
	}
	if unfit := b.unfit[entry.Index]; unfit != nil {
		return unfit, nil
	}
	cmd, err := DecodeCommand(b.class, entry.Data)
	if err != nil {
		return nil, err
	}
	view := View{tx: tx, index: entry.Index}
	if err := cmd.Check(&view); err != nil {
		return err, nil
	}
	w := &Writer{View: view, header: &b.header}
	if !entry.AppendedAt.IsZero() {
		w.time = entry.AppendedAt.UnixMilli()
	}
	return nil, b.record(cmd, w)
}

func (b *batch) record(cmd Command, w *Writer) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case unfitKey:
			if b.unfit == nil {
				b.unfit = map[uint64]error{}
			}
			b.unfit[w.index], err = p.err, errAgain
		default:
			panic(p)
		}
	}()
	cmd.Record(w)
	return nil
}
