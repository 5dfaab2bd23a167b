package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// logStore is the Raft log and the stable values (term and vote) in one raft-boltdb file, each with
// a checksum of its own:
//
//	entry  raft.Log.Extensions as raft gave it | 4 bytes CRC32C of index, term, type, data, Extensions
//	value  the value | 4 bytes CRC32C of key and value
//	vote   8 bytes term | the candidate, as the value of "LastVote": raft sets the two one after the other, and
//	       on a slow disk an election is as long as its syncs
//
// A node whose log or vote is wrong or cannot be written must not go on: raft itself would panic in a
// goroutine of its own, or go on with a log that is not what it thinks. So the first failure is reported
// and the goroutine that met it ends there; the group is then shut down in order (Group.Run).
type logStore struct {
	bolt *raftboltdb.BoltStore
	fail func(error)

	mu   sync.Mutex // held while the file is written; guards what is below
	last uint64     // index of the last entry
	// voteTerm is the term of the vote whose candidate raft will set next.
	voteTerm uint64
	// configs are the indices of the last two memberships in the log or before it: raft tells them to nobody.
	// It has at most one that is not committed, and that may be cut off again.
	configs [2]uint64

	// terms keeps heartbeats, which raft handles outside of its main goroutine, from racing with a change
	// of the term: see transport.go.
	terms termGate
}

const crcSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fatal reports err and ends the calling goroutine, which is one of raft's; its deferred calls run.
func (s *logStore) fatal(format string, args ...any) {
	s.fail(fmt.Errorf("raft log: "+format, args...))
	runtime.Goexit()
}

func entryCRC(l *raft.Log, ext []byte) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, l.Data)
	return crc32.Update(sum, castagnoli, ext)
}

// FirstIndex is the index of the first entry, 0 for none.
func (s *logStore) FirstIndex() (uint64, error) { return s.bolt.FirstIndex() }

// LastIndex is the index of the last entry, 0 for none.
func (s *logStore) LastIndex() (uint64, error) { return s.bolt.LastIndex() }

// GetLog reads an entry; raft.ErrLogNotFound when there is none.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	err := s.readLog(index, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		s.fatal("%w", err)
	}
	return err
}

// readLog reads and checks an entry. It answers raft.ErrLogNotFound itself, for raft compares with ==.
func (s *logStore) readLog(index uint64, l *raft.Log) error {
	if err := s.bolt.GetLog(index, l); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return raft.ErrLogNotFound
		}
		return fmt.Errorf("%w: entry %d: %w", ErrLogCorrupt, index, err)
	}
	n := len(l.Extensions) - crcSize
	if n < 0 || l.Index != index || binary.BigEndian.Uint32(l.Extensions[n:]) != entryCRC(l, l.Extensions[:n]) {
		return fmt.Errorf("%w: checksum of entry %d", ErrLogCorrupt, index)
	}
	l.Extensions = l.Extensions[:n:n]
	return nil
}

// StoreLog is StoreLogs for one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries durably. Where they leave a gap, a snapshot covers what stands before it
// (raft installs one and goes on behind it): that is removed, so that the log never has a gap.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != 0 && logs[0].Index > s.last+1 {
		if err := s.bolt.DeleteRange(0, s.last); err != nil {
			s.fatal("remove entries before a snapshot: %w", err)
		}
	}
	sealed := make([]raft.Log, len(logs))
	refs := make([]*raft.Log, len(logs))
	for i, l := range logs {
		sealed[i] = *l
		ext := make([]byte, 0, len(l.Extensions)+crcSize)
		ext = append(ext, l.Extensions...)
		sealed[i].Extensions = binary.BigEndian.AppendUint32(ext, entryCRC(l, l.Extensions))
		refs[i] = &sealed[i]
		if l.Type == raft.LogConfiguration {
			defer s.noteConfigLocked(l.Index)
		}
	}
	if err := s.bolt.StoreLogs(refs); err != nil {
		s.fatal("append: %w", err)
	}
	s.last = logs[len(logs)-1].Index
	return nil
}

func (s *logStore) noteConfigLocked(index uint64) {
	if index > s.configs[1] {
		s.configs = [2]uint64{s.configs[1], index}
	}
}

// noteConfig says that a membership stands at index: in a snapshot, for one.
func (s *logStore) noteConfig(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteConfigLocked(index)
}

