package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// modules are the loadable modules of an unpacked kernel.
type modules struct {
	files   map[string]string // by name, with _ for -
	builtin map[string]bool
}

func readModules(dir string) (*modules, error) {
	m := &modules{files: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			m.files[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	for line := range strings.Lines(string(raw)) {
		m.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return m, err
}

func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// A loader copies modules into a directory, numbered in the order in which they can be loaded.
type loader struct {
	*modules
	w    *workshop
	into string
	done map[string]bool
}

// add copies a module, those that it needs first. One that is built into the kernel needs nothing.
func (l *loader) add(ctx context.Context, name string) error {
	if l.done[name] || l.builtin[name] {
		return nil
	}
	file, ok := l.files[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %s", name)
	}
	plain := l.w.path(name + ".ko")
	// Kernels differ in how they keep modules.
	decompress := map[string]string{".ko": "cat", ".xz": "xz -dc", ".zst": "zstd -dc", ".gz": "gzip -dc"}[filepath.Ext(file)]
	if err := l.w.sh(ctx, decompress+` <"$1" >"$2"`, file, plain); err != nil {
		return err
	}
	needs, err := moduleNeeds(plain)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	l.done[name] = true
	for _, need := range needs {
		if err := l.add(ctx, need); err != nil {
			return err
		}
	}
	return os.Rename(plain, filepath.Join(l.into, fmt.Sprintf("%02d-%s.ko", l.loaded(), name)))
}

// loaded is how many modules are in place already.
func (l *loader) loaded() int {
	entries, err := os.ReadDir(l.into)
	if err != nil {
		return 0
	}
	return len(entries)
}

// moduleNeeds reads the names behind depends= in a module's section .modinfo (kernel, include/linux/module.h).
func moduleNeeds(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok {
			return strings.FieldsFunc(strings.ReplaceAll(list, "-", "_"), func(r rune) bool { return r == ',' }), nil
		}
	}
	return nil, nil
}
