package qlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"

	"hive/internal/vfs"
)

// The state file of a copy, "state", is 2048 bytes: two slots at 0 and 512, both written and synced at every change, and
// two marks at 1024 and 1536, written in turn without a sync of their own.
//
//	slot, 64 bytes                                     mark, 64 bytes
//	  0  4  "hvQS"                                       0  4  "hvQM"
//	  4  4  format, 1                                    4  4  format, 1
//	  8  8  counter: of two slots the higher counts      8  8  counter
//	 16  8  promised generation                         16  8  generation \
//	 24  8  promised incarnation                        24  8  incarnation | of the last record that
//	 32  8  cut: records before are checkpointed        32  8  sequence    / this copy has synced
//	 40  1  1: a member, whose word counts              40 20  zeroes
//	 41 19  zeroes                                      60  4  CRC32C of bytes 0..60
//	 60  4  CRC32C of bytes 0..60
//
// A mark tells a torn tail from damage: what lies behind it may be torn, nothing before it.
const (
	slotSize  = 64
	markAt    = 1024
	stateSize = 2048
	stateName = "state"
)

// promise is what a copy has durably said.
type promise struct {
	counter uint64
	term    term
	base    uint64 // first sequence that is wanted
	member  bool
}

// mark is how far a copy knows itself to be durable.
type mark struct {
	counter uint64
	term    term
	seq     uint64
}

func putSlot(magic string, words [4]uint64, flag byte) []byte {
	b := make([]byte, slotSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[4:], 1)
	for i, w := range words {
		le.PutUint64(b[8+8*i:], w)
	}
	b[40] = flag
	le.PutUint32(b[60:], sum(b[:60]))
	return b
}

func getSlot(b []byte, magic string) (words [4]uint64, flag byte, ok bool) {
	le := binary.LittleEndian
	if len(b) < slotSize || string(b[:4]) != magic || le.Uint32(b[4:]) != 1 || le.Uint32(b[60:]) != sum(b[:60]) {
		return words, 0, false
	}
	for i := range words {
		words[i] = le.Uint64(b[8+8*i:])
	}
	return words, b[40], true
}

func (p promise) bytes() []byte {
	var flag byte
	if p.member {
		flag = 1
	}
	return putSlot("hvQS", [4]uint64{p.counter, p.term.gen, p.term.inc, p.base}, flag)
}

func (m mark) bytes() []byte {
	return putSlot("hvQM", [4]uint64{m.counter, m.term.gen, m.term.inc, m.seq}, 0)
}

// parseState is what a state file says; ok is false where neither slot can be read: the promise is then lost.
func parseState(b []byte) (p promise, m mark, ok bool) {
	for _, at := range []int{0, 512} {
		if at > len(b) {
			break
		}
		w, flag, good := getSlot(b[at:], "hvQS")
		if good && w[3] > 0 && (!ok || w[0] > p.counter) {
			p, ok = promise{w[0], term{w[1], w[2]}, w[3], flag == 1}, true
		}
	}
	for _, at := range []int{markAt, markAt + 512} {
		if at > len(b) {
			break
		}
		if w, _, good := getSlot(b[at:], "hvQM"); good && w[0] >= m.counter && w[3] < 1<<63 {
			m = mark{w[0], term{w[1], w[2]}, w[3]}
		}
	}
	return p, m, ok
}

// stateFile keeps a copy's promise and mark. It is used under the copy's lock, persist under its sync lock.
type stateFile struct {
	f vfs.File
	promise
	mark
	unsynced bool // the mark is not durable
}

// createState makes a directory's state file, durably.
func createState(fsys vfs.FS, dir string, p promise, m mark) (*stateFile, error) {
	temp := path.Join(dir, stateName+".new")
	if err := fsys.Remove(temp); err != nil && !vfs.IsNotExist(err) {
		return nil, err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return nil, err
	}
	b := make([]byte, stateSize)
	copy(b, p.bytes())
	copy(b[512:], p.bytes())
	copy(b[markAt:], m.bytes())
	copy(b[markAt+512:], m.bytes())
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Datasync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := fsys.Rename(temp, path.Join(dir, stateName)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := fsys.SyncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &stateFile{f: f, promise: p, mark: m}, nil
}

// keep makes p durable, in both slots, one after the other: a loss of power leaves one of them whole.
func (s *stateFile) keep(p promise) error {
	p.counter = s.promise.counter + 1
	if err := s.put(p); err != nil {
		return err
	}
	s.promise, s.unsynced = p, false
	return nil
}

// put is keep's work on the file, for who holds the sync lock alone and changes the fields himself.
func (s *stateFile) put(p promise) error {
	for _, at := range []int64{0, 512} {
		if err := s.write(p.bytes(), at); err != nil {
			return err
		}
	}
	return nil
}

func (s *stateFile) write(b []byte, at int64) error {
	if _, err := s.f.WriteAt(b, at); err != nil {
		return fmt.Errorf("write the log's state: %w", err)
	}
	if err := s.f.Datasync(); err != nil {
		return fmt.Errorf("sync the log's state: %w", err)
	}
	return nil
}

// note writes a higher mark where a killed process leaves it; persist makes it survive a loss of power.
func (s *stateFile) note(t term, seq uint64) error {
	m := mark{s.mark.counter + 1, t, seq}
	if _, err := s.f.WriteAt(m.bytes(), markAt+512*int64(m.counter%2)); err != nil {
		return fmt.Errorf("write the log's mark: %w", err)
	}
	s.mark, s.unsynced = m, true
	return nil
}

// lower makes a lower mark durable in both places, before what lies behind it is cut.
func (s *stateFile) lower(t term, seq uint64) error {
	m := mark{s.mark.counter + 1, t, seq}
	for _, at := range []int64{markAt, markAt + 512} {
		if err := s.write(m.bytes(), at); err != nil {
			return err
		}
	}
	s.mark, s.unsynced = m, false
	return nil
}
