package imds_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hive/fsm"
	"hive/net/imds"
	"hive/net/nettest"
)

// loopback is a Source whose instances ask from the loopback network: 127.31.0.5 stands for 172.31.0.5.
type loopback struct{ imds.Source }

func (l loopback) Instance(id fsm.VPCID, a netip.Addr) (imds.Instance, bool, error) {
	b := a.As4()
	b[0] = 172
	return l.Source.Instance(id, netip.AddrFrom4(b))
}

type rig struct {
	t     *testing.T
	w     *nettest.World
	cfg   imds.Config
	now   time.Time
	bases map[fsm.VPCID]string
}

func newRig(t *testing.T) *rig {
	w := nettest.New(t, "n1")
	w.Account(1)
	w.Account(2)
	r := &rig{t: t, w: w, now: time.Unix(1_800_000_000, 0), bases: map[fsm.VPCID]string{}}
	r.cfg = imds.Config{
		Source: loopback{imds.Records{Control: w}}, Key: []byte("0123456789abcdef"), Log: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return r.now }, ZoneID: func(zone string) string { return "eun1-az" + zone[len(zone)-1:] },
	}
	return r
}

// serve starts a server of a VPC.
func (r *rig) serve(id fsm.VPCID) {
	r.t.Helper()
	s, err := imds.New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, id, l) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.bases[id] = "http://" + l.Addr().String()
}

type answer struct {
	status int
	body   string
	header http.Header
}

// ask asks as the instance with an address of account 1's VPC.
func (r *rig) ask(from, method, path string, header ...string) answer {
	r.t.Helper()
	return r.askIn(nettest.VPC(1), from, method, path, header...)
}

func (r *rig) askIn(id fsm.VPCID, from, method, path string, header ...string) answer {
	r.t.Helper()
	if r.bases[id] == "" {
		r.serve(id)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.bases[id]+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(strings.Replace(from, "172.", "127.", 1)), 0))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: local}).DialContext}}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, string(body), resp.Header}
}

const (
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	tokenHeader = "X-aws-ec2-metadata-token"
	one         = "172.31.0.5"
)

func (r *rig) token(from string) string {
	r.t.Helper()
	a := r.ask(from, "PUT", "/latest/api/token", ttlHeader, "21600")
	if a.status != 200 || len(a.body) != 56 || a.header.Get(ttlHeader) != "21600" {
		r.t.Fatalf("token: %+v", a)
	}
	return a.body
}

func guest(change func(*fsm.Instance)) nettest.Guest {
	return nettest.Guest{Account: 1, Node: "n1", Address: one, Number: 1, Change: change, Tags: []fsm.Tag{{Key: "Name", Value: "web"}}}
}

func TestTokensAreGivenByPUTAlone(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(nil))
	for name, c := range map[string]struct {
		method, path string
		header       []string
		status       int
	}{
		"no life":        {"PUT", "/latest/api/token", nil, 400},
		"no number":      {"PUT", "/latest/api/token", []string{ttlHeader, "soon"}, 400},
		"no time":        {"PUT", "/latest/api/token", []string{ttlHeader, "0"}, 400},
		"negative":       {"PUT", "/latest/api/token", []string{ttlHeader, "-1"}, 400},
		"too long":       {"PUT", "/latest/api/token", []string{ttlHeader, "21601"}, 400},
		"longest":        {"PUT", "/latest/api/token", []string{ttlHeader, "21600"}, 200},
		"shortest":       {"PUT", "/latest/api/token", []string{ttlHeader, "1"}, 200},
		"through proxy":  {"PUT", "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		"GET":            {"GET", "/latest/api/token", []string{ttlHeader, "60"}, 405},
		"POST":           {"POST", "/latest/api/token", []string{ttlHeader, "60"}, 405},
		"PUT of another": {"PUT", "/latest/meta-data/instance-id", []string{ttlHeader, "60"}, 405},
	} {
		if a := r.ask(one, c.method, c.path, c.header...); a.status != c.status {
			t.Errorf("%s: %d, want %d", name, a.status, c.status)
		}
	}
}

