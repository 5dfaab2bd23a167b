package actions

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
	"hive/internal/fsmtest"
)

const (
	region  = "us-test-1"
	mine    = "123456789012"
	another = "999999999999"
)

// Ids of what the rig has.
const (
	instanceID = "i-0000000000000000a"
	volumeID   = "vol-0000000000000000a"
	dataID     = "vol-0000000000000000b"
	foreignID  = "vol-0000000000000000f"
	snapshotID = "snap-0000000000000000a"
	imageID    = "ami-0000000000000000a"
	publicID   = "ami-0000000000000000f"
	hiddenID   = "ami-0000000000000000e"
	vpcID      = "vpc-0000000000000000a"
	subnetID   = "subnet-0000000000000000a"
	groupID    = "sg-0000000000000000a"
	eniID      = "eni-0000000000000000a"
	keyID      = "key-0000000000000000a"
	theirID    = "i-0000000000000000f"
	boundary   = "arn:aws:iam::" + mine + ":policy/limits/edge"
)

func str(s string) *string { return aws.String(s) }

var alice = &principal.Caller{Account: mine, ARN: "arn:aws:iam::" + mine + ":user/alice", UserID: "AIDAALICE", UserName: "alice"}

func newRig(t testing.TB) (*Needs, *fsmtest.Group) {
	g := fsmtest.New(t, fsm.Control)
	found(t, g)
	people(t, g)
	machines(t, g)
	return New(region, g.View), g
}

func must(t testing.TB, g *fsmtest.Group, cmds ...fsm.Command) {
	t.Helper()
	for _, cmd := range cmds {
		if err := g.Propose(t.Context(), cmd); err != nil {
			t.Fatalf("%T: %v", cmd, err)
		}
	}
}

func found(t testing.TB, g *fsmtest.Group) {
	must(t, g,
		&fsm.InitCluster{Cluster: fsm.Cluster{ID: "c-00000001", Region: region, TargetSize: 1}, Member: fsm.Member{ID: "n-node1", Zone: "us-test-1a"},
			Token: fsm.Token{ID: "t", UsesLeft: 9, Expires: 1 << 40}},
		&fsm.CreateAccount{Account: fsm.Account{ID: mine}}, &fsm.CreateAccount{Account: fsm.Account{ID: another}},
		&fsm.CreateBucket{Name: "ours", Owner: mine, Region: region}, &fsm.CreateBucket{Name: "theirs", Owner: another, Region: region})
}

func people(t testing.TB, g *fsmtest.Group) {
	team := func(v string) []fsm.Tag { return []fsm.Tag{{Key: "Team", Value: v}} }
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + mine + `"},"Action":"sts:AssumeRole"}]}`
	must(t, g,
		&fsm.CreateManagedPolicy{Policy: fsm.ManagedPolicy{Account: mine, ID: "ANPAEDGE", Name: "edge", Path: "/limits/", Tags: team("sec")}, Document: "{}"},
		&fsm.CreateUser{User: fsm.User{Account: mine, ID: "AIDAALICE", Name: "alice", Path: "/", Tags: team("red")}},
		&fsm.CreateUser{User: fsm.User{Account: mine, ID: "AIDABOB", Name: "Bob", Path: "/staff/", Boundary: boundary}},
		&fsm.CreateGroup{Group: fsm.IAMGroup{Account: mine, ID: "AGPADEV", Name: "dev", Path: "/eng/"}},
		&fsm.CreateRole{Role: fsm.Role{Account: mine, ID: "AROAWEB", Name: "web", Path: "/svc/", Trust: trust, MaxSession: 3600, Tags: team("blue"), Boundary: boundary}},
		&fsm.CreateRole{Role: fsm.Role{Account: another, ID: "AROATHEIRS", Name: "theirs", Path: "/", Trust: trust, MaxSession: 3600, Tags: team("green")}},
		&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: mine, ID: "AIPAWEB", Name: "web-profile", Path: "/svc/", Tags: team("blue")}},
		&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: mine, ID: "AIPABARE", Name: "bare", Path: "/"}},
		&fsm.AddRoleToInstanceProfile{Account: mine, Profile: "AIPAWEB", Role: "AROAWEB"},
		&fsm.CreateAccessKey{Key: fsm.AccessKey{Account: mine, User: "AIDABOB", ID: "AKIABOB", Secret: []byte("x")}},
		&fsm.CreateAccessKey{Key: fsm.AccessKey{Account: mine, ID: "AKIAROOT", Secret: []byte("x")}},
		&fsm.CreateOIDCProvider{Provider: fsm.OIDCProvider{Account: mine, URL: "id.example/x", Tags: team("sso")}},
		&fsm.CreateMFADevice{Device: fsm.MFADevice{Account: mine, Name: "phone", Path: "/p/", Seed: []byte("x"), Tags: team("mfa")}})
}

