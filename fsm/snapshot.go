package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// A snapshot is a canonical dump of the tables, the same bytes on every node at the same index:
//
//	"HIVESNAP" | 1 byte format | 1 byte class | 8 bytes applied index (big endian)
//	for each table in order of name:  'T' | uvarint length | name
//	    for each record in order of key: 'R' | uvarint length | key | uvarint length | value
//	'E' | 32 bytes SHA-256 of all before, the 'E' included
const (
	snapMagic  = "HIVESNAP"
	snapFormat = 1
	// maxSnapField bounds what a corrupt length can make Restore allocate.
	maxSnapField = 64 << 20
	// restoreBatch is how many records one transaction of Restore writes.
	restoreBatch = 10_000
)

// ErrBadSnapshot is a snapshot stream that is cut, altered or not ours.
var ErrBadSnapshot = errors.New("bad snapshot")

// Snapshot begins a consistent read of the state, for raft to persist while entries go on.
func (m *Machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.Failure(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	tx, err := m.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("begin snapshot: %w", err)
	}
	return &snapshot{tx: tx, class: m.cfg.Class}, nil
}

type snapshot struct {
	tx    *bbolt.Tx
	class Class
}

func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := dump(sink, s.tx, s.class); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

func (s *snapshot) Release() {
	// Rollback of a read-only transaction fails only when it is over already.
	if err := s.tx.Rollback(); err != nil && !errors.Is(err, berrors.ErrTxClosed) {
		panic(err)
	}
}

// Digest is the SHA-256 of the state's canonical dump, and the applied index that it is of: two
// nodes at the same index have the same digest.
func (m *Machine) Digest() (index uint64, sum [32]byte, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	err = m.db.View(func(tx *bbolt.Tx) error {
		index = headerOf(tx).applied
		h := sha256.New()
		if err := dump(h, tx, m.cfg.Class); err != nil {
			return err
		}
		h.Sum(sum[:0])
		return nil
	})
	return index, sum, err
}

