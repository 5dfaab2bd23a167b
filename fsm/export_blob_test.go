package fsm

import (
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// Scratch is a database without a log, for testing what records do.
type Scratch struct {
	t  *testing.T
	db *bbolt.DB
	n  uint64
}

// NewScratch is an empty one.
func NewScratch(t *testing.T) *Scratch {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "scratch.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Scratch{t: t, db: db}
}

// Write runs fn as the next entry.
func (s *Scratch) Write(fn func(w *Writer)) {
	s.t.Helper()
	s.n++
	if err := s.db.Update(func(tx *bbolt.Tx) error { fn(&Writer{View: View{tx: tx, index: s.n}, header: &header{}}); return nil }); err != nil {
		s.t.Fatal(err)
	}
}
