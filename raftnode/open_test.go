package raftnode

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// alone tunes a group of one node, which elects itself.
func alone(c *Config) {
	c.Timing.Heartbeat = 60 * time.Millisecond
	c.Snapshots = Snapshots{Threshold: 1 << 20, Trailing: 30}
}

// grownDir is the directory of a single node that has a log, a snapshot and a state.
func grownDir(t *testing.T, snapshots int) string {
	t.Helper()
	r := newRig(t, alone)
	m := r.form(1)[0]
	ctx := testContext(t, 30*time.Second)
	for i := range 3 {
		for j := range 20 {
			if err := m.Propose(ctx, set(fmt.Sprintf("b-%d", j), uint64(i))); err != nil {
				t.Fatal(err)
			}
		}
		if i < snapshots {
			if err := m.Snapshot(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.stop(m)
	return m.dir
}

// reopen opens a copy of dir after change.
func reopen(t *testing.T, dir, boot string, change func(dir string)) (*rig, *member, error) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	change(to)
	r := newRig(t, alone)
	m, err := r.open("n-1", to, boot)
	return r, m, err
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedDirectoriesAreRefusedAndToldApart(t *testing.T) {
	t.Parallel()
	dir := grownDir(t, 2)
	update := func(dir string, fn func(tx *bbolt.Tx) error) {
		db, err := bbolt.Open(filepath.Join(dir, fileLog), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(fn), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(dir string)
		want   error
	}{
		"log is missing":   {func(d string) { remove(t, filepath.Join(d, fileLog)) }, ErrLogMissing},
		"log is empty":     {func(d string) { truncate(t, filepath.Join(d, fileLog), 0) }, ErrLogTruncated},
		"log is cut":       {func(d string) { truncate(t, filepath.Join(d, fileLog), 5*4096) }, ErrLogTruncated},
		"log is cut short": {func(d string) { truncate(t, filepath.Join(d, fileLog), 100) }, ErrLogTruncated},
		"a meta page":      {func(d string) { flip(t, filepath.Join(d, fileLog), 4096+40) }, ErrLogCorrupt},
		"an entry": {func(d string) {
			update(d, func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("logs"))
				k, v := b.Cursor().Last()
				v = append([]byte(nil), v...)
				v[len(v)/2] ^= 1
				return b.Put(k, v)
			})
		}, ErrLogCorrupt},
		"the vote": {func(d string) {
			update(d, func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("conf"))
				v := append([]byte(nil), b.Get([]byte(keyVote))...)
				v[7]++
				return b.Put([]byte(keyVote), v)
			})
		}, ErrLogCorrupt},
		"an entry is gone": {func(d string) {
			update(d, func(tx *bbolt.Tx) error {
				c := tx.Bucket([]byte("logs")).Cursor()
				c.Last()
				c.Prev()
				return c.Delete()
			})
		}, ErrLogCorrupt},
		"entries at the end are gone": {func(d string) {
			update(d, func(tx *bbolt.Tx) error {
				c := tx.Bucket([]byte("logs")).Cursor()
				for range 25 {
					c.Last()
					if err := c.Delete(); err != nil {
						return err
					}
				}
				return nil
			})
		}, ErrStateLost},
		"all snapshots are gone": {func(d string) { remove(t, filepath.Join(d, dirSnapshots)) }, ErrStateLost},
		"all snapshots are damaged, and the state": {func(d string) {
			for _, f := range snapshotFiles(t, d) {
				flip(t, filepath.Join(d, f), 30)
			}
			remove(t, filepath.Join(d, fileState))
		}, ErrStateLost},
		"another node's": {func(d string) {
			writeFile(t, filepath.Join(d, fileMarker), `{"group":"index-0","class":2,"node":"n-7"}`)
		}, ErrWrongDir},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := reopen(t, dir, "boot", c.change)
			if !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
			for _, other := range []error{ErrLogMissing, ErrLogTruncated, ErrLogCorrupt, ErrStateLost, ErrWrongDir} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("also %v", other)
				}
			}
		})
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// snapshotFiles are the state files of the snapshots, newest last.
func snapshotFiles(t *testing.T, dir string) []string {
	t.Helper()
	all, err := fs.Glob(os.DirFS(dir), "snapshots/*/state.bin")
	if err != nil || len(all) == 0 {
		t.Fatalf("no snapshots: %v", err)
	}
	return all
}