// dump checks every record that it writes: a snapshot must not spread what a disk has spoilt.
func dump(w io.Writer, tx *bbolt.Tx, class Class) (err error) {
	defer catchCorrupt(&err)
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head := binary.BigEndian.AppendUint64(append([]byte(snapMagic), snapFormat, byte(class)), headerOf(tx).applied)
	if _, err := out.Write(head); err != nil {
		return err
	}
	err = tx.ForEach(func(name []byte, table *bbolt.Bucket) error {
		if bytes.Equal(name, metaBucket) {
			return nil
		}
		if k, _ := table.Cursor().First(); k == nil {
			return nil // an emptied table and one that never was are the same state
		}
		if err := writeFields(out, 'T', name); err != nil {
			return err
		}
		return table.ForEach(func(k, v []byte) error {
			body, err := openValue(string(name), k, v)
			if err != nil {
				return err
			}
			return writeFields(out, 'R', k, body)
		})
	})
	if err != nil {
		return err
	}
	if err := errors.Join(out.WriteByte('E'), out.Flush()); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func writeFields(w *bufio.Writer, tag byte, fields ...[]byte) error {
	if err := w.WriteByte(tag); err != nil {
		return err
	}
	for _, f := range fields {
		if _, err := w.Write(binary.AppendUvarint(w.AvailableBuffer(), uint64(len(f)))); err != nil {
			return err
		}
		if _, err := w.Write(f); err != nil {
			return err
		}
	}
	return nil
}

// Restore replaces the state by a snapshot's, atomically: a stream that is not whole changes
// nothing and is ErrBadSnapshot. A snapshot older than the state is read and left: the state holds
// committed entries only, and must never pass through an older state.
func (m *Machine) Restore(r io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := m.Failure(); err != nil {
		return err
	}
	cfg := m.cfg
	cfg.Path += ".restore"
	if err := os.Remove(cfg.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	db, _, err := openState(cfg)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	applied, err := load(db, r, m.cfg.Class)
	if err != nil || applied < m.Applied() {
		return errors.Join(err, db.Close(), os.Remove(cfg.Path))
	}
	if err := errors.Join(db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := m.swap(cfg.Path); err != nil {
		return m.fail(fmt.Errorf("restore: %w", err))
	}
	m.advance(applied)
	return nil
}

func (m *Machine) swap(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.db.Close(), os.Rename(path, m.cfg.Path)); err != nil {
		return err
	}
	db, _, err := openState(m.cfg)
	if err != nil {
		return err
	}
	m.db = db
	return nil
}

// load fills an empty state file from a snapshot stream.
func load(db *bbolt.DB, r io.Reader, class Class) (applied uint64, err error) {
	in := &snapReader{r: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
	head := make([]byte, len(snapMagic)+2+8)
	if err := in.full(head); err != nil {
		return 0, err
	}
	if string(head[:8]) != snapMagic || head[8] != snapFormat || Class(head[9]) != class {
		return 0, fmt.Errorf("%w: header %x", ErrBadSnapshot, head[:10])
	}
	h := header{class: class, applied: binary.BigEndian.Uint64(head[10:])}
	for table, more := "", true; more; {
		err := db.Update(func(tx *bbolt.Tx) (err error) {
			table, more, err = in.records(tx, table, &h)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("%w: does not end where it says", ErrBadSnapshot)
	}
	return h.applied, db.Update(func(tx *bbolt.Tx) error {
		h.boot = headerOf(tx).boot
		return h.write(tx)
	})
}

// snapReader reads a snapshot and keeps its running checksum.
type snapReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

// records reads up to restoreBatch records into tx, the first into table; it says which table it
// ended in and whether more follows.
func (s *snapReader) records(tx *bbolt.Tx, table string, h *header) (string, bool, error) {
	var bucket *bbolt.Bucket
	if table != "" {
		bucket = tx.Bucket([]byte(table))
		bucket.FillPercent = 0.9
	}
	for range restoreBatch {
		tag, err := s.ReadByte()
		if err != nil {
			return "", false, err
		}
		switch {
		case tag == 'E':
			return "", false, s.verify()
		case tag == 'T':
			var name []byte
			if name, err = s.field(); err == nil {
				table = string(name)
				bucket, err = s.table(tx, name)
			}
		case tag == 'R' && bucket != nil:
			err = s.record(bucket, table, h)
		default:
			err = fmt.Errorf("%w: tag %q", ErrBadSnapshot, tag)
		}
		if err != nil {
			return "", false, err
		}
	}
	return table, true, nil
}

func (s *snapReader) table(tx *bbolt.Tx, name []byte) (*bbolt.Bucket, error) {
	bucket, err := tx.CreateBucket(name)
	if err != nil {
		return nil, fmt.Errorf("%w: table %q: %w", ErrBadSnapshot, name, err)
	}
	bucket.FillPercent = 0.9 // records arrive in order
	return bucket, nil
}

func (s *snapReader) record(bucket *bbolt.Bucket, table string, h *header) error {
	k, err := s.field()
	if err != nil {
		return err
	}
	v, err := s.field()
	if err != nil {
		return err
	}
	if bucket.Get(k) != nil {
		return fmt.Errorf("%w: record %s/%q stands twice", ErrBadSnapshot, table, k)
	}
	v = sealValue(table, k, v)
	if err := bucket.Put(k, v); err != nil {
		return fmt.Errorf("%w: record %s/%q: %w", ErrBadSnapshot, table, k, err)
	}
	h.add(v)
	return nil
}

func (s *snapReader) verify() error {
	want, got := s.sum.Sum(nil), make([]byte, sha256.Size)
	if _, err := io.ReadFull(s.r, got); err != nil {
		return fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("%w: checksum", ErrBadSnapshot)
	}
	return nil
}

func (s *snapReader) field() ([]byte, error) {
	n, err := binary.ReadUvarint(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	if n > maxSnapField {
		return nil, fmt.Errorf("%w: field of %d bytes", ErrBadSnapshot, n)
	}
	out := make([]byte, n)
	return out, s.full(out)
}

func (s *snapReader) full(p []byte) error {
	if _, err := io.ReadFull(s.r, p); err != nil {
		return fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	s.sum.Write(p)
	return nil
}

// ReadByte makes snapReader an io.ByteReader.
func (s *snapReader) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadSnapshot, err)
	}
	s.sum.Write([]byte{b})
	return b, nil
}
