package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"hive/fsm"
	"hive/iam"
	"hive/internal/cluster"
	"hive/internal/seal"
)

// InitOptions are what an operator says of a new cluster and its first node.
type InitOptions struct {
	Dir, Name, Region, Zone         string
	Nodes                           int    // target size
	Bind, Advertise                 string // "" is all, and found
	Caps                            []string
	IndexGroups, Partitions         int    // 0 is 1 and 1,024
	AccountID, AccessKey, SecretKey string // "" is drawn
	Limits                          Limits
	Clock                           func() time.Time
	Rand                            io.Reader
}

// Initialised is what an operator needs next.
type Initialised struct {
	ClusterID   fsm.ClusterID `json:"cluster_id"`
	Node        fsm.NodeID    `json:"node_id"`
	Dir         string        `json:"dir"`
	Token       string        `json:"token"`
	JoinCommand string        `json:"join_command"`
	Credentials string        `json:"credentials_file"`
	AccessKey   string        `json:"access_key_id"`
	Endpoint    string        `json:"endpoint"`
	CAFile      string        `json:"ca_file"`
	HostsFile   string        `json:"hosts_file"`
	ZoneFile    string        `json:"zone_file"`
	Nodes       int           `json:"nodes"`
	Resumed     bool          `json:"resumed"`
}

// genesis is what the first node proposes when it first runs. The file goes when the cluster has
// formed; while it is there, init can be run again.
type genesis struct {
	Nodes    int      `json:"nodes"`
	Token    string   `json:"token"`
	Access   string   `json:"access_key_id"`
	Commands [][]byte `json:"commands"` // log entries of the control group
}

// tokenLife is how long the first token lets nodes in.
const tokenLife = 24 * time.Hour

// Init prepares a directory as the first node of a new cluster. Nothing is started. Until the
// cluster has formed it can be run again and answers the same; after that it is ErrUsed.
func Init(o InitOptions) (Initialised, error) {
	if err := o.normalise(); err != nil {
		return Initialised{}, err
	}
	dir := Dir(o.Dir)
	have, err := dir.LoadConfig()
	switch {
	case err == nil:
		return o.resume(dir, have)
	case !errors.Is(err, os.ErrNotExist):
		return Initialised{}, err
	case dir.exists("raft"):
		return Initialised{}, fmt.Errorf("%w: %s holds Raft logs but no %s: it is a damaged node; choose another --hive-dir", ErrUsed, o.Dir, fileNode)
	}
	if err := dir.make(); err != nil {
		return Initialised{}, err
	}
	return o.found(dir)
}

func (o *InitOptions) normalise() error {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.IndexGroups == 0 {
		o.IndexGroups = 1
	}
	if o.Partitions == 0 {
		o.Partitions = 1024
	}
	if o.Nodes < 1 || o.Nodes > 500 {
		return fmt.Errorf("%w: --nodes %d: give 1 to 500", cluster.ErrBadInput, o.Nodes)
	}
	if o.IndexGroups < 1 || o.IndexGroups > 64 {
		return fmt.Errorf("%w: --index-groups %d: give 1 to 64", cluster.ErrBadInput, o.IndexGroups)
	}
	if o.Partitions < 16 || o.Partitions > 32768 || o.Partitions&(o.Partitions-1) != 0 {
		return fmt.Errorf("%w: --partitions %d: give a power of two from 16 to 32768", cluster.ErrBadInput, o.Partitions)
	}
	if err := errors.Join(cluster.CheckPlace(o.Region, o.Zone), checkBind(o.Bind), o.Limits.check()); err != nil {
		return err
	}
	var err error
	if o.Caps, err = cluster.CheckCaps(o.Caps); err != nil {
		return err
	}
	o.Advertise, err = advertised(o.Bind, o.Advertise)
	return err
}

// resume answers an init that was run before on the same directory.
func (o InitOptions) resume(dir Dir, have Config) (Initialised, error) {
	var g genesis
	if err := dir.readJSON(fileGenesis, &g); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return Initialised{}, fmt.Errorf("%w: %s is node %s of cluster %s, which has formed: start it with `hive run --hive-dir %s`, or choose another directory",
				ErrUsed, o.Dir, have.Name, have.ClusterID, o.Dir)
		}
		return Initialised{}, err
	}
	if have.Name != o.Name || have.Region != o.Region || have.Zone != o.Zone || g.Nodes != o.Nodes {
		return Initialised{}, fmt.Errorf("%w: an init of node %s in %s for %d nodes was begun here: repeat it with the same flags, or choose another directory",
			ErrUsed, have.Name, have.Zone, g.Nodes)
	}
	out := o.answer(dir, have, g)
	out.Resumed = true
	return out, nil
}

