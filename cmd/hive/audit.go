package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/urfave/cli/v2"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Category: categoryLook, Usage: "who has changed what, in every account",
		Subcommands: []*cli.Command{auditTailCommand()},
	}
}

type auditTailOptions struct {
	dir, account string
	from         uint64
	once         bool
}

func auditTailCommand() *cli.Command {
	var o auditTailOptions
	return &cli.Command{
		Name: "tail", Usage: "show calls that were to change something, and follow those to come",
		Description: `Events are kept for 90 days, 50,000 of an account at most. With --output json each line is a CloudTrail record.
In one account: aws cloudtrail lookup-events.

Examples:
  hive audit tail
  hive audit tail --account research --once
  hive audit tail --from 1200 --output json`,
		Flags: []cli.Flag{
			dirFlag(&o.dir),
			&cli.StringFlag{Name: "account", Usage: "`ACCOUNT` by id or name (default: all)", Destination: &o.account},
			&cli.Uint64Flag{Name: "from", Usage: "`INDEX` of the control group's log to begin at", Destination: &o.from},
			&cli.BoolFlag{Name: "once", Usage: "end after the events that there are", Destination: &o.once},
		},
		Action: func(c *cli.Context) error { return runAuditTail(c, o) },
	}
}

func runAuditTail(c *cli.Context, o auditTailOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	d, err := daemonOf(o.dir)
	if err != nil {
		return err
	}
	q := url.Values{"follow": {strconv.FormatBool(!o.once)}, "account": {o.account}}
	if o.from > 0 {
		q.Set("from", strconv.FormatUint(o.from, 10))
	}
	out := outputOf(c)
	err = d.Lines(c.Context, "/v1/audit?"+q.Encode(), func(line []byte) error {
		if out.json {
			_, err := fmt.Fprintf(out.out, "%s\n", line)
			return err
		}
		return showAudit(out, line)
	})
	return d.explain(err)
}

// showAudit prints one CloudTrail record as a line of text.
func showAudit(out output, line []byte) error {
	var e struct {
		Time     string `json:"eventTime"`
		Name     string `json:"eventName"`
		Source   string `json:"eventSource"`
		Code     string `json:"errorCode"`
		IP       string `json:"sourceIPAddress"`
		Identity struct {
			ARN string `json:"arn"`
		} `json:"userIdentity"`
		Resources []struct {
			Name string `json:"name"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	result := "ok"
	if e.Code != "" {
		result = e.Code
	}
	names := ""
	for _, r := range e.Resources {
		names += " " + r.Name
	}
	_, err := fmt.Fprintf(out.out, "%s %s %s %s from %s: %s%s\n", e.Time, e.Identity.ARN, e.Source, e.Name, e.IP, result, names)
	return err
}
