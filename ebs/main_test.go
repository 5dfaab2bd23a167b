package ebs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"hive/ebs"
	"hive/ebs/ebstest"
)

// serveEnv makes the test binary serve a volume: directory, socket directory and GiB in these variables.
const (
	serveEnv = "EBS_TEST_SERVE"
	runEnv   = "EBS_TEST_RUN"
	sizeEnv  = "EBS_TEST_GIB"
	tuneEnv  = "EBS_TEST_CHECKPOINT" // bytes of log that begin a checkpoint
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve prints the socket's path and serves until it is told to end.
func serve(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	gib, err := strconv.ParseInt(os.Getenv(sizeEnv), 10, 64)
	if err != nil {
		return err
	}
	v, err := ebstest.Open(ctx, ebstest.Config{
		Dir: dir, Run: os.Getenv(runEnv), GiB: gib, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Tune: func(c *ebs.Config) {
			if at, err := strconv.ParseInt(os.Getenv(tuneEnv), 10, 64); err == nil {
				c.CheckpointAt = at
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(v.Socket)
	<-ctx.Done()
	return v.Close()
}
