package discover

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a copy of this test does in a namespace is in its environment.
const (
	envAnnounce = "HIVE_TEST_ANNOUNCE" // a Found, to be announced until standard input ends
	envFind     = "HIVE_TEST_FIND"     // an interface to look on, or "any"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envAnnounce) != "":
		os.Exit(announceHere(os.Getenv(envAnnounce)))
	case os.Getenv(envFind) != "":
		os.Exit(findHere(os.Getenv(envFind)))
	}
	os.Exit(m.Run())
}

func announceHere(raw string) int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var self Found
	err := json.Unmarshal([]byte(raw), &self)
	if err == nil {
		err = Announce(ctx, self, slog.New(slog.DiscardHandler))
	}
	return exitCode(err)
}

func findHere(name string) int {
	if name == "any" {
		name = ""
	}
	found, _, err := Find(context.Background(), Query{Interface: name, Timeout: 300 * time.Millisecond})
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// namespaces are two machines with two networks between them: left and right, each with interfaces eth0 and eth1.
type namespaces struct {
	t           *testing.T
	left, right string
}

func newNamespaces(t *testing.T) namespaces {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: network namespaces need root")
	}
	id := fmt.Sprintf("hvd%04x", rand.IntN(1<<16))
	n := namespaces{t, id + "l", id + "r"}
	t.Cleanup(func() {
		for _, ns := range []string{n.left, n.right} {
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Errorf("remove namespace %s: %s", ns, out)
			}
		}
	})
	n.ip("netns add %s", n.left)
	n.ip("netns add %s", n.right)
	for i, dev := range []string{"eth0", "eth1"} {
		n.ip("link add %s netns %s type veth peer name %s netns %s", dev, n.left, dev, n.right)
		for j, ns := range []string{n.left, n.right} {
			n.ip("-n %s addr add 198.19.%d.%d/24 dev %s", ns, i, j+1, dev)
			n.ip("-n %s link set %s up", ns, dev)
		}
	}
	return n
}

func (n namespaces) ip(format string, args ...any) {
	n.t.Helper()
	line := fmt.Sprintf(format, args...)
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %s", line, out)
	}
}

// command is a copy of this test in a namespace.
func command(ns, env string) *exec.Cmd {
	cmd := exec.Command("ip", "netns", "exec", ns, os.Args[0])
	cmd.Env = append(os.Environ(), env)
	return cmd
}

func (n namespaces) announce(ns string, self Found) {
	n.t.Helper()
	raw, err := json.Marshal(self)
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := command(ns, envAnnounce+"="+string(raw))
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			n.t.Error(err)
		}
	})
}

func (n namespaces) find(ns, dev string) ([]Found, error) {
	cmd := command(ns, envFind+"="+dev)
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var found []Found
	err = json.Unmarshal(bytes.TrimSpace(out), &found)
	return found, err
}

func TestMembersAreFoundOnTheChosenNetworkOfAnotherMachineWithoutAnyRoute(t *testing.T) {
	n := newNamespaces(t)
	self := Found{Cluster: "c-00000001", Node: "n-node1", Region: "r", Addr: "198.19.0.1:8443"}
	twin := Found{Cluster: "c-00000002", Node: "n-node1", Region: "r", Addr: "198.19.0.1:9443"} // the same name elsewhere
	n.announce(n.left, self)
	n.announce(n.left, twin)
	for _, dev := range []string{"eth0", "eth1", "any"} {
		deadline := time.Now().Add(20 * time.Second) // addresses and announcements take a moment to be there
		for {
			found, err := n.find(n.right, dev)
			if err == nil && len(found) == 2 && slices.Contains(found, self) && slices.Contains(found, twin) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("on %s: %v, %v", dev, found, err)
			}
		}
	}
	// A network on which nobody is finds nobody, although another has members.
	n.ip("-n %s link set eth1 down", n.left)
	if found, err := n.find(n.right, "eth1"); err != nil || len(found) != 0 {
		t.Errorf("on eth1: %v, %v", found, err)
	}
}
