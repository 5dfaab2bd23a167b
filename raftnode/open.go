package raftnode

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"hive/fsm"
	"hive/internal/boltfile"
)

// A group's directory:
//
//	group.json   whose it is; it stands from the moment that the log exists, so that a missing log is noticed
//	log.db       raft-boltdb: entries, term, vote
//	snapshots/   raft's file snapshots
//	damaged/     snapshots that could not be read, for whoever wants to look at them
//	state.db     the state: see fsm.Machine
const (
	fileMarker   = "group.json"
	fileLog      = "log.db"
	fileState    = "state.db"
	dirSnapshots = "snapshots"
	dirDamaged   = "damaged"
)

const remedy = "remove the node from the cluster and let it join again with an empty directory, or restore the directory"

// marker says whose a directory is.
type marker struct {
	Group fsm.GroupID `json:"group"`
	Class fsm.Class   `json:"class"`
	Node  fsm.NodeID  `json:"node"`
}

func (g *Group) open() (err error) {
	if err := os.MkdirAll(g.cfg.Dir, 0o700); err != nil {
		return err
	}
	known, err := g.readMarker()
	if err != nil {
		return err
	}
	if err := g.openLog(known); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.store.bolt.Close())
		}
	}()
	if !known {
		if err := g.writeMarker(); err != nil {
			return err
		}
	}
	if err := g.openSnapshots(); err != nil {
		return err
	}
	g.machine, err = fsm.Open(fsm.Config{
		Path: g.path(fileState), Class: g.cfg.Class, BootID: g.cfg.BootID, Log: g.cfg.Log,
	})
	if errors.Is(err, fsm.ErrStateInUse) {
		err = fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return err
	}
	base, err := g.reconcile()
	if err == nil {
		g.applier, err = newApplier(g.machine, g.fail)
	}
	if err != nil {
		return errors.Join(err, g.machine.Close())
	}
	g.store.noteConfig(base.ConfigurationIndex)
	g.applier.restoring = g.noteReceived
	return nil
}

// noteReceived takes the index of the membership from the newest snapshot.
func (g *Group) noteReceived() error {
	all, err := g.snaps.List()
	if err == nil && len(all) > 0 {
		g.store.noteConfig(all[0].ConfigurationIndex)
	}
	return err
}

func (g *Group) path(name string) string { return filepath.Join(g.cfg.Dir, name) }

func (g *Group) marker() marker { return marker{g.cfg.Group, g.cfg.Class, g.cfg.Node} }

// readMarker tells whether the directory is a member's already.
func (g *Group) readMarker() (known bool, err error) {
	raw, err := os.ReadFile(g.path(fileMarker))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var have marker
	if err := json.Unmarshal(raw, &have); err != nil {
		return false, fmt.Errorf("%s cannot be read: %w", fileMarker, err)
	}
	if have != g.marker() {
		return false, fmt.Errorf("%w: node %s, group %s", ErrWrongDir, have.Node, have.Group)
	}
	return true, nil
}

