package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

func awsCommand() *cli.Command {
	return &cli.Command{
		Name: "aws", Category: categoryMachine, Usage: "run the installed aws CLI against a node",
		ArgsUsage: "[--node NODE] [--dir DIR] [--hive-dir DIR] AWS-ARGUMENTS…",
		Description: `Gives the aws CLI the endpoint, the region, the CA and, unless you have set your own, the root
key. Everything after hive's own flags, which come first, goes to aws untouched.

  --node NODE      a node of the development cluster (default: the first that runs)
  --dir DIR        the development cluster's directory (default: ~/.hive-dev, or HIVE_DEV_DIR)
  --hive-dir DIR   a node's own directory instead of a development cluster

Without these the endpoint is AWS_ENDPOINT_URL if it is set, else the development cluster's, else
that of the node in HIVE_DIR or ~/hive. Keys that you have set (AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or --profile) are used instead of the root key.

Examples:
  hive aws s3 ls
  hive aws --node node2 s3 cp ./file s3://first/file
  hive aws --hive-dir /var/lib/hive iam list-users --output json`,
		SkipFlagParsing: true, HideHelp: true,
		Action: runAWS,
	}
}

// awsOptions are hive's own flags of an aws call.
type awsOptions struct{ node, devDir, dir string }

// ownFlags takes hive's flags off the front of args.
func ownFlags(args []string) (o awsOptions, rest []string, err error) {
	own := map[string]*string{"--node": &o.node, "--dir": &o.devDir, "--hive-dir": &o.dir, "--data-dir": &o.dir}
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		dest := own[name]
		switch {
		case dest == nil:
			return o, args, nil
		case joined:
			args = args[1:]
		case len(args) < 2:
			return o, nil, usagef("%s needs a value: see `hive aws --help`", name)
		default:
			value, args = args[1], args[2:]
		}
		*dest = value
	}
	return o, args, nil
}

func runAWS(c *cli.Context) error {
	o, args, err := ownFlags(c.Args().Slice())
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return usagef("`hive aws` needs the aws CLI's arguments, such as `hive aws s3 ls`: see `hive aws --help`")
	}
	if args[0] == "--help" || args[0] == "-h" {
		return cli.ShowSubcommandHelp(c)
	}
	if o.dir != "" && (o.node != "" || o.devDir != "") {
		return usagef("--hive-dir names a node's directory; --node and --dir a development cluster's: give one or the other")
	}
	path, err := exec.LookPath("aws")
	if err != nil {
		return errors.New("the aws CLI is not installed: install it with `apt install awscli` (Debian), `snap install aws-cli --classic` (Ubuntu), or from https://aws.amazon.com/cli/")
	}
	env, err := o.target()
	if err != nil {
		return err
	}
	argv := append([]string{"aws"}, args...)
	if !hasFlag(args, "--endpoint-url") {
		argv = slices.Insert(argv, 1, "--endpoint-url", env.endpoint)
	}
	return syscall.Exec(path, argv, env.overlay(os.Environ(), hasFlag(args, "--profile")))
}

func hasFlag(args []string, name string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return a == name || strings.HasPrefix(a, name+"=") })
}

// target is where the call goes: what the flags name, else the environment, else the development
// cluster, else the node of this machine.
func (o awsOptions) target() (awsEnv, error) {
	if o.dir != "" {
		return dirTarget(o.dir)
	}
	if url := os.Getenv("AWS_ENDPOINT_URL"); url != "" && o == (awsOptions{}) {
		return awsEnv{endpoint: url}, nil
	}
	devDir := o.devDir
	if devDir == "" {
		devDir = fromEnv("HIVE_DEV_DIR", "~/.hive-dev")
	}
	cl, err := loadDev(devDir)
	switch {
	case err == nil:
		n, err := cl.pick(o.node)
		if err != nil {
			return awsEnv{}, err
		}
		return cl.env(n)
	case o != (awsOptions{}) || !errors.Is(err, errNoDev):
		return awsEnv{}, err
	}
	env, err := dirTarget(fromEnv("HIVE_DIR", "~/hive"))
	if err != nil {
		return env, fmt.Errorf("there is nothing to speak to: no development cluster (`hive dev start`), no AWS_ENDPOINT_URL, and: %w", err)
	}
	return env, nil
}

// dirTarget is the node in dir; a node without the root key needs keys of the caller's.
func dirTarget(dir string) (awsEnv, error) {
	dir, err := resolveDir(dir)
	if err != nil {
		return awsEnv{}, err
	}
	if ownKeys(os.Getenv) {
		return nodeEndpoint(dir)
	}
	return nodeEnv(dir)
}

func fromEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// ownKeys tells whether the caller has set keys.
func ownKeys(getenv func(string) string) bool {
	return getenv("AWS_PROFILE") != "" || getenv("AWS_ACCESS_KEY_ID") != "" && getenv("AWS_SECRET_ACCESS_KEY") != ""
}

// overlay is environ with what the node needs; keys and region of the caller's come first where
// they belong to the same target.
func (e awsEnv) overlay(environ []string, profile bool) []string {
	set := map[string]string{}
	get := func(name string) string {
		for _, kv := range environ {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
	if e.region != "" {
		set["AWS_REGION"], set["AWS_DEFAULT_REGION"] = e.region, e.region
	}
	if e.ca != "" {
		set["AWS_CA_BUNDLE"] = e.ca
	}
	if e.accessKey != "" && !profile && !ownKeys(get) {
		set["AWS_ACCESS_KEY_ID"], set["AWS_SECRET_ACCESS_KEY"], set["AWS_SESSION_TOKEN"] = e.accessKey, e.secretKey, ""
	}
	if get("AWS_EC2_METADATA_DISABLED") == "" {
		set["AWS_EC2_METADATA_DISABLED"] = "true"
	}
	out := slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, replaced := set[name]
		return replaced
	})
	for name, value := range set {
		if value != "" {
			out = append(out, name+"="+value)
		}
	}
	return out
}