func (o InitOptions) found(dir Dir) (Initialised, error) {
	self, err := cluster.NodeID(o.Name)
	if err != nil {
		return Initialised{}, err
	}
	id, err := cluster.NewClusterID(o.Rand)
	if err != nil {
		return Initialised{}, err
	}
	cfg := Config{
		Name: o.Name, Node: self, ClusterID: id, Region: o.Region, Zone: o.Zone,
		Bind: o.Bind, Advertise: o.Advertise, Caps: o.Caps, IndexGroups: o.IndexGroups, Limits: o.Limits,
	}
	sealKey := make([]byte, seal.KeySize)
	if _, err := io.ReadFull(o.Rand, sealKey); err != nil {
		return Initialised{}, err
	}
	box, err := seal.New(sealKey, o.Rand)
	if err != nil {
		return Initialised{}, err
	}
	nodeKey, err := cluster.NewNodeKey()
	if err != nil {
		return Initialised{}, err
	}
	spki, keyHash, err := cluster.PublicKey(nodeKey)
	if err != nil {
		return Initialised{}, err
	}
	founded, err := cluster.Found(id, cluster.Founding{
		Region: o.Region, Target: o.Nodes, IndexGroups: o.IndexGroups, Partitions: o.Partitions,
		Self: fsm.Member{
			ID: self, Addr: net.JoinHostPort(o.Advertise, ClusterPort), Gossip: net.JoinHostPort(o.Advertise, GossipPort),
			Zone: o.Zone, Caps: o.Caps, Version: Version, Joined: o.Clock().Unix(), KeyHash: keyHash,
		},
		TokenLife: tokenLife, Now: o.Clock(), Random: o.Rand,
	}, box)
	if err != nil {
		return Initialised{}, err
	}
	cfg.SigningKey = founded.Command.Cluster.SigningKey
	cert, err := issueFirst(founded.Authority, cfg, spki, o.Clock())
	if err != nil {
		return Initialised{}, err
	}
	root, err := iam.Bootstrap(iam.BootstrapOptions{
		AccountID: fsm.AccountID(o.AccountID), AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey,
		Name: string(id), Sealer: box, Now: o.Clock(), Rand: o.Rand,
	})
	if err != nil {
		return Initialised{}, err
	}
	g := genesis{Nodes: o.Nodes, Token: founded.Token.String(), Access: root.AccessKeyID}
	for _, cmd := range append([]fsm.Command{&founded.Command}, root.Commands...) {
		entry, err := fsm.EncodeCommand(cmd)
		if err != nil {
			return Initialised{}, err
		}
		g.Commands = append(g.Commands, entry)
	}
	err = dir.equip(equipment{
		sealKey: sealKey, gossipKey: founded.GossipKey, nodeKey: nodeKey, cert: cert,
		ca: founded.Authority.PEM(), bundle: founded.Command.Cluster.Settings.Bundle,
	})
	if err != nil {
		return Initialised{}, err
	}
	credentials := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", root.AccessKeyID, root.SecretAccessKey)
	err = errors.Join(
		dir.write(fileCredentials, []byte(credentials), 0o600),
		dir.writeHints(cfg.Region, []hint{{o.Name, o.Advertise}}),
		dir.writeJSON(fileGenesis, g),
	)
	if err == nil {
		err = dir.writeJSON(fileNode, cfg)
	}
	return o.answer(dir, cfg, g), err
}

func (o InitOptions) answer(dir Dir, cfg Config, g genesis) Initialised {
	return Initialised{
		ClusterID: cfg.ClusterID, Node: cfg.Node, Dir: o.Dir, Token: g.Token, AccessKey: g.Access, Nodes: g.Nodes,
		JoinCommand: joinCommand(cfg, g.Token), Credentials: dir.path(fileCredentials),
		Endpoint: cfg.endpoint(), CAFile: dir.path(fileCA), HostsFile: dir.path(fileHosts), ZoneFile: dir.path(fileZone),
	}
}

func joinCommand(cfg Config, token string) string {
	return fmt.Sprintf("hive admin join --region %s --az %s --node NAME --host %s --token %s --data-dir ~/hive/",
		cfg.Region, cfg.Zone, net.JoinHostPort(cfg.Advertise, ClusterPort), token)
}

func (c Config) endpoint() string { return "http://" + net.JoinHostPort(c.Advertise, APIPort) }

// equipment are the secrets and certificates of a node.
type equipment struct {
	sealKey, gossipKey, nodeKey, cert, ca, bundle []byte
}

// equip writes them, each durably, readable by the owner only where it is a secret.
func (d Dir) equip(e equipment) error {
	return errors.Join(
		d.write(fileSeal, []byte(hex.EncodeToString(e.sealKey)+"\n"), 0o600),
		d.write(fileGossip, []byte(hex.EncodeToString(e.gossipKey)+"\n"), 0o600),
		d.write(fileKey, e.nodeKey, 0o600),
		d.write(fileCert, e.cert, 0o644),
		d.write(fileCA, e.ca, 0o644),
		d.write(fileBundle, e.bundle, 0o644),
	)
}

func (d Dir) readKey(name string) ([]byte, error) {
	raw, err := os.ReadFile(d.path(name))
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != seal.KeySize {
		return nil, fmt.Errorf("%s is damaged: it is not %d bytes in hex", d.path(name), seal.KeySize)
	}
	return key, nil
}

// hint is a line of the DNS hint files.
type hint struct{ name, host string }

// writeHints writes a fragment for /etc/hosts and one for a DNS zone.
func (d Dir) writeHints(region string, hints []hint) error {
	var hosts, zone strings.Builder
	fmt.Fprintf(&hosts, "# Hive, region %s: lines for /etc/hosts\n", region)
	fmt.Fprintf(&zone, "; Hive, region %s: records for the zone of your choice\n", region)
	for _, h := range hints {
		if ip := net.ParseIP(h.host); ip == nil {
			fmt.Fprintf(&zone, "%s\tIN CNAME\t%s.\n*.s3.%s\tIN CNAME\t%s.\n", h.name, h.host, h.name, h.host)
			continue
		}
		kind := "A"
		if net.ParseIP(h.host).To4() == nil {
			kind = "AAAA"
		}
		fmt.Fprintf(&hosts, "%s\t%s.local %s\n", h.host, h.name, h.name)
		fmt.Fprintf(&zone, "%s\tIN %s\t%s\n*.s3.%s\tIN %s\t%s\n", h.name, kind, h.host, h.name, kind, h.host)
	}
	return errors.Join(d.write(fileHosts, []byte(hosts.String()), 0o644), d.write(fileZone, []byte(zone.String()), 0o644))
}