func machines(t testing.TB, g *fsmtest.Group) {
	volume := func(id fsm.VolumeID, owner fsm.AccountID) fsm.Volume {
		return fsm.Volume{ID: id, Account: owner, Zone: "us-test-1a", Size: 8, Type: "gp3", IOPS: 3000, Throughput: 125, Lineage: string(id), Replicas: []fsm.NodeID{"n-node1"}}
	}
	must(t, g,
		&fsm.CreateDefaultVPC{VPC: fsm.VPC{ID: vpcID, Account: mine, CIDR: "172.31.0.0/16", VNI: 1, Default: true},
			Subnets: []fsm.Subnet{{ID: subnetID, Account: mine, VPC: vpcID, Zone: "us-test-1a", CIDR: "172.31.0.0/20", Default: true}},
			Group:   fsm.SecurityGroup{ID: groupID, Account: mine, VPC: vpcID, Name: "default"}},
		&fsm.CreateVolume{Volume: volume(dataID, mine)}, &fsm.CreateVolume{Volume: volume(foreignID, another)},
		&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: snapshotID, Account: mine, Volume: dataID, Started: 1893553445000}})
	must(t, g, &fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: "snap-0000000000000000f", Account: another, Volume: foreignID, Started: 1}})
	image := func(id fsm.ImageID, owner fsm.AccountID, snapshot fsm.SnapshotID, public bool) fsm.Image {
		return fsm.Image{ID: id, Account: owner, Name: string(id), Arch: "x86_64", BootMode: "uefi", RootDevice: "/dev/sda1", Public: public,
			Mappings: []fsm.BlockMapping{{Device: "/dev/sda1", Snapshot: snapshot, Size: 8, Type: "gp3", IOPS: 3000, Throughput: 125}}}
	}
	root := volume(volumeID, mine)
	root.Attachment = &fsm.Attachment{Instance: instanceID, Device: "/dev/sda1", State: fsm.Attached}
	root.Snapshot, root.Lineage = snapshotID, dataID
	must(t, g, &fsm.RegisterImage{Image: image(imageID, mine, snapshotID, false)},
		&fsm.RegisterImage{Image: image(publicID, another, "snap-0000000000000000f", true)}, &fsm.RegisterImage{Image: image(hiddenID, another, "snap-0000000000000000f", false)},
		&fsm.PutKeyPair{Key: fsm.KeyPair{ID: keyID, Account: mine, Name: "laptop", Type: "ed25519", Fingerprint: "x", PublicKey: "x"}},
		&fsm.LaunchInstances{
			Instances: []fsm.Instance{{ID: instanceID, Account: mine, Reservation: "r-1", Image: imageID, Type: "t3.nano", VCPUs: 1, Memory: 512, Arch: "x86_64",
				RootDevice: "/dev/sda1", Zone: "us-test-1a", Node: "n-node1", VPC: vpcID, Subnet: subnetID, Interface: eniID, Address: "172.31.0.9",
				Metadata: fsm.MetadataOptions{TokensRequired: true, HopLimit: 2}, State: fsm.InstancePending, Boot: 1, Profile: "AIPAWEB", ProfileTie: "iip-assoc-1"}},
			Volumes: []fsm.Volume{root},
			Interfaces: []fsm.Interface{{ID: eniID, Account: mine, VPC: vpcID, Subnet: subnetID, Address: "172.31.0.9", MAC: "02:00:00:00:00:01",
				Groups: []fsm.SecurityGroupID{groupID}, Instance: instanceID}},
			Capacity: []fsm.NodeCapacity{{Node: "n-node1", VCPUs: 8, Memory: 8192}},
		},
		&fsm.AddTags{Account: mine, Resources: []string{instanceID, volumeID, snapshotID, imageID, vpcID, subnetID, groupID, eniID, keyID},
			Tags: []fsm.Tag{{Key: "Env", Value: "prod"}}})
	neighbour(t, g)
}

