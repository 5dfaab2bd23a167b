package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/node"
)

func devCommand() *cli.Command {
	return &cli.Command{
		Name: "dev", Category: categoryMachine, Usage: "a whole cluster of real processes on this machine",
		Description: `Node i listens on 127.0.1.i with the standard ports; no root is needed.

Examples:
  hive dev start --nodes 3
  eval "$(hive dev env)"
  hive aws s3 ls
  hive dev kill node3
  hive dev start-node node3
  hive dev stop`,
		Subcommands: []*cli.Command{
			devStartCommand(), devStatusCommand(), devLogsCommand(), devKillCommand(),
			devStartNodeCommand(), devEnvCommand(), devStopCommand(),
		},
	}
}

type devOptions struct {
	dir     string
	node    string
	timeout time.Duration
	delete  bool
}

func devStatusCommand() *cli.Command {
	var o devOptions
	return &cli.Command{
		Name: "status", Usage: "show the processes and what the cluster says of itself",
		Description: `Examples:
  hive dev status
  hive dev status --output json`,
		Flags:  []cli.Flag{devDirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runDevStatus(c, o) },
	}
}

// devNodeStatus is one process of the cluster.
type devNodeStatus struct {
	Node     string        `json:"node"`
	Address  string        `json:"address"`
	Dir      string        `json:"dir"`
	PID      int           `json:"pid"` // 0: does not run
	State    string        `json:"state"`
	Endpoint string        `json:"endpoint"`
	Status   *admin.Status `json:"status,omitempty"`
}

type devStatusAnswer struct {
	Dir   string          `json:"dir"`
	Nodes []devNodeStatus `json:"nodes"`
}

