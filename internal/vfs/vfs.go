// Package vfs is the seam between what must survive and the file system: an implementation on the
// operating system, and one in memory that can lose power (a clone keeps only what was synced),
// fill up, fail and rot. It never caches and never retries.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// FS is a file system. Names are slash-separated paths. Errors wrap fs.ErrNotExist, fs.ErrExist
// and ErrNoSpace.
type FS interface {
	// Create makes a file that must not exist, open for reading and writing. The name survives a
	// loss of power only after SyncDir of its directory.
	Create(name string) (File, error)
	// Open opens an existing file, for reading and writing.
	Open(name string) (File, error)
	// Remove removes a file. It survives a loss of power only after SyncDir.
	Remove(name string) error
	// Rename replaces newName by the file oldName. It survives only after SyncDir.
	Rename(oldName, newName string) error
	// List is the names in a directory, in order.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its parents, and syncs each parent that it changed.
	MkdirAll(dir string) error
	// SyncDir makes the names in a directory survive.
	SyncDir(dir string) error
	// Space is how much room the file system of dir has.
	Space(dir string) (Space, error)
}

// File is an open file. Its methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Size() (int64, error)
	// Datasync makes the file's bytes and size survive a loss of power (fdatasync(2)).
	Datasync() error
}

// Space is room in bytes.
type Space struct {
	Total int64
	Free  int64 // that this process may use
}

// ErrNoSpace is a full file system.
var ErrNoSpace = errors.New("no space left on the file system")

// ReadFile is the whole content of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	out := make([]byte, size)
	if _, err := f.ReadAt(out, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	return out, f.Close()
}

// IsNotExist tells that err is about a file that is not there.
func IsNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
