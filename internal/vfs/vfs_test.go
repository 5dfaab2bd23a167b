package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"hive/internal/vfs"
)

// Both implementations pass the same suite.
func forEach(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS{}, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := vfs.NewMem(1 << 20)
		if err := m.MkdirAll("/d"); err != nil {
			t.Fatal(err)
		}
		test(t, m, "/d")
	})
	t.Run("hooked", func(t *testing.T) {
		test(t, vfs.Hooked(vfs.OS{}, func(vfs.Op) error { return nil }), t.TempDir())
	})
}

func write(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesReadBackWhatWasWritten(t *testing.T) {
	forEach(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := write(t, fsys, dir+"/a", "hello world")
		if _, err := f.WriteAt([]byte("W"), 6); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(8); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Datasync(), f.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if got := content(t, fsys, dir+"/a"); got != "hello Wo" {
			t.Fatalf("%q", got)
		}
		g, err := fsys.Open(dir + "/a")
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if n, err := g.ReadAt(buf, 6); n != 2 || !errors.Is(err, io.EOF) {
			t.Fatalf("short read: %d %v", n, err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := g.ReadAt(buf, 0); err == nil {
			t.Fatal("closed file was read")
		}
	})
}

func TestNamesFollowCreateRenameRemove(t *testing.T) {
	forEach(t, func(t *testing.T, fsys vfs.FS, dir string) {
		if err := write(t, fsys, dir+"/b", "b").Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := fsys.Create(dir + "/b"); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("created twice: %v", err)
		}
		if err := errors.Join(write(t, fsys, dir+"/a", "a").Close(), fsys.Rename(dir+"/a", dir+"/b"), fsys.MkdirAll(dir+"/x/y")); err != nil {
			t.Fatal(err)
		}
		if got := content(t, fsys, dir+"/b"); got != "a" {
			t.Fatalf("renamed file holds %q", got)
		}
		names, err := fsys.List(dir)
		if err != nil || !slices.Equal(names, []string{"b", "x"}) {
			t.Fatalf("%v %v", names, err)
		}
		if err := errors.Join(fsys.Remove(dir+"/b"), fsys.SyncDir(dir)); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{fsys.Remove(dir + "/b"), func() error { _, err := fsys.Open(dir + "/b"); return err }()} {
			if !vfs.IsNotExist(err) {
				t.Fatalf("removed file: %v", err)
			}
		}
		if space, err := fsys.Space(dir); err != nil || space.Free <= 0 || space.Total < space.Free {
			t.Fatalf("%+v %v", space, err)
		}
	})
}

func TestPowerLossKeepsWhatWasSynced(t *testing.T) {
	m := vfs.NewMem(1 << 20)
	f := write(t, m, "/a", "one")
	unnamed := write(t, m, "/b", "lost")
	if err := errors.Join(f.Datasync(), unnamed.Datasync()); err != nil {
		t.Fatal(err)
	}
	if names, err := m.CrashClone(nil).List("/"); err != nil || len(names) != 0 {
		t.Fatalf("names without SyncDir: %v %v", names, err)
	}
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("two"), 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("/b"); err != nil {
		t.Fatal(err)
	}
	c := m.CrashClone(nil)
	if a, b := content(t, c, "/a"), content(t, c, "/b"); a != "one" || b != "lost" {
		t.Fatalf("%q %q", a, b)
	}
	if got := content(t, m, "/a"); got != "two" {
		t.Fatalf("the original holds %q", got)
	}
}

func TestTornPowerLossKeepsSyncedSectorsOrNewOnes(t *testing.T) {
	m := vfs.NewMem(1 << 20)
	f := write(t, m, "/a", string(bytes.Repeat([]byte{'o'}, 2048)))
	if err := errors.Join(f.Datasync(), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{'n'}, 4096), 0); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range uint64(64) {
		got := content(t, m.CrashClone(rand.New(rand.NewPCG(seed, 0))), "/a")
		if len(got) < 2048 || len(got) > 4096 {
			t.Fatalf("%d bytes survive", len(got))
		}
		for at := 0; at < len(got); at += 512 {
			chunk := got[at:min(at+512, len(got))]
			if bytes.Count([]byte(chunk), []byte{chunk[0]}) != len(chunk) {
				t.Fatalf("sector at %d is torn inside", at)
			}
			seen[chunk[:1]] = true
		}
	}
	if !seen["o"] || !seen["n"] || !seen["\x00"] {
		t.Fatalf("64 losses of power showed only %v", seen)
	}
}

// The content that survives is what it was at the last sync, whatever was done in between.
func TestSyncedContentIsThatOfTheLastSync(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	m := vfs.NewMem(1 << 20)
	f := write(t, m, "/a", "")
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	synced := ""
	for i := range 2000 {
		var err error
		switch rng.IntN(4) {
		case 0, 1:
			_, err = f.WriteAt(bytes.Repeat([]byte{byte(i)}, rng.IntN(50)), rng.Int64N(200))
		case 2:
			err = f.Truncate(rng.Int64N(200))
		case 3:
			synced = content(t, m, "/a")
			err = f.Datasync()
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := content(t, m.CrashClone(nil), "/a"); got != synced {
			t.Fatalf("after %d steps %q survives of %q", i, got, synced)
		}
	}
}

func TestFullFileSystemAnswersNoSpace(t *testing.T) {
	m := vfs.NewMem(10)
	f := write(t, m, "/a", "12345678")
	if n, err := f.WriteAt([]byte("abcd"), 8); n != 2 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("%d %v", n, err)
	}
	if got := content(t, m, "/a"); got != "12345678ab" {
		t.Fatalf("%q", got)
	}
	if s, err := m.Space("/"); err != nil || s.Free != 0 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestFlipRotsOneBitForGood(t *testing.T) {
	m := vfs.NewMem(100)
	f := write(t, m, "/a", "abc")
	if err := errors.Join(f.Datasync(), m.SyncDir("/"), m.Flip("/a", 1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, m.CrashClone(nil), "/a"); got != "acc" {
		t.Fatalf("%q", got)
	}
}

func TestHookSeesAndRefusesOperations(t *testing.T) {
	boom := errors.New("boom")
	var ops []string
	h := vfs.Hooked(vfs.NewMem(100), func(op vfs.Op) error {
		ops = append(ops, op.String())
		if op.Name == "datasync" {
			return boom
		}
		return nil
	})
	f := write(t, h, "/a", "abc")
	if err := f.Datasync(); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if err := f.Truncate(1); err != nil {
		t.Fatal(err)
	}
	want := []string{"create " + path.Join("/", "a"), "write /a 0+3", "datasync /a", "truncate /a 1"}
	if !slices.Equal(ops, want) {
		t.Fatalf("%q", ops)
	}
}
