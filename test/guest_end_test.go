package test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"hive/internal/admin"
	"hive/test/rig"
)

// terminated: of the instances nothing is left but their records, of their volumes nothing.
func terminated(t *testing.T, l *lab) {
	made := networkOf(t, l.vpc)
	if len(made) < 2 {
		t.Fatalf("two nodes have guests, and the networks are %v", made)
	}
	roots := []string{rootVolume(t, l, l.a.id), rootVolume(t, l, l.b.id)}
	awsCLI(t, l.Nodes[0], l.k, "ec2", "terminate-instances", "--instance-ids", l.a.id, l.b.id)
	l.gone(t, l.a.id, l.b.id)
	if left := guestProcesses(t, l.dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	for _, id := range roots {
		_, err := l.via(2).DescribeVolumes(soon(t), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
		wantCode(t, err, "InvalidVolume.NotFound")
	}
	l.available(t, l.spare) // it was attached later, so it stays
	awsCLI(t, l.Nodes[2], l.k, "ec2", "delete-volume", "--volume-id", l.spare)
	for _, ami := range []string{l.uefi, l.old} {
		awsCLI(t, l.Nodes[1], l.k, "ec2", "deregister-image", "--image-id", ami)
	}
	snaps, err := l.via(1).DescribeSnapshots(soon(t), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	must(t, err)
	for _, s := range snaps.Snapshots {
		_, err := l.via(3).DeleteSnapshot(soon(t), &ec2.DeleteSnapshotInput{SnapshotId: s.SnapshotId})
		must(t, err)
	}
	waitFor(t, "no network left", func() error {
		if left := networkOf(t, l.vpc); len(left) > 0 {
			return fmt.Errorf("left: %s", strings.Join(left, ", "))
		}
		return nil
	})
	for _, list := range []string{"ip -o link", "nft list tables"} {
		out, err := command(t, nil, strings.Fields(list)...)
		must(t, err)
		for _, name := range made {
			if tag := strings.TrimSuffix(name, l.vpc); strings.Contains(out, tag) {
				t.Errorf("%s still has %s:\n%s", list, tag, out)
			}
		}
	}
	reclaimed(t, l)
}

// reclaimed waits until no node has a shard left that counts: their space is the next compaction's. Garbage is looked for
// each minute.
func reclaimed(t *testing.T, l *lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	must(t, rig.Await(ctx, "the space of what is deleted", func(ctx context.Context) error {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		for _, n := range l.Nodes {
			var s admin.Scrub
			if err := n.Admin().Do(ctx, "POST", "/v1/scrub", nil, &s); err != nil || s.Records > 0 {
				return fmt.Errorf("%s has %d records of %d bytes: %w", n.Name, s.Records, s.Bytes, err)
			}
		}
		return nil
	}))
}

func rootVolume(t *testing.T, l *lab, id string) string {
	t.Helper()
	i := l.describe(t, id)
	for _, m := range i.BlockDeviceMappings {
		if *m.DeviceName == *i.RootDeviceName {
			return *m.Ebs.VolumeId
		}
	}
	t.Fatalf("%s has no root volume", id)
	return ""
}

// networkOf is what a VPC has of this machine's network, on all nodes: namespaces in which all the rest is.
func networkOf(t *testing.T, vpc string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-"+vpc) {
			names = append(names, e.Name())
		}
	}
	return names
}

// clearAfter removes what a lab that failed leaves on this machine: its guests, and their network. One that has not
// failed must have left nothing.
func clearAfter(t *testing.T, l *lab) {
	for _, pid := range guestProcesses(t, l.dir) {
		if !t.Failed() {
			t.Errorf("guest left running: process %d", pid)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
	if l.vpc == "" {
		return
	}
	for _, name := range networkOf(t, l.vpc) {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del %s: %s", name, out)
		}
	}
}
