package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// dirFlag is the directory of the node that a command is about.
func dirFlag(dest *string) cli.Flag {
	return &cli.StringFlag{
		Name: "hive-dir", Aliases: []string{"data-dir"}, EnvVars: []string{"HIVE_DIR"}, Value: "~/hive",
		Usage: "`DIR` of the node", Destination: dest,
	}
}

// resolveDir makes a directory that an operator named absolute; a leading ~ is the home directory.
func resolveDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("the directory's name is empty: give one with --hive-dir")
	}
	if rest, home := strings.CutPrefix(dir, "~"); home && (rest == "" || rest[0] == '/') {
		h, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%s: %w: give the directory with --hive-dir", dir, err)
		}
		dir = filepath.Join(h, rest)
	}
	return filepath.Abs(dir)
}
