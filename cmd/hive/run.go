package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"hive/internal/node"
)

type runOptions struct {
	dir, bind, advertise string
	log                  logOptions
}

// logOptions are how a daemon logs.
type logOptions struct{ level, format string }

func (o *logOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-level", EnvVars: []string{"HIVE_LOG_LEVEL"}, Value: "info", Usage: "least `LEVEL` that the daemon logs: debug, info, warn or error", Destination: &o.level},
		&cli.StringFlag{Name: "log-format", EnvVars: []string{"HIVE_LOG_FORMAT"}, Value: "text", Usage: "`FORMAT` of the daemon's log: text or json", Destination: &o.format},
	}
}

func (o logOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, usagef("--log-level %q: give debug, info, warn or error", o.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usagef("--log-format %q: give text or json", o.format)
}

func runCommand() *cli.Command {
	var o runOptions
	return &cli.Command{
		Name: "run", Category: categoryDaemon, Usage: "run the daemon of a node in this process",
		Description: `Runs the node that init or join has made in the directory, until SIGTERM or SIGINT. The log
goes to stderr. --bind and --advertise are for a machine whose address has changed.

Examples:
  hive run --hive-dir /var/lib/hive
  hive run --hive-dir /var/lib/hive --cap api --log-format json
  hive run --hive-dir /var/lib/hive --bind 10.0.0.9`,
		Flags: append([]cli.Flag{
			dirFlag(&o.dir),
			&cli.StringSliceFlag{Name: "cap", Usage: "start only these of the node's `CAPABILITIES`"},
			&cli.StringFlag{Name: "bind", Usage: "`IP` of every port, instead of the one that the node has kept", Destination: &o.bind},
			&cli.StringFlag{Name: "advertise", Usage: "`HOST` or IP under which the others reach this node now", Destination: &o.advertise},
		}, o.log.flags()...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			return runNode(c, node.Options{Dir: o.dir, Bind: o.bind, Advertise: o.advertise, Caps: c.StringSlice("cap")}, o.log)
		},
	}
}

// runNode is the daemon: it ends with the first signal, or when the node cannot go on.
func runNode(c *cli.Context, o node.Options, log logOptions) (err error) {
	if o.Dir, err = resolveDir(o.Dir); err != nil {
		return err
	}
	if o.Log, err = log.logger(c.App.ErrWriter); err != nil {
		return err
	}
	if err := holdsNode(o.Dir); err != nil {
		return err
	}
	lock, err := lockPID(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	o.Ready = func() { o.Log.Info("ready", "pid", os.Getpid()) }
	err = node.Run(c.Context, o)
	if errors.Is(err, context.Canceled) && c.Context.Err() != nil {
		return nil
	}
	return err
}
