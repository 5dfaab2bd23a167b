package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hive/internal/admin"
	"hive/test/rig"
)

// ground is a cluster in the making, by the commands that an operator types.
type ground struct {
	t   *testing.T
	dir string
	ips []string
}

func newGround(t *testing.T, nodes int) *ground {
	t.Helper()
	ips, err := rig.Loopback(nodes)
	must(t, err)
	g := &ground{t: t, dir: shortDir(t), ips: ips}
	t.Cleanup(func() {
		for i := range ips {
			if _, err := os.Stat(g.node(i + 1)); err != nil {
				continue
			}
			// A node that was never made has no daemon; what else goes wrong leaves a process, which the runner tells.
			_ = exec.Command(program(t), "stop", "--hive-dir", g.node(i+1)).Run()
		}
	})
	return g
}

func (g *ground) node(i int) string { return filepath.Join(g.dir, fmt.Sprintf("node%d", i)) }

// place are the arguments that init and join have in common.
func (g *ground) place(i int) []string {
	return []string{"--region", rig.Region, "--az", rig.Region + "a", "--node", fmt.Sprintf("node%d", i), "--bind", g.ips[i-1]}
}

func (g *ground) init(more ...string) []string {
	return append(append([]string{"admin", "init"}, g.place(1)...), append([]string{"--hive-dir", g.node(1), "--nodes", "3"}, more...)...)
}

func (g *ground) join(i int, token string, more ...string) []string {
	args := append([]string{"admin", "join"}, g.place(i)...)
	return append(append(args, "--host", g.ips[0]+":8443", "--data-dir", g.node(i), "--token", token), more...)
}

