package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hive/awsd"
	"hive/awsd/cloudtrailapi"
	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/awsd/taggingapi"
	"hive/ec2"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/iam/principal"
	"hive/internal/admin"
	"hive/internal/cluster"
	"hive/internal/vfs"
	"hive/s3"
	"hive/shard"
)

// drainTime is how long the front door waits for requests under way when the node stops.
const drainTime = 10 * time.Second

// services are the names of what runs on this node, for the status.
type services struct {
	mu    sync.Mutex // guards what is below
	names []string
}

func (s *services) set(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = names
}

func (s *services) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// blobHolder is the blob layer once it runs.
type blobHolder struct {
	store   atomic.Pointer[shard.Store]
	handler atomic.Pointer[http.Handler]
}

// ServeHTTP passes peers' requests on; before the store runs they are told to come later.
func (b *blobHolder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := b.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.Error(w, "the shard store of this node does not run yet", http.StatusServiceUnavailable)
}

// caps are the capabilities whose services this run starts.
func (n *Node) caps() []string {
	if len(n.opts.Caps) == 0 {
		return n.cfg.Caps
	}
	return slices.DeleteFunc(slices.Clone(n.opts.Caps), func(c string) bool { return !slices.Contains(n.cfg.Caps, c) })
}

// runServices starts the node's services once the cluster has formed.
func (n *Node) runServices(ctx context.Context) error {
	bundle, ok, err := n.waitFormed(ctx)
	if err != nil || !ok {
		return err
	}
	if err := n.finishInit(bundle); err != nil {
		return err
	}
	// The AWS ports are taken before anything is promised: a port in use is told at once.
	listeners, err := n.apiListeners(bundle)
	if err != nil {
		return err
	}
	if ok, err := n.waitPartitions(ctx); err != nil || !ok {
		return errors.Join(err, closeAll(listeners))
	}
	store, s3service, err := n.openBlobs(ctx)
	if err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	names := n.caps()
	n.log.Info("serving", "services", names)
	n.serving.set(names)
	if n.opts.Ready != nil {
		n.opts.Ready()
	}
	volumes, err := n.openVolumes(store)
	if err != nil {
		return errors.Join(err, closeAll(listeners), store.Close())
	}
	machines, direct := n.openEC2(volumes, s3service)
	n.machines.Store(machines)
	n.objects.Store(s3service)
	instances, err := n.openInstances(volumes, machines, n.who.tokens)
	if err != nil {
		return errors.Join(err, closeAll(listeners), store.Close())
	}
	parts := []func(context.Context) error{
		store.Run, volumes.Run, func(ctx context.Context) error { return volumes.Serve(ctx, n.guests.logs) },
	}
	parts = append(append(parts, instances...), machines.Run, n.who.uses.Run, n.trail.Run, n.recordLeaders, n.runEvents)
	front := n.frontDoor(s3service, machines, direct)
	n.awsAsRoot.set(asRoot(front, n.rootCaller))
	if len(listeners) > 0 {
		parts = append(parts, func(ctx context.Context) error { return front.Run(ctx, listeners) })
	}
	err = inReverse(ctx, parts)
	n.serving.set(nil)
	n.awsAsRoot.to.Store(nil)
	n.machines.Store(nil)
	n.objects.Store(nil)
	n.guests.forget()
	n.blobs.handler.Store(nil)
	n.blobs.store.Store(nil)
	return errors.Join(err, store.Close())
}

// inReverse runs parts until ctx ends, then ends them from the last to the first.
func inReverse(ctx context.Context, parts []func(context.Context) error) error {
	if len(parts) == 0 {
		<-ctx.Done()
		return nil
	}
	rest, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	first := make(chan error, 1)
	go func() { first <- parts[0](rest) }()
	own, stop := context.WithCancel(ctx)
	defer stop()
	others := make(chan error, 1)
	go func() { others <- inReverse(own, parts[1:]) }()
	select {
	case err := <-first: // ended too early
		stop()
		return errors.Join(err, <-others)
	case err := <-others:
		cancel()
		return errors.Join(err, <-first)
	}
}

