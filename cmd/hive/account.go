package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"hive/fsm"
	"hive/internal/admin"
)

func accountCommand() *cli.Command {
	return &cli.Command{
		Name: "account", Category: categoryChange, Usage: "the AWS accounts of this region: tenants that see nothing of each other",
		Subcommands: []*cli.Command{
			accountCreateCommand(), accountListCommand(), accountShowCommand(), accountSuspendCommand(), accountResumeCommand(),
			accountDeleteCommand(), accountQuotaCommand(), accountRootKeyCommand(), accountOIDCKeysCommand(),
		},
	}
}

func accountPath(c *cli.Context) string { return "/v1/accounts/" + url.PathEscape(c.Args().First()) }

func accountCreateCommand() *cli.Command {
	var dir, id string
	return &cli.Command{
		Name: "create", Usage: "make an account with a root user", ArgsUsage: "NAME",
		Description: `The root user's access key is shown this once; the cluster keeps it sealed.

Examples:
  hive account create research
  hive account create research --id 123456789012`,
		Flags: []cli.Flag{dirFlag(&dir), &cli.StringFlag{Name: "id", Usage: "`DIGITS` of the account's id, 12 of them (default: drawn)", Destination: &id}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			var key admin.RootKey
			if err := ask(c, dir, "POST", "/v1/accounts", admin.NewAccount{Name: c.Args().First(), ID: fsm.AccountID(id)}, &key); err != nil {
				return err
			}
			return showRootKey(c, key)
		},
	}
}

func showRootKey(c *cli.Context, key admin.RootKey) error {
	return outputOf(c).answer(key, func(w io.Writer) {
		fmt.Fprintf(w, "Account %s (%s). Its root user's key, shown this once:\n", key.AccountID, orDash(key.Name))
		fmt.Fprintf(w, "  export AWS_ACCESS_KEY_ID=%s\n  export AWS_SECRET_ACCESS_KEY=%s\n", key.AccessKey, key.Secret)
	})
}

func accountListCommand() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "list", Usage: "list the accounts",
		Description: `Examples:
  hive account list
  hive account list --output json`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			list := []admin.Account{}
			if err := ask(c, dir, "GET", "/v1/accounts", nil, &list); err != nil {
				return err
			}
			return outputOf(c).answer(list, func(w io.Writer) {
				row(w, "ACCOUNT", "NAME", "STATE", "CREATED", "HAS")
				for _, a := range list {
					row(w, a.ID, orDash(a.Name), a.State, a.Created.Format(time.RFC3339), orDash(strings.Join(a.Resources, ", ")))
				}
			})
		},
	}
}

func accountShowCommand() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "show", Usage: "show one account", ArgsUsage: "ACCOUNT",
		Description: `ACCOUNT is an id or a name.

Examples:
  hive account show research`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			var a admin.Account
			if err := ask(c, dir, "GET", accountPath(c), nil, &a); err != nil {
				return err
			}
			return showAccount(c, a)
		},
	}
}

func showAccount(c *cli.Context, a admin.Account) error {
	return outputOf(c).answer(a, func(w io.Writer) {
		row(w, "account", a.ID)
		row(w, "name", orDash(a.Name))
		row(w, "state", a.State)
		row(w, "created", a.Created.Format(time.RFC3339))
		row(w, "root keys", orDash(strings.Join(a.RootKeys, ", ")))
		row(w, "has", orDash(strings.Join(a.Resources, ", ")))
	})
}

func accountSuspendCommand() *cli.Command {
	return accountStateCommand("suspend", "let nobody act for an account; what it runs goes on", true)
}

func accountResumeCommand() *cli.Command {
	return accountStateCommand("resume", "let a suspended account act again", false)
}

func accountStateCommand(name, usage string, suspended bool) *cli.Command {
	var dir string
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "ACCOUNT",
		Description: `Every key and every session of the account is refused while it is suspended.

Examples:
  hive account ` + name + ` research`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			var a admin.Account
			if err := ask(c, dir, "PATCH", accountPath(c), admin.AccountChange{Suspended: &suspended}, &a); err != nil {
				return err
			}
			return outputOf(c).answer(a, func(w io.Writer) { fmt.Fprintf(w, "account %s is %s\n", a.ID, a.State) })
		},
	}
}

func accountDeleteCommand() *cli.Command {
	var dir string
	var force, yes bool
	return &cli.Command{
		Name: "delete", Usage: "delete an account", ArgsUsage: "ACCOUNT",
		Description: `It is refused while the account has resources. With --force they are deleted first: instances with their
volumes, images, snapshots, key pairs, buckets with their objects, users, roles and policies.

Examples:
  hive account delete research
  hive account delete research --force`,
		Flags: []cli.Flag{
			dirFlag(&dir), yesFlag(&yes),
			&cli.BoolFlag{Name: "force", Usage: "delete all that it has too", Destination: &force},
		},
		Action: func(c *cli.Context) error { return runAccountDelete(c, dir, force, yes) },
	}
}

