package node

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"hive/events"
	"hive/fsm"
	"hive/internal/cluster"
)

// Ports of the embedded NATS, on a node's bind address.
const (
	NATSPort      = "4222" // clients
	natsRoutePort = "6222" // the other nodes' servers
)

// eventBridge is the bridge once it runs.
type eventBridge struct{ now atomic.Pointer[events.Bridge] }

// serve hands a request to the bridge once there is one.
func (e *eventBridge) serve(to func(*events.Bridge, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if b := e.now.Load(); b != nil {
			to(b, w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintln(w, `{"error":"the events of this node are not served yet: try again in a moment"}`)
	}
}

// runEvents carries events out until ctx ends.
func (n *Node) runEvents(ctx context.Context) error {
	bridge, err := n.newBridge()
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	n.events.now.Store(bridge)
	defer n.events.now.Store(nil)
	return bridge.Run(ctx)
}

func (n *Node) newBridge() (*events.Bridge, error) {
	secret, err := hkdf.Key(sha256.New, n.sealKey, nil, "credentials for events", sha256.Size)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.ca)
	var groups []events.Group
	for _, g := range n.groups {
		groups = append(groups, events.Group{ID: g.id, View: g.View, Changed: g.Changed})
	}
	return events.New(events.Config{
		Node: n.cfg.Node, Realm: events.Realm{Cluster: n.cfg.ClusterID, Region: n.cfg.Region}, Groups: groups,
		Propose: n.control.Propose, Nodes: n.natsNodes, Serve: slices.Contains(n.caps(), cluster.CapNATS), Secret: secret, CA: n.ca,
		Listen: n.bindAddr(":" + NATSPort), RouteListen: n.bindAddr(":" + natsRoutePort),
		Advertise: net.JoinHostPort(n.cfg.Advertise, NATSPort), RouteAdvertise: net.JoinHostPort(n.cfg.Advertise, natsRoutePort),
		Certificate: n.identity.Certificate, Roots: roots, External: n.natsURL,
		Clock: time.Now, Rand: rand.Reader, Log: n.log,
	})
}

// natsURL is of the NATS outside of the cluster that the settings name; "" for none. One that cannot be opened is still no
// reason to send to the cluster's own.
func (n *Node) natsURL() string {
	kept := n.tuning.Load().NATSURL
	text, err := n.openURL(kept)
	if err != nil {
		n.log.Error("events cannot be sent", "err", err)
		return kept
	}
	return text
}

// natsNodes are the members as the bridge sees them.
func (n *Node) natsNodes() []events.Node {
	var out []events.Node
	err := n.control.View(func(v *fsm.View) error {
		for _, m := range fsm.Members.Scan(v, "") {
			host, _, err := net.SplitHostPort(m.Addr)
			if err != nil {
				return err
			}
			out = append(out, events.Node{
				ID: m.ID, Alive: m.ID == n.cfg.Node || n.alive(m.ID), Serves: slices.Contains(m.Caps, cluster.CapNATS),
				Route: net.JoinHostPort(host, natsRoutePort), Clients: net.JoinHostPort(host, NATSPort),
			})
		}
		return nil
	})
	if err != nil {
		n.log.Warn("the members are not known to the events' bridge", "err", err)
	}
	return out
}