func TestATokenIsGoodForItsInstanceAndItsTime(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(func(i *fsm.Instance) { i.Metadata.TokensRequired = true }))
	other := nettest.Guest{Account: 1, Node: "n1", Address: "172.31.0.6", Number: 2}
	r.w.Launch(other)
	token := r.token(one)
	const id = "/latest/meta-data/instance-id"
	try := func(what, from, token string, want int) {
		t.Helper()
		header := []string{tokenHeader, token}
		if token == "" {
			header = nil
		}
		if a := r.ask(from, "GET", id, header...); a.status != want {
			t.Errorf("%s: %d, want %d", what, a.status, want)
		}
	}
	try("its own", one, token, 200)
	try("none, and it is required", one, "", 401)
	try("somebody else's", other.Address, token, 401)
	try("none, and it is not required", other.Address, "", 200)
	try("a wrong one where none is required", other.Address, "nonsense", 401)
	forged := []byte(token)
	forged[5] ^= 1
	try("forged", one, string(forged), 401)
	r.now = r.now.Add(21599 * time.Second)
	try("just before its end", one, token, 200)
	r.now = r.now.Add(time.Second)
	try("at its end", one, token, 401)
}

func TestATokenOutlivesTheDaemon(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(func(i *fsm.Instance) { i.Metadata.TokensRequired = true }))
	token := r.token(one)
	r.serve(nettest.VPC(1)) // another server of the same cluster
	if a := r.ask(one, "GET", "/latest/meta-data/instance-id", tokenHeader, token); a.status != 200 {
		t.Errorf("after a restart: %d", a.status)
	}
	r.cfg.Key = []byte("another cluster's key")
	r.serve(nettest.VPC(1))
	if a := r.ask(one, "GET", "/latest/meta-data/instance-id", tokenHeader, token); a.status != 401 {
		t.Errorf("under another key: %d", a.status)
	}
}

func TestWhoAsksIsKnownByVPCAndAddress(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(nil))
	twin := nettest.Guest{Account: 2, Node: "n1", Address: one, Number: 2}
	r.w.Launch(twin)
	if a := r.ask(one, "GET", "/latest/meta-data/instance-id"); a.body != string(guest(nil).ID()) {
		t.Errorf("%s of the one VPC is %s", one, a.body)
	}
	if a := r.askIn(nettest.VPC(2), one, "GET", "/latest/meta-data/instance-id"); a.body != string(twin.ID()) {
		t.Errorf("%s of the other is %s", one, a.body)
	}
	if a := r.ask("172.31.0.77", "GET", "/latest/meta-data/instance-id"); a.status != 404 {
		t.Errorf("an address of nobody: %d", a.status)
	}
}

func TestADisabledServiceRefusesAll(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(func(i *fsm.Instance) { i.Metadata.Disabled = true }))
	for _, method := range []string{"GET", "PUT"} {
		if a := r.ask(one, method, "/latest/api/token", ttlHeader, "60"); a.status != 403 {
			t.Errorf("%s: %d", method, a.status)
		}
	}
}

// rich is an instance that has everything.
func rich(i *fsm.Instance) {
	i.KeyName, i.PublicKey, i.UserData = "mine", "ssh-ed25519 AAAA mine", []byte("#!/bin/sh\n")
	i.Metadata.Tags = true
}

