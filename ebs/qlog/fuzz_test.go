package qlog

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/vfs"
)

// plant puts a file with these bytes where another was.
func plant(t testing.TB, disk vfs.FS, name string, b []byte) {
	t.Helper()
	if err := disk.Remove(name); err != nil && !vfs.IsNotExist(err) {
		t.Fatal(err)
	}
	f, err := disk.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// Whatever lies in a segment file and the state file, opening the log does not panic, and gives records that were appended,
// in order, or an error.
func FuzzSegment(f *testing.F) {
	disk := written(f, 1)["n-a"]
	dir := "/logs/" + string(testVolume)
	var segment, state []byte
	for name := range files(f, disk) {
		b, err := vfs.ReadFile(disk, name)
		if err != nil {
			f.Fatal(err)
		}
		if strings.HasSuffix(name, segmentName(1)) {
			segment = b
		} else if strings.HasSuffix(name, stateName) {
			state = b
		}
	}
	f.Add(segment, state)
	f.Add(segment[:len(segment)-3], state)
	f.Add(segment, []byte{})
	f.Add(slices.Concat(segment, segment[recordsAt:]), state[:1000])
	f.Fuzz(func(t *testing.T, segment, state []byte) {
		b := newBed(t, 0)
		b.nodes["n-a"] = &node{id: "n-a", fs: disk.CrashClone(nil)}
		plant(t, b.nodes["n-a"].fs, path.Join(dir, segmentName(1)), segment)
		plant(t, b.nodes["n-a"].fs, path.Join(dir, stateName), state)
		b.start("n-a")
		l, records, err := b.tryOwner(b.config("n-a", 1<<40))
		if err != nil {
			return
		}
		for i, r := range records {
			if i > 0 && r.Seq <= records[i-1].Seq || len(r.Data) > MaxData {
				t.Fatalf("record %d after %d", r.Seq, records[i-1].Seq)
			}
		}
		add(t, l, 0, 10)
		mustSync(t, l)
		b.close(l)
	})
}

// frames is what an owner would send.
func frames() []byte {
	h := header{kind: Write, term: term{1, 1}, seq: 1, offset: 4096, length: 5, data: 5}
	rec := make([]byte, h.span())
	h.put(rec, []byte("hello"))
	copy(rec[h.dataAt():], "hello")
	h.stamp(rec, 0, 0)
	return slices.Concat(
		text(fHello, helloText+string(testVolume)), words(fInstall, 1, 1), words(fReset, 1), words(fTruncate, 0),
		seal(append(recordFrame(nil, 1), rec...), fAppend), words(fPing), words(fAdmit), words(fFetch, 1, 1), words(fCut, 1),
		seal(append(recordFrame(nil, 0), rec...), fFill),
	)
}

// Whatever an owner sends, a store does not panic, does not hang, and its copy opens afterwards.
func FuzzStoreFrames(f *testing.F) {
	good := frames()
	f.Add(good)
	f.Add(good[:len(good)-9])
	f.Add(good[30:])
	f.Fuzz(func(t *testing.T, sent []byte) {
		b := newBed(t, 1)
		conn, err := b.dial("n-z")(t.Context(), "n-a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(sent); err == nil {
			if err := conn.(*net.TCPConn).CloseWrite(); err == nil {
				_, _ = io.Copy(io.Discard, conn) // until the store has had enough
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		b.stop("n-a")
		b.start("n-a")
		if _, err := b.nodes["n-a"].store.replica(testVolume); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever a copy answers, an owner does not panic, does not hang, and takes nothing for a record that is none.
func FuzzOwnerFrames(f *testing.F) {
	rep := report{base: 1, next: 3, member: true, runs: []run{{term{1, 1}, 1}}}
	h := header{kind: Trim, term: term{1, 1}, seq: 1, offset: 4096, length: 5}
	rec := make([]byte, h.span())
	h.put(rec, nil)
	h.stamp(rec, 0, 0)
	f.Add(slices.Concat(rep.frame(), words(fDone), seal(append(recordFrame(nil, 0), rec...), fFetched), words(fSynced, 1), words(fAdmitted)))
	f.Add(slices.Concat((&report{base: 1, next: 1}).frame(), words(fDone), words(fDone), words(fSynced, 1), words(fAdmitted)))
	f.Add(words(fRefused, 9, 9))
	f.Add(text(fFailure, "no"))
	f.Fuzz(func(t *testing.T, answers []byte) {
		store, err := OpenStore(StoreConfig{Dir: "/logs", FS: vfs.NewMem(1 << 30), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		var dials atomic.Int32
		dial := func(context.Context, fsm.NodeID) (net.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, net.ErrClosed
			}
			mine, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			go func() {
				_, _ = theirs.Write(answers)
				_ = theirs.Close()
			}()
			return mine, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		cfg := Config{
			Volume: testVolume, Generation: 2, Self: "n-a", Replicas: []fsm.NodeID{"n-a", "n-b"}, Store: store, Dial: dial, Clean: true,
		}
		l, err := Open(ctx, cfg, func(Record) error { return nil })
		if err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
