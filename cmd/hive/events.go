package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Category: categoryLook, Usage: "what has changed in the cluster, and who may hear of it",
		Subcommands: []*cli.Command{eventsTailCommand(), eventsCredentialsCommand()},
	}
}

type eventsTailOptions struct {
	dir, filter, group string
	from               uint64
	once               bool
}

func eventsTailCommand() *cli.Command {
	var o eventsTailOptions
	return &cli.Command{
		Name: "tail", Usage: "show events, and follow those to come",
		Description: `Events are read from the state of the node, so no NATS is needed. Each Raft group keeps its last 20,000. Without --from,
those to come are shown.
A filter is an EventBridge event pattern, or words of the subject hive.REGION.ACCOUNT.SERVICE.DETAIL-TYPE: * stands for
one, > at the end for the rest, ** for any number. With --output json each line is an event.

Examples:
  hive events tail
  hive events tail --from 0 --once --output json
  hive events tail --group control --from 1200 --filter 'hive.*.123456789012.ec2.>'
  hive events tail --filter '{"source":["aws.s3"],"detail":{"object":{"key":[{"prefix":"photos/"}]}}}'`,
		Flags: []cli.Flag{
			dirFlag(&o.dir),
			&cli.StringFlag{Name: "filter", Usage: "only events that match `PATTERN`", Destination: &o.filter},
			&cli.Uint64Flag{Name: "from", Usage: "`INDEX` of each group's log to begin at", Destination: &o.from},
			&cli.StringFlag{Name: "group", Usage: "only this `GROUP`: control, index-0, … (default: all)", Destination: &o.group},
			&cli.BoolFlag{Name: "once", Usage: "end after the events that there are", Destination: &o.once},
		},
		Action: func(c *cli.Context) error { return runEventsTail(c, o) },
	}
}

func runEventsTail(c *cli.Context, o eventsTailOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	d, err := daemonOf(o.dir)
	if err != nil {
		return err
	}
	q := url.Values{"once": {strconv.FormatBool(o.once)}, "filter": {o.filter}, "group": {o.group}}
	if c.IsSet("from") || o.once {
		q.Set("from", strconv.FormatUint(o.from, 10))
	}
	out := outputOf(c)
	err = d.Lines(c.Context, "/v1/events?"+q.Encode(), func(line []byte) error {
		if out.json {
			_, err := fmt.Fprintf(out.out, "%s\n", line)
			return err
		}
		return showEvent(out.out, line)
	})
	return d.explain(err)
}

// showEvent prints one event as a line of text.
func showEvent(w io.Writer, line []byte) error {
	var e struct {
		Time       string          `json:"time"`
		Account    string          `json:"account"`
		Source     string          `json:"source"`
		DetailType string          `json:"detail-type"`
		Resources  []string        `json:"resources"`
		Detail     json.RawMessage `json:"detail"`
		Hive       struct {
			Group string `json:"group"`
			Index uint64 `json:"index"`
		} `json:"hive"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	words := append([]string{e.Time, fmt.Sprintf("%s/%d", e.Hive.Group, e.Hive.Index), e.Account, e.Source, strconv.Quote(e.DetailType)}, e.Resources...)
	_, err := fmt.Fprintf(w, "%s %s\n", strings.Join(words, " "), e.Detail)
	return err
}

type eventsCredentialsOptions struct {
	dir    string
	rotate bool
}

func eventsCredentialsCommand() *cli.Command {
	var o eventsCredentialsOptions
	return &cli.Command{
		Name: "credentials", Usage: "show how an account hears of its own events over NATS", ArgsUsage: "ACCOUNT",
		Description: `They let a client subscribe to the account's events, and to nothing else. With --rotate there are new ones, and what is
connected with the old ones ends. ACCOUNT is 12 digits, or the word cluster for the events of the cluster itself.

Examples:
  hive events credentials 123456789012
  hive events credentials 123456789012 --rotate --output json
  hive events credentials cluster`,
		Flags: []cli.Flag{
			dirFlag(&o.dir),
			&cli.BoolFlag{Name: "rotate", Usage: "make new ones; the old ones end", Destination: &o.rotate},
		},
		Action: func(c *cli.Context) error { return runEventsCredentials(c, o) },
	}
}

// eventsCredentials are what the daemon answers.
type eventsCredentials struct {
	Account  string   `json:"account"`
	URLs     []string `json:"urls"`
	User     string   `json:"user"`
	Password string   `json:"password"`
	Subject  string   `json:"subject"`
	CA       string   `json:"ca"`
}

func runEventsCredentials(c *cli.Context, o eventsCredentialsOptions) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	req := map[string]any{"account": c.Args().First(), "rotate": o.rotate}
	var got eventsCredentials
	if err := ask(c, o.dir, "POST", "/v1/events/credentials", req, &got); err != nil {
		return err
	}
	return outputOf(c).answer(got, func(w io.Writer) {
		row(w, "servers", strings.Join(got.URLs, ","))
		row(w, "user", got.User)
		row(w, "password", got.Password)
		row(w, "subject", got.Subject)
		fmt.Fprintf(w, "\nThe servers are checked by this certificate:\n%s", got.CA)
		fmt.Fprintf(w, "\nWith the nats CLI, the certificate in ca.pem:\n  nats sub '%s' --server %s --user %s --password '%s' --tlsca ca.pem\n",
			got.Subject, strings.Join(got.URLs, ","), got.User, got.Password)
	})
}
