package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/internal/admin"
	"hive/test/rig"
)

// network is one network namespace per node, joined by a bridge in one more; this machine has a port on it too.
type network struct {
	t   *testing.T
	id  string
	net string // 198.18.x, the range for tests of RFC 2544
	n   int
}

// newNetwork needs root. Without it the test counts as skipped, and the end of `make test` names it.
func newNetwork(t *testing.T, nodes int) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: network namespaces need root")
	}
	w := &network{t: t, id: fmt.Sprintf("hv%04x", rand.IntN(1<<16)), net: fmt.Sprintf("198.18.%d", rand.IntN(256)), n: nodes}
	t.Cleanup(w.remove)
	w.ip("netns add %s", w.sw())
	w.ip("-n %s link add br0 type bridge", w.sw())
	w.ip("-n %s link set br0 up", w.sw())
	w.ip("link add %s type veth peer name host netns %s", w.id, w.sw())
	w.ip("-n %s link set host master br0 up", w.sw())
	w.ip("addr add %s.254/24 dev %s", w.net, w.id)
	w.ip("link set %s up", w.id)
	for i := range nodes {
		w.ip("netns add %s", w.ns(i))
		w.ip("link add eth0 netns %s type veth peer name p%d netns %s", w.ns(i), i, w.sw())
		w.ip("-n %s link set p%d master br0 up", w.sw(), i)
		w.ip("-n %s link set lo up", w.ns(i))
		w.ip("-n %s addr add %s/24 dev eth0", w.ns(i), w.addr(i))
		w.ip("-n %s link set eth0 up", w.ns(i))
		w.ip("-n %s route add default via %s.254", w.ns(i), w.net)
	}
	return w
}

func (w *network) sw() string        { return w.id + "s" }
func (w *network) ns(i int) string   { return fmt.Sprintf("%s-%d", w.id, i) }
func (w *network) addr(i int) string { return fmt.Sprintf("%s.%d", w.net, i+1) }

func (w *network) addrs() (ips []string) {
	for i := range w.n {
		ips = append(ips, w.addr(i))
	}
	return ips
}

func (w *network) wrap(i int) []string { return []string{"ip", "netns", "exec", w.ns(i)} }

func (w *network) ip(format string, args ...any) {
	w.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(fmt.Sprintf(format, args...))...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip "+format+": %s", append(args, out)...)
	}
}

func (w *network) remove() {
	names := []string{w.sw()}
	for i := range w.n {
		names = append(names, w.ns(i))
	}
	for _, name := range names {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such file") {
			w.t.Errorf("ip netns del %s: %s", name, out)
		}
	}
}

// options put a cluster into the network.
func (w *network) options(o *rig.Options) { o.IPs, o.Wrap = w.addrs(), w.wrap }

// nft loads a table into a node's namespace.
func (w *network) nft(i int, rules string) {
	w.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", w.ns(i), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet hive\ndelete table inet hive\n" + rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("nft: %s", out)
	}
}

// isolate lets no packet pass between node i and the other nodes; clients on this machine reach all.
func (w *network) isolate(i int) {
	w.t.Helper()
	var others []string
	for j, a := range w.addrs() {
		if j != i {
			others = append(others, a)
		}
	}
	set := strings.Join(others, ", ")
	w.nft(i, "table inet hive {\n chain i { type filter hook input priority 0; ip saddr { "+set+" } drop; }\n chain o { type filter hook output priority 0; ip daddr { "+set+" } drop; }\n}\n")
}

func (w *network) heal(i int) {
	w.t.Helper()
	w.nft(i, "")
}

func TestAPartition(t *testing.T) {
	w := newNetwork(t, 3)
	c := form(t, 3, w.options)
	k := root(c)
	l := newLoad(t, c, "parted")
	put(t, l.clients[0], l.bucket, "register", []byte("before"))
	for _, group := range []string{"control", "index-0"} {
		leader, err := c.Leader(soon(t), group)
		must(t, err)
		minority := index(c, leader)
		w.isolate(minority)
		began := time.Now()
		l.clients = nil
		for i, n := range c.Nodes {
			if i != minority {
				l.clients = append(l.clients, s3Client(n, k))
			}
		}
		waitFor(t, "a leader in the majority", func() error {
			for i, n := range c.Nodes {
				if i == minority {
					continue
				}
				s, err := n.Status(soon(t))
				if err != nil {
					return err
				}
				for _, g := range s.Groups {
					if g.Leader == "" || string(g.Leader) == "n-"+leader.Name {
						return fmt.Errorf("%s sees %q lead %s", n.Name, g.Leader, g.Group)
					}
				}
			}
			return nil
		})
		within(t, "a leader in the majority", 6*time.Second, time.Since(began))
		l.start(t, 4)
		l.progress(t, 20)
		l.stop()
		put(t, l.clients[0], l.bucket, "register", []byte("after "+group))
		t.Run("TheMinorityRefuses "+group, func(t *testing.T) { minorityRefuses(t, c, c.Nodes[minority], l.bucket) })
		l.start(t, 4)
		w.heal(minority)
		l.progress(t, 20)
		l.stop()
		must(t, c.Ready(soon(t)))
		for _, n := range c.Nodes {
			if got := string(get(t, s3Client(n, k), l.bucket, "register")); got != "after "+group {
				t.Errorf("after the partition %s reads %q", n.Name, got)
			}
		}
		l.verify(t, s3Client(c.Nodes[minority], k))
	}
}

