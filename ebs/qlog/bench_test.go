package qlog

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"hive/fsm"
	"hive/internal/vfs"
)

// realBed is nodes on the operating system's file system.
func realBed(b *testing.B, n int) *bed {
	out := newBed(b, n)
	for _, id := range out.ids() {
		out.stop(id)
		out.nodes[id].fs = rooted{vfs.OS{}, b.TempDir()}
	}
	out.segment = 64 << 20
	for _, id := range out.ids() {
		out.start(id)
	}
	return out
}

// rooted puts every name below a directory.
type rooted struct {
	fs  vfs.FS
	dir string
}

func (r rooted) Create(name string) (vfs.File, error) { return r.fs.Create(r.dir + name) }
func (r rooted) Open(name string) (vfs.File, error)   { return r.fs.Open(r.dir + name) }
func (r rooted) Remove(name string) error             { return r.fs.Remove(r.dir + name) }
func (r rooted) Rename(a, b string) error             { return r.fs.Rename(r.dir+a, r.dir+b) }
func (r rooted) List(dir string) ([]string, error)    { return r.fs.List(r.dir + dir) }
func (r rooted) MkdirAll(dir string) error            { return r.fs.MkdirAll(r.dir + dir) }
func (r rooted) SyncDir(dir string) error             { return r.fs.SyncDir(r.dir + dir) }
func (r rooted) Space(dir string) (vfs.Space, error)  { return r.fs.Space(r.dir + dir) }

// cutEvery keeps the log short, as checkpoints would.
const cutEvery = 512 << 20

func benchAppend(b *testing.B, nodes, size int, synced bool) {
	bed := realBed(b, nodes)
	l, _ := bed.owner("n-a", 1)
	defer bed.close(l)
	data := content(1, size)
	b.SetBytes(int64(size))
	since := 0
	for b.Loop() {
		at, err := l.Append(Write, 0, int64(size), data)
		if err != nil {
			b.Fatal(err)
		}
		if synced {
			if err := l.Sync(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		if since += size; since > cutEvery {
			since = 0
			if err := l.Cut(context.Background(), at.Seq); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkAppend(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		for _, size := range []int{4 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("replicas=%d/size=%dK", nodes, size>>10), func(b *testing.B) { benchAppend(b, nodes, size, false) })
		}
	}
}

func BenchmarkAppendAndSync(b *testing.B) {
	for _, nodes := range []int{1, 2, 3} {
		b.Run(fmt.Sprintf("replicas=%d", nodes), func(b *testing.B) { benchAppend(b, nodes, 4<<10, true) })
	}
}

// BenchmarkAppendAndSyncWithAnotherProcess has two copies, both needed, the second in a process of its own.
func BenchmarkAppendAndSyncWithAnotherProcess(b *testing.B) {
	child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childDir+"="+b.TempDir())
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _, _ = child.Process.Kill(), child.Wait() }()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	store, err := OpenStore(StoreConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	cfg := childConfig(store, 1)
	cfg.Replicas = []fsm.NodeID{"n-a", "n-b"}
	cfg.Dial = func(ctx context.Context, _ fsm.NodeID) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimSpace(addr))
	}
	l, err := Open(b.Context(), cfg, func(Record) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	data := content(1, 4<<10)
	for b.Loop() {
		if _, err := l.Append(Write, 0, 4<<10, data); err != nil {
			b.Fatal(err)
		}
		if err := l.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReadAt(b *testing.B) {
	bed := realBed(b, 1)
	l, _ := bed.owner("n-a", 1)
	defer bed.close(l)
	at := add(b, l, 0, 4<<10)
	p := make([]byte, 4<<10)
	b.SetBytes(4 << 10)
	for b.Loop() {
		if err := l.ReadAt(p, at, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDisk is what the disk can do: the same bytes appended to a plain file, and fdatasync.
func BenchmarkDisk(b *testing.B) {
	fs := rooted{vfs.OS{}, b.TempDir()}
	f, err := fs.Create("/plain")
	if err != nil {
		b.Fatal(err)
	}
	data, off := content(1, 4168), int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(data, off); err != nil {
			b.Fatal(err)
		}
		if err := f.Datasync(); err != nil {
			b.Fatal(err)
		}
		off += int64(len(data))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
