// Package discover finds members of a cluster on the local network by multicast DNS. It only
// finds: what answers is believed only after the join token's pin has been checked.
package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/mdns"

	"hive/fsm"
)

// service is what members announce (RFC 6763).
const service = "_hive._tcp"

// Found is a member that answered.
type Found struct {
	Cluster fsm.ClusterID
	Node    fsm.NodeID
	Region  string
	Addr    string // host:port of its cluster port
}

// Query says where to look.
type Query struct {
	Interface string        // "" is every interface that is up and can multicast
	Timeout   time.Duration // 0 is 2 seconds
	Log       *slog.Logger
}

// ErrNoInterface is a machine, or a choice, without an interface that can multicast.
var ErrNoInterface = errors.New("no network interface to ask on by multicast")

// Find asks on the chosen interfaces, by IPv4 and IPv6, and returns who answered and where it asked. IPv4
// works only where the machine has a route for 224.0.0.0/4 (a default route is one), IPv6 without any.
func Find(ctx context.Context, q Query) (found []Found, tried []string, err error) {
	interfaces, err := choose(q.Interface)
	if err != nil {
		return nil, nil, err
	}
	if q.Timeout == 0 {
		q.Timeout = 2 * time.Second
	}
	asked := make([]asking, 2*len(interfaces)) // by IPv4 and by IPv6
	var work sync.WaitGroup
	for i, ifc := range interfaces {
		tried = append(tried, ifc.Name)
		for v := range 2 {
			work.Go(func() { asked[2*i+v] = ask(ctx, q, &ifc, v == 0) })
		}
	}
	work.Wait()
	failures := make([]error, len(asked))
	for i, a := range asked {
		failures[i] = a.err
		for _, f := range a.found { // the same node answers on several interfaces, by IPv4 and IPv6
			if !slices.Contains(found, f) {
				found = append(found, f)
			}
		}
	}
	if len(found) == 0 {
		err = allFailed(failures)
	}
	return found, tried, err
}

// asking is what one question on one interface found.
type asking struct {
	found []Found
	err   error
}

// maxAnswers is how many answers to one question are kept.
const maxAnswers = 1024

func ask(ctx context.Context, q Query, ifc *net.Interface, v4 bool) (a asking) {
	entries := make(chan *mdns.ServiceEntry, maxAnswers)
	a.err = mdns.QueryContext(ctx, &mdns.QueryParam{
		Service: service, Timeout: q.Timeout, Interface: ifc, Entries: entries,
		DisableIPv4: !v4, DisableIPv6: v4, Logger: quiet(q.Log),
	})
	close(entries)
	for e := range entries { // not before: mdns goes on writing into what it has sent
		if f, ok := read(e); ok {
			a.found = append(a.found, f)
		}
	}
	return a
}

// allFailed is an error only when no interface could be asked at all.
func allFailed(failures []error) error {
	for _, err := range failures {
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("multicast: %w", errors.Join(failures...))
}

func read(e *mdns.ServiceEntry) (Found, bool) {
	var f Found
	for _, field := range e.InfoFields {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "cluster":
			f.Cluster = fsm.ClusterID(value)
		case "node":
			f.Node = fsm.NodeID(value)
		case "region":
			f.Region = value
		case "addr":
			f.Addr = value
		}
	}
	return f, f.Cluster != "" && f.Node != "" && f.Addr != ""
}

// Announce answers questions on every interface that can multicast until ctx ends. An interface on
// which it cannot is logged and left: joiners there need --host.
func Announce(ctx context.Context, self Found, log *slog.Logger) error {
	host, text, err := net.SplitHostPort(self.Addr)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("announce: port of %q: %w", self.Addr, err)
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	// Nodes of different clusters may have the same name: by multicast they must not.
	name := string(self.Node) + "-" + string(self.Cluster)
	zone, err := mdns.NewMDNSService(name, service, "local.", name+".local.", port, ips, []string{
		"cluster=" + string(self.Cluster), "node=" + string(self.Node), "region=" + self.Region, "addr=" + self.Addr,
	})
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	interfaces, err := choose("")
	if err != nil {
		log.Info("this node cannot be found by multicast: joiners need --host", "err", err)
	}
	var servers []*mdns.Server
	for _, ifc := range interfaces {
		s, err := mdns.NewServer(&mdns.Config{Zone: zone, Iface: &ifc, Logger: quiet(log)})
		if err != nil {
			log.Info("this node cannot be found by multicast on an interface", "interface", ifc.Name, "err", err)
			continue
		}
		servers = append(servers, s)
	}
	<-ctx.Done()
	for _, s := range servers {
		err = errors.Join(err, s.Shutdown())
	}
	return err
}

// choose is the named interface, or all that are up and can multicast. Loopback is asked too when
// it can: nodes of one machine find each other there.
func choose(name string) ([]net.Interface, error) {
	if name != "" {
		ifc, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
		return []net.Interface{*ifc}, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []net.Interface
	for _, ifc := range all {
		if ifc.Flags&net.FlagUp != 0 && ifc.Flags&(net.FlagMulticast|net.FlagLoopback) != 0 {
			out = append(out, ifc)
		}
	}
	if len(out) == 0 {
		return nil, ErrNoInterface
	}
	return out, nil
}

// quiet passes on what mdns prints only at debug level: it prints each stray packet.
func quiet(l *slog.Logger) *log.Logger {
	if l == nil {
		return log.New(io.Discard, "", 0)
	}
	return slog.NewLogLogger(l.Handler(), slog.LevelDebug)
}
