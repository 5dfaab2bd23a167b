package vfs

import "fmt"

// Op is one operation on a file system, as a hook sees it before it happens.
type Op struct {
	Name string // create, open, read, write, truncate, datasync, remove, rename, list, mkdir, syncdir, space
	Path string // as given; of a rename, "old -> new"
	Off  int64  // of read and write; of truncate, the size
	Len  int
}

// String is the operation as a golden listing shows it.
func (o Op) String() string {
	switch o.Name {
	case "read", "write":
		return fmt.Sprintf("%s %s %d+%d", o.Name, o.Path, o.Off, o.Len)
	case "truncate":
		return fmt.Sprintf("%s %s %d", o.Name, o.Path, o.Off)
	default:
		return o.Name + " " + o.Path
	}
}

// Hooked calls before in front of each operation on fsys; its error, if any, is the operation's.
// The hook may block, as a slow disk does. It is called from the operation's goroutine.
func Hooked(fsys FS, before func(Op) error) FS { return hooked{fsys, before} }

type hooked struct {
	fs     FS
	before func(Op) error
}

func (h hooked) do(name, path string) error { return h.before(Op{Name: name, Path: path}) }

func (h hooked) file(op, name string, open func(string) (File, error)) (File, error) {
	if err := h.do(op, name); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return hookedFile{f, h, name}, nil
}

func (h hooked) Create(name string) (File, error) { return h.file("create", name, h.fs.Create) }
func (h hooked) Open(name string) (File, error)   { return h.file("open", name, h.fs.Open) }

func (h hooked) Remove(name string) error {
	if err := h.do("remove", name); err != nil {
		return err
	}
	return h.fs.Remove(name)
}

func (h hooked) Rename(oldName, newName string) error {
	if err := h.do("rename", oldName+" -> "+newName); err != nil {
		return err
	}
	return h.fs.Rename(oldName, newName)
}

func (h hooked) List(dir string) ([]string, error) {
	if err := h.do("list", dir); err != nil {
		return nil, err
	}
	return h.fs.List(dir)
}

func (h hooked) MkdirAll(dir string) error {
	if err := h.do("mkdir", dir); err != nil {
		return err
	}
	return h.fs.MkdirAll(dir)
}

func (h hooked) SyncDir(dir string) error {
	if err := h.do("syncdir", dir); err != nil {
		return err
	}
	return h.fs.SyncDir(dir)
}

func (h hooked) Space(dir string) (Space, error) {
	if err := h.do("space", dir); err != nil {
		return Space{}, err
	}
	return h.fs.Space(dir)
}

type hookedFile struct {
	File
	h    hooked
	name string
}

func (f hookedFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.h.before(Op{"read", f.name, off, len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f hookedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.h.before(Op{"write", f.name, off, len(p)}); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f hookedFile) Truncate(size int64) error {
	if err := f.h.before(Op{Name: "truncate", Path: f.name, Off: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f hookedFile) Datasync() error {
	if err := f.h.do("datasync", f.name); err != nil {
		return err
	}
	return f.File.Datasync()
}
