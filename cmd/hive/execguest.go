package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// execGuestCommand is what the daemon starts a guest's QEMU through: it sets back what only a thread itself can set,
// and becomes QEMU.
func execGuestCommand() *cli.Command {
	return &cli.Command{
		Name: "exec-guest", Hidden: true, SkipFlagParsing: true, Usage: "become a program with the kernel's usual timers",
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if len(args) == 0 {
				return usagef("exec-guest needs a program")
			}
			path, err := exec.LookPath(args[0])
			if err != nil {
				return err
			}
			runtime.LockOSThread()
			// 0 is the slack that the thread began with, which it has from the daemon: the kernel's usual one is 50 µs.
			if err := unix.Prctl(unix.PR_SET_TIMERSLACK, usualTimerSlack, 0, 0, 0); err != nil {
				return fmt.Errorf("timer slack: %w", err)
			}
			return fmt.Errorf("%s: %w", path, syscall.Exec(path, args, os.Environ()))
		},
	}
}

// usualTimerSlack is the kernel's default, in nanoseconds.
const usualTimerSlack = 50_000
