package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"hive/fsm"
	"hive/internal/admin"
)

// daemonOf is the client of the daemon of the node in dir.
func daemonOf(dir string) (daemonClient, error) {
	dir, err := resolveDir(dir)
	return daemonClient{dir: dir, Client: admin.NewClient(dir)}, err
}

type daemonClient struct {
	*admin.Client
	dir string
}

// ask sends in to the daemon of the node in dir and reads its answer into out.
func ask(c *cli.Context, dir, method, path string, in, out any) error {
	d, err := daemonOf(dir)
	if err != nil {
		return err
	}
	return d.explain(d.Do(c.Context, method, path, in, out))
}

// explain adds to an unreachable daemon which one it is.
func (d daemonClient) explain(err error) error {
	if errors.Is(err, admin.ErrNotRunning) {
		return fmt.Errorf("no daemon answers for the node in %s: start it with `hive run --hive-dir %s`, or name another directory with --hive-dir",
			d.dir, d.dir)
	}
	return err
}

// nodeID takes a node's name or its id.
func nodeID(arg string) fsm.NodeID {
	if strings.HasPrefix(arg, "n-") {
		return fsm.NodeID(arg)
	}
	return fsm.NodeID("n-" + arg)
}
