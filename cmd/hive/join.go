package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
	"hive/internal/node"
)

type joinOptions struct {
	place       placeOptions
	host, token string
	iface       string
}

func joinCommand() *cli.Command {
	var o joinOptions
	return &cli.Command{
		Name: "join", Category: categoryForm, Usage: "make this machine a node of a cluster",
		Description: `Shows the token to the cluster, gets a certificate, the settings and the keys, and starts
the daemon in the background. Without --host the cluster is looked for by multicast. The same
command again goes on where an interrupted one ended.

Examples:
  hive join --region ap-southeast-2 --az ap-southeast-2b --node node2 --host 10.0.0.1:8443 --token TOKEN
  HIVE_TOKEN=TOKEN hive join --region ap-southeast-2 --node node3 --interface eth1 --cap s3,ebs`,
		Flags: append(o.place.flags(),
			&cli.StringFlag{Name: "host", Usage: "`HOST:PORT` of a node of the cluster (default: found by multicast)", Destination: &o.host},
			&cli.StringFlag{Name: "token", EnvVars: []string{"HIVE_TOKEN"}, Usage: "join `TOKEN` from init or `hive token create`", Destination: &o.token},
			&cli.StringFlag{Name: "interface", Usage: "network `INTERFACE` to look for the cluster on", Destination: &o.iface},
		),
		Action: func(c *cli.Context) error { return runJoin(c, o) },
	}
}

func runJoin(c *cli.Context, o joinOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if o.token == "" {
		return usagef("a join needs the cluster's token: give it with --token, or make one with `hive token create` on a node of it")
	}
	if o.place.region == "" {
		return usagef("a join needs the cluster's region: give it with --region, as the cluster's join command shows it")
	}
	if err := o.place.fill(); err != nil {
		return err
	}
	out := outputOf(c)
	bar := out.progress(0)
	joined, err := node.Join(c.Context, node.JoinOptions{
		Dir: o.place.dir, Name: o.place.name, Region: o.place.region, Zone: o.place.zone,
		Host: o.host, Token: o.token, Interface: o.iface,
		Limits: o.place.limits, Bind: o.place.bind, Advertise: o.place.advertise, Caps: c.StringSlice("cap"),
		Progress: func(step string) { bar.show(0, "%s", step) },
	})
	bar.close()
	if c.Context.Err() != nil {
		return errors.New("interrupted: run the same command again to go on with the join")
	}
	if err != nil {
		return err
	}
	tell := func() error { return out.answer(joined, func(w io.Writer) { showJoin(w, joined) }) }
	if o.place.foreground {
		if err := tell(); err != nil {
			return err
		}
		return runNode(c, node.Options{Dir: o.place.dir}, o.place.log)
	}
	return interrupted(c.Context, joinInBackground(c, o, joined, tell), o.place.dir, "join")
}

func joinInBackground(c *cli.Context, o joinOptions, joined node.Joined, tell func() error) error {
	out := outputOf(c)
	d, err := startDaemon(o.place.dir)
	if err != nil {
		return err
	}
	if err := d.await(c.Context, answers); err != nil {
		return err
	}
	if err := tell(); err != nil || o.place.detach {
		return err
	}
	err = awaitFormation(c.Context, d, out.progress(0), func(s admin.Status) bool { return acknowledgedBy(s, joined.Node) })
	if err == nil {
		out.say("The cluster has formed, and this node has its settings. Look at it with `hive status --hive-dir %s`.", o.place.dir)
	}
	return err
}

func showJoin(w io.Writer, j node.Joined) {
	fmt.Fprintf(w, "Node %s of cluster %s in %s\nAWS endpoint of this node: %s (CA: %s)\n", j.Node, j.ClusterID, j.Dir, j.Endpoint, j.CAFile)
}
