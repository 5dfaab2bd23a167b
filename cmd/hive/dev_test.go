package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestRealNodes runs scripts against real daemons on the standard ports of loopback addresses.
func TestRealNodes(t *testing.T) {
	const inside = "HIVE_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		if err := loopbackUp(); err != nil {
			t.Fatal(err)
		}
	} else if inOwnNetwork(t, inside) {
		return
	}
	cmds := scriptCommands()
	maps.Copy(cmds, map[string]func(*testscript.TestScript, bool, []string){"fromjson": fromJSON, "eventually": eventually})
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "dev"), Cmds: cmds, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Defer(func() { killAll(t, env.WorkDir) })
			return emptyHome(env)
		},
	})
}

// inOwnNetwork runs this test again in a network namespace of its own, so that it meets no other
// cluster on this machine. It answers false where the kernel does not allow one.
func inOwnNetwork(t *testing.T, inside string) bool {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Logf("no network namespace (%v): the test shares the machine's ports", err)
		return false
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return true
}

// loopbackUp makes a new namespace's loopback usable.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}
	return errors.Join(err, unix.Close(fd))
}

// killAll ends the daemons that a script has left.
func killAll(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != pidName {
			return err
		}
		pid, err := daemonPID(filepath.Dir(path))
		if err == nil && pid != 0 {
			err = unix.Kill(pid, unix.SIGKILL)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// fromJSON is `fromjson VARIABLE FIELD`: it takes a field of the JSON on stdout.
func fromJSON(ts *testscript.TestScript, _ bool, args []string) {
	var fields map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &fields))
	value, ok := fields[args[1]].(string)
	if !ok {
		ts.Fatalf("no text named %s in %v", args[1], fields)
	}
	ts.Setenv(args[0], value)
}

// eventually is `eventually PROGRAM ARGS…`: it repeats the program until it succeeds.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never succeeded: %v", args, err)
		}
		time.Sleep(pollEvery)
	}
}
