package main

import "github.com/urfave/cli/v2"

// adminCommand holds init and join under the name that AWS-like tools give them.
func adminCommand() *cli.Command {
	return &cli.Command{
		Name: "admin", Category: categoryForm, Usage: "the same init and join",
		Subcommands: []*cli.Command{initCommand(), joinCommand()},
	}
}