func TestWhatCanBeBuiltAgainIs(t *testing.T) {
	t.Parallel()
	dir := grownDir(t, 2)
	files := snapshotFiles(t, dir)
	newest := filepath.Join(files[len(files)-1])
	for name, c := range map[string]struct {
		boot   string
		change func(dir string)
	}{
		"nothing happened":                 {"boot", func(string) {}},
		"power was lost after a clean end": {"boot 2", func(string) {}},
		"state is missing":                 {"boot", func(d string) { remove(t, filepath.Join(d, fileState)) }},
		"state is cut":                     {"boot", func(d string) { truncate(t, filepath.Join(d, fileState), 3*4096) }},
		"state is corrupt":                 {"boot", func(d string) { flip(t, filepath.Join(d, fileState), 4*4096+100) }},
		"newest snapshot is damaged":       {"boot", func(d string) { flip(t, filepath.Join(d, newest), 30) }},
		"newest snapshot is cut, and state is missing": {"boot", func(d string) {
			truncate(t, filepath.Join(d, newest), 50)
			remove(t, filepath.Join(d, fileState))
		}},
		"all snapshots are damaged, the state is whole": {"boot", func(d string) {
			for _, f := range files {
				flip(t, filepath.Join(d, f), 30)
			}
		}},
		"a snapshot was interrupted": {"boot", func(d string) {
			if err := os.Mkdir(filepath.Join(d, "snapshots", "9-9-9.tmp"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r, m, err := reopen(t, dir, c.boot, c.change)
			if err != nil {
				t.Fatal(err)
			}
			r.run(m)
			ctx := testContext(t, 20*time.Second)
			if err := m.ReadIndex(ctx); err != nil {
				t.Fatal(err)
			}
			<-m.Ready()
			for j := range 20 {
				if got := get(t, m, fmt.Sprintf("b-%d", j)); got != 2 {
					t.Errorf("b-%d is %d", j, got)
				}
			}
			if left, err := fs.Glob(os.DirFS(m.dir), "snapshots/*.tmp"); err != nil || len(left) > 0 {
				t.Errorf("left: %v %v", left, err)
			}
		})
	}
}

func TestDirectoryIsOpenedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.form(1)[0]
	if _, err := r.open("n-1", m.dir, "boot"); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
}

func TestEntryThatRotsWhileTheNodeRunsStopsTheGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	m := nodes[2]
	for i := range 10 {
		if err := m.Propose(ctx, set(fmt.Sprintf("rotten-%d", i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(m.dir, fileLog)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := bytes.LastIndex(raw, []byte("rotten-5")); at >= 0; at = bytes.LastIndex(raw[:at], []byte("rotten-5")) {
		flip(t, path, int64(at)) // bbolt maps the file: it sees what is written to it
	}
	go func() { // as raft's goroutines would
		for i := uint64(1); ; i++ {
			var l raft.Log
			if err := m.store.GetLog(i, &l); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	select {
	case err := <-m.done:
		if !errors.Is(err, ErrLogCorrupt) {
			t.Errorf("%v", err)
		}
	case <-ctx.Done():
		t.Fatal("the node goes on")
	}
	r.forget(m)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := nodes[0].Propose(ctx, set("b", 1)); err != nil {
		t.Errorf("the others: %v", err)
	}
	if err := m.Propose(ctx, set("b", 2)); !errors.Is(err, ErrStopped) {
		t.Errorf("a group that has stopped: %v", err)
	}
	r.compare()
}
