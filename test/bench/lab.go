package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hive/internal/admin"
	"hive/test/guest"
	"hive/test/rig"
)

// The boot modes, as EC2 names them.
const (
	uefi = "uefi"
	bios = "legacy-bios"
)

// guestTime is how long any one thing of a guest may take, without KVM on a machine that does other things too.
const guestTime = 4 * time.Minute

// lab is a cluster of three of the built program that runs instances.
type lab struct {
	*rig.Cluster
	dir     string
	disk    string // qcow2 file of the tiny image
	keyFile string
	api     *client
	vpc     string // of the instances
	running map[string]bool
}

// lab forms the cluster. Where there can be no guests, the error is a notHere.
func (b *bench) lab(ctx context.Context, dir string) (_ *lab, err error) {
	if os.Geteuid() != 0 {
		return nil, notHere("guests need root, for taps and network namespaces")
	}
	for _, program := range []string{"qemu-system-x86_64", "qemu-img", "ssh", "ip"} {
		if missing([]string{program}) != "" {
			return nil, notHere("there is no " + program + " here")
		}
	}
	l := &lab{dir: dir, running: map[string]bool{}}
	if l.disk, err = tinyDisk(ctx); err != nil {
		return nil, notHere(fmt.Sprintf("the guests' image cannot be built here: %v", err))
	}
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if l.Cluster, err = rig.Form(ctx, rig.Options{Bin: bin, Dir: dir, Nodes: 3}); err != nil {
		return nil, err
	}
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(err, l.end(ctx))
	}
	return l, nil
}

func tinyDisk(ctx context.Context) (string, error) {
	if file := os.Getenv("HIVE_GUEST_IMAGE"); file != "" {
		return file, nil
	}
	cache, err := guest.CacheDir()
	if err != nil {
		return "", err
	}
	return guest.Image(ctx, guest.TinyImage, cache, os.Stderr)
}

// prepare makes the key, and sees that the nodes can run guests.
func (l *lab) prepare(ctx context.Context) error {
	for _, n := range l.Nodes {
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if s.Guests == nil || s.Guests.Network != "" {
			return notHere(fmt.Sprintf("%s cannot run guests: %+v", n.Name, s.Guests))
		}
	}
	l.api = clients(1, strings.TrimPrefix(l.Nodes[0].Endpoint(), "http://"), l.AccessKey, l.Secret)[0]
	var made struct {
		Material string `xml:"keyMaterial"`
	}
	if err := l.ec2("CreateKeyPair", &made, "KeyName", "bench", "KeyType", "ed25519"); err != nil {
		return err
	}
	l.keyFile = filepath.Join(l.dir, "key")
	return os.WriteFile(l.keyFile, []byte(strings.TrimSpace(made.Material)+"\n"), 0o600)
}

func (l *lab) procs() (all []rig.Proc) {
	for _, n := range l.Nodes {
		all = append(all, n.Proc())
	}
	return all
}

// ec2 asks node1; params are names and values in turn.
func (l *lab) ec2(action string, out any, params ...string) error {
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	page, err := l.api.do(ask{method: "POST", path: "/", service: "ec2", form: true, body: []byte(form.Encode())})
	if err := errors.Join(err, l.api.close()); err != nil { // the next call may come after the server has lost patience
		return fmt.Errorf("%s: %w", action, err)
	}
	return xml.Unmarshal(page, out)
}

// imported is what the bench needs of `hive image import --output json`.
type imported struct {
	ID   string        `json:"image_id"`
	Sent int64         `json:"sent_bytes"`
	Took time.Duration `json:"-"`
}

func (l *lab) importImage(ctx context.Context, name, mode string) (made imported, err error) {
	ctx, cancel := context.WithTimeout(ctx, guestTime)
	defer cancel()
	n := l.Nodes[0]
	cmd := exec.CommandContext(ctx, n.Bin, "image", "import", l.disk, "--name", name, "--boot-mode", mode, "--hive-dir", n.Dir, "--output", "json")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	begin := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return made, fmt.Errorf("hive image import: %w\n%s%s", err, out, errs.Bytes())
	}
	made.Took = time.Since(begin)
	return made, json.Unmarshal(out, &made)
}

// instance is an instance as EC2 describes it.
type instance struct {
	ID      string `xml:"instanceId"`
	State   string `xml:"instanceState>name"`
	Reason  string `xml:"stateReason>message"`
	VPC     string `xml:"vpcId"`
	Zone    string `xml:"placement>availabilityZone"`
	Devices []struct {
		Name   string `xml:"deviceName"`
		Volume string `xml:"ebs>volumeId"`
	} `xml:"blockDeviceMapping>item"`
}

func (m instance) volume(device string) string {
	for _, d := range m.Devices {
		if d.Name == device {
			return d.Volume
		}
	}
	return ""
}

// begin asks for an instance.
func (l *lab) begin(image string, params ...string) (instance, error) {
	var out struct {
		Instances []instance `xml:"instancesSet>item"`
	}
	params = append(params, "ImageId", image, "InstanceType", "t2.nano", "KeyName", "bench", "MinCount", "1", "MaxCount", "1")
	if err := l.ec2("RunInstances", &out, params...); err != nil {
		return instance{}, err
	}
	if len(out.Instances) != 1 {
		return instance{}, fmt.Errorf("RunInstances answers %d instances", len(out.Instances))
	}
	m := out.Instances[0]
	l.vpc, l.running[m.ID] = m.VPC, true
	return m, nil
}

