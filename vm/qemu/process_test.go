package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// start starts a shell in QEMU's place; the words after its script are only there to be found.
func start(t *testing.T, script string) (*Process, string) {
	t.Helper()
	run, err := os.MkdirTemp("", "proc")
	if err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(run, "pid")
	p, err := Start(Command{
		Wrap: []string{"env", "--"}, Binary: "/bin/sh", Args: []string{"-c", script, "sh", "-pidfile", pidFile},
		Socket: filepath.Join(run, "s"), Log: filepath.Join(run, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		<-p.Done()
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return p, pidFile
}

func TestProcessTellsHowItEnded(t *testing.T) {
	for script, want := range map[string]string{
		"exit 3": "ended with status 3", "kill -SEGV $$": "ended by signal: segmentation fault",
	} {
		p, _ := start(t, script)
		<-p.Done()
		if p.Status() != want || !p.Gone() {
			t.Errorf("%s: %q", script, p.Status())
		}
		if err := p.Kill(); err != nil {
			t.Errorf("killing the dead: %v", err)
		}
		if _, err := Open(p.Mark()); !errors.Is(err, ErrGone) {
			t.Errorf("opening the dead: %v", err)
		}
	}
}

func TestProcessIsFoundAgainByItsMarkAndItsPIDFile(t *testing.T) {
	p, pidFile := start(t, "kill -STOP $$")
	again, err := Open(p.Mark())
	if err != nil {
		t.Fatal(err)
	}
	found, err := FindByPIDFile(pidFile)
	if err != nil || found.Mark() != p.Mark() {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := found.Close(); err != nil || found.Gone() {
		t.Errorf("letting go of it ended it: %v", err)
	}
	for _, change := range []func(*Mark){
		func(m *Mark) { m.Start++ }, func(m *Mark) { m.Machine = "another boot" }, func(m *Mark) { m.PID = 0 },
	} {
		m := p.Mark()
		change(&m)
		if _, err := Open(m); !errors.Is(err, ErrGone) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if _, err := FindByPIDFile(pidFile + "x"); !errors.Is(err, ErrGone) {
		t.Errorf("another pid file: %v", err)
	}
	if err := again.Kill(); err != nil {
		t.Fatal(err)
	}
	<-again.Done()
	<-p.Done()
	if !p.Gone() || !again.Gone() {
		t.Error("one of the two does not know")
	}
}

func TestProcessHasASessionOfItsOwn(t *testing.T) {
	p, _ := start(t, "kill -STOP $$")
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Mark().PID), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if group, session := fields[2], fields[3]; group != strconv.Itoa(p.Mark().PID) || session != group {
		t.Errorf("group %s, session %s", group, session)
	}
}

func TestWhatIsNoProgramDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if p, err := Start(Command{Binary: "/nonexistent", Socket: "s", Log: "log"}); err == nil {
		t.Errorf("started %+v", p.Mark())
	}
}
