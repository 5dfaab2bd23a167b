package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// room is the directory in which all tests keep what they write. Every process that a test starts inherits its
// name as TMPDIR, and so is known by it.
type room struct{ dir string }

func newRoom() (*room, error) {
	dir, err := os.MkdirTemp("", "hv") // short: a unix socket's path has 107 bytes
	if err != nil {
		return nil, err
	}
	return &room{dir: dir}, nil
}

func (r *room) environ() []string { return append(os.Environ(), "TMPDIR="+r.dir) }

// sweep ends the processes that tests have left running, unmounts what they left mounted, and names both.
func (r *room) sweep() []string {
	var left []string
	mark := []byte("TMPDIR=" + r.dir)
	entries, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return []string{err.Error()}
	}
	for _, file := range entries {
		raw, err := os.ReadFile(file)
		if err != nil || !hasField(raw, mark) {
			continue // of another user, or gone
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil {
			continue
		}
		left = append(left, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			left = append(left, fmt.Sprintf("process %d does not end: %v", pid, err))
		}
	}
	return append(left, r.unmount()...)
}

func (r *room) unmount() []string {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []string{err.Error()}
	}
	var left []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[1], r.dir+"/") {
			continue
		}
		left = append(left, "mount "+fields[1])
		if err := syscall.Unmount(fields[1], syscall.MNT_DETACH); err != nil {
			left = append(left, fmt.Sprintf("mount %s stays: %v", fields[1], err))
		}
	}
	return left
}

func (r *room) close() {
	if err := os.RemoveAll(r.dir); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
	}
}

func hasField(environ, mark []byte) bool {
	for field := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(field, mark) {
			return true
		}
	}
	return false
}