// config is the index of the newest membership.
func (s *logStore) config() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.configs[1]
}

// DeleteRange removes entries, both ends included.
func (s *logStore) DeleteRange(low, high uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.bolt.DeleteRange(low, high); err != nil {
		s.fatal("delete entries %d to %d: %w", low, high, err)
	}
	if high >= s.last { // what a later leader has otherwise
		if s.configs[1] >= low {
			s.configs[1] = s.configs[0]
		}
		last, err := s.bolt.LastIndex()
		if err != nil {
			s.fatal("%w", err)
		}
		s.last = last
	}
	return nil
}

func valueCRC(key, value []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, value)
}

// Set writes a stable value durably.
func (s *logStore) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == keyLastVoteCand {
		key, value = []byte(keyVote), append(binary.BigEndian.AppendUint64(nil, s.voteTerm), value...)
	}
	sealed := binary.BigEndian.AppendUint32(append([]byte(nil), value...), valueCRC(key, value))
	if err := s.bolt.Set(key, sealed); err != nil {
		s.fatal("write %s: %w", key, err)
	}
	return nil
}

// Get reads a stable value. raft knows a missing one by the text "not found".
func (s *logStore) Get(key []byte) ([]byte, error) {
	name := string(key)
	if name == keyLastVoteTerm || name == keyLastVoteCand {
		key = []byte(keyVote)
	}
	value, err := s.readValue(key)
	if err == nil && string(key) == keyVote && len(value) < 8 {
		err = fmt.Errorf("%w: vote of %d bytes", ErrLogCorrupt, len(value))
	}
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		s.fatal("%w", err)
	}
	switch {
	case err == nil && name == keyLastVoteTerm:
		return value[:8], nil
	case err == nil && name == keyLastVoteCand:
		return value[8:], nil
	default:
		return value, err
	}
}

func (s *logStore) readValue(key []byte) ([]byte, error) {
	sealed, err := s.bolt.Get(key)
	if err != nil {
		return nil, err
	}
	n := len(sealed) - crcSize
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != valueCRC(key, sealed[:n]) {
		return nil, fmt.Errorf("%w: checksum of %s", ErrLogCorrupt, key)
	}
	return sealed[:n], nil
}

// raft's own keys of its stable values, and ours of the vote.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
	keyVote         = "LastVote"
)

// SetUint64 is Set for a number. The term of a vote is kept until its candidate follows: a vote is given
// after both are set.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	switch string(key) {
	case keyCurrentTerm:
		return s.terms.raise(value, func() error { return s.setUint64(key, value) })
	case keyLastVoteTerm:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.voteTerm = value
		return nil
	default:
		return s.setUint64(key, value)
	}
}

func (s *logStore) setUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 is Get for a number.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	return decodeUint64(key, value)
}

func decodeUint64(key, value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: %s of %d bytes", ErrLogCorrupt, key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// termGate keeps the current term from going back. raft handles heartbeats in the goroutine of their
// connection, beside its main goroutine, and both may set the term: a late heartbeat of term 6 that finds
// the node a candidate could write 6 over the 7 that the node has just voted in. So a heartbeat is let
// through only while its term is the current one, and the term is not raised meanwhile.
type termGate struct {
	mu   sync.RWMutex // held for reading while a heartbeat is handled
	term atomic.Uint64
}

// raise writes a term that is higher than the current one. The same term need not be written again, and
// is asked for by heartbeats, which hold the lock. A lower one comes from a goroutine that lost the
// race: it ends there.
func (g *termGate) raise(term uint64, write func() error) error {
	if g.term.Load() == term {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if term < g.term.Load() {
		runtime.Goexit()
	}
	if err := write(); err != nil {
		return err
	}
	g.term.Store(term)
	return nil
}

// hold runs fn while the current term stays term, or answers false.
func (g *termGate) hold(term uint64, fn func()) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.term.Load() != term {
		return false
	}
	fn()
	return true
}

// contain runs fn, which calls raft, in a goroutine that a failing store may end and raft may panic in.
func (s *logStore) contain(fn func() error) (err error) {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("%v", p)
			}
		}()
		done <- fn()
	}()
	err, ended := <-done
	if !ended {
		return errors.New("stopped by its store")
	}
	return err
}
