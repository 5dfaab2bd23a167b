package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"hive/fsm"
	"hive/gossip/discover"
	"hive/internal/cluster"
	"hive/raftnode"
)

// runMembership keeps this node's part in the cluster: it founds it where it is the first, writes
// and acknowledges its settings, tells of a new address, renews its certificate, answers
// multicast, and, where it leads, brings the groups in step with the members.
func (n *Node) runMembership(ctx context.Context) error {
	if err := n.found(ctx); err != nil {
		return err
	}
	if err := n.readBundle(); err != nil {
		return err
	}
	keeper := &cluster.Keeper{
		Group: n.control, Node: n.cfg.Node, Epoch: n.epoch.Load(),
		Write: func(raw []byte) error { return n.dir.write(fileBundle, raw, 0o644) },
		Written: func(b cluster.Bundle) {
			n.epoch.Store(b.Epoch)
			n.tuning.Store(&b.Tuning)
			n.log.Info("settings", "epoch", b.Epoch, "members", len(b.Members))
		},
	}
	self := discover.Found{
		Cluster: n.cfg.ClusterID, Node: n.cfg.Node, Region: n.cfg.Region, Addr: net.JoinHostPort(n.cfg.Advertise, ClusterPort),
	}
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return n.afterReplay(ctx, keeper.Run) },
		func(ctx context.Context) error { return n.afterReplay(ctx, n.keepAddress) },
		func(ctx context.Context) error { return n.afterReplay(ctx, n.keepCertificate) },
		func(ctx context.Context) error { return discover.Announce(ctx, self, n.log) },
	}
	for _, g := range n.groups {
		r := &cluster.Reconciler{ID: g.id, Raft: g, Control: n.control, Alive: n.alive, Log: n.log}
		parts = append(parts, r.Run)
	}
	return together(parts...)(ctx)
}

// readBundle believes the settings that the node wrote before, if their signature is right.
func (n *Node) readBundle() error {
	raw, err := os.ReadFile(n.dir.path(fileBundle))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it is written again from the state
	}
	if err != nil {
		return err
	}
	b, err := cluster.VerifyBundle(raw, n.cfg.SigningKey)
	if err != nil {
		n.log.Warn("the settings on disk are not believed and will be written again", "file", n.dir.path(fileBundle), "err", err)
		return nil
	}
	n.epoch.Store(b.Epoch)
	n.tuning.Store(&b.Tuning)
	return nil
}

// afterReplay waits until the state may be shown.
func (n *Node) afterReplay(ctx context.Context, part func(context.Context) error) error {
	select {
	case <-n.control.Ready():
		return part(ctx)
	case <-ctx.Done():
		return nil
	}
}

// found proposes what init decided. An entry that is there already is an interrupted founding.
func (n *Node) found(ctx context.Context) error {
	var g genesis
	err := n.dir.readJSON(fileGenesis, &g)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range g.Commands {
		cmd, err := fsm.DecodeCommand(fsm.Control, entry)
		if err != nil {
			return fmt.Errorf("%s is damaged: %w", n.dir.path(fileGenesis), err)
		}
		if err := n.propose(ctx, cmd); err != nil && !errors.Is(err, fsm.ErrExists) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("found the cluster: %w", err)
		}
	}
	return nil
}

// proposePatience is how long one attempt waits for a leader.
const proposePatience = 10 * time.Second

// propose repeats a command that may be repeated until there is a leader.
func (n *Node) propose(ctx context.Context, cmd fsm.Command) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, proposePatience)
		err := n.control.Propose(attempt, cmd)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, raftnode.ErrNoLeader) && !errors.Is(err, raftnode.ErrUnknownOutcome) {
			return err
		}
		n.log.Info("waiting for a leader of the control group", "err", err)
	}
}

// retryEvery is how often what found no leader is tried again.
const retryEvery = 2 * time.Second

// keepAddress tells the cluster where this node is, and which version it runs, when that is not
// what its record says.
func (n *Node) keepAddress(ctx context.Context) error {
	for {
		changed := n.control.Changed()
		done, err := n.tellAddress(ctx)
		if err != nil {
			n.log.Warn("the new address cannot be recorded", "err", err)
		}
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Node) tellAddress(ctx context.Context) (done bool, err error) {
	known := false
	err = n.control.View(func(v *fsm.View) error {
		known = fsm.Members.Has(v, n.cfg.Node)
		return nil
	})
	if err != nil || !known {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, proposePatience)
	defer cancel()
	addr, gossip := net.JoinHostPort(n.cfg.Advertise, ClusterPort), net.JoinHostPort(n.cfg.Advertise, GossipPort)
	err = n.registry.Update(ctx, n.cfg.Node, func(m *fsm.Member) bool {
		same := m.Addr == addr && m.Gossip == gossip && m.Version == Version
		m.Addr, m.Gossip, m.Version = addr, gossip, Version
		return !same
	})
	return err == nil, err
}

// certCheckEvery is how often the certificate's age is looked at.
const certCheckEvery = time.Hour

// keepCertificate renews this node's certificate after a third of its life, or when the node has
// a name or address that it does not cover. The node holds the seal key, so it can open the CA's.
func (n *Node) keepCertificate(ctx context.Context) error {
	for {
		wait := certCheckEvery
		if err := n.renewCertificate(time.Now()); err != nil {
			n.log.Warn("the certificate cannot be renewed", "err", err)
			wait = retryEvery
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Node) renewCertificate(now time.Time) error {
	names := cluster.CertNames(n.cfg.Node, certHosts(n.cfg.Name, n.cfg.Bind, n.cfg.Advertise)...)
	if have := n.identity.Certificate().Leaf; certificateHolds(have, names, now) {
		return nil
	}
	var record fsm.Cluster
	err := n.control.View(func(v *fsm.View) error {
		var known bool
		if record, known = fsm.TheCluster(v); !known {
			return errors.New("this node does not know its cluster yet")
		}
		return nil
	})
	if err != nil {
		return err
	}
	authority, err := cluster.OpenAuthority(record, n.box)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(n.dir.path(fileKey))
	if err != nil {
		return err
	}
	spki, _, err := cluster.PublicKey(key)
	if err != nil {
		return err
	}
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return err
	}
	cert, err := authority.Issue(n.cfg.Node, pub, names, now)
	if err != nil {
		return err
	}
	chain, err := cluster.Chain(cert, key, n.ca)
	if err != nil {
		return err
	}
	if err := n.dir.write(fileCert, cert, 0o644); err != nil {
		return err
	}
	n.identity.Renew(chain)
	n.log.Info("certificate renewed")
	return nil
}

func certificateHolds(cert *x509.Certificate, names []string, now time.Time) bool {
	if cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)*2/3 {
		return false
	}
	for _, name := range names {
		if err := cert.VerifyHostname(name); err != nil && name[0] != '*' {
			return false
		}
	}
	return true
}
