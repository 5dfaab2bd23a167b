package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"hive/fsm"
	"hive/internal/admin"
)

func raftCommand() *cli.Command {
	return &cli.Command{
		Name: "raft", Category: categoryChange, Usage: "look at the Raft groups and change who votes",
		Subcommands: []*cli.Command{
			listPeersCommand(),
			raftChange("promote", admin.Promote, "make a non-voter a voter",
				`The node keeps its vote until it is demoted.`),
			raftChange("demote", admin.Demote, "make a voter a non-voter",
				`The node goes on to receive everything. Refused when it would lose quorum.`),
			raftChange("remove-peer", admin.RemovePeer, "take a node out of the Raft groups",
				`The node stays a member of the cluster; promote brings it back. To remove it altogether: hive node remove.`),
			transferCommand(),
		},
	}
}

type listPeersOptions struct{ dir string }

func listPeersCommand() *cli.Command {
	var o listPeersOptions
	return &cli.Command{
		Name: "list-peers", Usage: "show every Raft group as all its servers report it",
		Description: `Examples:
  hive raft list-peers
  hive raft list-peers --output json`,
		Flags:  []cli.Flag{dirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runListPeers(c, o) },
	}
}

func runListPeers(c *cli.Context, o listPeersOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	groups := []admin.PeerGroup{}
	if err := ask(c, o.dir, "GET", "/v1/raft/peers", nil, &groups); err != nil {
		return err
	}
	return outputOf(c).answer(groups, func(w io.Writer) {
		row(w, "GROUP", "NODE", "SUFFRAGE", "STATE", "TERM", "COMMITTED", "APPLIED", "LAG")
		for _, g := range groups {
			for _, p := range g.Peers {
				lag := fmt.Sprint(p.Lag)
				if p.Error != "" {
					lag = p.Error
				}
				row(w, g.Group, p.Node, orDash(p.Suffrage), p.State, p.Term, p.Commit, p.Applied, lag)
			}
		}
	})
}

func raftChange(name, action, usage, more string) *cli.Command {
	var o changeOptions
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "NODE",
		Description: more + `
What it does to quorum is told first.

Examples:
  hive raft ` + name + ` node2
  hive raft ` + name + ` node2 --yes`,
		Flags: []cli.Flag{dirFlag(&o.dir), yesFlag(&o.yes)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			return change(c, o, admin.Change{Action: action, Node: nodeID(c.Args().First())})
		},
	}
}

func transferCommand() *cli.Command {
	var o changeOptions
	return &cli.Command{
		Name: "transfer-leadership", Usage: "let another node lead", ArgsUsage: "[NODE]",
		Description: `Without NODE the Raft groups choose. What it does is told first.

Examples:
  hive raft transfer-leadership node2
  hive raft transfer-leadership --group index-0 --yes`,
		Flags: []cli.Flag{dirFlag(&o.dir), yesFlag(&o.yes),
			&cli.StringFlag{Name: "group", Usage: "only this `GROUP`: control, index-0, … (default: all)", Destination: &o.group}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			ch := admin.Change{Action: admin.TransferLeadership, Group: fsm.GroupID(o.group)}
			if c.NArg() == 1 {
				ch.Node = nodeID(c.Args().First())
			}
			return change(c, o, ch)
		},
	}
}
