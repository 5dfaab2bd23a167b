package imds_test

import (
	"encoding/json"
	"strings"
	"testing"

	"hive/fsm"
	"hive/net/nettest"
)

// crawl fetches a directory and all below it as cloud-init's Ec2 datasource does: names that end in a slash are
// directories, "0=name" in public-keys is a key, all others are leaves. Every fetch must succeed.
func crawl(t *testing.T, r *rig, token, base string) map[string]any {
	t.Helper()
	list := r.ask(one, "GET", base, tokenHeader, token)
	if list.status != 200 {
		t.Fatalf("%s: %d", base, list.status)
	}
	out := map[string]any{}
	for field := range strings.Lines(list.body) {
		field = strings.TrimSpace(field)
		name, resource := strings.TrimSuffix(field, "/"), field
		if strings.HasSuffix(field, "/") {
			out[name] = crawl(t, r, token, base+field)
			continue
		}
		if number, key, ok := strings.Cut(field, "="); ok {
			name, resource = key, number+"/openssh-key"
		}
		leaf := r.ask(one, "GET", base+resource, tokenHeader, token)
		if leaf.status != 200 {
			t.Fatalf("%s%s: %d", base, resource, leaf.status)
		}
		out[name] = leaf.body
	}
	return out
}

func dig(t *testing.T, tree map[string]any, path ...string) any {
	t.Helper()
	for _, p := range path[:len(path)-1] {
		next, ok := tree[p].(map[string]any)
		if !ok {
			t.Fatalf("no directory %s in %v", p, tree)
		}
		tree = next
	}
	return tree[path[len(path)-1]]
}

// TestCloudInitIsSatisfied does what DataSourceEc2 does on AWS: a token, the newest version that it knows, user-data,
// the whole tree of meta-data, and the identity document.
func TestCloudInitIsSatisfied(t *testing.T) {
	r := newRig(t)
	r.w.Launch(guest(func(i *fsm.Instance) {
		rich(i)
		i.Metadata.TokensRequired = true
	}))
	token := r.token(one)
	if a := r.ask(one, "GET", "/2021-03-23/meta-data/instance-id", tokenHeader, token); a.status != 200 {
		t.Fatalf("version: %d", a.status)
	}
	if a := r.ask(one, "GET", "/2021-03-23/user-data", tokenHeader, token); a.body != "#!/bin/sh\n" {
		t.Errorf("user-data: %+v", a)
	}
	md := crawl(t, r, token, "/2021-03-23/meta-data/")
	mac := guest(nil).MAC()
	for _, c := range []struct {
		want string
		path []string
	}{
		{"i-00000000000000001", []string{"instance-id"}},
		{"ip-172-31-0-5." + nettest.Region + ".compute.internal", []string{"local-hostname"}},
		{"ssh-ed25519 AAAA mine", []string{"public-keys", "mine"}},
		{nettest.Zone(0), []string{"placement", "availability-zone"}},
		{"172.31.0.5", []string{"network", "interfaces", "macs", mac, "local-ipv4s"}},
		{"172.31.0.0/20", []string{"network", "interfaces", "macs", mac, "subnet-ipv4-cidr-block"}},
		{"0", []string{"network", "interfaces", "macs", mac, "device-number"}},
		{string(nettest.VPC(1)), []string{"network", "interfaces", "macs", mac, "vpc-id"}},
		{"/dev/sda1", []string{"block-device-mapping", "root"}},
		{"web", []string{"tags", "instance", "Name"}},
	} {
		if got := dig(t, md, c.path...); got != c.want {
			t.Errorf("%v: %v, want %s", c.path, got, c.want)
		}
	}
	// it asks for the identity without a slash, and puts the names behind one itself
	if a := r.ask(one, "GET", "/2021-03-23/dynamic/instance-identity", tokenHeader, token); a.body != "document" {
		t.Errorf("instance-identity: %+v", a)
	}
	var document map[string]any
	text := r.ask(one, "GET", "/2021-03-23/dynamic/instance-identity/document", tokenHeader, token).body
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for name, want := range map[string]any{
		"instanceId": "i-00000000000000001", "region": nettest.Region, "availabilityZone": nettest.Zone(0), "accountId": "000000000001",
		"architecture": "x86_64", "imageId": "ami-00000000000000001", "instanceType": "t3.micro", "privateIp": one,
		"pendingTime": "2027-01-15T08:00:00Z", "version": "2017-09-30", "kernelId": nil, "billingProducts": nil,
	} {
		if got, ok := document[name]; !ok || got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