// waitFormed waits for the cluster's target size, and for this node to have the settings that say
// so. It answers false when ctx ended before.
func (n *Node) waitFormed(ctx context.Context) (cluster.Bundle, bool, error) {
	for {
		changed := n.control.Changed()
		var c fsm.Cluster
		err := n.afterReplay(ctx, func(context.Context) error {
			return n.control.View(func(v *fsm.View) error { c, _ = fsm.TheCluster(v); return nil })
		})
		if err != nil {
			return cluster.Bundle{}, false, err
		}
		if c.Formed && n.epoch.Load() >= c.Settings.Epoch {
			b, err := cluster.VerifyBundle(c.Settings.Bundle, c.SigningKey)
			return b, true, err
		}
		select {
		case <-changed:
		case <-time.After(pollEvery): // the keeper may be a moment behind the state
		case <-ctx.Done():
			return cluster.Bundle{}, false, nil
		}
	}
}

// pollEvery is how often something is looked at that does not tell of its change.
const pollEvery = 100 * time.Millisecond

// finishInit ends what init began: from now on the directory is a used one.
func (n *Node) finishInit(b cluster.Bundle) error {
	if err := os.Remove(n.dir.path(fileGenesis)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	hints := make([]hint, len(b.Members))
	for i, m := range b.Members {
		host, _, err := net.SplitHostPort(m.Addr)
		if err != nil {
			return err
		}
		hints[i] = hint{string(m.NodeID[len("n-"):]), host}
	}
	return n.dir.writeHints(n.cfg.Region, hints)
}

// waitPartitions waits for the partition table; the control group's leader makes it.
func (n *Node) waitPartitions(ctx context.Context) (bool, error) {
	for {
		changed := n.control.Changed()
		there := false
		var plan *fsm.InstallPartitions
		err := n.control.View(func(v *fsm.View) (err error) {
			if _, there = fsm.PartitioningOf(v); !there && n.control.IsLeader() {
				plan, err = planPartitions(v)
			}
			return err
		})
		if err != nil || there {
			return there, err
		}
		if plan != nil {
			if err := n.propose(ctx, plan); err != nil && !errors.Is(err, fsm.ErrExists) && ctx.Err() == nil {
				return false, fmt.Errorf("place partitions: %w", err)
			}
		}
		select {
		case <-changed:
		case <-time.After(pollEvery): // leadership may come to this node
		case <-ctx.Done():
			return false, nil
		}
	}
}

func planPartitions(v *fsm.View) (*fsm.InstallPartitions, error) {
	c, _ := fsm.TheCluster(v)
	var nodes []shard.Node
	for _, m := range fsm.Members.Scan(v, "") {
		if slices.Contains(m.Caps, cluster.CapS3) {
			nodes = append(nodes, shard.Node{ID: m.ID, Zone: m.Zone})
		}
	}
	if len(nodes) == 0 {
		return nil, errors.New("no node of the cluster has the capability s3: objects have nowhere to be")
	}
	return shard.PlanTable(nodes, shard.ProfileFor(len(nodes)), c.Partitions)
}

func (n *Node) openBlobs(ctx context.Context) (*shard.Store, *s3.Service, error) {
	var groups []shard.Index
	var index []s3.Group
	for _, g := range n.index {
		groups, index = append(groups, indexGroup{g}), append(index, g)
	}
	s3cfg := s3.Config{
		Region: n.cfg.Region, Control: n.control, Index: index, Clock: time.Now, Rand: rand.Reader, Log: n.log,
	}
	var service *s3.Service
	store, err := shard.Open(ctx, shard.Config{
		Node: n.cfg.Node, FS: vfs.OS{}, Dir: n.dir.path("shard"), Control: n.control, Index: groups,
		Peers: shard.NewHTTPPeers(n.port.Client()), Alive: n.alive, Now: time.Now, Rand: rand.Reader, Log: n.log,
		Live: n.live(func(ctx context.Context, yield func(fsm.BlobRef) bool) error { return service.Live(ctx, yield) }),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("shard store: %w", err)
	}
	s3cfg.Blobs = store
	service = s3.New(s3cfg)
	handler := store.Handler()
	n.blobs.handler.Store(&handler)
	n.blobs.store.Store(store)
	return store, service, nil
}

// frontDoor is awsd over the services that this version has handlers for.
func (n *Node) frontDoor(objects *s3.Service, machines *ec2.Service, direct *ec2.Direct) *awsd.Server {
	who := n.who
	needs := actions.New(n.cfg.Region, n.control.View)
	return awsd.New(awsd.Config{
		Region: n.cfg.Region, Keys: who.keys, Authorizer: who.authorizer, Used: who.uses.Note,
		Pages: n.box, Log: n.log, Drain: drainTime, Audit: n.trail.Record, Limits: n.limits,
		Domains: []string{"s3.localhost", "s3." + n.cfg.Advertise, "s3." + n.cfg.Name, "s3." + n.cfg.Name + ".local"},
		Services: []awsd.Service{
			{API: s3api.API(), Handlers: s3api.Bind(objects), Access: needs.Access("s3")},
			{API: iamapi.API(), Handlers: iamapi.Bind(who.users), Access: needs.Access("iam")},
			{API: stsapi.API(), Handlers: stsapi.Bind(who.tokens), Access: needs.Access("sts"), Unsigned: iam.UnsignedSTS()},
			{API: ec2api.API(), Handlers: ec2api.Bind(machines), Access: needs.Access("ec2")},
			{API: ebsapi.API(), Handlers: ebsapi.Bind(direct), Access: needs.Access("ebs")},
			{API: cloudtrailapi.API(), Handlers: cloudtrailapi.Bind(n.trail), Access: needs.Access("cloudtrail")},
			{API: taggingapi.API(), Handlers: taggingapi.Bind(ec2.NewTagging(machines)), Access: needs.Access("tagging")},
		},
	})
}

// asRoot answers AWS requests below /aws/SERVICE/ without a signature: whoever can open the admin socket is the root
// user of the cluster's first account.
func asRoot(front *awsd.Server, root func(context.Context) (principal.Caller, error)) http.Handler {
	mux := http.NewServeMux()
	for _, name := range []string{"ec2", "ebs", "s3", "iam", "sts", "cloudtrail", "tagging"} {
		prefix := "/aws/" + name
		mux.Handle(prefix+"/", http.StripPrefix(prefix, front.ServeAs(name, root)))
	}
	return mux
}

// rootCaller is the root user of the account that init has made.
func (n *Node) rootCaller(context.Context) (principal.Caller, error) {
	var c principal.Caller
	err := n.control.View(func(v *fsm.View) error {
		all := fsm.Accounts(v, "")
		if len(all) == 0 {
			return errors.New("the cluster has no account")
		}
		id := string(slices.MinFunc(all, func(a, b fsm.Account) int { return cmp.Compare(a.Created, b.Created) }).ID)
		c = principal.Caller{Account: id, ARN: "arn:aws:iam::" + id + ":root", UserID: id, Root: true, Region: n.cfg.Region}
		return nil
	})
	return c, err
}

// apiListeners are the AWS ports of this node's capabilities: one for all services, and one each
// for EC2 and S3 as the settings say. Each speaks http and https.
func (n *Node) apiListeners(b cluster.Bundle) ([]awsd.Listener, error) {
	var out []awsd.Listener
	for _, want := range []struct {
		capability, bind string
		services         []string
	}{
		{cluster.CapAPI, ":" + APIPort, nil},
		{cluster.CapEC2, b.Services.EC2.APIBind, []string{"ec2"}},
		{cluster.CapS3, b.Services.S3.APIBind, []string{"s3"}},
	} {
		if !slices.Contains(n.caps(), want.capability) {
			continue
		}
		l, err := net.Listen("tcp", n.bindAddr(want.bind))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("AWS API: %w", err), closeAll(out))
		}
		out = append(out, awsd.Listener{Net: l, Services: want.services, TLS: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.identity.Certificate(), nil },
		}})
	}
	return out, nil
}

