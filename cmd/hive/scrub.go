package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
)

type scrubOptions struct{ dir string }

func scrubCommand() *cli.Command {
	var o scrubOptions
	return &cli.Command{
		Name: "scrub", Category: categoryLook, Usage: "read every shard of this node again and check it",
		Description: `Exit code 1 when a shard is rotten or missing; it is repaired from the other nodes by itself.

Examples:
  hive scrub
  hive scrub --hive-dir /var/lib/hive --output json`,
		Flags:  []cli.Flag{dirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runScrub(c, o) },
	}
}

func runScrub(c *cli.Context, o scrubOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	out := outputOf(c)
	bar := out.progress(0)
	bar.show(0, "reading every shard of this node")
	var s admin.Scrub
	err := ask(c, o.dir, "POST", "/v1/scrub", nil, &s)
	bar.close()
	if err != nil {
		return err
	}
	err = out.answer(s, func(w io.Writer) {
		fmt.Fprintf(w, "checked %d records, %d bytes: %d rotten, %d missing, %d mended, %d could not be mended\n",
			s.Records, s.Bytes, s.Rotten, s.Missing, s.Mended, s.Failed)
	})
	if err == nil && s.Rotten+s.Missing > 0 {
		err = fmt.Errorf("%d rotten and %d missing, %d of them mended: what is left is repaired from the other nodes; scrub again to see",
			s.Rotten, s.Missing, s.Mended)
	}
	return err
}
