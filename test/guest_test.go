package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/internal/admin"
	"hive/test/guest"
	"hive/test/rig"
)

// bootPatience is how long a guest may take to boot without KVM on a machine that does other things too.
const bootPatience = 4 * time.Minute

// lab is a cluster of three, two of them in one zone, with two images and two keys; and two guests in that zone, one on each
// of its nodes.
type lab struct {
	*rig.Cluster
	dir       string
	k         key
	keyFile   string
	uefi, old string      // images; old boots by BIOS
	a, b      *labMachine // a boots by UEFI, b by BIOS
	vpc       string      // theirs
	spare     string      // a volume in that zone
}

// labMachine is an instance of the lab.
type labMachine struct {
	id string
}

// TestRealGuests boots guests on a cluster of three nodes and treats them as their owners, and bad luck, do. Its parts
// share the guests and build on each other, for a boot takes long.
func TestRealGuests(t *testing.T) {
	l := newLab(t, 3)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *lab)
	}{
		{"ImagesAndKeys", imagesAndKeys},
		{"TheyBootByUEFIAndByBIOS", theyBoot},
		{"AllNodesDescribeTheSame", describedTheSame},
		{"AVolumeMovesBetweenInstances", volumeMoves},
		{"AGuestHasItsRolesCredentials", roleCredentials},
		{"BadRequestsAreRefusedAsAWSDoes", badRequests},
		{"ARebootKeepsTheMachine", reboots},
		{"APanicIsSeen", panics},
		{"StopAndStartKeepTheDisk", stopStart},
		{"TheDaemonDiesUnderAWritingGuest", daemonDies},
		{"TheNodeDiesUnderAGuestThatWroteAndSynced", nodeDies},
		{"ANodeDiesBetweenChoosingAndStarting", dyingChoice},
		{"TerminatingLeavesNothing", terminated},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, l) }) {
			t.Log(l.Logs(60))
			return // what follows builds on it
		}
	}
}

// newLab needs root. Without it the test counts as skipped, and the end of `make test` names it.
func newLab(t *testing.T, nodes int) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: guests need root, for taps and network namespaces")
	}
	l := &lab{}
	l.Cluster = form(t, nodes, func(o *rig.Options) {
		o.Zones = 2 // node1 and node3 are in zone a, node2 in zone b
		l.dir = o.Dir
		t.Cleanup(func() { clearAfter(t, l) })
	})
	l.k = root(l.Cluster)
	return l
}

// twoNodeZone is where both guests live, oneNodeZone the other.
const (
	twoNodeZone = rig.Region + "a"
	oneNodeZone = rig.Region + "b"
)

// ec2Client is the SDK's client of one node. It never retries.
func ec2Client(n *rig.Node, k key) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: rig.Region, BaseEndpoint: aws.String(n.Endpoint()), Retryer: aws.NopRetryer{}, HTTPClient: wholeBodies{},
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, ""),
	})
}

// wholeBodies sends requests whose bodies are in memory: the SDK closes a request's body as soon as the answer begins, and
// net/http, if it has not yet seen the body's end by then, cuts the connection in the middle of the answer.
type wholeBodies struct{}

func (wholeBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return http.DefaultClient.Do(req)
}

// via is a client of node n, counted from 1.
func (l *lab) via(n int) *ec2.Client { return ec2Client(l.Nodes[n-1], l.k) }

// alive is a client of some node that runs.
func (l *lab) alive() (*ec2.Client, *rig.Node) {
	for _, n := range l.Nodes {
		if n.Runs() {
			return ec2Client(n, l.k), n
		}
	}
	return nil, nil
}

var amiID = regexp.MustCompile(`ami-[0-9a-f]{17}`)

