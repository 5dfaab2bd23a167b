package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"hive/internal/admin"
	"hive/internal/cluster"
	"hive/internal/node"
)

type devStartOptions struct {
	dir, region                   string
	nodes, zones                  int
	accessKey, secretKey, account string
	timeout                       time.Duration
}

func devStartCommand() *cli.Command {
	var o devStartOptions
	return &cli.Command{
		Name: "start", Usage: "start a cluster, or the stopped nodes of the one that is there",
		Description: `Formed by the same init and join as a cluster of machines. Started again on the same
directory, it has the same data. Ctrl-C leaves the nodes running.

Examples:
  hive dev start
  hive dev start --nodes 5 --dir /tmp/five
  hive dev start --access-key AKIAEXAMPLE123456789 --secret-key SECRET --account 123456789012`,
		Flags: []cli.Flag{
			devDirFlag(&o.dir),
			&cli.IntFlag{Name: "nodes", Value: 3, Usage: "`N` nodes", Destination: &o.nodes},
			&cli.IntFlag{Name: "zones", Value: 3, Usage: "spread the nodes over `N` availability zones, 1 to 3", Destination: &o.zones},
			&cli.StringFlag{Name: "region", Value: "ap-southeast-2", Usage: "`REGION` of the cluster", Destination: &o.region},
			&cli.StringFlag{Name: "access-key", Usage: "root `ACCESS_KEY_ID` (default: drawn)", Destination: &o.accessKey},
			&cli.StringFlag{Name: "secret-key", EnvVars: []string{"HIVE_SECRET_KEY"}, Usage: "root `SECRET_ACCESS_KEY` (default: drawn)", Destination: &o.secretKey},
			&cli.StringFlag{Name: "account", Usage: "`ACCOUNT_ID`, 12 digits (default: drawn)", Destination: &o.account},
			timeoutFlag(&o.timeout, time.Minute),
		},
		Action: func(c *cli.Context) error { return runDevStart(c, o) },
	}
}

func runDevStart(c *cli.Context, o devStartOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	cl, err := openDev(c, o)
	if err != nil {
		return err
	}
	out := outputOf(c)
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.Context, o.timeout)
	defer cancel()
	err = (&devStart{cl: cl, opts: o, bar: out.progress(cl.Nodes)}).run(ctx)
	switch {
	case c.Context.Err() != nil:
		return fmt.Errorf("interrupted: the nodes that were started go on; `hive dev start` goes on from here, `hive dev stop` stops them")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the cluster is not ready after %v: see `hive dev status` and `hive dev logs`, or wait longer with --timeout", o.timeout)
	case err != nil:
		return err
	}
	env, err := cl.env(cl.node(1))
	if err != nil {
		return err
	}
	answer := map[string]any{"dir": cl.dir, "nodes": cl.Nodes, "seconds": time.Since(began).Seconds(), "env": env.vars()}
	return out.answer(answer, func(w io.Writer) {
		fmt.Fprintf(w, "%s ready in %.1f s, in %s\n\n", plural(cl.Nodes, "node"), time.Since(began).Seconds(), cl.dir)
		dir := ""
		if os.Getenv("HIVE_DEV_DIR") == "" && c.IsSet("dir") {
			dir = " --dir " + shellQuote(cl.dir)
		}
		fmt.Fprintf(w, `Use it:
  eval "$(hive dev env%[1]s)"
  hive aws%[1]s s3 mb s3://first
Look at it:
  hive dev status%[1]s
  hive status --hive-dir %[2]s
Stop it:
  hive dev stop%[1]s
`, dir, shellQuote(cl.node(1).dir))
	})
}

// openDev is the cluster in the directory, or a new one there. What an existing one is cannot be
// changed by flags.
func openDev(c *cli.Context, o devStartOptions) (*devCluster, error) {
	if o.nodes < 1 || o.nodes > maxDevNodes {
		return nil, usagef("--nodes %d: give 1 to %d", o.nodes, maxDevNodes)
	}
	if o.zones < 1 || o.zones > maxDevZones {
		return nil, usagef("--zones %d: give 1 to %d", o.zones, maxDevZones)
	}
	cl, err := loadDev(o.dir)
	if errors.Is(err, errNoDev) {
		cl.Nodes, cl.Region, cl.Zones = o.nodes, o.region, o.zones
		if err := cl.save(); err != nil {
			return nil, err
		}
		for _, n := range cl.all() {
			if err := checkPorts(n.ip); err != nil {
				return nil, errors.Join(err, cl.forget())
			}
		}
		return cl, nil
	}
	if err != nil {
		return nil, err
	}
	if c.IsSet("nodes") && o.nodes != cl.Nodes || c.IsSet("region") && o.region != cl.Region || c.IsSet("zones") && o.zones != cl.Zones {
		return nil, fmt.Errorf("%s holds a cluster of %s in %s: start it without --nodes, --zones and --region, remove it with `hive dev stop --delete`, or choose another --dir",
			cl.dir, plural(cl.Nodes, "node"), cl.Region)
	}
	return cl, nil
}

// devStart is one run of dev start.
type devStart struct {
	cl   *devCluster
	opts devStartOptions
	bar  *progress

	machine node.Limits
}