func TestThePathsAreAsInAWS(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(rich))
	host := "ip-172-31-0-5." + nettest.Region + ".compute.internal"
	nic := "/latest/meta-data/network/interfaces/macs/" + guest(nil).MAC()
	for path, want := range map[string]string{
		"/latest":                                     "dynamic\nmeta-data\nuser-data",
		"/latest/":                                    "dynamic\nmeta-data\nuser-data",
		"/2021-07-15/":                                "dynamic\nmeta-data\nuser-data",
		"/2009-04-04/meta-data/instance-id":           "i-00000000000000001",
		"/latest/dynamic/":                            "instance-identity/",
		"/latest/dynamic/instance-identity/":          "document",
		"/latest/meta-data/ami-id":                    "ami-00000000000000001",
		"/latest/meta-data/ami-launch-index":          "0",
		"/latest/meta-data/ami-manifest-path":         "(unknown)",
		"/latest/meta-data/block-device-mapping":      "ami\nroot",
		"/latest/meta-data/block-device-mapping/root": "/dev/sda1",
		"/latest/meta-data/hostname":                  host,
		"/latest/meta-data/local-hostname":            host,
		"/latest/meta-data/instance-action":           "none",
		"/latest/meta-data/instance-life-cycle":       "on-demand",
		"/latest/meta-data/instance-type":             "t3.micro",
		"/latest/meta-data/local-ipv4":                one,
		"/latest/meta-data/mac":                       "02:00:00:00:00:01",
		"/latest/meta-data/placement/":                "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/placement/region":          nettest.Region,
		"/latest/meta-data/public-keys/":              "0=mine",
		"/latest/meta-data/public-keys":               "0=mine",
		"/latest/meta-data/public-keys/0/":            "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAA mine",
		"/latest/meta-data/reservation-id":            "r-00000000000000001",
		"/latest/meta-data/security-groups":           "default",
		"/latest/meta-data/services/":                 "domain\npartition",
		"/latest/meta-data/tags/instance/":            "Name",
		"/latest/meta-data/tags/instance/Name":        "web",
		"/latest/meta-data/network/":                  "interfaces/",
		"/latest/meta-data/network/interfaces/macs/":  "02:00:00:00:00:01/",
		nic + "/vpc-ipv4-cidr-blocks":                 "172.31.0.0/16",
		nic + "/subnet-ipv4-cidr-block":               "172.31.0.0/20",
		nic + "/security-group-ids":                   string(nettest.Group(1)),
		nic + "/owner-id":                             "000000000001",
		nic + "/device-number":                        "0",
		"/latest/user-data":                           "#!/bin/sh\n",
		nic + "/": "device-number\ninterface-id\nlocal-hostname\nlocal-ipv4s\nmac\nowner-id\nsecurity-group-ids\nsecurity-groups\n" +
			"subnet-id\nsubnet-ipv4-cidr-block\nvpc-id\nvpc-ipv4-cidr-block\nvpc-ipv4-cidr-blocks",
		"/latest/meta-data/": "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\ninstance-action\ninstance-id\n" +
			"instance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nnetwork/\nplacement/\nprofile\npublic-keys/\n" +
			"reservation-id\nsecurity-groups\nservices/\ntags/",
	} {
		if a := r.ask(one, "GET", path); a.status != 200 || a.body != want {
			t.Errorf("%s: %d %q, want %q", path, a.status, a.body, want)
		}
	}
	list := r.ask(one, "GET", "/")
	if !strings.HasPrefix(list.body, "1.0\n2007-01-19\n") || !strings.HasSuffix(list.body, "\nlatest") {
		t.Errorf("versions: %q", list.body)
	}
	for _, path := range []string{"/none", "/latest/none", "/latest/meta-data/none", "/latest/meta-data/instance-id/none", "/2021-07-16/meta-data", "/latest/meta-data/iam/info"} {
		if a := r.ask(one, "GET", path); a.status != 404 || !strings.Contains(a.body, "404 - Not Found") {
			t.Errorf("%s: %d %q", path, a.status, a.body)
		}
	}
}

func TestWhatAnInstanceHasNotIsNotListed(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(nil)) // no key, no user-data, tags not shown
	if a := r.ask(one, "GET", "/latest/"); a.body != "dynamic\nmeta-data" {
		t.Errorf("top: %q", a.body)
	}
	if a := r.ask(one, "GET", "/latest/meta-data/"); strings.Contains(a.body, "public-keys") || strings.Contains(a.body, "tags") {
		t.Errorf("meta-data: %q", a.body)
	}
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/public-keys/", "/latest/meta-data/tags/instance/Name"} {
		if a := r.ask(one, "GET", path); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}