func imagesAndKeys(t *testing.T, l *lab) {
	file := guest.Tiny(t)
	l.uefi = l.importImage(t, l.Nodes[0], file, "tiny-uefi", "uefi")
	l.old = l.importImage(t, l.Nodes[1], file, "tiny-bios", "legacy-bios")
	out, err := l.via(3).DescribeImages(soon(t), &ec2.DescribeImagesInput{ImageIds: []string{l.uefi, l.old}})
	must(t, err)
	modes := map[string]types.BootModeValues{}
	for _, i := range out.Images {
		if i.State != types.ImageStateAvailable {
			t.Errorf("%s is %s", *i.ImageId, i.State)
		}
		modes[*i.ImageId] = i.BootMode
	}
	if modes[l.uefi] != types.BootModeValuesUefi || modes[l.old] != types.BootModeValuesLegacyBios {
		t.Errorf("boot modes: %v", modes)
	}

	l.keyFile = filepath.Join(l.dir, "key")
	material := awsCLI(t, l.Nodes[0], l.k, "ec2", "create-key-pair", "--key-name", "lab", "--key-type", "ed25519", "--query", "KeyMaterial", "--output", "text")
	must(t, os.WriteFile(l.keyFile, []byte(material+"\n"), 0o600))

	rsa := filepath.Join(l.dir, "rsa")
	_, err = command(t, nil, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa)
	must(t, err)
	awsCLI(t, l.Nodes[1], l.k, "ec2", "import-key-pair", "--key-name", "own", "--public-key-material", "fileb://"+rsa+".pub")
}

func (l *lab) importImage(t *testing.T, n *rig.Node, file, name, mode string) string {
	t.Helper()
	out, err := hive(t, "image", "import", file, "--name", name, "--boot-mode", mode, "--hive-dir", n.Dir)
	must(t, err)
	id := amiID.FindString(out)
	if id == "" {
		t.Fatalf("hive image import prints no image's id:\n%s", out)
	}
	return id
}

// userData leaves a line for each time that it runs.
const userData = "#!/bin/sh\necho mark >>/var/lib/mark\n"

func theyBoot(t *testing.T, l *lab) {
	script := filepath.Join(l.dir, "user-data")
	must(t, os.WriteFile(script, []byte(userData), 0o600))
	raw := awsCLI(t, l.Nodes[0], l.k, "ec2", "run-instances", "--image-id", l.uefi, "--instance-type", "t2.nano", "--key-name", "lab",
		"--user-data", "file://"+script, "--placement", "AvailabilityZone="+twoNodeZone,
		"--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=a}]", "--output", "json")
	var launched struct{ Instances []struct{ InstanceId string } }
	must(t, json.Unmarshal([]byte(raw), &launched))
	l.a = &labMachine{id: launched.Instances[0].InstanceId}

	out, err := l.via(2).RunInstances(soon(t), &ec2.RunInstancesInput{
		ImageId: &l.old, InstanceType: types.InstanceTypeT2Nano, KeyName: aws.String("own"), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		UserData:  aws.String("IyEvYmluL3NoCmVjaG8gbWFyayA+Pi92YXIvbGliL21hcmsK"), // userData in base64
		Placement: &types.Placement{AvailabilityZone: aws.String(twoNodeZone)},
	})
	must(t, err)
	l.b = &labMachine{id: *out.Instances[0].InstanceId}
	if out.Instances[0].State.Name != types.InstanceStateNamePending {
		t.Errorf("%s begins %s", l.b.id, out.Instances[0].State.Name)
	}
	l.vpc = *out.Instances[0].VpcId
	l.running(t, l.a.id, l.b.id)
	if nodes := l.nodes(t); nodes[l.a.id] == nodes[l.b.id] {
		t.Fatalf("both run on %s, and the other node of the zone is empty", nodes[l.a.id].Name)
	}
	l.booted(t, l.a.id)
	l.booted(t, l.b.id)
	for _, m := range []struct{ id, firmware, key string }{{l.a.id, "UEFI", l.keyFile}, {l.b.id, "BIOS", filepath.Join(l.dir, "rsa")}} {
		i := l.describe(t, m.id)
		out := l.sh(t, l.Nodes[0], m.id, `[ -d /sys/firmware/efi ] && echo UEFI || echo BIOS; hostname; id -un`, "ec2-user", m.key)
		want := m.firmware + "\n" + "ip-" + strings.ReplaceAll(*i.PrivateIpAddress, ".", "-")
		if !strings.HasPrefix(out, want) || !strings.HasSuffix(strings.TrimSpace(out), "ec2-user") {
			t.Errorf("%s says %q, want %q…", m.id, out, want)
		}
		l.waitSh(t, m.id, "user-data", `[ "$(cat /var/lib/mark)" = mark ]`)
	}
	_, err = l.ssh(t, l.Nodes[0], l.b.id, "root", l.keyFile, "true")
	if err == nil {
		t.Errorf("%s lets in a key that is not its own", l.b.id)
	}
	// Each is reached through every node, and reaches the other on the other node.
	for _, n := range l.Nodes {
		l.shVia(t, n, l.a.id, "true")
	}
	l.on(t, l.a.id, "ping -c 3 -w 10 "+*l.describe(t, l.b.id).PrivateIpAddress)
	l.on(t, l.b.id, "ping -c 3 -w 10 -s 1400 "+*l.describe(t, l.a.id).PrivateIpAddress)
	console := awsCLI(t, l.Nodes[2], l.k, "ec2", "get-console-output", "--instance-id", l.a.id, "--latest", "--query", "Output", "--output", "text")
	if !strings.Contains(console, "SSHD-READY") {
		t.Errorf("the console has no line of the guest:\n%s", console)
	}
}

