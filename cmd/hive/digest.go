package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"hive/fsm"
	"hive/internal/admin"
)

type digestOptions struct{ dir string }

func clusterCommand() *cli.Command {
	var o digestOptions
	return &cli.Command{
		Name: "cluster", Category: categoryLook, Usage: "compare the nodes with one another; the settings of all",
		Subcommands: []*cli.Command{{
			Name: "digest", Usage: "compare the state of every Raft group on all nodes",
			Description: `Every node sums up its state of every group at the same index; equal sums are equal states.
Exit code 1 when they differ or a node does not answer.

Examples:
  hive cluster digest
  hive cluster digest --output json`,
			Flags:  []cli.Flag{dirFlag(&o.dir)},
			Action: func(c *cli.Context) error { return runDigest(c, o) },
		}, settingsCommand()},
	}
}

type digestAnswer struct {
	Agree   bool           `json:"agree"`
	Digests []admin.Digest `json:"digests"`
}

func runDigest(c *cli.Context, o digestOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	a := digestAnswer{Digests: []admin.Digest{}}
	if err := ask(c, o.dir, "GET", "/v1/digests", nil, &a.Digests); err != nil {
		return err
	}
	verdict := judge(a.Digests)
	a.Agree = verdict == nil
	err := outputOf(c).answer(a, func(w io.Writer) {
		row(w, "GROUP", "NODE", "INDEX", "SHA-256")
		for _, d := range a.Digests {
			if d.Error != "" {
				row(w, d.Group, d.Node, "-", d.Error)
				continue
			}
			row(w, d.Group, d.Node, d.Index, d.Sum)
		}
	})
	return errors.Join(err, verdict)
}

// judge compares the digests of each group. Digests of different indexes cannot be compared.
func judge(rows []admin.Digest) error {
	if len(rows) == 0 {
		return errors.New("no node answered with a digest: look at `hive status`")
	}
	first := map[fsm.GroupID]admin.Digest{}
	var wrong []error
	for _, d := range rows {
		ref, seen := first[d.Group]
		switch {
		case d.Error != "":
			wrong = append(wrong, fmt.Errorf("%s on %s: %s", d.Group, d.Node, d.Error))
		case !seen:
			first[d.Group] = d
		case d.Index != ref.Index:
			wrong = append(wrong, fmt.Errorf("%s: %s is at index %d and %s at %d: run it again when the cluster is quiet", d.Group, ref.Node, ref.Index, d.Node, d.Index))
		case d.Sum != ref.Sum:
			wrong = append(wrong, fmt.Errorf("%s: the states of %s and %s differ at index %d: keep both directories and report it", d.Group, ref.Node, d.Node, d.Index))
		}
	}
	return errors.Join(wrong...)
}
