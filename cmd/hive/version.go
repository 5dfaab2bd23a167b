package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"hive/internal/node"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Category: categoryOther, Usage: "show the version of this binary",
		Action: runVersion,
	}
}

type versionAnswer struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func runVersion(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	v := versionAnswer{Version: node.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return outputOf(c).answer(v, func(w io.Writer) {
		fmt.Fprintf(w, "hive %s", v.Version)
		if v.Revision != "" {
			fmt.Fprintf(w, " (%.12s)", v.Revision)
		}
		fmt.Fprintf(w, " %s %s\n", v.Go, v.Platform)
	})
}
