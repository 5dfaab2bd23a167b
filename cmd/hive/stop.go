package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"hive/internal/admin"
)

type stopOptions struct {
	dir     string
	timeout time.Duration
}

func timeoutFlag(dest *time.Duration, value time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Value: value, Usage: "give up waiting after `DURATION`", Destination: dest}
}

func stopCommand() *cli.Command {
	var o stopOptions
	return &cli.Command{
		Name: "stop", Category: categoryDaemon, Usage: "stop the daemon of a node and wait until it is gone",
		Description: `Requests in flight are finished first, and what volumes have is made durable. Instances go on: their
disks pause until the daemon runs again. A node that does not run is left as it is.

Examples:
  hive stop
  hive stop --hive-dir /var/lib/hive --timeout 2m`,
		Flags: []cli.Flag{dirFlag(&o.dir), timeoutFlag(&o.timeout, time.Minute)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			return runStop(c, o)
		},
	}
}

type stopAnswer struct {
	Dir     string `json:"dir"`
	Stopped bool   `json:"stopped"` // false: it did not run
}

func runStop(c *cli.Context, o stopOptions) error {
	dir, err := resolveDir(o.dir)
	if err != nil {
		return err
	}
	if err := holdsNode(dir); err != nil {
		return err
	}
	out := outputOf(c)
	bar := out.progress(0)
	bar.show(0, "stopping the node in %s", dir)
	ctx, cancel := context.WithTimeout(c.Context, o.timeout)
	defer cancel()
	was, err := stopNode(ctx, dir, func(waits []string) { bar.show(0, "waiting for %s", strings.Join(waits, "; ")) })
	bar.close()
	if err != nil {
		return err
	}
	return out.answer(stopAnswer{dir, was}, func(w io.Writer) {
		if was {
			fmt.Fprintf(w, "stopped the node in %s\n", dir)
		} else {
			fmt.Fprintf(w, "the node in %s was not running\n", dir)
		}
	})
}

// stopNode ends the daemon of the node in dir and waits until its process is gone. It answers
// whether there was one.
func stopNode(ctx context.Context, dir string, show func(waits []string)) (bool, error) {
	pid, err := daemonPID(dir)
	if err != nil || pid == 0 {
		return false, err
	}
	client := admin.NewClient(dir)
	err = client.Do(ctx, "POST", "/v1/stop", nil, nil)
	if err != nil { // it starts or ends just now, or does not listen
		err = unix.Kill(pid, unix.SIGTERM)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return true, fmt.Errorf("stop the node in %s (process %d): %w", dir, pid, err)
	}
	watching, done := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { watchStop(watching, client, show) })
	err = awaitGone(ctx, dir, pid)
	done()
	watch.Wait()
	return true, err
}

// watchStop shows what a daemon that stops waits for, as long as it answers.
func watchStop(ctx context.Context, client *admin.Client, show func(waits []string)) {
	tick := time.NewTicker(10 * pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var waits []string
		if err := client.Do(ctx, "GET", "/v1/waits", nil, &waits); err != nil {
			return // it has closed its socket: the rest is short
		}
		if len(waits) > 0 {
			show(waits)
		}
	}
}

// awaitGone waits until the process that runs the node in dir has ended.
func awaitGone(ctx context.Context, dir string, pid int) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		now, err := daemonPID(dir)
		if err != nil || now != pid {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d of the node in %s has not ended (%w): wait longer with --timeout, read %s/%s, or end it with `kill -9 %d` (acknowledged data is safe)",
				pid, dir, ctx.Err(), dir, logName, pid)
		case <-tick.C:
		}
	}
}
