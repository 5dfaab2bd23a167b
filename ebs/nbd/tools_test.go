package nbd_test

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
)

func TestNbdinfoSeesTheExportsAsTheyAre(t *testing.T) {
	cfg := all(nbd.Export{Name: "vol-1", Description: "a volume", Device: nbdtest.NewMemory(64 * mib)},
		nbd.Export{Name: "vol-2", Device: nbdtest.NewMemory(mib), ReadOnly: true, MinBlock: 4096})
	cfg.MultiConn = true
	s := serve(t, cfg)
	var info struct {
		Protocol string
		TLS      bool
		Exports  []map[string]any
	}
	out := run(t, "nbdinfo", "--json", "--no-content", s.uri("vol-1"))
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	if info.Protocol != "newstyle-fixed" || info.TLS || len(info.Exports) != 1 {
		t.Fatal(out)
	}
	for key, want := range map[string]any{
		"export-name": "vol-1", "description": "a volume", "export-size": 64.0 * mib, "is_read_only": false, "is_rotational": false,
		"can_cache": true, "can_df": true, "can_fast_zero": true, "can_flush": true, "can_fua": true, "can_multi_conn": true,
		"can_trim": true, "can_zero": true, "block_size_minimum": 512.0, "block_size_preferred": 4096.0, "block_size_maximum": 32.0 * mib,
		"contexts": []any{"base:allocation"},
	} {
		if got := info.Exports[0][key]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	out = run(t, "nbdinfo", "--list", "--json", s.uri(""))
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	if len(info.Exports) != 2 || info.Exports[1]["is_read_only"] != true || info.Exports[1]["block_size_minimum"] != 4096.0 || info.Exports[1]["can_zero"] != false {
		t.Error(out)
	}
	if out, err := try(t, "nbdinfo", s.uri("vol-3")); err == nil {
		t.Errorf("an export that is not there: %s", out)
	}
}

func TestNbdinfoMapsDataAndHoles(t *testing.T) {
	d := nbdtest.NewMemory(8 * mib)
	d.TryWrite(noise(1, 2*mib), mib)
	s := serve(t, one(d))
	var extents []struct {
		Offset, Length int64
		Type           int
	}
	out := run(t, "nbdinfo", "--map", "--json", s.uri("disk"))
	if err := json.Unmarshal([]byte(out), &extents); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("[{0 %d 3} {%d %d 0} {%d %d 3}]", mib, mib, 2*mib, 3*mib, 5*mib); fmt.Sprint(extents) != want {
		t.Errorf("%v, want %s", extents, want)
	}
}

// image writes a file of 64 MiB with data and holes, and is its MD5.
func image(t *testing.T, name string) [md5.Size]byte {
	t.Helper()
	p := make([]byte, 64*mib)
	copy(p, noise(1, mib))
	copy(p[5*mib+512:], noise(2, 20*mib))
	copy(p[63*mib:], noise(3, mib))
	if err := os.WriteFile(name, p, 0o600); err != nil {
		t.Fatal(err)
	}
	return md5.Sum(p)
}

func sum(t *testing.T, name string) [md5.Size]byte {
	t.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return md5.Sum(p)
}

func TestNbdcopyAndQemuImgConvertBringTheSameBytesBack(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	want := image(t, in)
	for _, multi := range []bool{false, true} {
		for _, quick := range []bool{false, true} {
			d := newSlow(64*mib, nil)
			cfg := one(d)
			if quick {
				cfg = one(d.mem)
			}
			cfg.MultiConn = multi
			s := serve(t, cfg)
			uri := s.uri("disk")
			run(t, "nbdcopy", "--flush", in, uri)
			if d.mem.Flushes() == 0 {
				t.Error("nbdcopy --flush came to no flush")
			}
			run(t, "nbdcopy", "--connections=4", uri, out)
			if sum(t, out) != want {
				t.Errorf("nbdcopy, multi-conn %v, quick %v: other bytes", multi, quick)
			}
			run(t, "nbdcopy", "--synchronous", "--allocated", "--request-size=65536", in, uri)
			run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", uri, out)
			if sum(t, out) != want {
				t.Errorf("qemu-img convert, multi-conn %v, quick %v: other bytes", multi, quick)
			}
			run(t, "qemu-img", "convert", "-n", "-W", "-f", "raw", "-O", "raw", in, uri)
			run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, uri)
			s.stop()
		}
	}
}

