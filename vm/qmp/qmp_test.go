package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// socket is a path that is short enough for one.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

// emulator is a QEMU without a machine.
func emulator(t *testing.T) (path string, cmd *exec.Cmd) {
	t.Helper()
	path = socket(t)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("qemu-system-x86_64", "-no-user-config", "-nodefaults", "-machine", "none", "-display", "none",
		"-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control")
	cmd.ExtraFiles = []*os.File{file}
	if err := errors.Join(cmd.Start(), file.Close(), listener.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended as the test wanted
		_ = cmd.Wait()
	})
	return path, cmd
}

func dial(t *testing.T, path string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test may have closed it
	return c
}

func TestRealQEMUAnswersCommandsAndEvents(t *testing.T) {
	path, cmd := emulator(t)
	c := dial(t, path)
	var version struct {
		QEMU struct {
			Major int `json:"major"`
		} `json:"qemu"`
	}
	if err := c.Execute(t.Context(), "query-version", nil, &version); err != nil || version.QEMU.Major < 4 {
		t.Fatalf("%+v, %v", version, err)
	}
	var refused *Error
	err := c.Execute(t.Context(), "device_del", map[string]any{"id": "none"}, nil)
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" || refused.Command != "device_del" {
		t.Errorf("error is %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			var status struct {
				Running bool `json:"running"`
			}
			if err := c.Execute(t.Context(), "query-status", nil, &status); err != nil || !status.Running {
				t.Errorf("%+v, %v", status, err)
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	again := dial(t, path)
	if err := again.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Error(err)
	}
	e, ok := <-again.Events()
	if !ok || e.Name != "SHUTDOWN" || time.Since(e.Time).Abs() > time.Hour {
		t.Errorf("event %+v, %v", e, ok)
	}
	for range again.Events() { //nolint:revive // until it is closed
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := again.Execute(t.Context(), "query-status", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a command after the end: %v", err)
	}
}

func TestSecondConnectionWaitsForItsGreetingUntilItsContextEnds(t *testing.T) {
	path, _ := emulator(t)
	first := dial(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	dial(t, path)
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}` + "\r\n"

// fake is a peer that follows a script once, on one connection.
func fake(t *testing.T, script func(c net.Conn, lines *bufio.Scanner)) string {
	t.Helper()
	path := socket(t)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := listener.Accept()
		if err != nil {
			return // the test has ended
		}
		defer c.Close() //nolint:errcheck // a test's
		script(c, bufio.NewScanner(c))
	}()
	t.Cleanup(func() {
		_ = listener.Close() // a test's
		<-done
	})
	return path
}

func say(c net.Conn, format string, args ...any) { _, _ = fmt.Fprintf(c, format, args...) }

// negotiated says hello and takes qmp_capabilities.
func negotiated(c net.Conn, lines *bufio.Scanner) {
	say(c, greeting)
	lines.Scan()
	say(c, `{"return": {}, "id": 1}`+"\r\n")
}

func TestPeersThatAreNoneAreRefused(t *testing.T) {
	for name, hello := range map[string]string{
		"no JSON": "SSH-2.0-OpenSSH\r\n", "other JSON": `{"return": {}}` + "\r\n", "too long": strings.Repeat("x", maxMessage+1),
	} {
		path := fake(t, func(c net.Conn, _ *bufio.Scanner) { say(c, "%s", hello) })
		if _, err := Dial(t.Context(), path); !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	path := fake(t, func(net.Conn, *bufio.Scanner) {})
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrClosed) {
		t.Errorf("a peer that hangs up: %v", err)
	}
	path = fake(t, func(c net.Conn, lines *bufio.Scanner) {
		say(c, greeting)
		lines.Scan()
		say(c, `{"error": {"class": "CommandNotFound", "desc": "no"}, "id": 1}`+"\n")
	})
	var refused *Error
	if _, err := Dial(t.Context(), path); !errors.As(err, &refused) {
		t.Errorf("refused capabilities: %v", err)
	}
}

func TestEventsBetweenAnswersAreKeptApart(t *testing.T) {
	path := fake(t, func(c net.Conn, lines *bufio.Scanner) {
		negotiated(c, lines)
		lines.Scan()
		say(c, `{"timestamp": {"seconds": 1, "microseconds": 500000}, "event": "RESET", "data": {"guest": true}}`+"\n")
		say(c, `{"return": [1], "id": 7777}`+"\n") // an answer nobody waits for
		say(c, `{"return": [2], "id": 2}`+"\n")
	})
	c := dial(t, path)
	var got []int
	if err := c.Execute(t.Context(), "x", map[string]any{"a": 1}, &got); err != nil || len(got) != 1 || got[0] != 2 {
		t.Errorf("%v, %v", got, err)
	}
	e := <-c.Events()
	if e.Name != "RESET" || string(e.Data) != `{"guest": true}` || e.Time.UnixMilli() != 1500 {
		t.Errorf("event %+v", e)
	}
}

func TestAnswerAfterItsContextEndedIsDropped(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	path := fake(t, func(c net.Conn, lines *bufio.Scanner) {
		negotiated(c, lines)
		lines.Scan()
		close(asked)
		<-answer
		say(c, `{"return": "late", "id": 2}`+"\n")
		lines.Scan()
		say(c, `{"return": "right", "id": 3}`+"\n")
	})
	c := dial(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := c.Execute(ctx, "slow", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	close(answer)
	var got string
	if err := c.Execute(t.Context(), "next", nil, &got); err != nil || got != "right" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConnectionThatEndsOrSpeaksNonsenseFailsItsCommands(t *testing.T) {
	for name, last := range map[string]string{"ends": "", "nonsense": "{{{\n", "of another type": `{"return": "x", "id": 2}` + "\n"} {
		path := fake(t, func(c net.Conn, lines *bufio.Scanner) {
			negotiated(c, lines)
			lines.Scan()
			say(c, "%s", last)
		})
		c := dial(t, path)
		err := c.Execute(t.Context(), "x", nil, new(int))
		if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		<-c.Done()
		if c.Err() == nil {
			t.Errorf("%s: no reason", name)
		}
	}
}

func TestEventsThatNobodyReadsAreBoundedAndCounted(t *testing.T) {
	path := fake(t, func(c net.Conn, lines *bufio.Scanner) {
		negotiated(c, lines)
		for range maxEvents + 10 {
			say(c, `{"event": "E", "timestamp": {"seconds": 0, "microseconds": 0}}`+"\n")
		}
		_, _ = io.WriteString(c, `{"return": {}, "id": 2}`+"\n")
		lines.Scan()
	})
	c := dial(t, path)
	if err := c.Execute(t.Context(), "x", nil, nil); err != nil {
		// the answer may come before the command: then it is nobody's, and the connection's end is its answer
		if !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
	<-c.Done()
	if c.Lost() != 10 {
		t.Errorf("lost %d", c.Lost())
	}
}
