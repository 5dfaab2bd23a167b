package test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/test/rig"
)

// writeBlocks writes its number into one block of dev after the other, and says each number once the block is synced.
func writeBlocks(dev string) string {
	return fmt.Sprintf(`i=0; while :; do i=$((i+1))
		printf '%%-4095d\n' $i | dd of=%s bs=4096 seek=$i iflag=fullblock oflag=direct conv=notrunc,fsync 2>/dev/null || { echo "failed at $i"; exit 1; }
		echo $i; done`, dev)
}

// readBlocks fails unless dev has the first n blocks of writeBlocks.
func readBlocks(dev string, n int) string {
	return fmt.Sprintf(`dd if=%s bs=4096 skip=1 count=%d 2>/dev/null | awk '$1 != NR { print "block", NR, "has", $1; bad = 1 } END { exit bad || NR != %d }'`, dev, n, n)
}

// daemonDies: the guest goes on without the daemon of its node, waits for its disk, and goes on when the daemon is back.
func daemonDies(t *testing.T, l *lab) {
	dev := l.attach(t, l.spare, l.a.id, "/dev/sdf")
	l.on(t, l.a.id, "echo "+base64.StdEncoding.EncodeToString([]byte(writeBlocks(dev)))+" | base64 -d >/root/writer")
	l.on(t, l.a.id, "setsid sh /root/writer >/tmp/synced 2>&1 </dev/null &")
	count := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(l.on(t, l.a.id, "tail -n 1 /tmp/synced")))
		must(t, err)
		return n
	}
	l.waitSh(t, l.a.id, "some blocks written", "[ $(wc -l </tmp/synced) -ge 20 ]")
	node := l.nodes(t)[l.a.id]
	processes := guestProcesses(t, l.dir, l.a.id)
	must(t, node.Kill())
	if i := l.describe(t, l.a.id); i.State.Name != types.InstanceStateNameRunning {
		t.Errorf("without the daemon it is %s", i.State.Name)
	}
	must(t, node.Start())
	must(t, l.Ready(soon(t)))
	l.booted(t, l.a.id)
	before := count()
	l.waitSh(t, l.a.id, "more blocks written", fmt.Sprintf("[ $(wc -l </tmp/synced) -ge %d ]", before+20))
	if now := guestProcesses(t, l.dir, l.a.id); len(now) != 1 || !slices.Equal(now, processes) {
		t.Errorf("its processes were %v and are %v", processes, now)
	}
	n := count()
	l.on(t, l.a.id, `kill $(ps | awk '/[s]h \/root\/writer/ { print $1 }')`)
	l.on(t, l.a.id, readBlocks(dev, n))
	if errs := l.on(t, l.a.id, `grep failed /tmp/synced; dmesg | grep -iE 'i/o error|blk_update|remount' ; echo x >/root/x; sync`); errs != "" {
		t.Errorf("the guest has seen errors:\n%s", errs)
	}
	l.detach(t, l.spare, l.a.id)
}

// nodeDies: a machine is lost with the guest on it, which was writing. What the guest had synced is there for the next
// that gets the volume, on another node; the guest itself starts again when its node is back.
func nodeDies(t *testing.T, l *lab) {
	dev := l.attach(t, l.spare, l.b.id, "/dev/sdh")
	l.on(t, l.b.id, "echo kept >/root/kept; sync")
	nodes := l.nodes(t)
	lost, other := nodes[l.b.id], nodes[l.a.id]
	cmd := l.sshCommand(t.Context(), other, l.b.id, "root", l.keyOf(l.b.id), writeBlocks(dev))
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(pipe)
	synced := 0
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the guest says %q", lines.Text())
		}
		if synced = n; synced == 50 {
			loseMachine(t, lost)
		}
	}
	if err := cmd.Wait(); err == nil || synced < 50 {
		t.Fatalf("the guest's writer ended at %d: %v", synced, err)
	}
	t.Logf("%d blocks were synced when %s was lost", synced, lost.Name)

	client := ec2Client(other, l.k)
	_, err = client.DetachVolume(soon(t), &ec2.DetachVolumeInput{VolumeId: &l.spare, Force: aws.Bool(true)})
	must(t, err)
	l.available(t, l.spare)
	dev = l.attach(t, l.spare, l.a.id, "/dev/sdf")
	l.on(t, l.a.id, readBlocks(dev, synced))

	must(t, l.StartAll(soon(t)))
	must(t, ec2.NewInstanceStoppedWaiter(client, quickly[ec2.InstanceStoppedWaiterOptions]).Wait(t.Context(), one(l.b.id), bootPatience))
	if code := aws.ToString(l.describe(t, l.b.id).StateReason.Code); !strings.HasPrefix(code, "Server.") {
		t.Errorf("%s was lost with its node, and its reason is %s", l.b.id, code)
	}
	awsCLI(t, other, l.k, "ec2", "start-instances", "--instance-ids", l.b.id)
	l.running(t, l.b.id)
	l.booted(t, l.b.id)
	if out := l.on(t, l.b.id, "cat /root/kept /var/lib/mark"); out != "kept\nmark\n" {
		t.Errorf("after the loss of its node: %q", out)
	}
}

// loseMachine ends the daemon and all guests of a node, as the loss of its power would.
func loseMachine(t *testing.T, n *rig.Node) {
	t.Helper()
	must(t, n.Signal(syscall.SIGSTOP)) // it sees nothing of what ends
	for _, pid := range guestProcesses(t, n.Dir) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	must(t, n.Kill())
}

// dyingChoice launches on a node that has died a moment ago: refused, or the instance starts when the node is back.
func dyingChoice(t *testing.T, l *lab) {
	only := l.Nodes[1]
	if only.Zone != oneNodeZone {
		t.Fatalf("%s is in %s", only.Name, only.Zone)
	}
	must(t, only.Kill())
	client := l.via(1)
	out, err := client.RunInstances(soon(t), &ec2.RunInstancesInput{
		ImageId: &l.old, InstanceType: types.InstanceTypeT2Nano, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		Placement: &types.Placement{AvailabilityZone: aws.String(oneNodeZone)},
	})
	must(t, l.StartAll(soon(t)))
	if err != nil {
		t.Log("its death was known already")
		wantCode(t, err, "InsufficientInstanceCapacity")
		return
	}
	id := *out.Instances[0].InstanceId
	l.running(t, id)
	_, err = client.TerminateInstances(soon(t), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	l.gone(t, id)
}

// gone waits until instances are terminated.
func (l *lab) gone(t *testing.T, ids ...string) {
	t.Helper()
	client, _ := l.alive()
	in := &ec2.DescribeInstancesInput{InstanceIds: ids}
	must(t, ec2.NewInstanceTerminatedWaiter(client, quickly[ec2.InstanceTerminatedWaiterOptions]).Wait(t.Context(), in, bootPatience))
}