func (s *devStart) run(ctx context.Context) error {
	defer s.bar.close()
	first := s.cl.node(1)
	var err error
	if s.machine, err = node.MachineLimits(); err != nil {
		return err
	}
	s.bar.show(0, "making %s", first.name)
	made, err := node.Init(node.InitOptions{
		Dir: first.dir, Name: first.name, Region: s.cl.Region, Zone: s.cl.zone(first), Nodes: s.cl.Nodes,
		Bind: first.ip, Advertise: first.ip,
		Limits:    s.cl.limits(s.machine, first),
		AccountID: s.opts.account, AccessKey: s.opts.accessKey, SecretKey: s.opts.secretKey,
	})
	formed := errors.Is(err, node.ErrUsed) && first.made()
	if err != nil && !formed {
		return errors.Join(err, s.cl.forget())
	}
	s.bar.show(0, "starting %s", plural(s.cl.Nodes, "node"))
	daemons := make([]*daemon, s.cl.Nodes)
	if daemons[0], err = startDevNode(first); err != nil {
		return err
	}
	var g errgroup.Group
	for i, n := range s.cl.all()[1:] {
		g.Go(func() (err error) {
			if !formed && !n.made() {
				err = s.join(ctx, daemons[0], n, made.Token)
			}
			if err == nil {
				daemons[i+1], err = startDevNode(n)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.awaitServing(ctx, daemons); err != nil || formed {
		return err
	}
	s.bar.show(s.cl.Nodes, "choosing the voters")
	return s.awaitVoters(ctx, daemons[0])
}

func (s *devStart) join(ctx context.Context, first *daemon, n devNode, token string) error {
	if err := first.await(ctx, letsIn); err != nil {
		return err
	}
	_, err := node.Join(ctx, node.JoinOptions{
		Dir: n.dir, Name: n.name, Region: s.cl.Region, Zone: s.cl.zone(n),
		Host: net.JoinHostPort(s.cl.node(1).ip, node.ClusterPort), Token: token,
		Bind: n.ip, Advertise: n.ip, Limits: s.cl.limits(s.machine, n), Progress: func(string) {},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// startDevNode starts a node's process; one that runs already stays.
func startDevNode(n devNode) (*daemon, error) {
	if !n.made() {
		return nil, fmt.Errorf("%s is not there any more, and the cluster has formed: remove the rest with `hive dev stop --delete` and start again", filepath.Join(n.dir, "node.json"))
	}
	pid, err := daemonPID(n.dir)
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		if err := checkPorts(n.ip); err != nil {
			return nil, err
		}
	}
	return startDaemon(n.dir)
}

// letsIn tells that a new cluster's first node lets joiners in: a leader has recorded it.
func letsIn(s admin.Status) bool { return led(s) && len(s.Members) > 0 }

// led tells that every group has a leader.
func led(s admin.Status) bool {
	return len(s.Groups) > 0 && !slices.ContainsFunc(s.Groups, func(g admin.Group) bool { return g.Leader == "" })
}

// serves tells that a node takes part and answers AWS clients.
func serves(s admin.Status) bool {
	return led(s) && acknowledgedBy(s, s.Node) && formationOf(s).complete() && slices.Contains(s.Serving, "api")
}

// awaitVoters waits until a new cluster can do without any one of its nodes: until then only the
// first votes.
func (s *devStart) awaitVoters(ctx context.Context, d *daemon) error {
	want := min(s.cl.Nodes, cluster.MaxVoters)
	return d.await(ctx, func(admin.Status) bool {
		var groups []admin.PeerGroup
		if err := d.client.Do(ctx, "GET", "/v1/raft/peers", nil, &groups); err != nil {
			return false
		}
		return !slices.ContainsFunc(groups, func(g admin.PeerGroup) bool {
			voters := 0
			for _, p := range g.Peers {
				if p.Suffrage == "Voter" {
					voters++
				}
			}
			return voters < want
		})
	})
}

func (s *devStart) awaitServing(ctx context.Context, daemons []*daemon) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := make(chan error, len(daemons))
	for _, d := range daemons {
		go func() { ready <- d.await(ctx, serves) }()
	}
	var failed error
	for i := range daemons {
		if err := <-ready; err != nil && failed == nil {
			failed = err
			cancel(err) // the others need not be waited for
		}
		if failed == nil {
			s.bar.show(i+1, "serving: %d of %s", i+1, plural(len(daemons), "node"))
		}
	}
	return failed
}

func devStartNodeCommand() *cli.Command {
	var o devOptions
	return &cli.Command{
		Name: "start-node", Usage: "start a node that was killed or stopped", ArgsUsage: "NODE",
		Description: `What it missed is handed over to it by the others without being asked.

Examples:
  hive dev start-node node3`,
		Flags:  []cli.Flag{devDirFlag(&o.dir), timeoutFlag(&o.timeout, 30*time.Second)},
		Action: func(c *cli.Context) error { return runDevStartNode(c, o) },
	}
}

func runDevStartNode(c *cli.Context, o devOptions) error {
	n, err := devArgument(c, o)
	if err != nil {
		return err
	}
	out := outputOf(c)
	bar := out.progress(0)
	defer bar.close()
	bar.show(0, "starting %s", n.name)
	d, err := startDevNode(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, o.timeout)
	defer cancel()
	if err := d.await(ctx, answers); err != nil {
		return err
	}
	bar.show(0, "waiting until %s serves", n.name)
	err = d.await(ctx, func(s admin.Status) bool { return slices.Contains(s.Serving, "api") })
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s runs, but does not serve after %v: see `hive status --hive-dir %s`", n.name, o.timeout, n.dir)
	}
	if err != nil {
		return err
	}
	bar.close()
	return out.answer(map[string]string{"node": n.name, "state": "serving"}, func(w io.Writer) { fmt.Fprintf(w, "%s serves\n", n.name) })
}