func TestQemuImgMapsDataAndHoles(t *testing.T) {
	d := nbdtest.NewMemory(8 * mib)
	d.TryWrite(noise(1, mib), 2*mib)
	s := serve(t, one(d))
	var got []struct {
		Start, Length int64
		Zero, Data    bool
	}
	if err := json.Unmarshal([]byte(run(t, "qemu-img", "map", "--output=json", "-f", "raw", s.uri("disk"))), &got); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("[{0 %d true false} {%d %d false true} {%d %d true false}]", 2*mib, 2*mib, mib, 3*mib, 5*mib)
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestPythonClientSeesEveryCommandAndEveryErrorRight(t *testing.T) {
	for _, quick := range []bool{false, true} {
		for _, multi := range []bool{false, true} {
			const size = 64 * mib
			d := newSlow(size, nil)
			e := nbd.Export{Name: "disk", Device: d}
			if quick {
				e.Device = d.mem
			}
			cfg := all(e, nbd.Export{Name: "ro", Device: d, ReadOnly: true})
			cfg.MultiConn = multi
			s := serve(t, cfg)
			script := filepath.Join("testdata", "commands.py")
			out, err := try(t, "/usr/bin/python3", script, s.uri("disk"), s.uri("ro"), map[bool]string{true: "True", false: "False"}[multi], fmt.Sprint(size))
			if err != nil || strings.TrimSpace(out) != "all is well" {
				t.Errorf("quick %v, multi-conn %v: %v\n%s", quick, multi, err, out)
			}
			s.stop()
		}
	}
}

func TestQemuImgBenchReadsWritesAndFlushes(t *testing.T) {
	for _, quick := range []bool{false, true} {
		d := newSlow(64*mib, nil)
		cfg := one(d)
		if quick {
			cfg = one(d.mem)
		}
		s := serve(t, cfg)
		bench := []string{"bench", "-f", "raw", "-c", "1000", "-d", "32", "-s", "4096", "-S", "20480"}
		run(t, "qemu-img", append(bench, s.uri("disk"))...)
		if d.mem.Flushes() != 0 {
			t.Errorf("reading came to %d flushes", d.mem.Flushes())
		}
		run(t, "qemu-img", append(bench, "-w", "--pattern=65", "--flush-interval=50", s.uri("disk"))...)
		if d.mem.Flushes() < 20 {
			t.Errorf("1000 writes with a flush after each 50 came to %d flushes", d.mem.Flushes())
		}
		run(t, "qemu-img", append(bench, "-w", "--flush-interval=50", "--no-drain", s.uri("disk"))...)
		s.stop()
	}
}

func TestQemuIOWritesZeroesTrimsAndVerifies(t *testing.T) {
	for _, quick := range []bool{false, true} {
		d := newSlow(64*mib, nil)
		cfg := one(d)
		if quick {
			cfg = one(d.mem)
		}
		s := serve(t, cfg)
		var args []string
		for _, c := range []string{
			"write -P 0x11 0 1M", "write -f -P 0x22 1M 64k", "flush", "read -P 0x11 0 1M", "read -P 0x22 1M 64k", "read -P 0 1088k 1M",
			"write -z -u 512k 256k", "read -P 0x11 0 512k", "read -P 0 512k 256k", "read -P 0x11 768k 256k",
			"write -z -f 0 64k", "read -P 0 0 64k", "discard 0 2M", "read 0 2M", "aio_write -P 0x33 3M 1M", "aio_write -P 0x44 4M 4k", "aio_flush",
			"aio_read -P 0x33 3M 1M", "aio_read -P 0x44 4M 4k", "aio_flush", "write -P 0x55 8M 32M", "read -P 0x55 8M 32M", "write -P 7 512 512", "read -P 7 512 512",
		} {
			args = append(args, "-c", c)
		}
		out := run(t, "qemu-io", append(append([]string{"-f", "raw"}, args...), s.uri("disk"))...)
		if strings.Contains(out, "ailed") || strings.Contains(out, "error") {
			t.Error(out)
		}
		s.stop()
	}
}
