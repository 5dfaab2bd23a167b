package fsm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
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

// ErrStateCorrupt is a state file that cannot be read; it is derived, so removing it and
// starting again rebuilds it from snapshot and log.
var ErrStateCorrupt = errors.New("state file is corrupt")

var (
	metaBucket = []byte("\x00meta") // no table's name begins with a zero byte
	keyFormat  = []byte("format")
	keyApplied = []byte("applied")
	keyBoot    = []byte("boot")
	keyClean   = []byte("clean")
)

const stateFormat = 1

// Open opens or makes the state file. A file that was neither closed cleanly nor opened under the
// present boot id, or that bbolt cannot read, is removed; Rebuilt then says so, and the caller
// must restore the newest snapshot before it replays the log.
func Open(cfg Config) (*Machine, error) {
	m := &Machine{cfg: cfg, changed: make(chan struct{}), failed: make(chan struct{})}
	db, applied, err := openState(cfg)
	if errors.Is(err, ErrStateCorrupt) {
		cfg.Log.Warn("state file will be rebuilt from snapshot and log", "path", cfg.Path, "cause", err)
		if err := os.Remove(cfg.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove state file: %w", err)
		}
		db, applied, err = openState(cfg)
	}
	if err != nil {
		return nil, err
	}
	m.db, m.applied, m.rebuilt = db, applied, applied == 0
	return m, nil
}

// Rebuilt tells that the state is empty: the newest snapshot, if any, must be restored.
func (m *Machine) Rebuilt() bool { return m.rebuilt }

func openState(cfg Config) (*bbolt.DB, uint64, error) {
	db, err := bbolt.Open(cfg.Path, 0o600, &bbolt.Options{
		NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		if errors.Is(err, bbolt.ErrInvalid) || errors.Is(err, bbolt.ErrChecksum) || errors.Is(err, bbolt.ErrVersionMismatch) {
			return nil, 0, fmt.Errorf("%w: %w", ErrStateCorrupt, err)
		}
		return nil, 0, fmt.Errorf("open state file %s: %w", cfg.Path, err)
	}
	applied, err := claimState(db, cfg)
	if err == nil {
		err = db.Sync()
	}
	if err != nil {
		return nil, 0, errors.Join(err, db.Close())
	}
	return db, applied, nil
}

// claimState checks that the file can be believed and marks it as open under this boot.
func claimState(db *bbolt.DB, cfg Config) (applied uint64, err error) {
	defer func() {
		if p := recover(); p != nil { // bbolt panics on a page that is not one
			err = fmt.Errorf("%w: %v", ErrStateCorrupt, p)
		}
	}()
	err = db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if k, _ := tx.Cursor().First(); k != nil {
				return fmt.Errorf("%w: no header", ErrStateCorrupt)
			}
			if meta, err = tx.CreateBucket(metaBucket); err != nil {
				return err
			}
			return writeHeader(meta, cfg, 0)
		}
		if f := meta.Get(keyFormat); len(f) != 2 || f[0] != stateFormat || Class(f[1]) != cfg.Class {
			return fmt.Errorf("%w: header %x", ErrStateCorrupt, f)
		}
		clean := string(meta.Get(keyClean)) == "1"
		if boot := string(meta.Get(keyBoot)); !clean && boot != cfg.BootID {
			return fmt.Errorf("%w: open when power was lost", ErrStateCorrupt)
		}
		raw := meta.Get(keyApplied)
		if len(raw) != 8 {
			return fmt.Errorf("%w: applied index of %d bytes", ErrStateCorrupt, len(raw))
		}
		applied = binary.BigEndian.Uint64(raw)
		return writeHeader(meta, cfg, applied)
	})
	return applied, err
}

func writeHeader(meta *bbolt.Bucket, cfg Config, applied uint64) error {
	return errors.Join(
		meta.Put(keyFormat, []byte{stateFormat, byte(cfg.Class)}),
		meta.Put(keyBoot, []byte(cfg.BootID)),
		meta.Put(keyClean, []byte("0")),
		meta.Put(keyApplied, binary.BigEndian.AppendUint64(nil, applied)),
	)
}

// Close syncs the file and marks it as closed cleanly.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.db.Sync() // everything before the mark
	if err == nil {
		err = m.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(keyClean, []byte("1")) })
	}
	return errors.Join(err, m.db.Sync(), m.db.Close())
}

// View runs fn on a consistent read of the state. A record that cannot be read ends it with
// ErrStateCorrupt.
func (m *Machine) View(fn func(*View) error) (err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	defer catchCorrupt(&err)
	return m.db.View(func(tx *bbolt.Tx) error {
		return fn(&View{tx: tx, index: appliedOf(tx)})
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

func appliedOf(tx *bbolt.Tx) uint64 {
	return binary.BigEndian.Uint64(tx.Bucket(metaBucket).Get(keyApplied))
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
// the command's Check gave; entries that the state contains already are skipped.
func (m *Machine) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	last, err := m.applyAll(entries, answers)
	if err != nil {
		err = m.fail(err)
		for i := range answers {
			answers[i] = err
		}
		return answers
	}
	if last > 0 {
		m.advance(last)
	}
	return answers
}

func (m *Machine) applyAll(entries []*raft.Log, answers []any) (last uint64, err error) {
	if err := m.Failure(); err != nil {
		return 0, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	defer catchCorrupt(&err)
	err = m.db.Update(func(tx *bbolt.Tx) error {
		applied := appliedOf(tx)
		for i, entry := range entries {
			if entry.Index <= applied {
				continue
			}
			if entry.Type == raft.LogCommand {
				refusal, err := m.applyOne(tx, entry)
				if err != nil {
					return fmt.Errorf("entry %d: %w", entry.Index, err)
				}
				if refusal != nil {
					answers[i] = refusal
				}
			}
			last = entry.Index
		}
		if last == 0 {
			return nil
		}
		return tx.Bucket(metaBucket).Put(keyApplied, binary.BigEndian.AppendUint64(nil, last))
	})
	return last, err
}

func (m *Machine) applyOne(tx *bbolt.Tx, entry *raft.Log) (refusal, failure error) {
	cmd, err := DecodeCommand(m.cfg.Class, entry.Data)
	if err != nil {
		return nil, err
	}
	view := View{tx: tx, index: entry.Index}
	if err := cmd.Check(&view); err != nil {
		return err, nil
	}
	cmd.Record(&Writer{View: view})
	return nil, nil
}