func (g *Group) writeMarker() error {
	raw, err := json.Marshal(g.marker())
	if err != nil {
		return err
	}
	tmp := g.path(fileMarker + ".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, g.path(fileMarker)); err != nil {
		return err
	}
	return syncDir(g.cfg.Dir)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (g *Group) openLog(known bool) error {
	path := g.path(fileLog)
	if err := checkLogFile(path, known); err != nil {
		return err
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path, MsgpackUseNewTimeFormat: true,
		BoltOptions: &bbolt.Options{
			NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second,
			InitialMmapSize: 1 << 30, // address space, so that an append never waits for readers to map it anew
		},
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		err = ErrInUse
	}
	if err != nil {
		return fmt.Errorf("%s: %w", fileLog, err)
	}
	g.store = &logStore{bolt: bolt, fail: g.fail}
	if err := errors.Join(g.store.load(), syncDir(g.cfg.Dir)); err != nil {
		return errors.Join(fmt.Errorf("%s: %w; %s", fileLog, err, remedy), bolt.Close())
	}
	return nil
}

// checkLogFile tells a log file that may be opened from one that must not.
func checkLogFile(path string, known bool) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		if known {
			return fmt.Errorf("%w: this node has voted and cannot know how: %s", ErrLogMissing, remedy)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 && !known {
		return nil
	}
	err = boltfile.Check(f, info.Size(), func([]byte, []byte, []byte) error { return nil })
	switch {
	case errors.Is(err, boltfile.ErrTruncated):
		return fmt.Errorf("%w: %w: %s", ErrLogTruncated, err, remedy)
	case err != nil:
		return fmt.Errorf("%w: %w: %s", ErrLogCorrupt, err, remedy)
	}
	return nil
}

// load reads every entry and value once: all must be whole, and the entries without a gap.
func (s *logStore) load() error {
	first, err := s.bolt.FirstIndex()
	if err != nil {
		return err
	}
	if s.last, err = s.bolt.LastIndex(); err != nil {
		return err
	}
	var term uint64
	for i := first; i <= s.last && first > 0; i++ {
		var l raft.Log
		if err := s.readLog(i, &l); errors.Is(err, raft.ErrLogNotFound) {
			return fmt.Errorf("%w: entry %d is missing", ErrLogCorrupt, i)
		} else if err != nil {
			return err
		}
		if l.Term < term {
			return fmt.Errorf("%w: term of entry %d", ErrLogCorrupt, i)
		}
		term = l.Term
		if l.Type == raft.LogConfiguration {
			s.noteConfigLocked(i)
		}
	}
	for _, key := range []string{keyCurrentTerm, keyVote} {
		value, err := s.readValue([]byte(key))
		if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if key == keyCurrentTerm {
			current, err := decodeUint64([]byte(key), value)
			if err != nil {
				return err
			}
			s.terms.term.Store(current)
		}
	}
	if s.terms.term.Load() < term {
		return fmt.Errorf("%w: entries of term %d, current term %d", ErrLogCorrupt, term, s.terms.term.Load())
	}
	return nil
}

// openSnapshots opens the snapshot store and removes what an interrupted snapshot has left.
func (g *Group) openSnapshots() (err error) {
	if g.snaps, err = raft.NewFileSnapshotStoreWithLogger(g.cfg.Dir, g.cfg.Snapshots.Retain, newHclog(g.cfg.Log)); err != nil {
		return err
	}
	entries, err := os.ReadDir(g.path(dirSnapshots))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(filepath.Join(g.path(dirSnapshots), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// reconcile makes snapshot, log and state agree, or refuses. raft is told not to restore snapshots at
// start: it would throw the state away, and trusts the newest snapshot's index whatever the state holds.
func (g *Group) reconcile() (base raft.SnapshotMeta, err error) {
	base, holds, damaged, err := g.newestSnapshot()
	if err != nil {
		return base, err
	}
	first, err := g.store.bolt.FirstIndex()
	if err != nil {
		return base, err
	}
	if g.store.last > 0 && g.store.last < base.Index {
		// A snapshot was installed, and the node went down before its log was cut: all of it is in the snapshot.
		if err := g.store.bolt.DeleteRange(0, g.store.last); err != nil {
			return base, err
		}
		first, g.store.last = 0, 0
	}
	applied, end := g.machine.Applied(), max(g.store.last, base.Index)
	if applied > end {
		return base, fmt.Errorf("%w: the state is of entry %d, log and snapshot end at %d; %s", ErrStateLost, applied, end, remedy)
	}
	if first > base.Index+1 {
		if base, err = g.snapshotAgain(first, damaged); err != nil {
			return base, err
		}
		holds = applied
	}
	if !g.machine.Rebuilt() || end == 0 {
		g.nowReady()
	}
	if applied >= holds {
		return base, nil
	}
	_, source, err := g.snaps.Open(base.ID)
	if err == nil {
		err = g.machine.Restore(source)
	}
	if err != nil {
		return base, fmt.Errorf("restore snapshot %s: %w", base.ID, err)
	}
	return base, nil
}

// snapshotAgain makes a snapshot of a whole state in place of damaged ones, where the log begins at first
// behind them. It needs to know the membership: from the log, or from what describes the damaged one.
func (g *Group) snapshotAgain(first uint64, damaged *raft.SnapshotMeta) (raft.SnapshotMeta, error) {
	lost := fmt.Errorf("%w: the log begins at %d, and no snapshot that ends before it can be read; %s", ErrStateLost, first, remedy)
	index := min(g.machine.Applied(), g.store.last)
	if g.machine.Rebuilt() || index < first {
		return raft.SnapshotMeta{}, lost
	}
	meta := raft.SnapshotMeta{Index: index}
	if damaged != nil && strings.HasPrefix(damaged.ID, fmt.Sprintf("%d-%d-", damaged.Term, damaged.Index)) {
		meta.Configuration, meta.ConfigurationIndex = damaged.Configuration, damaged.ConfigurationIndex
	}
	for i := first; i <= index; i++ {
		var l raft.Log
		if err := g.store.readLog(i, &l); err != nil {
			return meta, err
		}
		if meta.Term = l.Term; l.Type == raft.LogConfiguration {
			meta.Configuration, meta.ConfigurationIndex = raft.DecodeConfiguration(l.Data), i
		}
	}
	if len(meta.Configuration.Servers) == 0 {
		return meta, lost
	}
	g.cfg.Log.Warn("damaged snapshots are replaced by one of the state", "group", g.cfg.Group, "index", index)
	return meta, g.writeSnapshot(&meta)
}

func (g *Group) writeSnapshot(meta *raft.SnapshotMeta) error {
	snapshot, err := g.machine.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Release()
	sink, err := g.snaps.Create(raft.SnapshotVersionMax, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, noPeers{})
	if err != nil {
		return err
	}
	meta.ID = sink.ID()
	return snapshot.Persist(sink)
}

// noPeers stands for the transport, of which a snapshot wants the encoding of addresses: ours are node ids.
type noPeers struct{ raft.Transport }

// EncodePeer is the address itself.
func (noPeers) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte { return []byte(addr) }

// newestSnapshot is the newest snapshot that can be read to its end, and the index of the state in it.
// Damaged ones are put aside, for raft would believe that the state contains them; damaged is the newest.
func (g *Group) newestSnapshot() (meta raft.SnapshotMeta, holds uint64, damaged *raft.SnapshotMeta, err error) {
	for {
		all, err := g.snaps.List()
		if err != nil || len(all) == 0 {
			return meta, 0, damaged, err
		}
		newest := all[0]
		if holds, err = g.snapshotIndex(newest.ID); err == nil {
			return *newest, holds, damaged, nil
		}
		g.cfg.Log.Error("snapshot is damaged and put aside", "group", g.cfg.Group, "snapshot", newest.ID, "cause", err)
		if damaged == nil {
			damaged = newest
		}
		if err := g.putAside(newest.ID); err != nil {
			return meta, 0, damaged, fmt.Errorf("put snapshot %s aside: %w", newest.ID, err)
		}
	}
}

func (g *Group) putAside(id string) error {
	to := filepath.Join(g.path(dirDamaged), id)
	if err := errors.Join(os.MkdirAll(g.path(dirDamaged), 0o700), os.RemoveAll(to)); err != nil {
		return err
	}
	return os.Rename(filepath.Join(g.path(dirSnapshots), id), to)
}

// snapshotIndex checks a snapshot's checksum and reads the applied index from its head, as fsm/snapshot.go
// draws it: 8 bytes magic, format, class, 8 bytes index.
func (g *Group) snapshotIndex(id string) (index uint64, err error) {
	_, source, err := g.snaps.Open(id)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	head := make([]byte, 18)
	if _, err := io.ReadFull(source, head); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(head[10:]), nil
}
