package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
)

func settingsCommand() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "settings", Usage: "show the cluster's settings, or change them", ArgsUsage: "[KEY=VALUE …]",
		Description: `Each change is a new epoch of the signed settings on all nodes. An empty value is the default again.

  audit.days=90                    how long audit events are kept
  audit.keep=50000                 how many of an account
  nats.url=nats://HOST:4222        a NATS of your own that gets the events instead of the cluster's
  throttle.ec2:RunInstances=5/20   calls per second of an account / how many at once; also ec2:* and *

Examples:
  hive cluster settings
  hive cluster settings 'throttle.*=100/200' audit.days=30
  hive cluster settings 'throttle.*='`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			var change admin.Settings
			for _, word := range c.Args().Slice() {
				key, value, ok := strings.Cut(word, "=")
				if !ok {
					return usagef("%q: give KEY=VALUE, such as audit.days=30", word)
				}
				change.Values = append(change.Values, admin.Setting{Key: key, Value: value})
			}
			var now admin.Settings
			method := "GET"
			var in any
			if len(change.Values) > 0 {
				method, in = "PATCH", change
			}
			if err := ask(c, dir, method, "/v1/settings", in, &now); err != nil {
				return err
			}
			return outputOf(c).answer(now, func(w io.Writer) {
				row(w, "epoch", now.Epoch)
				for _, s := range now.Values {
					value := s.Value
					if value == "" {
						value = "(default)"
					}
					row(w, s.Key, value)
				}
			})
		},
	}
}
