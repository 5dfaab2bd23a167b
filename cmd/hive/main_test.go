package main

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hive": main})
}

// TestScripts runs the program as its users do, against a fake daemon where one is needed.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: scriptCommands(), Setup: emptyHome, RequireExplicitExec: true})
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits":    exits,
		"fakenode": fakeNode,
	}
}

// emptyHome keeps the user's own nodes and keys out of the scripts. HIVE is the program's path.
func emptyHome(env *testscript.Env) error {
	path, err := exec.LookPath("hive")
	env.Setenv("HIVE", path)
	env.Setenv("HOME", env.WorkDir)
	return err
}

// exits runs a program that must end with a certain exit code: exits CODE PROGRAM ARGS…
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
