package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hive/fsm"
)

// runDir is where iproute2 keeps named namespaces: `ip netns` sees ours.
const runDir = "/run/netns"

// inside runs fn on a thread that is in ns. A thread that cannot go back is given up: it ends with its goroutine.
func inside(ns netns.NsHandle, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			defer home.Close()
			if err = netns.Set(ns); err == nil {
				err = fn()
				if netns.Set(home) == nil {
					runtime.UnlockOSThread()
				}
			}
		}
		done <- err
	}()
	return <-done
}

func (d *Dataplane) prefix() string { return "hive-" + d.cfg.Tag + "-" }

func (d *Dataplane) spaceName(id fsm.VPCID) string { return d.prefix() + string(id) }

// namespaces are the names of those that carry the tag.
func (d *Dataplane) namespaces() ([]string, error) {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), d.prefix()) {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// openNamespace is the named namespace, made when there is none.
func openNamespace(name string) (netns.NsHandle, error) {
	path := filepath.Join(runDir, name)
	if ns, err := netns.GetFromPath(path); err == nil {
		if isNamespace(ns) {
			return ns, nil
		}
		if err := errors.Join(ns.Close(), os.Remove(path)); err != nil { // what a crash between two steps left
			return netns.None(), err
		}
	}
	made := make(chan error, 1)
	var ns netns.NsHandle
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and its new namespace stays by its name
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Get()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return netns.None(), fmt.Errorf("make a network namespace: %w", err)
	}
	return ns, bindNamespace(ns, name)
}

// isNamespace tells a namespace from the plain file that a name is before it is mounted.
func isNamespace(ns netns.NsHandle) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(ns), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// bindNamespace gives ns a name, as `ip netns add` does.
func bindNamespace(ns netns.NsHandle, name string) error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(runDir, runDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", runDir, err)
	}
	path := filepath.Join(runDir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns), path, "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("name the network namespace %s: %w", name, err), os.Remove(path))
	}
	return nil
}

// named tells whether the name still leads to ns.
func named(ns netns.NsHandle, name string) bool {
	var have, want unix.Stat_t
	return unix.Stat(filepath.Join(runDir, name), &have) == nil && unix.Fstat(int(ns), &want) == nil &&
		have.Ino == want.Ino && have.Dev == want.Dev
}

// unname takes the name away; the namespace ends with the last that uses it.
func unname(name string) error {
	path := filepath.Join(runDir, name)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // no mount is left
			break
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
