package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func yesFlag(dest *bool) cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do it without asking", Destination: dest}
}

// confirm asks the operator, who has been told the effect, whether to go on. Without a terminal
// it refuses: nobody can answer.
func confirm(c *cli.Context, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(c.App.Reader) {
		return usagef("nobody can be asked, as the input is not a terminal: repeat the command with --yes")
	}
	fmt.Fprint(c.App.ErrWriter, "Continue? [y/N] ")
	answer, err := bufio.NewReader(c.App.Reader).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer, nothing was changed: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return fmt.Errorf("nothing was changed")
	}
	return nil
}