func runDevStatus(c *cli.Context, o devOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	cl, err := loadDev(o.dir)
	if err != nil {
		return err
	}
	a := devStatusAnswer{Dir: cl.dir, Nodes: make([]devNodeStatus, cl.Nodes)}
	var g errgroup.Group
	for i, n := range cl.all() {
		g.Go(func() (err error) {
			a.Nodes[i], err = n.status(c.Context)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return outputOf(c).answer(a, func(w io.Writer) { showDev(w, a) })
}

func (n devNode) status(ctx context.Context) (devNodeStatus, error) {
	s := devNodeStatus{Node: n.name, Address: n.ip, Dir: n.dir, State: "stopped"}
	env, err := nodeEndpoint(n.dir)
	if err != nil {
		s.State = "not made"
		return s, nil
	}
	s.Endpoint = env.endpoint
	if s.PID, err = daemonPID(n.dir); err != nil || s.PID == 0 {
		return s, err
	}
	d := &daemon{dir: n.dir, client: daemonClient{admin.NewClient(n.dir), n.dir}}
	st, err := d.status(ctx)
	switch {
	case err != nil:
		s.State = "runs, but does not answer"
		return s, nil
	case len(st.Serving) == 0:
		s.State = "starting"
	default:
		s.State = "serving"
	}
	s.Status = &st
	return s, nil
}

func showDev(w io.Writer, a devStatusAnswer) {
	fmt.Fprintf(w, "Development cluster in %s\n\n", a.Dir)
	row(w, "NODE", "STATE", "PID", "ENDPOINT", "LEADER SEEN", "EPOCH", "OWED SHARDS")
	for _, n := range a.Nodes {
		if n.Status == nil {
			row(w, n.Node, n.State, n.PID, orDash(n.Endpoint))
			continue
		}
		row(w, n.Node, n.State, n.PID, n.Endpoint, controlLeader(*n.Status), n.Status.Epoch, n.Status.Repair.Owed)
	}
}

func controlLeader(s admin.Status) string {
	for _, g := range s.Groups {
		if g.Group == fsm.ControlGroup {
			return string(orDash(g.Leader))
		}
	}
	return "-"
}

func devKillCommand() *cli.Command {
	var o devOptions
	return &cli.Command{
		Name: "kill", Usage: "kill a node's process with SIGKILL", ArgsUsage: "NODE",
		Description: `As if its machine had lost power, except that its files are as the kernel knows them.

Examples:
  hive dev kill node3`,
		Flags:  []cli.Flag{devDirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runDevKill(c, o) },
	}
}

func runDevKill(c *cli.Context, o devOptions) error {
	n, err := devArgument(c, o)
	if err != nil {
		return err
	}
	pid, err := daemonPID(n.dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		return fmt.Errorf("%s does not run: see `hive dev status`", n.name)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d of %s: %w", pid, n.name, err)
	}
	ctx, cancel := context.WithTimeout(c.Context, time.Minute)
	defer cancel()
	if err := awaitGone(ctx, n.dir, pid); err != nil {
		return err
	}
	return outputOf(c).answer(map[string]any{"node": n.name, "killed": pid}, func(w io.Writer) {
		fmt.Fprintf(w, "killed %s (process %d)\n", n.name, pid)
	})
}

// devArgument is the one node that a command names.
func devArgument(c *cli.Context, o devOptions) (devNode, error) {
	if err := arguments(c, 1, 1); err != nil {
		return devNode{}, err
	}
	cl, err := loadDev(o.dir)
	if err != nil {
		return devNode{}, err
	}
	return cl.named(c.Args().First())
}

func devEnvCommand() *cli.Command {
	var o devOptions
	return &cli.Command{
		Name: "env", Usage: "print the environment for AWS clients, for a shell's eval",
		Description: `Examples:
  eval "$(hive dev env)"
  eval "$(hive dev env --node node2)"`,
		Flags: []cli.Flag{devDirFlag(&o.dir),
			&cli.StringFlag{Name: "node", Usage: "the endpoint of `NODE` (default: the first that runs)", Destination: &o.node}},
		Action: func(c *cli.Context) error { return runDevEnv(c, o) },
	}
}

func runDevEnv(c *cli.Context, o devOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	cl, err := loadDev(o.dir)
	if err != nil {
		return err
	}
	n, err := cl.pick(o.node)
	if err != nil {
		return err
	}
	env, err := cl.env(n)
	if err != nil {
		return err
	}
	return outputOf(c).answer(env.vars(), func(w io.Writer) { fmt.Fprint(w, env.exports("")) })
}

func devStopCommand() *cli.Command {
	var o devOptions
	return &cli.Command{
		Name: "stop", Usage: "stop all nodes, and wait until they are gone",
		Description: `The data stays for the next start, unless --delete is given. Instances go on without their nodes, and
wait for their disks until the next start; --delete ends them.

Examples:
  hive dev stop
  hive dev stop --delete`,
		Flags: []cli.Flag{devDirFlag(&o.dir), timeoutFlag(&o.timeout, time.Minute),
			&cli.BoolFlag{Name: "delete", Usage: "remove the directory with all data too", Destination: &o.delete}},
		Action: func(c *cli.Context) error { return runDevStop(c, o) },
	}
}

func runDevStop(c *cli.Context, o devOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	cl, err := loadDev(o.dir)
	if err != nil {
		return err
	}
	out := outputOf(c)
	ctx, cancel := context.WithTimeout(c.Context, o.timeout)
	defer cancel()
	stopped, err := cl.stop(ctx, out.progress(cl.Nodes))
	if err != nil {
		return err
	}
	if o.delete {
		for _, n := range cl.all() {
			if err := node.ClearMachine(ctx, n.dir, slog.New(slog.DiscardHandler)); err != nil {
				return fmt.Errorf("what %s has left running: %w", n.name, err)
			}
		}
		if err := os.RemoveAll(cl.dir); err != nil {
			return err
		}
	}
	return out.answer(map[string]any{"dir": cl.dir, "stopped": stopped, "deleted": o.delete}, func(w io.Writer) {
		if o.delete {
			fmt.Fprintf(w, "stopped %s and removed %s\n", plural(len(stopped), "node"), cl.dir)
		} else {
			fmt.Fprintf(w, "stopped %s; the data stays in %s\n", plural(len(stopped), "node"), cl.dir)
		}
	})
}

// stop ends all nodes at once and answers the names of those that ran.
func (cl *devCluster) stop(ctx context.Context, bar *progress) ([]string, error) {
	defer bar.close()
	type result struct {
		node devNode
		ran  bool
		err  error
	}
	nodes := cl.all()
	results := make(chan result, len(nodes))
	for _, n := range nodes {
		go func() {
			ran, err := stopNode(ctx, n.dir, func(waits []string) { bar.show(0, "%s waits for %s", n.name, strings.Join(waits, "; ")) })
			results <- result{n, ran, err}
		}()
	}
	bar.show(0, "stopping %s", plural(len(nodes), "node"))
	stopped := []string{}
	var errs []error
	for i := range nodes {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		if r.ran {
			stopped = append(stopped, r.node.name)
		}
		bar.show(i+1, "%s is stopped", r.node.name)
	}
	return stopped, errors.Join(errs...)
}
