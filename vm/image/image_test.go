package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// raw writes a raw file of random bytes with a hole in the middle.
func raw(t *testing.T, size int64) (file string, content []byte) {
	t.Helper()
	content = make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	third := size / 3
	_, _ = random.Read(content[:third]) // never fails
	_, _ = random.Read(content[2*third:])
	content[0] = 0xeb
	file = filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, content
}

func qemuImg(t *testing.T, words ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "qemu-img", words...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v: %s", words, err, out)
	}
}

// files are the names in a file's directory.
func files(t *testing.T, file string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestEveryFormatBecomesTheSameRawDisk(t *testing.T) {
	const size = 3 << 20
	src, content := raw(t, size)
	for _, c := range []struct{ name, as, want, options string }{
		{"raw", "raw", Raw, ""},
		{"qcow2", "qcow2", QCOW2, ""},
		{"qcow2 of version 2", "qcow2", QCOW2, "compat=0.10"},
		{"vmdk", "vmdk", VMDK, ""},
		{"vmdk for streams", "vmdk", VMDK, "subformat=streamOptimized"},
		{"vhd", "vpc", VHD, "force_size=on"},
		{"fixed vhd", "vpc", VHD, "subformat=fixed,force_size=on"},
		{"vhdx", "vhdx", VHDX, ""},
		{"vdi", "vdi", VDI, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			words := []string{"convert", "-f", "raw", "-O", c.as}
			if c.options != "" {
				words = append(words, "-o", c.options)
			}
			qemuImg(t, append(words, src, image)...)
			info, err := Probe(t.Context(), image)
			if err != nil || info.Format != c.want {
				t.Fatalf("%+v, %v", info, err)
			}
			var told []int64
			dst := image + ".raw"
			err = ToRaw(t.Context(), image, dst, func(done, total int64) {
				if total != info.VirtualSize {
					t.Errorf("total is %d, not %d", total, info.VirtualSize)
				}
				told = append(told, done)
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(dst)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(got)) != info.VirtualSize || len(got) < size || !bytes.Equal(got[:size], content) ||
				len(bytes.Trim(got[size:], "\x00")) != 0 {
				t.Errorf("%d bytes, not those of the disk", len(got))
			}
			if !slices.IsSorted(told) || len(told) == 0 || told[len(told)-1] != info.VirtualSize {
				t.Errorf("progress was %v", told)
			}
			if names := files(t, dst); len(names) != 2 {
				t.Errorf("files are %v", names)
			}
		})
	}
}

func TestSizesThatAreNoMultipleOfABlockArePaddedWithZeroes(t *testing.T) {
	for _, size := range []int64{1, 511, 512, 513, 4095, 65537, 1<<20 + 7} {
		src, content := raw(t, size)
		info, err := ProbeAs(t.Context(), src, "RAW")
		if err != nil {
			t.Fatal(err)
		}
		if info.VirtualSize%Sector != 0 || info.VirtualSize-info.Padded != size {
			t.Errorf("%d bytes: %+v", size, info)
		}
		if _, err := ToRawAs(t.Context(), src, "raw", src+".out", nil); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := os.ReadFile(src + ".out")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, append(content, make([]byte, info.Padded)...)) {
			t.Errorf("%d bytes became %d others", size, len(got))
		}
	}
}

func TestASparseDiskStaysSparse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{7}, 64<<10), 512<<20); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(1<<30), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := ToRaw(t.Context(), file, file+".raw", nil); err != nil {
		t.Fatal(err)
	}
	out, err := os.Open(file + ".raw")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() //nolint:errcheck // only read
	held, found := int64(0), false
	for e, err := range Extents(out) {
		if err != nil {
			t.Fatal(err)
		}
		found = found || e.Offset <= 512<<20 && e.Offset+e.Length >= 512<<20+64<<10
		held += e.Length
	}
	if !found || held > 1<<20 {
		t.Errorf("extents of %d bytes, with what was written: %v", held, found)
	}
}

