package node

import (
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/ebs"
	"hive/ec2"
	"hive/fsm"
	"hive/iam"
	"hive/iam/principal"
	"hive/internal/admin"
	"hive/internal/cluster"
	"hive/internal/vfs"
	"hive/net/dataplane"
	"hive/net/dns"
	"hive/net/imds"
	"hive/net/vpc"
	"hive/s3"
	"hive/shard"
	"hive/vm"
	"hive/vm/image"
)

// guests are the services under EC2 and EBS, once they run: volumes, networks, instances.
type guests struct {
	volumes  atomic.Pointer[ebs.Manager]
	network  atomic.Pointer[dataplane.Dataplane]
	agent    atomic.Pointer[vm.Agent]
	noNet    atomic.Pointer[error] // why there are no networks here
	connects net.Listener          // of other nodes that want a port of an instance
	logs     net.Listener          // of other nodes that write a volume's log here

	volumeCalls, instanceCalls lateHandler
}

// lateHandler passes peers' requests on; before the service runs they are told to come later.
type lateHandler struct{ to atomic.Pointer[http.Handler] }

// ServeHTTP answers with the service, if it runs.
func (h *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if to := h.to.Load(); to != nil {
		(*to).ServeHTTP(w, r)
		return
	}
	http.Error(w, "this service of the node does not run yet", http.StatusServiceUnavailable)
}

func (h *lateHandler) set(to http.Handler) { h.to.Store(&to) }

// errNoGuests answers for a node that runs no instances.
var errNoGuests = errors.New("this node runs no instances: it lacks the capability ec2 or vpc, or its services do not run yet")

// forget drops the services when they have ended.
func (g *guests) forget() {
	g.volumes.Store(nil)
	g.network.Store(nil)
	g.agent.Store(nil)
	g.volumeCalls.to.Store(nil)
	g.instanceCalls.to.Store(nil)
}

// waits is what must finish before the node can stop.
func (g *guests) waits() []string {
	out := []string{}
	if agent := g.agent.Load(); agent != nil {
		out = append(out, agent.Busy()...)
	}
	return out
}

// live are all blobs that objects or volumes refer to. The volumes' rows are this node's state, from its start on.
func (n *Node) live(objects func(context.Context, func(fsm.BlobRef) bool) error) func(context.Context, func(fsm.BlobRef) bool) error {
	return func(ctx context.Context, yield func(fsm.BlobRef) bool) error {
		more := true
		err := objects(ctx, func(ref fsm.BlobRef) bool { more = yield(ref); return more })
		if err != nil || !more {
			return err
		}
		volumes := n.guests.volumes.Load()
		if volumes == nil {
			return errNoVolumes // what is not known to be garbage must not be taken for it
		}
		return volumes.Live(ctx, yield)
	}
}

// errNoVolumes answers while the volumes' manager does not run.
var errNoVolumes = errors.New("the volumes of this node do not run yet")

// dial opens a connection to a port of an instance on this node.
func (g *guests) dial(ctx context.Context, id fsm.InstanceID, port int) (net.Conn, error) {
	d := g.network.Load()
	if d == nil {
		return nil, errNoGuests
	}
	return d.Dial(ctx, id, port)
}

// machineTag is the part of every name that this node gives to what the machine has: namespaces, devices.
func (c Config) machineTag() string {
	sum := sha256.Sum256([]byte(string(c.ClusterID) + "/" + string(c.Node)))
	return hex.EncodeToString(sum[:4])
}

// longestRunDir leaves room for the names of sockets: a socket's path has at most 107 bytes (unix(7)).
const longestRunDir = 70

// runDir is where the node's unix sockets are: in its directory, or below /run when the directory's path is too long. A node
// that is not root's has no instances, and no sockets that QEMU must find.
func (c Config) runDir(dir Dir) string {
	if own := dir.path("run"); len(own) <= longestRunDir || os.Geteuid() != 0 {
		return own
	}
	return "/run/hive-" + c.machineTag()
}

