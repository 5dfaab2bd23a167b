package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"hive/ebs"
	"hive/ebs/ebstest"
)

// volumeCommand lets this program be one volume with one copy of its log, in a process of its own that has no other
// work: bench serve-volume DIR RUNDIR GIB. It prints the export and serves until it is told to end.
const volumeCommand = "serve-volume"

func serveVolume(args []string, out io.Writer) (err error) {
	if len(args) != 3 {
		return fmt.Errorf("usage: %s DIR RUNDIR GIB", volumeCommand)
	}
	gib, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	v, err := ebstest.Open(ctx, ebstest.Config{Dir: args[0], Run: args[1], GiB: gib, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := json.NewEncoder(out).Encode(v.Export); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// startVolume serves a volume with the program's engine, log and blob layer and without Raft: one process, one node.
func startVolume(ctx context.Context, _ *bench, dir string) (*blockProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	data, run := filepath.Join(dir, "volume"), filepath.Join(dir, "run")
	for _, d := range []string{data, run} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c, err := startChild(ctx, w, self, volumeCommand, data, run, "1")
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, c.failed(err)
	}
	var export ebs.Export
	if err := json.NewDecoder(r).Decode(&export); err != nil {
		return nil, c.failed(fmt.Errorf("no export: %w", err))
	}
	return &blockProcess{socket: export.Socket, export: export.Name, procs: c.procs(), stop: c.end}, nil
}

// startReplicated serves a volume of the built program: three daemons, each with a copy of the log. Volumes are served
// while an instance has them, so there is one: a guest that has booted and leaves the volume alone. Its own processor
// time is not counted; the daemons' work for the cluster is.
func startReplicated(ctx context.Context, b *bench, dir string) (_ *blockProcess, err error) {
	l, err := b.lab(ctx, filepath.Join(dir, "r"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.end(ctx))
		}
	}()
	image, err := l.importImage(ctx, "bench", bios)
	if err != nil {
		return nil, err
	}
	m, err := l.launch(ctx, image.ID, "BlockDeviceMapping.1.DeviceName", "/dev/sdf", "BlockDeviceMapping.1.Ebs.VolumeSize", "1")
	if err != nil {
		return nil, err
	}
	if err := l.login(ctx, m.ID); err != nil {
		return nil, err
	}
	if m, err = l.describe(ctx, m.ID); err != nil {
		return nil, err
	}
	volume := m.volume("/dev/sdf")
	if volume == "" {
		return nil, fmt.Errorf("%s has no volume at /dev/sdf", m.ID)
	}
	for _, n := range l.Nodes {
		if _, err := os.Stat(filepath.Join(n.Dir, "ebs", volume)); err != nil {
			return nil, fmt.Errorf("%s has no copy of the log: %w", n.Name, err)
		}
	}
	node, err := l.nodeOf(ctx, m.ID)
	if err != nil {
		return nil, err
	}
	return &blockProcess{socket: filepath.Join(node.Dir, "run", volume+".nbd"), export: volume, procs: l.procs(),
		stop: func() error { return l.end(ctx) }}, nil
}
