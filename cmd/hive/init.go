package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
	"hive/internal/node"
)

type initOptions struct {
	place  placeOptions
	nodes  int
	groups int
	parts  int

	account, accessKey, secretKey string
}

// placeOptions are what init and join both say of the node.
type placeOptions struct {
	dir, region, zone, name string
	bind, advertise         string
	detach, foreground      bool
	limits                  node.Limits
	log                     logOptions
}

func (o *placeOptions) flags() []cli.Flag {
	return append([]cli.Flag{
		dirFlag(&o.dir),
		&cli.StringFlag{Name: "region", Usage: "`REGION` that AWS clients name, such as ap-southeast-2", Destination: &o.region},
		&cli.StringFlag{Name: "az", Usage: "availability `ZONE` of this node (default: the region's zone a)", Destination: &o.zone},
		&cli.StringFlag{Name: "node", Usage: "`NAME` of this node (default: the machine's)", Destination: &o.name},
		&cli.StringSliceFlag{Name: "cap", Usage: "`CAPABILITIES` of this node: api,s3,ec2,ebs,vpc,nats (default: all)"},
		&cli.StringFlag{Name: "bind", Usage: "`IP` of every port (default: all of the machine's)", Destination: &o.bind},
		&cli.StringFlag{Name: "advertise", Usage: "`HOST` or IP under which the others reach this node (default: found)", Destination: &o.advertise},
		&cli.IntFlag{Name: "vcpus", Usage: "`N` virtual processors that instances on this node may be promised (default: 4 for each core)", Destination: &o.limits.VCPUs},
		&cli.Int64Flag{Name: "memory", Usage: "`MIB` of memory that instances on this node may be promised (default: the machine's less a fifth)", Destination: &o.limits.MemoryMiB},
		&cli.IntFlag{Name: "vxlan-port", Usage: "UDP `PORT` of the networks between nodes", DefaultText: "4789", Destination: &o.limits.VXLANPort},
		&cli.BoolFlag{Name: "detach", Usage: "do not wait for the other nodes", Destination: &o.detach},
		&cli.BoolFlag{Name: "foreground", Usage: "run the daemon in this process", Destination: &o.foreground},
	}, o.log.flags()...)
}

// fill sets what the operator left out.
func (o *placeOptions) fill() (err error) {
	if o.detach && o.foreground {
		return usagef("--detach and --foreground exclude each other")
	}
	if o.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("the machine's name: %w: give the node one with --node", err)
		}
		o.name, _, _ = strings.Cut(host, ".")
	}
	if o.zone == "" && o.region != "" {
		o.zone = o.region + "a"
	}
	o.dir, err = resolveDir(o.dir)
	return err
}

func initCommand() *cli.Command {
	var o initOptions
	return &cli.Command{
		Name: "init", Category: categoryForm, Usage: "make the first node of a new cluster and wait for the others",
		Description: `Makes the cluster's id, keys, join token and root access key, starts the daemon in the
background, prints the command that joins the other nodes, and waits for them. Ctrl-C ends the
waiting only; the same command again goes on with it.

Examples:
  hive init --region ap-southeast-2 --az ap-southeast-2a --node node1 --nodes 3
  hive init --region eu-west-1 --nodes 1 --hive-dir /var/lib/hive --bind 10.0.0.1`,
		Flags: append(o.place.flags(),
			&cli.IntFlag{Name: "nodes", Value: 1, Usage: "`N` nodes that the cluster starts with", Destination: &o.nodes},
			&cli.StringFlag{Name: "access-key", Usage: "root `ACCESS_KEY_ID` (default: drawn)", Destination: &o.accessKey},
			&cli.StringFlag{Name: "secret-key", EnvVars: []string{"HIVE_SECRET_KEY"}, Usage: "root `SECRET_ACCESS_KEY` (default: drawn)", Destination: &o.secretKey},
			&cli.StringFlag{Name: "account", Usage: "`ACCOUNT_ID`, 12 digits (default: drawn)", Destination: &o.account},
			&cli.IntFlag{Name: "index-groups", Usage: "`N` Raft groups for the index of objects", DefaultText: "1", Destination: &o.groups},
			&cli.IntFlag{Name: "partitions", Usage: "`N` partitions of the blob layer, a power of two", DefaultText: "1024", Destination: &o.parts},
		),
		Action: func(c *cli.Context) error { return runInit(c, o) },
	}
}

func runInit(c *cli.Context, o initOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if o.place.region == "" {
		return usagef("a new cluster needs a region: give one with --region, such as --region ap-southeast-2")
	}
	if err := o.place.fill(); err != nil {
		return err
	}
	made, err := node.Init(node.InitOptions{
		Dir: o.place.dir, Name: o.place.name, Region: o.place.region, Zone: o.place.zone,
		Nodes: o.nodes, Limits: o.place.limits, Bind: o.place.bind, Advertise: o.place.advertise, Caps: c.StringSlice("cap"),
		IndexGroups: o.groups, Partitions: o.parts,
		AccountID: o.account, AccessKey: o.accessKey, SecretKey: o.secretKey,
	})
	if err != nil {
		return err
	}
	env, err := nodeEnv(o.place.dir)
	if err != nil {
		return err
	}
	out := outputOf(c)
	tell := func() error {
		return out.answer(initAnswer{made, env.vars()}, func(w io.Writer) { showInit(w, made, env) })
	}
	if o.place.foreground {
		if err := tell(); err != nil {
			return err
		}
		return runNode(c, node.Options{Dir: o.place.dir}, o.place.log)
	}
	err = initInBackground(c, o, made, tell)
	return interrupted(c.Context, err, o.place.dir, "init")
}

func initInBackground(c *cli.Context, o initOptions, made node.Initialised, tell func() error) error {
	out := outputOf(c)
	d, err := startDaemon(o.place.dir)
	if err != nil {
		return err
	}
	if err := d.await(c.Context, answers); err != nil {
		return err
	}
	if err := tell(); err != nil || o.place.detach {
		return err
	}
	err = awaitFormation(c.Context, d, out.progress(2*made.Nodes), func(s admin.Status) bool { return formationOf(s).complete() })
	if err == nil {
		out.say("The cluster has formed: %s. Look at it with `hive status --hive-dir %s`.", plural(made.Nodes, "node"), o.place.dir)
	}
	return err
}

type initAnswer struct {
	node.Initialised
	Env map[string]string `json:"env"`
}

func showInit(w io.Writer, made node.Initialised, env awsEnv) {
	verb := "New"
	if made.Resumed {
		verb = "Again"
	}
	fmt.Fprintf(w, "%s: cluster %s, node %s in %s\n\n", verb, made.ClusterID, made.Node, made.Dir)
	if made.Nodes > 1 {
		fmt.Fprintf(w, "Run on each of the other %s, with a NAME of its own:\n  %s\n\n", plural(made.Nodes-1, "node"), made.JoinCommand)
	}
	fmt.Fprintf(w, "For the aws CLI (root key, kept in %s):\n%s\n", made.Credentials, env.exports("  "))
	fmt.Fprintf(w, "DNS hints: %s (lines for /etc/hosts), %s (records for a zone)\n", made.HostsFile, made.ZoneFile)
}