// bindAddr completes a bind of the settings, which names no host, with this node's.
func (n *Node) bindAddr(bind string) string {
	host, port, err := net.SplitHostPort(bind)
	if err != nil || host != "" {
		return bind
	}
	return net.JoinHostPort(n.cfg.Bind, port)
}

func closeAll(listeners []awsd.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Net.Close())
	}
	return errors.Join(errs...)
}

// errNoStore answers for a node whose services do not run.
var errNoStore = errors.New("the shard store of this node does not run yet")

func (n *Node) scrub(ctx context.Context) (admin.Scrub, error) {
	store := n.blobs.store.Load()
	if store == nil {
		return admin.Scrub{}, errNoStore
	}
	r, err := store.Scrub(ctx)
	return admin.Scrub{Records: r.Records, Bytes: r.Bytes, Rotten: r.Rotten, Missing: r.Missing, Mended: r.Mended, Failed: r.Failed}, err
}

// partitionsOn counts the partitions in which a node has a place.
func (n *Node) partitionsOn(node fsm.NodeID) (held, total int, err error) {
	err = n.control.View(func(v *fsm.View) error {
		table, _ := fsm.PartitioningOf(v)
		total = int(table.Count)
		for i := range table.Count {
			if p, ok := fsm.PartitionOf(v, i); ok && slices.Contains(p.Nodes, node) {
				held++
			}
		}
		return nil
	})
	return held, total, err
}
