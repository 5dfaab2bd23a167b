package nbd_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
)

// patience is when something that must happen is taken not to.
const patience = 60 * time.Second

// server is a running server on a unix socket.
type server struct {
	*nbd.Server
	socket string
	stop   func() // ends it and waits; the test's end does it too
}

// serve runs a server until the test ends, and proves then that nothing of it is left.
func serve(t testing.TB, cfg nbd.Config) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &server{socket: filepath.Join(dir, "s")}
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s.Server = nbd.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatalf("the server does not end\n%s", stacks())
		}
		if n := s.Connections(); n != 0 {
			t.Errorf("%d connections after the end", n)
		}
		noGoroutines(t)
	}
	t.Cleanup(s.stop)
	return s
}

// one is a configuration with one export, "disk".
func one(d nbd.Device) nbd.Config { return all(nbd.Export{Name: "disk", Device: d}) }

func all(e ...nbd.Export) nbd.Config {
	return nbd.Config{Exports: func() []nbd.Export { return e }}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// noGoroutines waits until no goroutine of the package runs.
func noGoroutines(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		left := ""
		for _, g := range strings.Split(stacks(), "\n\n") {
			if strings.Contains(g, "hive/ebs/nbd.") {
				left = g
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("a goroutine is left:\n%s", left)
		}
		runtime.Gosched()
	}
}

// idle waits until the server has no connection.
func (s *server) idle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Idle(ctx); err != nil {
		t.Fatalf("connections stay: %v\n%s", err, stacks())
	}
}

// uri of an export.
func (s *server) uri(name string) string { return "nbd+unix:///" + name + "?socket=" + s.socket }

// packageOf names the Debian package of the tools that tests need.
var packageOf = map[string]string{
	"nbdinfo": "libnbd-bin", "nbdcopy": "libnbd-bin", "qemu-img": "qemu-utils", "qemu-io": "qemu-utils", "/usr/bin/python3": "python3-libnbd",
}

// run runs a tool and is its standard output; it must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try runs a tool that may fail; its standard error is in the answer then.
func try(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install %s", err, packageOf[name])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out) + stderr.String(), err
	}
	return string(out), nil
}

// slow is a memory device that is never quick, and that a test can look into and hold up.
type slow struct {
	*hidden
	before func(ctx context.Context, c call) error // called first by each method; its error is the method's
}

// hidden hides that Memory is quick.
type hidden struct{ mem *nbdtest.Memory }

// call is what a device was asked.
type call struct {
	op         string
	off, n     int64
	fua, punch bool
}

func newSlow(size int64, before func(context.Context, call) error) *slow {
	if before == nil {
		before = func(context.Context, call) error { return nil }
	}
	return &slow{&hidden{nbdtest.NewMemory(size)}, before}
}

func (d *slow) Size() int64 { return d.mem.Size() }

func (d *slow) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := d.before(ctx, call{op: "read", off: off, n: int64(len(p))}); err != nil {
		return err
	}
	return d.mem.ReadAt(ctx, p, off)
}

func (d *slow) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if err := d.before(ctx, call{op: "write", off: off, n: int64(len(p)), fua: fua}); err != nil {
		return err
	}
	return d.mem.WriteAt(ctx, p, off, fua)
}

func (d *slow) Zero(ctx context.Context, off, n int64, fua, punch bool) error {
	if err := d.before(ctx, call{"zero", off, n, fua, punch}); err != nil {
		return err
	}
	return d.mem.Zero(ctx, off, n, fua, punch)
}

func (d *slow) Trim(ctx context.Context, off, n int64, fua bool) error {
	if err := d.before(ctx, call{op: "trim", off: off, n: n, fua: fua}); err != nil {
		return err
	}
	return d.mem.Trim(ctx, off, n, fua)
}

func (d *slow) Flush(ctx context.Context) error {
	if err := d.before(ctx, call{op: "flush"}); err != nil {
		return err
	}
	return d.mem.Flush(ctx)
}

func (d *slow) Extents(ctx context.Context, off, n int64, yield func(int64, bool, bool) bool) error {
	if err := d.before(ctx, call{op: "extents", off: off, n: n}); err != nil {
		return err
	}
	return d.mem.Extents(ctx, off, n, yield)
}
