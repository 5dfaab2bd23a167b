package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTimersOfDaemonsAreRelaxed runs itself as a daemon would begin: its threads, new ones too, have the slack, it is the
// same process, and it does not begin anew for ever.
func TestTimersOfDaemonsAreRelaxed(t *testing.T) {
	if os.Getenv("HIVE_TEST_SLACK") == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "HIVE_TEST_SLACK=1")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "=== RUN") != 2 {
			t.Fatalf("it did not begin exactly twice: %v\n%s", err, out)
		}
		return
	}
	if err := relaxTimers(append(os.Args, "as", "--foreground")); err != nil {
		t.Fatal(err)
	}
	slack := make(chan int)
	for range 3 {
		go func() {
			runtime.LockOSThread() // to a thread of its own, which ends with it
			have, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
			if err != nil {
				t.Error(err)
			}
			slack <- have
		}()
	}
	for range 3 {
		if have := <-slack; have != timerSlack {
			t.Errorf("a thread has a slack of %d ns", have)
		}
	}
}

func TestTimersOfOtherCommandsStay(t *testing.T) {
	for _, args := range [][]string{{"hive"}, {"hive", "status"}, {"hive", "init", "--node", "run"}} {
		if err := relaxTimers(args); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}
