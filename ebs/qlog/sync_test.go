package qlog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hive/internal/vfs"
)

// slow calls after when a file's sync has done its work and before it is said to have ended.
type slow struct {
	vfs.FS
	after func()
}

type slowFile struct {
	vfs.File
	after func()
}

func (s slow) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{f, s.after}, nil
}

func (s slow) Create(name string) (vfs.File, error) { return s.wrap(s.FS.Create(name)) }
func (s slow) Open(name string) (vfs.File, error)   { return s.wrap(s.FS.Open(name)) }

func (f slowFile) Datasync() error {
	err := f.File.Datasync()
	f.after()
	return err
}

func TestARecordIsNotSyncedByASyncThatBeganBeforeIt(t *testing.T) {
	b := newBed(t, 1)
	b.stop("n-a")
	mem := b.nodes["n-a"].fs.(*vfs.Mem)
	var armed atomic.Bool
	var l *Log
	second := make(chan error, 1)
	b.nodes["n-a"].fs = slow{mem, func() {
		if !armed.CompareAndSwap(true, false) {
			return
		}
		if _, err := l.Append(Write, 4096, 100, content(1, 100)); err != nil { // too late for this sync
			second <- err
			return
		}
		go func() { second <- l.Sync(context.Background()) }()
	}}
	b.start("n-a")
	l, _ = b.owner("n-a", 1)
	add(t, l, 0, 100)
	armed.Store(true)
	mustSync(t, l)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	left := mem.CrashClone(nil)
	b.close(l)
	b.stop("n-a")
	b.nodes["n-a"].fs = left
	b.start("n-a")
	l, records := b.owner("n-a", 2)
	mustHold(t, records, 0, 2, 100)
	b.close(l)
}

func TestManyCallersShareASync(t *testing.T) {
	b := newBed(t, 1)
	var syncs atomic.Int32
	var armed atomic.Bool
	var appended, all sync.WaitGroup
	b.stop("n-a")
	b.nodes["n-a"].fs = vfs.Hooked(b.nodes["n-a"].fs, func(op vfs.Op) error {
		if op.Name == "datasync" && strings.HasSuffix(op.Path, ".log") && armed.Load() && syncs.Add(1) == 1 {
			appended.Wait() // the first takes until all have appended
		}
		return nil
	})
	b.start("n-a")
	l, _ := b.owner("n-a", 1)
	const callers = 16
	appended.Add(callers)
	armed.Store(true)
	errs := make(chan error, callers)
	for i := range callers {
		all.Go(func() {
			_, err := l.Append(Write, 0, 10, content(i, 10))
			appended.Done()
			if err == nil {
				err = l.Sync(context.Background())
			}
			errs <- err
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := syncs.Load(); n > 2 {
		t.Fatalf("%d syncs for %d callers", n, callers)
	}
	b.close(l)
}

func TestAnOpeningThatIsGivenUpLeavesTheLogToTheNext(t *testing.T) {
	b := newBed(t, 3)
	l, _ := b.owner("n-a", 1)
	add(t, l, 0, 100)
	mustSync(t, l)
	b.close(l)
	no := errors.New("no")
	if _, err := Open(t.Context(), b.config("n-b", 2), func(Record) error { return no }); !errors.Is(err, no) {
		t.Fatal(err)
	}
	l, records := b.owner("n-b", 2)
	mustHold(t, records, 0, 1, 100)
	b.close(l)
}
