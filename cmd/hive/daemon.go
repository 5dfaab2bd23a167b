package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"hive/internal/admin"
)

const (
	// logName is where a daemon in the background writes.
	logName = "hive.log"
	// pollEvery is how often a waiting command looks again.
	pollEvery = 50 * time.Millisecond
	// answerWithin is how long a daemon may take over its status before it counts as silent.
	answerWithin = 2 * time.Second
	// logTail is how much of a dead daemon's log is shown.
	logTail = 15
)

// daemon is a node's daemon in the background, as the command that waits for it sees it.
type daemon struct {
	dir     string
	client  daemonClient
	logFrom int64           // where in hive.log its own lines begin
	exited  <-chan struct{} // closed when it ended; nil when it is not our child
}

// startDaemon starts the daemon of the node in dir, or finds the one that runs. It outlives this
// process. Wait with await until it answers.
func startDaemon(dir string) (*daemon, error) {
	client, err := daemonOf(dir)
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, client: client}
	pid, err := daemonPID(dir)
	if err != nil || pid != 0 {
		return d, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if d.logFrom, err = log.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "run", "--hive-dir", dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	exited := make(chan struct{})
	d.exited = exited
	go func() {
		defer close(exited)
		// Its log says how it ended; here only that it did counts.
		_ = cmd.Wait()
	}()
	return d, nil
}

// await polls the daemon's status until ok likes it. The error is ctx's, or tells how the daemon
// died.
func (d *daemon) await(ctx context.Context, ok func(admin.Status) bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		s, err := d.status(ctx)
		if err == nil && ok(s) {
			return nil
		}
		if errors.Is(err, admin.ErrNotRunning) && d.dead() {
			return d.deathReport()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// answers likes any status: the daemon is there.
func answers(admin.Status) bool { return true }

func (d *daemon) status(ctx context.Context) (admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var s admin.Status
	err := d.client.Do(ctx, "GET", "/v1/status", nil, &s)
	return s, err
}

func (d *daemon) dead() bool {
	if d.exited != nil {
		select {
		case <-d.exited:
			return true
		default:
			return false
		}
	}
	pid, err := daemonPID(d.dir)
	return err == nil && pid == 0
}

func (d *daemon) deathReport() error {
	path := filepath.Join(d.dir, logName)
	lines, err := lastLines(path, d.logFrom, logTail)
	if err != nil {
		return fmt.Errorf("the daemon ended, and its log cannot be read: %w", err)
	}
	text := "the daemon ended; the last lines of " + path + ":"
	for _, l := range lines {
		text += "\n  " + l
	}
	return errors.New(text)
}
