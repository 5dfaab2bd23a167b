package guest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyAtOnceGetOneImage: whoever comes first builds, the others wait and find it.
func TestManyAtOnceGetOneImage(t *testing.T) {
	dir, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var paths [3]string
	var logs [3]bytes.Buffer
	var wg sync.WaitGroup
	for i := range paths {
		wg.Go(func() {
			var err error
			if paths[i], err = Image(t.Context(), TinyImage, dir, &logs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	built := 0
	for i, path := range paths {
		if path != paths[0] {
			t.Errorf("two images: %s and %s", paths[0], path)
		}
		built += strings.Count(logs[i].String(), "built ")
	}
	if built > 1 {
		t.Errorf("built %d times", built)
	}
	raw, err := os.ReadFile(paths[0])
	if err != nil || !bytes.HasPrefix(raw, []byte("QFI\xfb")) || len(raw) > 25<<20 {
		t.Errorf("%s is no small qcow2 file: %d bytes, %v", paths[0], len(raw), err)
	}
	if Tiny(t) != paths[0] {
		t.Errorf("Tiny finds %s, not %s", Tiny(t), paths[0])
	}
	left, err := filepath.Glob(filepath.Join(dir, "tiny-build-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhatNobodyUsesLeavesTheCache(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"tiny-1-1.qcow2": 0, "tiny-2-2.qcow2": time.Hour, "tiny-3-3.qcow2": 3 * time.Hour, "debian-3-3.qcow2": 3 * time.Hour} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tiny-build-1"), 0o700), prune(dir, "tiny", now.Add(-2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 || slices.Contains(left, filepath.Join(dir, "tiny-3-3.qcow2")) {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestAnImageThatIsNoneIsRefused(t *testing.T) {
	if _, err := Image(t.Context(), "windows", t.TempDir(), os.Stderr); err == nil || !strings.Contains(err.Error(), "tiny or debian") {
		t.Error(err)
	}
}

func TestAModuleIsNamedAsTheKernelNamesIt(t *testing.T) {
	names := map[string]string{
		"/lib/modules/6.1/kernel/drivers/char/hw_random/virtio-rng.ko": "virtio_rng",
		"kernel/fs/ext4/ext4.ko.zst":                                   "ext4",
		"kernel/drivers/virtio/virtio_pci.ko.xz":                       "virtio_pci",
	}
	for path, want := range names {
		if got := moduleName(path); got != want {
			t.Errorf("%s is module %s, want %s", path, got, want)
		}
	}
}