// launch is begin, and waits until the instance runs.
func (l *lab) launch(ctx context.Context, image string, params ...string) (instance, error) {
	m, err := l.begin(image, params...)
	if err != nil {
		return m, err
	}
	return m, l.until(ctx, m.ID, "running")
}

func (l *lab) describe(ctx context.Context, id string) (instance, error) {
	var out struct {
		Instances []instance `xml:"reservationSet>item>instancesSet>item"`
	}
	err := l.ec2("DescribeInstances", &out, "InstanceId.1", id)
	if err == nil && len(out.Instances) != 1 {
		err = fmt.Errorf("DescribeInstances answers %d instances", len(out.Instances))
	}
	if err != nil {
		return instance{}, errors.Join(err, ctx.Err())
	}
	return out.Instances[0], nil
}

// until waits for a state. It looks each 50 ms.
func (l *lab) until(ctx context.Context, id, state string) error {
	within, cancel := context.WithTimeout(ctx, guestTime)
	defer cancel()
	err := rig.Await(within, id+" to be "+state, func(ctx context.Context) error {
		m, err := l.describe(ctx, id)
		if err == nil && m.State != state {
			err = fmt.Errorf("it is %s: %s", m.State, m.Reason)
			if m.State == "terminated" {
				err = fmt.Errorf("%w: %w", rig.ErrEnded, err)
			}
		}
		return err
	})
	if err == nil && state == "terminated" {
		delete(l.running, id)
	}
	return err
}

// nodeOf is the node that runs an instance.
func (l *lab) nodeOf(ctx context.Context, id string) (*rig.Node, error) {
	var list []admin.Instance
	if err := l.Nodes[0].Admin().Do(ctx, "GET", "/v1/instances", nil, &list); err != nil {
		return nil, err
	}
	for _, i := range list {
		for _, n := range l.Nodes {
			if string(i.ID) == id && "n-"+n.Name == string(i.Node) {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("no node runs %s", id)
}

// login waits until a command has run in a guest by SSH.
func (l *lab) login(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, guestTime)
	defer cancel()
	n := l.Nodes[0]
	return rig.Await(ctx, "a login at "+id, func(context.Context) error {
		if err := l.greets(ctx, n, id); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-i", l.keyFile, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20",
			"-o", fmt.Sprintf("ProxyCommand=%s instance connect %%h --hive-dir %s", n.Bin, n.Dir), "root@"+id, "true")
		cmd.WaitDelay = time.Second // the proxy may hold the pipes
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("ssh: %w\n%s", err, out)
		}
		return nil
	})
}

// greets asks a guest for its SSH server's greeting. One that is booting leaves the question unanswered, and TCP repeats
// it later and later: so it is asked anew instead. The greeting is seen up to a second late.
func (l *lab) greets(ctx context.Context, n *rig.Node, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 2500*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.Bin, "instance", "connect", id, "--hive-dir", n.Dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe() // stays open: its end would end the connection
	if err != nil {
		return err
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	greeting := make([]byte, 4)
	_, err = io.ReadFull(stdout, greeting)
	cancel()
	if waitErr := cmd.Wait(); err != nil {
		return fmt.Errorf("%s does not answer: %w: %w: %s", id, err, waitErr, errs.String())
	}
	return nil
}

// end terminates the instances, ends the cluster, and sees that nothing of either is left on this machine, also when ctx
// has ended.
func (l *lab) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), guestTime)
	defer cancel()
	return errors.Join(l.terminate(ctx), l.Stop(ctx), l.killGuests(), l.clearNetwork(ctx), os.RemoveAll(l.dir))
}

func (l *lab) terminate(ctx context.Context) error {
	for id := range l.running {
		if err := l.ec2("TerminateInstances", new(struct{}), "InstanceId.1", id); err != nil {
			return err
		}
	}
	for id := range l.running {
		if err := l.until(ctx, id, "terminated"); err != nil {
			return err
		}
	}
	if l.vpc == "" {
		return nil
	}
	return rig.Await(ctx, "the end of the network", func(context.Context) error {
		names, err := l.networks()
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("left: %v", names)
		}
		return err
	})
}

// killGuests kills what a cluster that did not end well has left of its guests.
func (l *lab) killGuests() error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(raw, []byte("qemu-system")) || !bytes.Contains(raw, []byte(l.dir+"/node")) {
			continue // gone, or another's
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// networks are the namespaces of the instances' VPC.
func (l *lab) networks() (names []string, err error) {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if l.vpc != "" && strings.HasSuffix(e.Name(), "-"+l.vpc) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// clearNetwork removes what is left of it.
func (l *lab) clearNetwork(ctx context.Context) error {
	names, err := l.networks()
	for _, name := range names {
		if out, e := exec.CommandContext(ctx, "ip", "netns", "del", name).CombinedOutput(); e != nil {
			err = errors.Join(err, fmt.Errorf("ip netns del %s: %w: %s", name, e, out))
		}
	}
	return err
}