// neighbour makes what another account has: nothing of it may show.
func neighbour(t testing.TB, g *fsmtest.Group) {
	const vpc, subnet, eni = "vpc-0000000000000000f", "subnet-0000000000000000f", "eni-0000000000000000f"
	must(t, g,
		&fsm.CreateDefaultVPC{VPC: fsm.VPC{ID: vpc, Account: another, CIDR: "172.31.0.0/16", VNI: 2, Default: true},
			Subnets: []fsm.Subnet{{ID: subnet, Account: another, VPC: vpc, Zone: "us-test-1a", CIDR: "172.31.0.0/20", Default: true}},
			Group:   fsm.SecurityGroup{ID: "sg-0000000000000000f", Account: another, VPC: vpc, Name: "default"}},
		&fsm.PutKeyPair{Key: fsm.KeyPair{ID: "key-0000000000000000f", Account: another, Name: "theirs", Type: "ed25519", Fingerprint: "x", PublicKey: "x"}},
		&fsm.LaunchInstances{
			Instances: []fsm.Instance{{ID: theirID, Account: another, Reservation: "r-2", Image: publicID, Type: "t3.nano", VCPUs: 1, Memory: 512, Arch: "x86_64",
				RootDevice: "/dev/sda1", Zone: "us-test-1a", Node: "n-node1", VPC: vpc, Subnet: subnet, Interface: eni, Address: "172.31.0.9",
				State: fsm.InstancePending, Boot: 1, ProfileTie: "iip-assoc-9"}},
			Interfaces: []fsm.Interface{{ID: eni, Account: another, VPC: vpc, Subnet: subnet, Address: "172.31.0.9", MAC: "02:00:00:00:00:02", Instance: theirID}},
			Capacity:   []fsm.NodeCapacity{{Node: "n-node1", VCPUs: 8, Memory: 8192}},
		},
		&fsm.AddTags{Account: another, Resources: []string{theirID, foreignID, publicID, vpc, subnet, eni, "sg-0000000000000000f", "key-0000000000000000f"},
			Tags: []fsm.Tag{{Key: "Env", Value: "secret"}}})
}

// long writes an ARN out: EC2: and PUB: stand for what EC2's begin with, with and without the account, IAM: and S3: for
// those of IAM and S3.
func long(s string) string {
	return strings.NewReplacer("EC2:", "arn:aws:ec2:"+region+":"+mine+":", "PUB:", "arn:aws:ec2:"+region+"::",
		"IAM:", "arn:aws:iam::"+mine+":", "S3:", "arn:aws:s3:::").Replace(s)
}

// want is one access in a line: its action, its resource, and keys that it has (key=value, key=a|b) or has not (!key).
func check(t *testing.T, name string, got []protocol.Access, want []string) {
	t.Helper()
	var have []string
	for _, a := range got {
		have = append(have, a.Action+" "+a.Resource)
	}
	var all []string
	for _, w := range want {
		f := strings.Fields(w)
		all = append(all, f[0]+" "+long(f[1]))
	}
	if !slices.Equal(have, all) {
		t.Errorf("%s needs\n %s\nwant\n %s", name, strings.Join(have, "\n "), strings.Join(all, "\n "))
		return
	}
	for i, w := range want {
		checkKeys(t, name, got[i], strings.Fields(w)[2:])
	}
}

func checkKeys(t *testing.T, name string, a protocol.Access, want []string) {
	t.Helper()
	for key := range a.Context {
		if key != strings.ToLower(key) {
			t.Errorf("%s, %s: the key %s is not in lower case", name, a.Resource, key)
		}
	}
	for _, w := range want {
		if key, ok := strings.CutPrefix(w, "!"); ok {
			if v, there := a.Context[key]; there {
				t.Errorf("%s, %s: %s is %q", name, a.Resource, key, v)
			}
			continue
		}
		key, values, _ := strings.Cut(w, "=")
		if got := strings.Join(a.Context[key], "|"); got != long(values) || a.Context[key] == nil {
			t.Errorf("%s, %s: %s is %q, want %q", name, a.Resource, key, got, long(values))
		}
	}
}