// interrupt starts the program and kills it, with SIGKILL, when seen says so; a daemon that it has started too.
func (g *ground) interrupt(i int, args []string, seen func() bool) {
	g.t.Helper()
	cmd := exec.CommandContext(soon(g.t), program(g.t), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(g.t, cmd.Start())
	g.await(fmt.Sprintf("the moment to interrupt %s", args[1]), func() error {
		if seen() {
			return nil
		}
		return errors.New(out.String())
	})
	must(g.t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	if raw, err := os.ReadFile(filepath.Join(g.node(i), "hive.pid")); err == nil {
		var pid int
		if _, err := fmt.Sscan(string(raw), &pid); err == nil {
			must(g.t, ignore(syscall.Kill(pid, syscall.SIGKILL), syscall.ESRCH))
			g.await("its daemon to be gone", func() error {
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("process %d: %v", pid, err)
				}
				return nil
			})
		}
	}
}

func ignore(err, benign error) error {
	if errors.Is(err, benign) {
		return nil
	}
	return err
}

func exists(path string) func() bool {
	return func() bool { _, err := os.Stat(path); return err == nil }
}

// status is what a node in the background says.
func (g *ground) status(i int) admin.Status {
	g.t.Helper()
	var s admin.Status
	must(g.t, admin.NewClient(g.node(i)).Do(soon(g.t), "GET", "/v1/status", nil, &s))
	return s
}

func (g *ground) await(what string, ok func() error) {
	g.t.Helper()
	must(g.t, rig.Await(soon(g.t), what, func(context.Context) error { return ok() }))
}

// json runs the program for an answer in JSON.
func (g *ground) json(out any, args ...string) {
	g.t.Helper()
	cmd := exec.CommandContext(soon(g.t), program(g.t), append(args, "--output", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	if err := json.Unmarshal(raw, out); err != nil {
		g.t.Fatalf("%v answered %q: %v", args, raw, err)
	}
}

// sameBundle fails unless the nodes have byte for byte the same cluster.json; it answers it.
func (g *ground) sameBundle(nodes ...int) bundle {
	g.t.Helper()
	var b bundle
	g.await("the same cluster.json everywhere", func() error {
		one, err := os.ReadFile(filepath.Join(g.node(nodes[0]), "cluster.json"))
		if err != nil {
			return err
		}
		for _, i := range nodes[1:] {
			other, err := os.ReadFile(filepath.Join(g.node(i), "cluster.json"))
			if err != nil {
				return err
			}
			if !bytes.Equal(one, other) {
				return fmt.Errorf("node%d has\n%s\nnode%d has\n%s", nodes[0], one, i, other)
			}
		}
		b = bundle{}
		return json.Unmarshal(one, &b)
	})
	return b
}

// bundle is the settings as cluster.json has them.
type bundle struct {
	ClusterID  string `json:"cluster_id"`
	TargetSize int    `json:"target_size"`
	Members    []struct {
		NodeID string   `json:"node_id"`
		Addr   string   `json:"addr"`
		Caps   []string `json:"caps"`
	} `json:"members"`
	Services map[string]map[string]any `json:"services"`
	Epoch    uint64                    `json:"epoch"`
	Sig      string                    `json:"sig"`
}

func TestAClusterFormsByInitAndJoinThroughInterruptions(t *testing.T) {
	g := newGround(t, 5)
	token := g.initInterrupted()
	g.refusals(token)
	g.joinInterrupted(token)
	g.formed(token)
	g.laterMembers()
	g.newAddress()
	g.close()
}

// initInterrupted kills init twice and runs it to its end.
func (g *ground) initInterrupted() (token string) {
	t := g.t
	g.interrupt(1, g.init(), exists(filepath.Join(g.node(1), "node.key")))
	g.interrupt(1, g.init(), exists(filepath.Join(g.node(1), "admin.sock")))
	var made struct {
		Token       string            `json:"token"`
		JoinCommand string            `json:"join_command"`
		Hosts       string            `json:"hosts_file"`
		Zone        string            `json:"zone_file"`
		Env         map[string]string `json:"env"`
		Resumed     bool              `json:"resumed"`
	}
	g.json(&made, g.init("--detach")...)
	if !made.Resumed {
		t.Error("an interrupted init was not resumed")
	}
	for _, word := range []string{"join", "--region " + rig.Region, "--host " + g.ips[0] + ":8443", "--token " + made.Token} {
		if !strings.Contains(made.JoinCommand, word) {
			t.Errorf("the join command %q lacks %q", made.JoinCommand, word)
		}
	}
	for _, file := range []string{made.Hosts, made.Zone} {
		if raw, err := os.ReadFile(file); err != nil || !strings.Contains(string(raw), g.ips[0]) {
			t.Errorf("the hints in %s lack %s: %v\n%s", file, g.ips[0], err, raw)
		}
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"} {
		if made.Env[name] == "" {
			t.Errorf("init does not tell %s", name)
		}
	}
	for _, secret := range []string{"node.key", "seal.key", "gossip.key", "credentials"} {
		info, err := os.Stat(filepath.Join(g.node(1), secret))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v, want 0600", secret, err, info.Mode())
		}
	}
	return made.Token
}

// refusals are joins that must not happen, each with its own words; none changes anything.
func (g *ground) refusals(token string) {
	t := g.t
	g.await("a leader of control", func() error {
		s := g.status(1)
		if len(s.Groups) == 0 || s.Groups[0].Leader == "" || len(s.Members) != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	before := g.status(1)
	other := newGround(t, 1)
	var foreign struct{ Token string }
	other.json(&foreign, other.init("--detach")...)

	broken := token[:len(token)-1] + map[bool]string{true: "b", false: "a"}[token[len(token)-1] == 'a']
	tries := []struct {
		args  []string
		words []string
	}{
		{g.join(2, broken), []string{"token", "copy it whole"}},
		{g.join(2, foreign.Token), []string{"not of the token's cluster"}},
		{append(g.join(2, token), "--region", "eu-west-1", "--az", "eu-west-1a"), []string{"region", rig.Region}},
		{append(g.join(2, token), "--node", "node1"), []string{"name", "taken"}},
		{append(g.join(2, token), "--cap", "s3,nonsense"), []string{"nonsense"}},
	}
	for _, try := range tries {
		out, err := hive(t, try.args...)
		refused(t, out, err, try.words...)
	}
	for _, off := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		status, answer := g.announce(token, off)
		if status != http.StatusForbidden || !strings.Contains(answer, "clock") {
			t.Errorf("a clock %v off: %d %s", off, status, answer)
		}
	}
	if after := g.status(1); len(after.Members) != 1 || after.Epoch != before.Epoch {
		t.Errorf("a refused join has changed something: epoch %d to %d, members %v", before.Epoch, after.Epoch, after.Members)
	}
}

// announce sends the document of a join whose clock is off, as docs/formats.md has it.
func (g *ground) announce(token string, off time.Duration) (int, string) {
	t := g.t
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(strings.TrimPrefix(token, "hive1.")))
	must(t, err)
	body, err := json.Marshal(map[string]any{
		"cluster_id": fmt.Sprintf("c-%x", raw[:4]), "node_id": "n-late", "addr": g.ips[1] + ":8443", "version": "0.1.0", "caps": []string{"s3"},
		"ts": time.Now().Add(off).Unix(), "region": rig.Region, "az": rig.Region + "a", "gossip": g.ips[1] + ":7946", "secret": raw[4:20],
	})
	must(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the pin is not what is tested
	defer client.CloseIdleConnections()
	resp, err := client.Post("https://"+g.ips[0]+":8443/join", "application/json", bytes.NewReader(body))
	must(t, err)
	defer resp.Body.Close()
	var answer bytes.Buffer
	_, err = answer.ReadFrom(resp.Body)
	must(t, err)
	return resp.StatusCode, answer.String()
}

// joinInterrupted kills two joins of node2 at different moments, then lets it and node3 in.
func (g *ground) joinInterrupted(token string) {
	g.interrupt(2, g.join(2, token), exists(filepath.Join(g.node(2), "node.key")))
	g.interrupt(2, g.join(2, token), exists(filepath.Join(g.node(2), "admin.sock")))
	var joined struct{ Resumed bool }
	g.json(&joined, g.join(2, token, "--detach")...)
	if !joined.Resumed {
		g.t.Error("an interrupted join was not resumed")
	}
	// This one waits until the cluster has formed.
	out, err := hive(g.t, g.join(3, token)...)
	must(g.t, err)
	if !strings.Contains(out, "formed") {
		g.t.Errorf("the last join does not tell that the cluster has formed:\n%s", out)
	}
}

// formed looks at what the formation has left.
func (g *ground) formed(token string) {
	t := g.t
	out, err := hive(t, g.init()...)
	refused(t, out, err, "formed", g.node(1))
	out, err = hive(t, g.join(2, token, "--node", "other")...)
	refused(t, out, err, "in use")
	out, err = hive(t, g.join(4, token)...)
	refused(t, out, err, "used up", "hive token create")

	b := g.sameBundle(1, 2, 3)
	if b.TargetSize != 3 || len(b.Members) != 3 || !strings.HasPrefix(b.Sig, "ed25519:") || !strings.HasPrefix(b.ClusterID, "c-") {
		t.Errorf("cluster.json: %+v", b)
	}
	for i, m := range b.Members {
		if m.NodeID != fmt.Sprintf("n-node%d", i+1) || m.Addr != g.ips[i]+":8443" || len(m.Caps) == 0 {
			t.Errorf("member %d of cluster.json: %+v", i, m)
		}
	}
	for service, field := range map[string]string{"ec2": "api_bind", "s3": "api_bind", "nats": "quorum", "ebs": "block_size"} {
		if b.Services[service][field] == nil {
			t.Errorf("cluster.json has no %s.%s: %v", service, field, b.Services[service])
		}
	}
	g.await("all acknowledged", func() error {
		s := g.status(2)
		for _, m := range s.Members {
			if m.Epoch != b.Epoch || m.Health != "alive" || m.Suffrage != "Voter" {
				return fmt.Errorf("%+v", m)
			}
		}
		if len(s.Serving) == 0 || !s.Formed {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// laterMembers tries tokens that have ended, and lets a fourth node in.
func (g *ground) laterMembers() {
	t := g.t
	create := func(args ...string) admin.NewToken {
		var made admin.NewToken
		g.json(&made, append([]string{"token", "create", "--hive-dir", g.node(2)}, args...)...)
		return made
	}
	short := create("--expiry", "1s")
	revoked := create()
	_, err := hive(t, "token", "revoke", "--hive-dir", g.node(3), revoked.Info.ID)
	must(t, err)
	narrow := create("--cap", "s3,ebs", "--uses", "2")
	g.await("the token to expire", func() error {
		var list []admin.Token
		g.json(&list, "token", "list", "--hive-dir", g.node(1))
		for _, row := range list {
			if row.ID == short.Info.ID && row.State == "expired" {
				return nil
			}
		}
		return fmt.Errorf("%+v", list)
	})
	for _, try := range []struct{ token, word string }{{short.Token, "expired"}, {revoked.Token, "revoked"}, {narrow.Token, "capability"}} {
		out, err := hive(t, g.join(4, try.token)...)
		refused(t, out, err, try.word)
	}
	before := g.sameBundle(1, 2, 3)
	_, err = hive(t, g.join(4, narrow.Token, "--cap", "s3,ebs")...)
	must(t, err)
	g.await("node4 to be a voter", func() error {
		for _, m := range g.status(1).Members {
			if m.Node == "n-node4" && m.Suffrage == "Voter" {
				return nil
			}
		}
		return errors.New("it is not")
	})
	after := g.sameBundle(1, 2, 3, 4)
	if after.Epoch <= before.Epoch || len(after.Members) != 4 {
		t.Errorf("a fourth node joined: epoch %d to %d, %d members", before.Epoch, after.Epoch, len(after.Members))
	}
}

// newAddress stops node4 and brings it back elsewhere.
func (g *ground) newAddress() {
	t := g.t
	_, err := hive(t, "stop", "--hive-dir", g.node(4))
	must(t, err)
	before := g.sameBundle(1, 2, 3)
	log, err := os.Create(filepath.Join(g.dir, "moved.log"))
	must(t, err)
	defer log.Close()
	cmd := exec.Command(program(t), "run", "--hive-dir", g.node(4), "--bind", g.ips[4])
	cmd.Stderr = log
	must(t, cmd.Start())
	t.Cleanup(func() { // how it ends is not this test's matter
		must(t, ignore(cmd.Process.Kill(), os.ErrProcessDone))
		_ = cmd.Wait()
	})
	g.await("the new address everywhere", func() error {
		b := g.sameBundle(1, 2, 3, 4)
		if b.Epoch > before.Epoch && b.Members[3].Addr == g.ips[4]+":8443" {
			return nil
		}
		return fmt.Errorf("%+v", b)
	})
	g.await("node4 to be alive in the eyes of node1", func() error {
		for _, m := range g.status(1).Members {
			if m.Node == "n-node4" && m.Health == "alive" {
				return nil
			}
		}
		return errors.New("it is not")
	})
}

// close removes node4, and ends as every cluster test does: compared, scrubbed and stopped.
func (g *ground) close() {
	t := g.t
	out, err := hive(t, "node", "remove", "n-node4", "--hive-dir", g.node(1))
	refused(t, out, err, "quorum", "--yes")
	_, err = hive(t, "node", "remove", "n-node4", "--hive-dir", g.node(1), "--yes")
	must(t, err)
	g.await("settings without node4", func() error {
		if b := g.sameBundle(1, 2, 3); len(b.Members) != 3 {
			return fmt.Errorf("%+v", b.Members)
		}
		return nil
	})
	g.await("equal digests", func() (err error) {
		out, err = hive(t, "cluster", "digest", "--hive-dir", g.node(2))
		return err
	})
	for i := 1; i <= 3; i++ {
		if !strings.Contains(out, fmt.Sprintf("n-node%d", i)) {
			t.Errorf("the digests lack node%d:\n%s", i, out)
		}
		_, err := hive(t, "scrub", "--hive-dir", g.node(i))
		must(t, err)
	}
	for i := 1; i <= 3; i++ {
		_, err := hive(t, "stop", "--hive-dir", g.node(i))
		must(t, err)
	}
}
