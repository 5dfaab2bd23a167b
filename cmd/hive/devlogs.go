package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
)

type devLogsOptions struct {
	dir    string
	follow bool
	lines  int
}

func devLogsCommand() *cli.Command {
	var o devLogsOptions
	return &cli.Command{
		Name: "logs", Usage: "show the log of a node, or of all", ArgsUsage: "[NODE]",
		Description: `Examples:
  hive dev logs node2
  hive dev logs -f
  hive dev logs --lines 0 node1`,
		Flags: []cli.Flag{devDirFlag(&o.dir),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes, until Ctrl-C", Destination: &o.follow},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 50, Usage: "at most the last `N` lines of each node, 0 for all", Destination: &o.lines},
		},
		Action: func(c *cli.Context) error { return runDevLogs(c, o) },
	}
}

func runDevLogs(c *cli.Context, o devLogsOptions) error {
	if err := arguments(c, 0, 1); err != nil {
		return err
	}
	if o.lines < 0 {
		return usagef("--lines %d: give 0 or more", o.lines)
	}
	cl, err := loadDev(o.dir)
	if err != nil {
		return err
	}
	nodes := cl.all()
	if c.NArg() == 1 {
		n, err := cl.named(c.Args().First())
		if err != nil {
			return err
		}
		nodes = []devNode{n}
	}
	p := logPrinter{out: outputOf(c), prefix: len(nodes) > 1}
	follow := make([]follower, len(nodes))
	for i, n := range nodes {
		follow[i].path = filepath.Join(n.dir, logName)
		t := tail{n: o.lines}
		if err := follow[i].next(t.add); err != nil {
			return err
		}
		for _, l := range t.last() {
			p.line(n.name, l)
		}
	}
	if o.follow {
		return p.follow(c.Context, nodes, follow)
	}
	return p.err
}

// logPrinter writes lines of logs, each with its node, until a write fails.
type logPrinter struct {
	out    output
	prefix bool
	err    error
}

// follow prints what comes until ctx ends.
func (p *logPrinter) follow(ctx context.Context, nodes []devNode, files []follower) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for p.err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for i, n := range nodes {
			if err := files[i].next(func(l string) { p.line(n.name, l) }); err != nil {
				return err
			}
		}
	}
	return p.err
}

func (p *logPrinter) line(node, text string) {
	if p.err != nil {
		return
	}
	switch {
	case p.out.json:
		p.err = json.NewEncoder(p.out.out).Encode(struct {
			Node string `json:"node"`
			Line string `json:"line"`
		}{node, text})
	case p.prefix:
		_, p.err = fmt.Fprintf(p.out.out, "%s | %s\n", node, text)
	default:
		_, p.err = io.WriteString(p.out.out, text+"\n")
	}
}
