// Command hive is the one binary of Hive: the daemon of a node, the commands that form, inspect
// and change a cluster, and a whole cluster on one machine for development. It decides nothing
// itself: it asks a node's daemon over the node's own socket, or internal/node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"hive/internal/cluster"
	"hive/internal/node"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// Categories of commands in the help.
const (
	categoryForm    = "Form a cluster"
	categoryLook    = "Look"
	categoryChange  = "Change"
	categoryDaemon  = "Daemon"
	categoryMachine = "On one machine"
	categoryOther   = "Other"
)

func main() {
	if err := relaxTimers(os.Args); err != nil { // then it goes on with the usual timers
		fmt.Fprintln(os.Stderr, "hive:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is one invocation of the program; it answers the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	err := app.RunContext(ctx, flagsFirst(app.Commands, args))
	if err == nil {
		return exitOK
	}
	out := output{json: wantsJSON(args), out: stdout, err: stderr}
	out.fail(err)
	var usage usageError
	if errors.As(err, &usage) || errors.Is(err, cluster.ErrBadInput) {
		return exitUsage
	}
	return exitFailure
}

func newApp() *cli.App {
	app := &cli.App{
		Name:  "hive",
		Usage: "an AWS-compatible region on your own machines",
		Description: `Try it on this machine:
  hive dev start
  eval "$(hive dev env)"
  hive aws s3 mb s3://first

Form a cluster of three machines:
  machine 1:  hive init --region ap-southeast-2 --node node1 --nodes 3
  the others: the join command that it prints
  any:        hive status

Every command takes --help and --output json.`,
		Version:              node.Version,
		EnableBashCompletion: true,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         onUsageError,
		Action:               chooseCommand,
		Commands: []*cli.Command{
			initCommand(), joinCommand(), adminCommand(),
			runCommand(), stopCommand(),
			statusCommand(), clusterCommand(), accountCommand(), auditCommand(), eventsCommand(), scrubCommand(), instanceCommand(),
			raftCommand(), nodeCommand(), tokenCommand(),
			devCommand(), awsCommand(), imageCommand(),
			completionCommand(), versionCommand(), execGuestCommand(),
		},
	}
	complete(app.Commands)
	return app
}

// complete gives every command what all have in common.
func complete(cmds []*cli.Command) {
	for _, c := range cmds {
		c.OnUsageError = onUsageError
		switch {
		case len(c.Subcommands) > 0:
			c.Action, c.ArgsUsage = chooseCommand, "COMMAND"
			complete(c.Subcommands)
		case !c.SkipFlagParsing:
			c.HideHelpCommand = true
			c.Flags = append(c.Flags, outputFlag())
		}
	}
}

// usageError is a call that the program does not understand.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

func onUsageError(c *cli.Context, err error, _ bool) error {
	return usagef("%v: see `%s --help`", err, helpName(c))
}

func helpName(c *cli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return c.App.Name
}

// chooseCommand is what a group of commands does when none of them was named.
func chooseCommand(c *cli.Context) error {
	if !c.Args().Present() {
		if c.Command.HelpName == "" || c.Command.HelpName == c.App.Name {
			return cli.ShowAppHelp(c)
		}
		return cli.ShowSubcommandHelp(c)
	}
	hint := ""
	if near := cli.SuggestCommand(c.Command.Subcommands, c.Args().First()); near != "" {
		hint = " " + near
	}
	return usagef("there is no command %q.%s See `%s --help`", c.Args().First(), hint, helpName(c))
}

// arguments refuses a call that has fewer or more arguments than the command takes.
func arguments(c *cli.Context, least, most int) error {
	switch n := c.NArg(); {
	case n < least:
		return usagef("`%s` needs %s: see `%s --help`", helpName(c), c.Command.ArgsUsage, helpName(c))
	case n > most:
		return usagef("`%s` does not take %q: see `%s --help`", helpName(c), c.Args().Get(most), helpName(c))
	}
	return nil
}
