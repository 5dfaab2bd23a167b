package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// timerSlack is by how many nanoseconds the kernel may let timers of a daemon be late (prctl(2), PR_SET_TIMERSLACK).
// While anything runs, a thread of Go's runtime looks after the others every 20 µs plus this. At the kernel's usual
// 50 µs that alone is a tenth to a quarter of the processor time of a request; Hive's own timers are in milliseconds.
const timerSlack = 1_000_000

// relaxTimers lets the timers of a daemon be late. The runtime's threads are there before main, and only a thread
// itself can change its slack, so the program begins anew with what its threads then inherit; it keeps its process id.
// Programs that a daemon starts inherit it too.
func relaxTimers(args []string) error {
	if len(args) < 2 || args[1] != "run" && !slices.Contains(args, "--foreground") {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	have, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil && have >= timerSlack {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0); err != nil {
		return fmt.Errorf("timer slack: %w", err)
	}
	return fmt.Errorf("begin anew: %w", syscall.Exec(exe, args, os.Environ()))
}