func index(c *rig.Cluster, n *rig.Node) int {
	for i, other := range c.Nodes {
		if other == n {
			return i
		}
	}
	return -1
}

// minorityRefuses: no write is acknowledged and nothing old is read by a node that cannot reach a majority. It answers,
// with an error, rather than hang.
func minorityRefuses(t *testing.T, c *rig.Cluster, n *rig.Node, bucket string) {
	k := root(c)
	client := s3Client(n, k)
	calls := map[string]func(context.Context) error{
		"PutObject": func(ctx context.Context) error {
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("refused"), Body: strings.NewReader("x")})
			return err
		},
		"GetObject": func(ctx context.Context) error {
			_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("register")})
			return err
		},
		"DeleteObject": func(ctx context.Context) error {
			_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("register")})
			return err
		},
		"CreateUser": func(ctx context.Context) error {
			_, err := iamClient(n, k).CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("refused")})
			return err
		},
	}
	var all sync.WaitGroup
	for what, call := range calls {
		all.Go(func() { refusal(t, what, call) })
	}
	all.Wait()
	if out := mustHive(t, "status", "--hive-dir", n.Dir); !strings.Contains(out, "No leader in") {
		t.Errorf("without a leader `hive status` says\n%s", out)
	}
	s, err := n.Status(soon(t))
	must(t, err)
	if len(s.Members) != 3 || slices.ContainsFunc(s.Groups, func(g admin.Group) bool { return g.Leader != "" }) {
		t.Errorf("without a leader `hive status` says %+v", s)
	}
}

// answersWithin is how long a node that has no quorum may take to say so.
const answersWithin = 30 * time.Second

// refusal wants an answer that the service is not to be had, while clients still wait for one.
func refusal(t *testing.T, what string, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*answersWithin)
	defer cancel()
	began := time.Now()
	err := call(ctx)
	within(t, what, answersWithin, time.Since(began))
	switch code(err) {
	case "ServiceUnavailable", "SlowDown", "ServiceFailure":
	default:
		t.Errorf("%s through the minority: %v, want that the service is unavailable", what, err)
	}
}

// TestJoinFindsTheClusterByMulticast leaves --host out, with one interface, with two, and where nothing answers.
func TestJoinFindsTheClusterByMulticast(t *testing.T) {
	w := newNetwork(t, 4)
	c := form(t, 1, w.options)
	token := strings.Fields(mustHive(t, "token", "create", "--uses", "3", "--hive-dir", c.Nodes[0].Dir))
	secret := ""
	for _, word := range token {
		if strings.HasPrefix(word, "hive1.") {
			secret = word
		}
	}
	join := func(i int, more ...string) (string, error) {
		dir := fmt.Sprintf("%s/found%d", shortDir(t), i)
		args := append(w.wrap(i), program(t), "join", "--region", rig.Region, "--node", fmt.Sprintf("found%d", i),
			"--token", secret, "--hive-dir", dir, "--detach")
		out, err := command(t, nil, append(args, more...)...)
		if err == nil {
			t.Cleanup(func() {
				if out, err := exec.Command(program(t), "stop", "--hive-dir", dir).CombinedOutput(); err != nil {
					t.Errorf("stop: %s", out)
				}
			})
		}
		return out, err
	}
	_, err := join(1)
	must(t, err)
	w.ip("-n %s link add eth1 type veth peer name eth2", w.ns(2))
	w.ip("-n %s addr add 198.19.0.1/24 dev eth1", w.ns(2))
	w.ip("-n %s link set eth1 up", w.ns(2))
	_, err = join(2, "--interface", "eth0", "--advertise", w.addr(2))
	must(t, err)
	for _, hook := range []string{"input", "output"} { // no answer comes; no question leaves
		w.nft(3, "table inet hive {\n chain c { type filter hook "+hook+" priority 0; udp sport 5353 drop; udp dport 5353 drop; }\n}\n")
		out, err := join(3)
		refused(t, out, err, "multicast", "eth0", "--host")
	}
	waitFor(t, "two more members", func() error {
		s, err := c.Nodes[0].Status(soon(t))
		if err != nil || len(s.Members) != 3 {
			return fmt.Errorf("%d members: %w", len(s.Members), err)
		}
		return nil
	})
	for _, name := range []string{"found1", "found2"} {
		mustHive(t, "node", "remove", "n-"+name, "--hive-dir", c.Nodes[0].Dir, "--yes")
	}
}

func mustHive(t *testing.T, args ...string) string {
	t.Helper()
	out, err := hive(t, args...)
	must(t, err)
	return out
}
