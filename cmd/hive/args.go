package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionFlag is what a shell adds to ask for completions; it must stay last.
const completionFlag = "--generate-bash-completion"

// flagsFirst moves the flags of the command that args name before its arguments, so that
// `hive raft promote node2 --yes` means what it says: urfave/cli stops at the first argument.
func flagsFirst(cmds []*cli.Command, args []string) []string {
	if len(args) == 0 || args[len(args)-1] == completionFlag {
		return args
	}
	at := 1
	var cmd *cli.Command
	for at < len(args) {
		i := slices.IndexFunc(cmds, func(c *cli.Command) bool { return c.HasName(args[at]) })
		if i < 0 {
			break
		}
		cmd, cmds, at = cmds[i], cmds[i].Subcommands, at+1
	}
	if cmd == nil || cmd.SkipFlagParsing || len(cmd.Subcommands) > 0 {
		return args
	}
	flags, rest := splitFlags(cmd.Flags, args[at:])
	return slices.Concat(args[:at], flags, rest)
}

// splitFlags parts a command's flags, with their values, from its arguments.
func splitFlags(known []cli.Flag, args []string) (flags, rest []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(flags, "--"), append(rest, args[i+1:]...)
		case len(a) < 2 || a[0] != '-':
			rest = append(rest, a)
		case !strings.Contains(a, "=") && takesValue(known, strings.TrimLeft(a, "-")) && i+1 < len(args):
			i++
			flags = append(flags, a, args[i])
		default:
			flags = append(flags, a)
		}
	}
	return flags, rest
}

func takesValue(known []cli.Flag, name string) bool {
	for _, f := range known {
		if slices.Contains(f.Names(), name) {
			_, boolean := f.(*cli.BoolFlag)
			return !boolean
		}
	}
	return false
}

// wantsJSON tells whether args ask for --output json, also when they are wrong otherwise.
func wantsJSON(args []string) bool {
	if len(args) > 1 && args[1] == "aws" {
		return false // its --output is the aws CLI's
	}
	for i, a := range args {
		switch {
		case a == "--output=json", a == "-o=json":
			return true
		case (a == "--output" || a == "-o") && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}
