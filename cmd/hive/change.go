package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
)

// changeOptions are common to the commands that change who takes part.
type changeOptions struct {
	dir   string
	yes   bool
	force bool
	group string
}

type changeAnswer struct {
	Action string   `json:"action"`
	Effect []string `json:"effect"`
	Steps  []string `json:"steps"`
}

// change tells the effect of ch, asks, and carries it out with progress.
func change(c *cli.Context, o changeOptions, ch admin.Change) error {
	d, err := daemonOf(o.dir)
	if err != nil {
		return err
	}
	out := outputOf(c)
	dry := ch
	dry.DryRun = true
	var effect admin.Effect
	if err := d.Do(c.Context, "POST", "/v1/change", dry, &effect); err != nil {
		return d.explain(err)
	}
	for _, l := range effect.Lines {
		out.say("%s", l)
	}
	if effect.Refused != "" {
		return errors.New("refused, nothing was changed: " + effect.Refused)
	}
	if err := confirm(c, o.yes); err != nil {
		return err
	}
	answer := changeAnswer{Action: ch.Action, Effect: append([]string{}, effect.Lines...), Steps: []string{}}
	bar := out.progress(0)
	err = d.Change(c.Context, ch, func(p admin.Progress) {
		if p.Step != "" && !p.Done {
			answer.Steps = append(answer.Steps, p.Step)
			bar.show(0, "%s", p.Step)
		}
	})
	bar.close()
	if err != nil {
		return d.explain(err)
	}
	return out.answer(answer, func(w io.Writer) { fmt.Fprintln(w, "done") })
}