// openVolumes makes the manager of this node's volumes.
func (n *Node) openVolumes(store *shard.Store) (*ebs.Manager, error) {
	if err := os.MkdirAll(n.cfg.runDir(n.dir), 0o700); err != nil {
		return nil, err
	}
	var index []ebs.IndexGroup
	for _, g := range n.index {
		index = append(index, g)
	}
	m, err := ebs.New(ebs.Config{
		Node: n.cfg.Node, Dir: n.dir.path("ebs"), RunDir: n.cfg.runDir(n.dir), FS: vfs.OS{}, Control: n.control, Index: index,
		Blobs: store, Client: n.port.Client(), Dial: n.port.Dial, Alive: n.alive, Leader: n.control.IsLeader,
		Clock: time.Now, Log: n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	n.guests.volumes.Store(m)
	n.guests.volumeCalls.set(m.Handler())
	return m, nil
}

// openInstances makes the agents of this node's networks and instances, where it can have them: the parts that run.
func (n *Node) openInstances(volumes *ebs.Manager, machines *ec2.Service, sessions *iam.STS) ([]func(context.Context) error, error) {
	if !slices.Contains(n.caps(), cluster.CapEC2) || !slices.Contains(n.caps(), cluster.CapVPC) {
		return nil, nil
	}
	if err := dataplane.Possible(); err != nil {
		n.guests.noNet.Store(&err)
		n.log.Warn("this node runs no instances, for it cannot make networks", "cause", err)
		return nil, nil
	}
	network, err := n.openNetwork(machines, sessions)
	if err != nil {
		return nil, fmt.Errorf("networks: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	agent, err := vm.New(vm.Config{
		Node: n.cfg.Node, Dir: n.dir.path("vm"), RunDir: n.cfg.runDir(n.dir), Control: n.control,
		Volumes: guestVolumes{volumes}, Network: network, Wrap: []string{exe, "exec-guest"}, Clock: time.Now, Log: n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("instances: %w", err)
	}
	n.guests.network.Store(network)
	n.guests.agent.Store(agent)
	n.guests.instanceCalls.set(agent.Handler())
	return []func(context.Context) error{network.Run, agent.Run, n.runConnect}, nil
}

// openNetwork makes the data plane with its metadata service.
func (n *Node) openNetwork(machines *ec2.Service, sessions *iam.STS) (*dataplane.Dataplane, error) {
	tokens, err := hkdf.Key(sha256.New, n.sealKey, nil, "metadata tokens", sha256.Size)
	if err != nil {
		return nil, err
	}
	cert := n.identity.Certificate()
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the node's key cannot sign")
	}
	metadata, err := imds.New(imds.Config{
		Source: imds.Records{Control: n.control}, Key: tokens, Signer: signer, Certificate: cert.Leaf, ZoneID: machines.ZoneID,
		Credentials: roleCredentials(sessions), Clock: time.Now, Log: n.log,
	})
	if err != nil {
		return nil, err
	}
	return dataplane.New(dataplane.Config{
		Node: n.cfg.Node, Tag: n.cfg.machineTag(), Control: n.control, Underlay: n.underlay,
		Metadata: metadata, Resolvers: dns.System("/etc/resolv.conf"), Log: n.log,
	})
}

// underlay is where the members' ends of the networks between nodes are, as gossip tells.
func (n *Node) underlay() map[fsm.NodeID]vpc.Underlay {
	out := map[fsm.NodeID]vpc.Underlay{}
	for _, m := range n.gossip.Members() {
		host, _, err := net.SplitHostPort(m.Meta.Addr)
		if err != nil {
			continue
		}
		addr, err := netip.ParseAddr(host)
		if err != nil {
			found, err := net.LookupIP(host)
			if err != nil || len(found) == 0 {
				n.log.Warn("a member has no address that a network can reach", "node", m.Node, "host", host, "err", err)
				continue
			}
			addr, _ = netip.AddrFromSlice(found[0])
		}
		port := m.Meta.VXLAN
		if port == 0 {
			port = vxlanPort
		}
		out[m.Node] = vpc.Underlay{IP: addr.Unmap(), Port: uint16(port)}
	}
	return out
}

// guestVolumes gives an instance its volumes as its agent wants them.
type guestVolumes struct{ *ebs.Manager }

// Attach opens a volume and answers where its export is.
func (v guestVolumes) Attach(ctx context.Context, id fsm.VolumeID, generation uint64) (socket, export string, err error) {
	e, err := v.Manager.Attach(ctx, id, generation)
	return e.Socket, e.Name, err
}

// openEC2 makes the service of the EC2 API, and that of the EBS direct APIs beside it.
func (n *Node) openEC2(volumes *ebs.Manager, objects *s3.Service) (*ec2.Service, *ec2.Direct) {
	service := ec2.New(ec2.Config{
		Region: n.cfg.Region, Node: n.cfg.Node, Control: n.control, Nodes: n.hosts, Storage: volumes, Console: n.console,
		Objects: objectReader{objects}.open, ToRaw: toRaw, Scratch: n.dir.path("scratch"), Leader: n.control.IsLeader,
		Replicas: n.logCopies(), NodeLostAfter: nodeLostAfter, Clock: time.Now, Rand: rand.Reader, Log: n.log,
	})
	return service, ec2.NewDirect(service, snapshotBlocks{volumes})
}

// nodeLostAfter is how long gossip must tell of a node as dead before the cluster ends what that node was asked to end:
// a stop, a termination, a detachment. Its volumes' next owners have higher generations, so nothing that it still
// does counts.
const nodeLostAfter = 15 * time.Second

// toRaw makes a raw disk of a file of an import.
func toRaw(ctx context.Context, src, format, dst string, progress func(done, total int64)) error {
	_, err := image.ToRawAs(ctx, src, format, dst, progress)
	return err
}

// logCopies is how many copies the settings want of a volume's log.
func (n *Node) logCopies() int {
	copies := 1
	err := n.control.View(func(v *fsm.View) error {
		c, _ := fsm.TheCluster(v)
		b, err := cluster.VerifyBundle(c.Settings.Bundle, c.SigningKey)
		if err == nil {
			copies = max(1, b.Services.EBS.Replicas)
		}
		return err
	})
	if err != nil {
		n.log.Error("the settings do not tell the copies of volumes' logs", "err", err, "copies", copies)
	}
	return copies
}

// objectReader opens objects for imports.
type objectReader struct{ *s3.Service }

func (r objectReader) open(ctx context.Context, account fsm.AccountID, bucket, key string) (io.ReadCloser, int64, error) {
	root := principal.Caller{Account: string(account), ARN: "arn:aws:iam::" + string(account) + ":root", UserID: string(account), Root: true}
	out, err := r.GetObject(ctx, &root, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, 0, err
	}
	return out.Body, aws.ToInt64(out.ContentLength), nil
}

// snapshotBlocks gives the EBS direct APIs the volumes' engine in their words.
type snapshotBlocks struct{ *ebs.Manager }

// SnapshotExtents yields the runs that were ever written.
func (b snapshotBlocks) SnapshotExtents(ctx context.Context, id fsm.SnapshotID, off, n int64, yield func(off, n int64) bool) error {
	at := off
	return b.Manager.SnapshotExtents(ctx, id, off, n, func(length int64, data bool) bool {
		from := at
		at += length
		return !data || yield(from, length)
	})
}

// hosts are the members as gossip tells of them.
func (n *Node) hosts() []ec2.NodeInfo {
	var out []ec2.NodeInfo
	for _, m := range n.gossip.Members() {
		out = append(out, ec2.NodeInfo{
			ID: m.Node, Zone: m.Meta.Zone, Caps: m.Meta.Caps, Alive: n.alive(m.Node), VCPUs: m.Meta.VCPUs, MemoryMiB: m.Meta.Guests,
		})
	}
	return out
}

// console asks the node that runs an instance for the output of its serial console.
func (n *Node) console(ctx context.Context, i fsm.Instance) ([]byte, time.Time, error) {
	if i.Node == n.cfg.Node {
		agent := n.guests.agent.Load()
		if agent == nil {
			return nil, time.Time{}, errNoGuests
		}
		return agent.Console(ctx, i.ID)
	}
	return vm.FetchConsole(ctx, n.port.Client(), "https://"+string(i.Node), i.ID)
}

// guestStatus is what this node gives to instances; nil when it runs none.
func (n *Node) guestStatus(v *fsm.View) *admin.Guests {
	if why := n.guests.noNet.Load(); why != nil {
		return &admin.Guests{Network: (*why).Error()}
	}
	agent := n.guests.agent.Load()
	if agent == nil {
		return nil
	}
	use := fsm.UseOf(v, n.cfg.Node)
	accel, why := agent.Accel()
	if why != "" {
		accel += ": " + why
	}
	out := &admin.Guests{Accel: accel, UsedVCPUs: use.VCPUs, UsedMiB: use.Memory}
	if self, ok := n.gossip.Member(n.cfg.Node); ok {
		out.VCPUs, out.MemoryMiB = self.Meta.VCPUs, self.Meta.Guests
	}
	return out
}

// ClearMachine ends what a stopped node has left running on this machine: its guests, which outlive it, and their
// networks. Their disks' flushed bytes stay in the cluster.
func ClearMachine(ctx context.Context, dir string, log *slog.Logger) error {
	cfg, err := Dir(dir).LoadConfig()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := vm.KillAll(ctx, Dir(dir).path("vm")); err != nil {
		return err
	}
	if err := os.RemoveAll(cfg.runDir(Dir(dir))); err != nil {
		return err
	}
	if dataplane.Possible() != nil {
		return nil // it had no networks
	}
	network, err := dataplane.New(dataplane.Config{Node: cfg.Node, Tag: cfg.machineTag(), Log: log})
	if err != nil {
		return err
	}
	return network.Clear(ctx)
}
