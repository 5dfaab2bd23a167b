package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"hive/internal/node"
)

const (
	devFile = "dev.json"
	// maxDevNodes is what fits into 127.0.1.1 to 127.0.1.254.
	maxDevNodes = 254
)

// devCluster is a cluster of real processes on this machine: what dev.json in its directory says.
type devCluster struct {
	Nodes  int    `json:"nodes"`
	Region string `json:"region"`
	Zones  int    `json:"zones"`

	dir   string
	fresh bool // made by this run
}

// devNode is one of its nodes. Each has a loopback address of its own and the standard ports.
type devNode struct{ name, dir, ip string }

func devDirFlag(dest *string) cli.Flag {
	return &cli.StringFlag{
		Name: "dir", EnvVars: []string{"HIVE_DEV_DIR"}, Value: "~/.hive-dev",
		Usage: "`DIR` of the development cluster", Destination: dest,
	}
}

// errNoDev is a directory without a development cluster.
var errNoDev = errors.New("there is no development cluster")

func loadDev(dir string) (*devCluster, error) {
	dir, err := resolveDir(dir)
	if err != nil {
		return nil, err
	}
	cl := &devCluster{dir: dir}
	raw, err := os.ReadFile(filepath.Join(dir, devFile))
	if errors.Is(err, os.ErrNotExist) {
		return cl, fmt.Errorf("%w in %s: start one with `hive dev start`, or name its directory with --dir", errNoDev, dir)
	}
	if err != nil {
		return nil, err
	}
	cl.Zones = maxDevZones
	if err := json.Unmarshal(raw, cl); err != nil || cl.Zones < 1 || cl.Zones > maxDevZones || cl.Nodes < 1 || cl.Nodes > maxDevNodes {
		return nil, fmt.Errorf("%s is damaged: remove %s and start again with `hive dev start`", filepath.Join(dir, devFile), dir)
	}
	return cl, nil
}

// save makes the directory. It comes before everything else in it, so that stop --delete knows
// its own.
func (cl *devCluster) save() error {
	raw, err := json.Marshal(cl)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cl.dir, 0o700); err != nil {
		return err
	}
	if entries, err := os.ReadDir(cl.dir); err != nil || len(entries) > 0 {
		return errors.Join(err, fmt.Errorf("%s holds other files: choose an empty directory with --dir", cl.dir))
	}
	cl.fresh = true
	return os.WriteFile(filepath.Join(cl.dir, devFile), append(raw, '\n'), 0o600)
}

// forget removes a directory that this run has made and in which nothing was started.
func (cl *devCluster) forget() error {
	if !cl.fresh {
		return nil
	}
	return os.RemoveAll(cl.dir)
}

func (cl *devCluster) node(i int) devNode {
	name := "node" + strconv.Itoa(i)
	return devNode{name: name, dir: filepath.Join(cl.dir, name), ip: "127.0.1." + strconv.Itoa(i)}
}

func (cl *devCluster) all() []devNode {
	nodes := make([]devNode, cl.Nodes)
	for i := range nodes {
		nodes[i] = cl.node(i + 1)
	}
	return nodes
}

// named takes node2, n-node2 or 2.
func (cl *devCluster) named(arg string) (devNode, error) {
	digits := strings.TrimPrefix(strings.TrimPrefix(arg, "n-"), "node")
	i, err := strconv.Atoi(digits)
	if err != nil || i < 1 || i > cl.Nodes {
		return devNode{}, usagef("there is no node %q in %s: it has node1 to node%d", arg, cl.dir, cl.Nodes)
	}
	return cl.node(i), nil
}

// maxDevZones is how many zones AWS regions usually have.
const maxDevZones = 3

// zone spreads the nodes over the zones.
func (cl *devCluster) zone(n devNode) string {
	return cl.Region + string(rune('a'+(n.number()-1)%cl.Zones))
}

// limits share the machine among the nodes, and give each a port of its own for the networks between them: they all
// live in one network namespace.
func (cl *devCluster) limits(machine node.Limits, n devNode) node.Limits {
	return node.Limits{
		VCPUs: max(2, machine.VCPUs/cl.Nodes), MemoryMiB: machine.MemoryMiB / int64(cl.Nodes), VXLANPort: machine.VXLANPort + n.number(),
	}
}

func (n devNode) number() int {
	i, _ := strconv.Atoi(strings.TrimPrefix(n.name, "node"))
	return i
}

// made tells whether the node's directory is whole.
func (n devNode) made() bool {
	_, err := node.Dir(n.dir).LoadConfig()
	return err == nil
}

// env is the environment for an AWS client of the node, with the root key that node1 keeps.
func (cl *devCluster) env(n devNode) (awsEnv, error) {
	e, err := nodeEndpoint(n.dir)
	if err != nil {
		return e, err
	}
	e.accessKey, e.secretKey, err = readCredentials(filepath.Join(cl.node(1).dir, "credentials"))
	return e, err
}

// pick is the node that was named, or else the first that is alive.
func (cl *devCluster) pick(name string) (devNode, error) {
	if name != "" {
		return cl.named(name)
	}
	for _, n := range cl.all() {
		if pid, err := daemonPID(n.dir); err == nil && pid != 0 {
			return n, nil
		}
	}
	return devNode{}, fmt.Errorf("no node of the development cluster in %s runs: start it with `hive dev start`", cl.dir)
}
