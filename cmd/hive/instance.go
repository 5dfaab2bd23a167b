package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
)

func instanceCommand() *cli.Command {
	return &cli.Command{
		Name: "instance", Category: categoryLook, Usage: "the instances of all accounts, and a way into them",
		Subcommands: []*cli.Command{instanceListCommand(), instanceConnectCommand()},
	}
}

func instanceListCommand() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "list", Usage: "list instances with the nodes that run them",
		Description: `Examples:
  hive instance list
  hive instance list --output json`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			list := []admin.Instance{}
			if err := ask(c, dir, "GET", "/v1/instances", nil, &list); err != nil {
				return err
			}
			return outputOf(c).answer(list, func(w io.Writer) {
				row(w, "INSTANCE", "NAME", "STATE", "TYPE", "NODE", "ZONE", "ADDRESS", "RUNS BY", "ACCOUNT")
				for _, i := range list {
					row(w, i.ID, orDash(i.Name), i.State, i.Type, i.Node, i.Zone, orDash(i.Address), orDash(i.Accel), i.Account)
				}
			})
		},
	}
}

// connectWithin is how long the way to an instance's port may take to open.
const connectWithin = 30 * time.Second

func instanceConnectCommand() *cli.Command {
	var dir string
	var port int
	return &cli.Command{
		Name: "connect", Usage: "carry stdin and stdout to a TCP port of an instance", ArgsUsage: "INSTANCE",
		Description: `Works on any node: the daemon of the node that runs the instance dials from within the instance's
network, so the instance needs no address outside of it.

Examples:
  ssh -o ProxyCommand='hive instance connect %h' ec2-user@i-0123456789abcdef0
  hive instance connect i-0123456789abcdef0 --port 80`,
		Flags: []cli.Flag{dirFlag(&dir), &cli.IntFlag{Name: "port", Value: 22, Usage: "TCP `PORT` of the instance", Destination: &port}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			id := c.Args().First()
			if !strings.HasPrefix(id, "i-") || port < 1 || port > 65535 {
				return usagef("give an instance's id, such as i-0123456789abcdef0, and a port from 1 to 65535")
			}
			return connectInstance(c, dir, id, port)
		},
	}
}

func connectInstance(c *cli.Context, dir, id string, port int) error {
	d, err := daemonOf(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, connectWithin)
	conn, err := admin.Connect(ctx, d.dir, id, port)
	cancel()
	if err != nil {
		return d.explain(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(c.Context, func() { conn.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, c.App.Reader)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, half.CloseWrite())
		}
		sent <- err
	}()
	if _, err := io.Copy(c.App.Writer, conn); err != nil && c.Context.Err() == nil {
		return fmt.Errorf("connection to %s: %w", id, err)
	}
	select {
	case err := <-sent:
		return err
	default: // the instance has ended the connection: what stdin still has goes nowhere
		return nil
	}
}
