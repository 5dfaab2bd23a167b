package main

import (
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
)

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Category: categoryForm, Usage: "make, list and revoke join tokens",
		Subcommands: []*cli.Command{tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand()},
	}
}

type tokenCreateOptions struct {
	dir    string
	expiry time.Duration
	uses   int
}

func tokenCreateCommand() *cli.Command {
	var o tokenCreateOptions
	return &cli.Command{
		Name: "create", Usage: "make a token that lets new nodes join",
		Description: `The token is shown this once; the cluster keeps a hash of it.

Examples:
  hive token create
  hive token create --expiry 1h --uses 5 --cap s3,ebs`,
		Flags: []cli.Flag{
			dirFlag(&o.dir),
			&cli.DurationFlag{Name: "expiry", Value: 24 * time.Hour, Usage: "valid for `DURATION`", Destination: &o.expiry},
			&cli.IntFlag{Name: "uses", Value: 1, Usage: "`N` nodes that may join with it", Destination: &o.uses},
			&cli.StringSliceFlag{Name: "cap", Usage: "`CAPABILITIES` that a joiner may have (default: all)"},
		},
		Action: func(c *cli.Context) error { return runTokenCreate(c, o) },
	}
}

func runTokenCreate(c *cli.Context, o tokenCreateOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if o.expiry <= 0 {
		return usagef("--expiry %v: give a time to come, such as 24h", o.expiry)
	}
	if o.uses < 1 {
		return usagef("--uses %d: give 1 or more", o.uses)
	}
	var made admin.NewToken
	req := admin.TokenRequest{Expiry: o.expiry, Uses: o.uses, Caps: c.StringSlice("cap")}
	if err := ask(c, o.dir, "POST", "/v1/tokens", req, &made); err != nil {
		return err
	}
	return outputOf(c).answer(made, func(w io.Writer) {
		fmt.Fprintf(w, "Token %s, valid until %s for %s:\n  %s\nOn the new machine:\n  %s\n",
			made.Info.ID, made.Info.Expires.Format(time.RFC3339), plural(made.Info.UsesLeft, "node"), made.Token, made.JoinCommand)
	})
}

type tokenListOptions struct{ dir string }

func tokenListCommand() *cli.Command {
	var o tokenListOptions
	return &cli.Command{
		Name: "list", Usage: "list the tokens, without their secrets",
		Description: `Examples:
  hive token list
  hive token list --output json`,
		Flags:  []cli.Flag{dirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runTokenList(c, o) },
	}
}

func runTokenList(c *cli.Context, o tokenListOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	tokens := []admin.Token{}
	if err := ask(c, o.dir, "GET", "/v1/tokens", nil, &tokens); err != nil {
		return err
	}
	return outputOf(c).answer(tokens, func(w io.Writer) {
		row(w, "ID", "STATE", "USES LEFT", "EXPIRES", "CREATED", "CAPABILITIES")
		for _, t := range tokens {
			caps := listed(t.Caps)
			if len(t.Caps) == 0 {
				caps = "all"
			}
			row(w, t.ID, t.State, t.UsesLeft, t.Expires.Format(time.RFC3339), t.Created.Format(time.RFC3339), caps)
		}
	})
}

type tokenRevokeOptions struct{ dir string }

func tokenRevokeCommand() *cli.Command {
	var o tokenRevokeOptions
	return &cli.Command{
		Name: "revoke", Usage: "make a token worthless", ArgsUsage: "ID",
		Description: `Nodes that have joined with it stay.

Examples:
  hive token list
  hive token revoke ID`,
		Flags:  []cli.Flag{dirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runTokenRevoke(c, o) },
	}
}

func runTokenRevoke(c *cli.Context, o tokenRevokeOptions) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	id := c.Args().First()
	if err := ask(c, o.dir, "DELETE", "/v1/tokens/"+url.PathEscape(id), nil, nil); err != nil {
		return err
	}
	return outputOf(c).answer(map[string]string{"revoked": id}, func(w io.Writer) { fmt.Fprintf(w, "revoked token %s\n", id) })
}
