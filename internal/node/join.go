package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hive/fsm"
	"hive/gossip/discover"
	"hive/internal/cluster"
)

// JoinOptions are what an operator says of a node that joins.
type JoinOptions struct {
	Dir, Name, Region, Zone string
	Host                    string // host or host:port of any member; "" finds one by multicast
	Token                   string
	Bind, Advertise         string
	Interface               string // for multicast, where there are several
	Caps                    []string
	Limits                  Limits
	Clock                   func() time.Time
	Progress                func(step string)
}

// Joined is what an operator needs next.
type Joined struct {
	ClusterID fsm.ClusterID `json:"cluster_id"`
	Node      fsm.NodeID    `json:"node_id"`
	Dir       string        `json:"dir"`
	Region    string        `json:"region"`
	Endpoint  string        `json:"endpoint"`
	CAFile    string        `json:"ca_file"`
	Resumed   bool          `json:"resumed"`
}

// joinPatience is how long a join goes on asking a member that does not answer or has no leader.
const joinPatience = 60 * time.Second

// Join exchanges the token for a certificate, the settings bundle and the keys, and writes them
// into the directory. Nothing is started. An interrupted join is resumed by running it again.
func Join(ctx context.Context, o JoinOptions) (Joined, error) {
	token, err := o.normalise()
	if err != nil {
		return Joined{}, err
	}
	dir := Dir(o.Dir)
	have, err := dir.LoadConfig()
	switch {
	case err == nil:
		return o.resume(have)
	case !errors.Is(err, os.ErrNotExist):
		return Joined{}, err
	case dir.exists("raft"):
		return Joined{}, fmt.Errorf("%w: %s holds Raft logs but no %s: it is a damaged node; choose another --data-dir", ErrUsed, o.Dir, fileNode)
	}
	if err := dir.make(); err != nil {
		return Joined{}, err
	}
	host, err := o.find(ctx, token)
	if err != nil {
		return Joined{}, err
	}
	return o.exchange(ctx, dir, host, token)
}

func (o *JoinOptions) normalise() (cluster.JoinToken, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	token, err := cluster.ParseJoinToken(o.Token)
	if err != nil {
		return token, err
	}
	if err := errors.Join(cluster.CheckPlace(o.Region, o.Zone), checkBind(o.Bind), o.Limits.check()); err != nil {
		return token, err
	}
	if o.Caps, err = cluster.CheckCaps(o.Caps); err != nil {
		return token, err
	}
	o.Advertise, err = advertised(o.Bind, o.Advertise)
	return token, err
}

func (o JoinOptions) resume(have Config) (Joined, error) {
	if have.Name != o.Name || have.Region != o.Region || have.Zone != o.Zone {
		return Joined{}, fmt.Errorf("%w: %s is node %s of cluster %s: choose another --data-dir", ErrUsed, o.Dir, have.Name, have.ClusterID)
	}
	out := o.answer(have)
	out.Resumed = true
	return out, nil
}

func (o JoinOptions) answer(c Config) Joined {
	return Joined{
		ClusterID: c.ClusterID, Node: c.Node, Dir: o.Dir, Region: c.Region,
		Endpoint: c.endpoint(), CAFile: filepath.Join(o.Dir, fileCA),
	}
}

// find is the address of a member: the given one, or one that answers a multicast question.
func (o JoinOptions) find(ctx context.Context, token cluster.JoinToken) (string, error) {
	if o.Host != "" {
		if _, _, err := net.SplitHostPort(o.Host); err != nil {
			return net.JoinHostPort(strings.Trim(o.Host, "[]"), ClusterPort), nil
		}
		return o.Host, nil
	}
	o.Progress("looking for cluster " + string(token.Cluster) + " by multicast")
	found, tried, err := discover.Find(ctx, discover.Query{Interface: o.Interface})
	if err != nil {
		return "", fmt.Errorf("nothing could be asked by multicast on %s: give the address of a member with --host HOST:%s, or another interface with --interface: %w",
			strings.Join(tried, ", "), ClusterPort, err)
	}
	for _, f := range found {
		if f.Cluster == token.Cluster {
			o.Progress("found " + string(f.Node) + " at " + f.Addr)
			return f.Addr, nil
		}
	}
	return "", fmt.Errorf("no member of cluster %s answered a multicast question on %s: give the address of one with --host HOST:%s, or another interface with --interface",
		token.Cluster, strings.Join(tried, ", "), ClusterPort)
}