// describedTheSame compares the CLI's answers, byte for byte.
func describedTheSame(t *testing.T, l *lab) {
	var answers []string
	for _, n := range l.Nodes {
		answers = append(answers, awsCLI(t, n, l.k, "ec2", "describe-instances", "--output", "json"))
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("the nodes disagree:\n%s", strings.Join(answers, "\n---\n"))
	}
	for _, want := range []string{l.a.id, l.b.id, `"running"`, `"Value": "a"`} {
		if !strings.Contains(answers[0], want) {
			t.Errorf("no %s in\n%s", want, answers[0])
		}
	}
	awsCLI(t, l.Nodes[1], l.k, "ec2", "wait", "instance-running", "--instance-ids", l.a.id, l.b.id)
}

// panics: the status tells of a guest's panic until the instance is started anew; the guest reboots by itself.
func panics(t *testing.T, l *lab) {
	if status := l.status(t, l.a.id); status == types.SummaryStatusImpaired {
		t.Errorf("before the panic %s is %s", l.a.id, status)
	}
	boot := strings.TrimSpace(l.on(t, l.a.id, bootID))
	l.on(t, l.a.id, "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
	waitFor(t, "the panic to be told", func() error {
		if status := l.status(t, l.a.id); status != types.SummaryStatusImpaired {
			return fmt.Errorf("%s is %s", l.a.id, status)
		}
		return nil
	})
	l.waitSh(t, l.a.id, "another boot", `[ "$(`+bootID+`)" != "`+boot+`" ]`)
}

// status is what EC2 says of an instance's own health.
func (l *lab) status(t *testing.T, id string) types.SummaryStatus {
	t.Helper()
	client, _ := l.alive()
	out, err := client.DescribeInstanceStatus(soon(t), &ec2.DescribeInstanceStatusInput{InstanceIds: []string{id}})
	must(t, err)
	if len(out.InstanceStatuses) != 1 {
		t.Fatalf("%s has %d statuses", id, len(out.InstanceStatuses))
	}
	return out.InstanceStatuses[0].InstanceStatus.Status
}

// bootID prints what is different in each boot of a guest.
const bootID = "cat /proc/sys/kernel/random/boot_id"

// reboots: the machine starts again with what it has synced, and user-data is for the first boot only.
func reboots(t *testing.T, l *lab) {
	l.on(t, l.b.id, "echo kept >/root/kept; sync")
	before := l.on(t, l.b.id, bootID)
	awsCLI(t, l.Nodes[0], l.k, "ec2", "reboot-instances", "--instance-ids", l.b.id)
	l.waitSh(t, l.b.id, "another boot", `[ "$(`+bootID+`)" != "`+strings.TrimSpace(before)+`" ]`)
	if out := l.on(t, l.b.id, "cat /root/kept /var/lib/mark"); out != "kept\nmark\n" {
		t.Errorf("after the reboot: %q", out)
	}
	l.running(t, l.b.id)
}

// stopStart: a stop is the guest's own shutdown, so it keeps what nobody has synced.
func stopStart(t *testing.T, l *lab) {
	before := l.describe(t, l.a.id)
	l.on(t, l.a.id, "echo kept >/root/kept")
	awsCLI(t, l.Nodes[2], l.k, "ec2", "stop-instances", "--instance-ids", l.a.id)
	must(t, ec2.NewInstanceStoppedWaiter(l.via(1), quickly[ec2.InstanceStoppedWaiterOptions]).Wait(t.Context(), one(l.a.id), bootPatience))
	if left := guestProcesses(t, l.dir, l.a.id); len(left) > 0 {
		t.Errorf("%s is stopped, and its processes are %v", l.a.id, left)
	}
	if code := aws.ToString(l.describe(t, l.a.id).StateReason.Code); code != "Client.UserInitiatedShutdown" {
		t.Errorf("it is stopped by %s", code)
	}
	awsCLI(t, l.Nodes[1], l.k, "ec2", "start-instances", "--instance-ids", l.a.id)
	l.running(t, l.a.id)
	l.booted(t, l.a.id)
	if out := l.on(t, l.a.id, "cat /root/kept /var/lib/mark"); out != "kept\nmark\n" {
		t.Errorf("after stop and start: %q", out)
	}
	if status := l.status(t, l.a.id); status != types.SummaryStatusOk {
		t.Errorf("after stop and start %s is %s", l.a.id, status)
	}
	if after := l.describe(t, l.a.id); *after.PrivateIpAddress != *before.PrivateIpAddress {
		t.Errorf("its address was %s and is %s", *before.PrivateIpAddress, *after.PrivateIpAddress)
	}
}

func one(id string) *ec2.DescribeInstancesInput {
	return &ec2.DescribeInstancesInput{InstanceIds: []string{id}}
}

// quickly is a waiter's options: it asks each second, and not each 15.
func quickly[O any](o *O) {
	switch o := any(o).(type) {
	case *ec2.InstanceRunningWaiterOptions:
		o.MinDelay, o.MaxDelay = time.Second, time.Second
	case *ec2.InstanceStoppedWaiterOptions:
		o.MinDelay, o.MaxDelay = time.Second, time.Second
	case *ec2.InstanceTerminatedWaiterOptions:
		o.MinDelay, o.MaxDelay = time.Second, time.Second
	case *ec2.VolumeAvailableWaiterOptions:
		o.MinDelay, o.MaxDelay = time.Second, time.Second
	case *ec2.VolumeInUseWaiterOptions:
		o.MinDelay, o.MaxDelay = time.Second, time.Second
	case *ec2.SnapshotCompletedWaiterOptions:
		o.MinDelay, o.MaxDelay = time.Second, time.Second
	}
}

// running waits until EC2 says that instances run.
func (l *lab) running(t *testing.T, ids ...string) {
	t.Helper()
	client, _ := l.alive()
	w := ec2.NewInstanceRunningWaiter(client, quickly[ec2.InstanceRunningWaiterOptions])
	if err := w.Wait(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: ids}, bootPatience); err != nil {
		for _, id := range ids {
			i := l.describe(t, id)
			t.Logf("%s is %s: %s", id, i.State.Name, aws.ToString(i.StateReason.Message))
		}
		t.Fatal(err)
	}
}

func (l *lab) describe(t *testing.T, id string) types.Instance {
	t.Helper()
	client, _ := l.alive()
	out, err := client.DescribeInstances(soon(t), one(id))
	must(t, err)
	if len(out.Reservations) != 1 || len(out.Reservations[0].Instances) != 1 {
		t.Fatalf("%s: %+v", id, out.Reservations)
	}
	return out.Reservations[0].Instances[0]
}

// nodes are those that run the instances.
func (l *lab) nodes(t *testing.T) map[string]*rig.Node {
	t.Helper()
	var list []admin.Instance
	_, n := l.alive()
	must(t, n.Admin().Do(soon(t), "GET", "/v1/instances", nil, &list))
	nodes := map[string]*rig.Node{}
	for _, i := range list {
		for _, n := range l.Nodes {
			if "n-"+n.Name == string(i.Node) {
				nodes[string(i.ID)] = n
			}
		}
	}
	return nodes
}

// guestProcesses are the processes of QEMU whose command lines have both words.
func guestProcesses(t *testing.T, words ...string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
next:
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(raw, []byte("qemu-system")) {
			continue // gone, or another's
		}
		for _, w := range words {
			if !bytes.Contains(raw, []byte(w)) {
				continue next
			}
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}
