package main

import (
	"io"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
)

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", Category: categoryChange, Usage: "list the nodes, remove one",
		Subcommands: []*cli.Command{nodeListCommand(), nodeRemoveCommand()},
	}
}

type nodeListOptions struct{ dir string }

func nodeListCommand() *cli.Command {
	var o nodeListOptions
	return &cli.Command{
		Name: "list", Usage: "list the nodes of the cluster",
		Description: `Examples:
  hive node list
  hive node list --output json`,
		Flags:  []cli.Flag{dirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runNodeList(c, o) },
	}
}

func runNodeList(c *cli.Context, o nodeListOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	var s admin.Status
	if err := ask(c, o.dir, "GET", "/v1/status", nil, &s); err != nil {
		return err
	}
	members := append([]admin.Member{}, s.Members...)
	return outputOf(c).answer(members, func(w io.Writer) {
		row(w, "NODE", "HEALTH", "ROLE", "ADDRESS", "ZONE", "VERSION", "CAPABILITIES")
		for _, m := range members {
			row(w, m.Node, orDash(m.Health), role(m), orDash(m.Addr), orDash(m.Zone), orDash(m.Version), listed(m.Caps))
		}
	})
}

func nodeRemoveCommand() *cli.Command {
	var o changeOptions
	return &cli.Command{
		Name: "remove", Usage: "remove a node from the cluster for good", ArgsUsage: "NODE",
		Description: `The node leaves the Raft groups, the members and the settings, and its certificate is no
longer accepted. What it does to quorum and to the data is told first.

Examples:
  hive node remove node3
  hive node remove node3 --yes --force`,
		Flags: []cli.Flag{dirFlag(&o.dir), yesFlag(&o.yes),
			&cli.BoolFlag{Name: "force", Usage: "also when it holds shards that the others lack", Destination: &o.force}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			return change(c, o, admin.Change{Action: admin.RemoveNode, Node: nodeID(c.Args().First()), Force: o.force})
		},
	}
}