func (o JoinOptions) exchange(ctx context.Context, dir Dir, host string, token cluster.JoinToken) (Joined, error) {
	self, err := cluster.NodeID(o.Name)
	if err != nil {
		return Joined{}, err
	}
	key, err := dir.nodeKey()
	if err != nil {
		return Joined{}, err
	}
	spki, _, err := cluster.PublicKey(key)
	if err != nil {
		return Joined{}, err
	}
	req := cluster.JoinRequest{
		Announcement: cluster.Announcement{
			NodeID: self, Addr: net.JoinHostPort(o.Advertise, ClusterPort), Version: Version, Caps: o.Caps, TS: o.Clock().Unix(),
		},
		Region: o.Region, Zone: o.Zone, Gossip: net.JoinHostPort(o.Advertise, GossipPort),
		Names: certHosts(o.Name, o.Bind, o.Advertise), PublicKey: spki,
	}
	o.Progress("asking " + host + " to join cluster " + string(token.Cluster))
	answer, err := o.ask(ctx, host, token, req)
	if err != nil {
		return Joined{}, err
	}
	err = dir.equip(equipment{
		sealKey: answer.SealKey, gossipKey: answer.GossipKey, nodeKey: key, cert: answer.Cert,
		ca: answer.CA, bundle: []byte(answer.Bundle),
	})
	if err != nil {
		return Joined{}, err
	}
	cfg := Config{
		Name: o.Name, Node: self, ClusterID: token.Cluster, Region: o.Region, Zone: o.Zone, Bind: o.Bind,
		Advertise: o.Advertise, Caps: o.Caps, IndexGroups: answer.IndexGroups, SigningKey: answer.SigningKey, Seeds: answer.Seeds,
		Limits: o.Limits,
	}
	o.Progress("joined: certificate, settings and keys are here")
	return o.answer(cfg), dir.writeJSON(fileNode, cfg)
}

// ask repeats the question while the member cannot be reached or its cluster has no leader; a
// refusal is final.
func (o JoinOptions) ask(ctx context.Context, host string, token cluster.JoinToken, req cluster.JoinRequest) (cluster.JoinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		answer, _, err := cluster.Ask(ctx, host, token, req)
		if err == nil || !cluster.Temporary(err) {
			return answer, err
		}
		o.Progress("trying again: " + err.Error())
		select {
		case <-time.After(time.Second):
			req.TS = o.Clock().Unix()
		case <-ctx.Done():
			return answer, err
		}
	}
}

// nodeKey is this node's private key; an earlier attempt's is used again, so that the cluster
// knows the node.
func (d Dir) nodeKey() ([]byte, error) {
	key, err := os.ReadFile(d.path(fileKey))
	if err == nil {
		if _, _, err := cluster.PublicKey(key); err == nil {
			return key, nil
		}
	}
	if key, err = cluster.NewNodeKey(); err != nil {
		return nil, err
	}
	return key, d.write(fileKey, key, 0o600)
}

// certHosts are the names under which clients may reach a node.
func certHosts(name, bind, advertise string) []string {
	hosts := []string{name, name + ".local", advertise}
	if ip := net.ParseIP(bind); ip != nil && !ip.IsUnspecified() {
		hosts = append(hosts, bind)
	}
	if h, err := os.Hostname(); err == nil {
		hosts = append(hosts, h)
	}
	return hosts
}

// issueFirst makes the first node's certificate with the CA that it has just made.
func issueFirst(authority *cluster.Authority, cfg Config, spki []byte, now time.Time) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	return authority.Issue(cfg.Node, pub, cluster.CertNames(cfg.Node, certHosts(cfg.Name, cfg.Bind, cfg.Advertise)...), now)
}

func (d Dir) readJSON(name string, v any) error {
	raw, err := os.ReadFile(d.path(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s is damaged: %w", d.path(name), err)
	}
	return nil
}
