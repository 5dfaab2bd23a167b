package vfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
)

// Mem is a file system in memory that knows what a loss of power would leave of it. It is strict:
// a name is durable only after SyncDir, bytes and size only after Datasync.
type Mem struct {
	mu      sync.Mutex // guards everything below, and every inode
	files   map[string]*inode
	dirs    map[string]bool
	durable map[string]*inode // names as they survive
	pending []nameChange      // since, in order
	total   int64
}

// inode is a file's content: as it is, and as it would survive.
type inode struct {
	data, synced []byte
	clean        int // both are the same up to here
}

// nameChange is a name that now stands for another file, or none.
type nameChange struct {
	name string
	file *inode // nil: removed
}

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// NewMem is an empty file system of that many bytes.
func NewMem(total int64) *Mem {
	return &Mem{
		files: map[string]*inode{}, dirs: map[string]bool{"/": true, ".": true},
		durable: map[string]*inode{}, total: total,
	}
}

// CrashClone is what a loss of power now would leave: what was synced and nothing else or, with
// a source of randomness, also any part of the rest (some of the later names, in order, and some
// of the unsynced sectors of each file).
func (m *Mem) CrashClone(torn *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := maps.Clone(m.durable)
	if torn != nil {
		for _, change := range m.pending[:torn.IntN(len(m.pending)+1)] {
			setName(names, change)
		}
	}
	out := NewMem(m.total)
	out.dirs = maps.Clone(m.dirs)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		data := names[name].survivor(torn)
		file := &inode{data: data, synced: bytes.Clone(data), clean: len(data)}
		out.files[name], out.durable[name] = file, file
	}
	return out
}

func setName(names map[string]*inode, change nameChange) {
	if change.file == nil {
		delete(names, change.name)
	} else {
		names[change.name] = change.file
	}
}

// survivor is the file's content after a loss of power.
func (n *inode) survivor(torn *rand.Rand) []byte {
	if torn == nil || torn.IntN(4) == 0 {
		return bytes.Clone(n.synced)
	}
	size := len(n.synced)
	if span := len(n.data) - size; span > 0 {
		size += torn.IntN(span + 1)
	} else if span < 0 {
		size += -torn.IntN(-span + 1)
	}
	out := make([]byte, size)
	copy(out, n.synced)
	for at := 0; at < size; at += sector {
		if torn.IntN(2) == 0 && at < len(n.data) {
			copy(out[at:min(at+sector, size)], n.data[at:])
		}
	}
	return out
}

// Flip inverts one bit of a file, as a rotten disk would: the loss is durable.
func (m *Mem) Flip(name string, off int64, bit uint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, ok := m.files[name]
	if !ok || off >= int64(len(file.data)) {
		return fmt.Errorf("flip %s at %d: %w", name, off, fs.ErrNotExist)
	}
	file.data[off] ^= 1 << bit
	if off < int64(len(file.synced)) {
		file.synced[off] ^= 1 << bit
	}
	return nil
}

// SetTotal changes how many bytes the file system holds.
func (m *Mem) SetTotal(total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total = total
}

func (m *Mem) usedLocked() (used int64) {
	for _, file := range m.files {
		used += int64(len(file.data))
	}
	return used
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// Create makes a new file.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; ok {
		return nil, pathError("create", name, fs.ErrExist)
	}
	if !m.dirs[path.Dir(name)] {
		return nil, pathError("create", name, fs.ErrNotExist)
	}
	file := &inode{}
	m.setLocked(nameChange{name, file})
	return &memFile{m: m, n: file}, nil
}

func (m *Mem) setLocked(change nameChange) {
	setName(m.files, change)
	m.pending = append(m.pending, change)
}

// Open opens an existing file.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, ok := m.files[name]
	if !ok {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return &memFile{m: m, n: file}, nil
}

// Remove removes a name; open files stay readable.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; !ok {
		return pathError("remove", name, fs.ErrNotExist)
	}
	m.setLocked(nameChange{name, nil})
	return nil
}

// Rename replaces newName by oldName.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, ok := m.files[oldName]
	if !ok {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	m.setLocked(nameChange{newName, file})
	m.setLocked(nameChange{oldName, nil})
	return nil
}

// List is the names in a directory.
func (m *Mem) List(dir string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	for name := range m.files {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	for name := range m.dirs {
		if path.Dir(name) == dir && name != dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll makes a directory and its parents, durably.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; !m.dirs[dir]; dir = path.Dir(dir) {
		m.dirs[dir] = true
	}
	return nil
}

// SyncDir makes the names in dir durable.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return pathError("sync", dir, fs.ErrNotExist)
	}
	m.pending = slices.DeleteFunc(m.pending, func(change nameChange) bool {
		if path.Dir(change.name) != dir {
			return false
		}
		setName(m.durable, change)
		return true
	})
	return nil
}

// Space is the total given and what files do not use of it.
func (m *Mem) Space(string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Space{Total: m.total, Free: max(0, m.total-m.usedLocked())}, nil
}

// memFile is an open file of a Mem.
type memFile struct {
	m *Mem
	n *inode

	closed bool // guarded by m.mu
}

func (f *memFile) lock(op string) error {
	f.m.mu.Lock()
	if f.closed {
		f.m.mu.Unlock()
		return pathError(op, "memory file", fs.ErrClosed)
	}
	return nil
}

// ReadAt reads like os.File's.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.lock("read"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes what there is room for and answers ErrNoSpace for the rest.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.lock("write"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	end := off + int64(len(p))
	if grow := end - int64(len(f.n.data)); grow > 0 {
		room := f.m.total - f.m.usedLocked()
		f.n.clean = min(f.n.clean, int(off), len(f.n.data))
		if short := grow - max(0, room); short > 0 {
			n := max(0, int64(len(p))-short)
			f.growLocked(off + n)
			copy(f.n.data[min(off, int64(len(f.n.data))):], p[:n])
			return int(n), ErrNoSpace
		}
		f.growLocked(end)
	}
	f.n.clean = min(f.n.clean, int(off))
	return copy(f.n.data[off:], p), nil
}

func (f *memFile) growLocked(size int64) {
	if grow := size - int64(len(f.n.data)); grow > 0 {
		f.n.data = append(f.n.data, make([]byte, grow)...)
	}
}

// Truncate sets the file's size.
func (f *memFile) Truncate(size int64) error {
	if err := f.lock("truncate"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.n.clean = min(f.n.clean, int(size), len(f.n.data))
	if size < int64(len(f.n.data)) {
		f.n.data = f.n.data[:size:size]
	}
	f.growLocked(size)
	return nil
}

// Size is the file's size in bytes.
func (f *memFile) Size() (int64, error) {
	if err := f.lock("stat"); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

// Datasync makes the content durable.
func (f *memFile) Datasync() error {
	if err := f.lock("sync"); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	same := min(f.n.clean, len(f.n.synced))
	f.n.synced = append(f.n.synced[:same], f.n.data[same:]...)
	f.n.clean = len(f.n.data)
	return nil
}

// Close closes the file; again is no error.
func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.closed = true
	return nil
}
