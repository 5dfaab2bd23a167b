// Package node is a whole Hive node: its directory, the founding and joining of a cluster, and the
// daemon that wires every room together, in one order that its comments explain. It is the only
// package that knows them all; it decides nothing that a room could decide.
package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"hive/fsm"
)

// Version of this build.
const Version = "0.1.0"

// Ports of a node, on its bind address.
const (
	ClusterPort = "8443"
	GossipPort  = "7946"
	APIPort     = "9999"
)

// Files of a node's directory.
const (
	fileNode        = "node.json"
	fileBundle      = "cluster.json"
	fileGenesis     = "genesis.json"
	fileCA          = "ca.pem"
	fileCert        = "node.pem"
	fileKey         = "node.key"
	fileSeal        = "seal.key"
	fileGossip      = "gossip.key"
	fileCredentials = "credentials"
	fileHosts       = "hosts.hive"
	fileZone        = "zone.hive"
	fileLock        = "lock"
)

// ErrUsed is a directory that holds another node already.
var ErrUsed = errors.New("the directory is in use")

// Config is node.json: who this node is. It is written once, last, when the rest of the directory
// is whole.
type Config struct {
	Name        string        `json:"name"`
	Node        fsm.NodeID    `json:"node_id"`
	ClusterID   fsm.ClusterID `json:"cluster_id"`
	Region      string        `json:"region"`
	Zone        string        `json:"az"`
	Bind        string        `json:"bind,omitempty"` // IP of every listener; none is all
	Advertise   string        `json:"advertise"`      // host or IP that others reach
	Caps        []string      `json:"caps"`
	IndexGroups int           `json:"index_groups"`
	SigningKey  []byte        `json:"signing_key"` // ed25519, of the settings bundle
	Seeds       []string      `json:"seeds,omitempty"`
	Limits
}

// Dir is a node's directory.
type Dir string

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

// LoadConfig reads node.json. The error is os.ErrNotExist while the directory is not whole.
func (d Dir) LoadConfig() (Config, error) {
	var c Config
	raw, err := os.ReadFile(d.path(fileNode))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%s is damaged: %w", d.path(fileNode), err)
	}
	return c, nil
}

func (d Dir) writeJSON(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return d.write(name, append(raw, '\n'), 0o600)
}

// write replaces a file durably: after it returns the new content survives a loss of power, and
// before that the old one does.
func (d Dir) write(name string, data []byte, mode os.FileMode) (err error) {
	if have, err := os.ReadFile(d.path(name)); err == nil && bytes.Equal(have, data) {
		return nil
	}
	tmp, err := os.CreateTemp(string(d), name+".tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), d.path(name)); err != nil {
		return err
	}
	return d.sync()
}

func (d Dir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d Dir) exists(name string) bool {
	_, err := os.Stat(d.path(name))
	return err == nil
}

// make creates the directory, readable by its owner only.
func (d Dir) make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("node directory: %w", err)
	}
	return nil
}

// advertised is the host that others reach: what was given, else the bind address, else the
// machine's first address that is not loopback.
func advertised(bind, advertise string) (string, error) {
	if advertise != "" {
		return advertise, nil
	}
	if ip := net.ParseIP(bind); bind != "" && (ip == nil || !ip.IsUnspecified()) {
		return bind, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast()
	})
	if i < 0 {
		return "", errors.New("this machine has no address that others could reach: give one with --advertise")
	}
	return addrs[i].(*net.IPNet).IP.String(), nil
}

func checkBind(bind string) error {
	if bind != "" && net.ParseIP(bind) == nil {
		return fmt.Errorf("bind address %q is not an IP address", bind)
	}
	return nil
}
