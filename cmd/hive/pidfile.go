package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pidName is the file that the daemon of a node holds locked for as long as it lives. The lock, not
// the number in the file, says who runs: the kernel drops it with the process, so a number that
// another process has by now is never believed.
const pidName = "hive.pid"

// errRunning is a directory whose daemon runs already.
var errRunning = errors.New("the node's daemon is running already")

// lockPID makes this process the daemon of the node in dir until the file is closed. It must be the
// only place that opens the file to write: a POSIX lock goes with the first close in its process.
func lockPID(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, pidName), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAGAIN) {
		err = fmt.Errorf("%w: stop it with `hive stop --hive-dir %s`", errRunning, dir)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// daemonPID is the process that runs the node in dir, 0 when none does.
func daemonPID(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, pidName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}