func runAccountDelete(c *cli.Context, dir string, force, yes bool) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	d, err := daemonOf(dir)
	if err != nil {
		return err
	}
	out := outputOf(c)
	var a admin.Account
	if err := d.Do(c.Context, "GET", accountPath(c), nil, &a); err != nil {
		return d.explain(err)
	}
	path := accountPath(c)
	if force {
		path += "?force=true"
		out.say("account %s (%s) is deleted with all that it has: %s", a.ID, orDash(a.Name), orDash(strings.Join(a.Resources, ", ")))
		if err := confirm(c, yes); err != nil {
			return err
		}
	}
	steps := []string{}
	bar := out.progress(0)
	err = d.Stream(c.Context, "DELETE", path, nil, func(p admin.Progress) {
		if p.Step != "" && !p.Done {
			steps = append(steps, p.Step)
			bar.show(0, "%s", p.Step)
		}
	})
	bar.close()
	if err != nil {
		return d.explain(err)
	}
	answer := struct {
		Deleted fsm.AccountID `json:"deleted"`
		Steps   []string      `json:"steps"`
	}{a.ID, steps}
	return out.answer(answer, func(w io.Writer) { fmt.Fprintf(w, "account %s is deleted\n", a.ID) })
}

func accountQuotaCommand() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "quota", Usage: "show what an account may have, or set it", ArgsUsage: "ACCOUNT [NAME=LIMIT …]",
		Description: `LIMIT is a number, or "default". A limit below what is used keeps what there is and lets nothing more be made.

Examples:
  hive account quota research
  hive account quota research vcpus=64 volume-gib=2048 buckets=default`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 {
				return usagef("give an account; see `hive account list`")
			}
			set, err := quotasOf(c.Args().Tail())
			if err != nil {
				return err
			}
			var a admin.Account
			if len(set) == 0 {
				err = ask(c, dir, "GET", accountPath(c), nil, &a)
			} else {
				err = ask(c, dir, "PATCH", accountPath(c), admin.AccountChange{Quotas: set}, &a)
			}
			if err != nil {
				return err
			}
			return outputOf(c).answer(a.Quotas, func(w io.Writer) {
				row(w, "QUOTA", "USED", "LIMIT", "")
				for _, q := range a.Quotas {
					note := "set"
					if q.Default {
						note = "default"
					}
					row(w, q.Name, q.Used, q.Limit, note)
				}
			})
		},
	}
}

// quotasOf reads NAME=LIMIT words.
func quotasOf(words []string) (map[string]int64, error) {
	out := map[string]int64{}
	for _, word := range words {
		name, text, ok := strings.Cut(word, "=")
		limit, err := strconv.ParseInt(text, 10, 64)
		if text == "default" {
			limit, err = -1, nil
		} else if limit < 0 {
			ok = false
		}
		if !ok || err != nil || name == "" {
			return nil, usagef("%q: give NAME=LIMIT, such as vcpus=64 or vcpus=default", word)
		}
		out[name] = limit
	}
	return out, nil
}

func accountRootKeyCommand() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "new-root-key", Usage: "give an account's root user another access key", ArgsUsage: "ACCOUNT",
		Description: `For when the first one is lost. The key is shown this once.

Examples:
  hive account new-root-key research`,
		Flags: []cli.Flag{dirFlag(&dir)},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			var key admin.RootKey
			if err := ask(c, dir, "POST", accountPath(c)+"/root-keys", struct{}{}, &key); err != nil {
				return err
			}
			return showRootKey(c, key)
		},
	}
}

func accountOIDCKeysCommand() *cli.Command {
	var dir, provider, file string
	return &cli.Command{
		Name: "oidc-keys", Usage: "give the cluster the keys of an identity provider", ArgsUsage: "ACCOUNT",
		Description: `AssumeRoleWithWebIdentity checks tokens with these keys; the provider itself is never asked for them. The
file is the provider's JSON Web Key Set (its jwks_uri). Give it again when the provider rotates its keys.

Examples:
  hive account oidc-keys research --provider https://issuer.example --file jwks.json`,
		Flags: []cli.Flag{
			dirFlag(&dir),
			&cli.StringFlag{Name: "provider", Required: true, Usage: "`URL` or ARN of the OpenID Connect provider", Destination: &provider},
			&cli.StringFlag{Name: "file", Required: true, Usage: "`FILE` with the JSON Web Key Set", Destination: &file},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			var taken admin.ProviderKeysTaken
			if err := ask(c, dir, "PUT", accountPath(c)+"/oidc-keys", admin.ProviderKeys{Provider: provider, JWKS: string(raw)}, &taken); err != nil {
				return err
			}
			return outputOf(c).answer(taken, func(w io.Writer) { fmt.Fprintf(w, "%s of %s in force\n", plural(taken.Keys, "key"), provider) })
		},
	}
}