func TestExtentsOfAnEmptyFileAndOfAHoleAreNone(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test's
	for range 2 {
		for e, err := range Extents(f) {
			t.Errorf("%+v, %v", e, err)
		}
		if err := f.Truncate(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsNoImageOfTheFormatIsRefused(t *testing.T) {
	src, _ := raw(t, 1<<20)
	dir := filepath.Dir(src)
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	qcow2 := filepath.Join(dir, "q")
	qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", src, qcow2)
	whole, err := os.ReadFile(qcow2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, file, format string }{
		{"raw as qcow2", src, "qcow2"},
		{"raw as vmdk", src, "VMDK"},
		{"qcow2 as vhd", qcow2, "VHD"},
		{"an unknown format", src, "ova"},
		{"an empty file", write("empty", nil), ""},
		{"an empty raw file", write("empty2", nil), "raw"},
		{"a header that is cut off", write("cut", whole[:60]), "qcow2"},
		{"a magic and nothing else", write("magic", []byte("QFI\xfb")), ""},
		{"gzip", write("gz", []byte("\x1f\x8b\x08rest of it")), ""},
		{"xz", write("xz", []byte("\xfd7zXZ\x00rest of it")), ""},
		{"a directory", dir, "raw"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := files(t, src)
			info, err := ToRawAs(t.Context(), c.file, c.format, filepath.Join(dir, "out"), nil)
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%+v, %v", info, err)
			}
			if after := files(t, src); !slices.Equal(before, after) {
				t.Errorf("files are %v", after)
			}
		})
	}
	if _, err := Probe(t.Context(), filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestADamagedImageLeavesNothing(t *testing.T) {
	src, _ := raw(t, 4<<20)
	image := src + ".qcow2"
	qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", src, image)
	if err := os.Truncate(image, 300<<10); err != nil { // the header and the tables are whole
		t.Fatal(err)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	bad := binary.BigEndian.AppendUint64(nil, 1<<63|0x10200) // an entry of the L1 table that points between clusters
	var l1 [8]byte
	_, err = f.ReadAt(l1[:], 40)
	if err == nil {
		_, err = f.WriteAt(bad, int64(binary.BigEndian.Uint64(l1[:])))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	before := files(t, src)
	if err := ToRaw(t.Context(), image, src+".out", nil); !errors.Is(err, ErrFormat) {
		t.Errorf("error is %v", err)
	}
	if after := files(t, src); !slices.Equal(before, after) {
		t.Errorf("files are %v", after)
	}
}

func TestImagesThatReferToOtherFilesAreRefused(t *testing.T) {
	base, _ := raw(t, 1<<20)
	dir := filepath.Dir(base)
	in := func(name string) string { return filepath.Join(dir, name) }
	qemuImg(t, "create", "-f", "qcow2", "-b", base, "-F", "raw", in("backed.qcow2"))
	qemuImg(t, "create", "-f", "qcow2", "-o", "data_file="+in("data")+",data_file_raw=on", in("data.qcow2"), "1M")
	qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", base, in("flat.vmdk"))
	qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", base, in("base.vmdk"))
	qemuImg(t, "create", "-f", "vmdk", "-b", in("base.vmdk"), "-F", "vmdk", in("backed.vmdk"))
	noCapacity, err := os.ReadFile(in("base.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	clear(noCapacity[12:20])
	difference := make([]byte, 2048)
	copy(difference, "conectix")
	binary.BigEndian.PutUint32(difference[60:], 4)
	if err := errors.Join(os.WriteFile(in("capacity.vmdk"), noCapacity, 0o600),
		os.WriteFile(in("difference.vhd"), difference, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"backed.qcow2", "data.qcow2", "flat.vmdk", "backed.vmdk", "capacity.vmdk", "difference.vhd",
	} {
		if info, err := Probe(t.Context(), in(name)); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func TestADiskThatIsTooLargeIsRefused(t *testing.T) {
	image := filepath.Join(t.TempDir(), "large")
	qemuImg(t, "create", "-f", "qcow2", image, "17T")
	if info, err := Probe(t.Context(), image); !errors.Is(err, ErrSize) {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestCancelEndsTheConversionAndLeavesNothing(t *testing.T) {
	src, _ := raw(t, 64<<20)
	ctx, cancel := context.WithCancel(t.Context())
	err := ToRaw(ctx, src, src+".out", func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if names := files(t, src); len(names) != 1 {
		t.Errorf("files are %v", names)
	}
}

func TestAFileNamedLikeAProtocolIsAFile(t *testing.T) {
	src, _ := raw(t, 1<<20)
	dir := t.TempDir()
	t.Chdir(dir)
	name := "nbd:localhost:1,x"
	qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", src, filepath.Join(dir, strings.ReplaceAll(name, ",", ",,")))
	if _, err := os.Stat(name); err != nil { // qemu-img does not unquote: take what it made
		if err := os.Rename(strings.ReplaceAll(name, ",", ",,"), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := ToRaw(t.Context(), name, "-out", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "-out")); err != nil {
		t.Error(err)
	}
}
