package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/test/rig"
)

// TestThreeNodesWithFaults kills, stops and damages the nodes of one cluster; each part ends with everything repaired,
// compared and scrubbed.
func TestThreeNodesWithFaults(t *testing.T) {
	c := form(t, 3)
	for _, sub := range []struct {
		name string
		run  func(*testing.T, *rig.Cluster)
	}{
		{"EverythingAcknowledgedSurvivesAKillOfAll", killAll},
		{"ANewLeaderComesWithinFiveSeconds", killLeader},
		{"ADataNodeDiesInTheMiddleOfAnUpload", killMidUpload},
		{"TheNodeThatTakesAnUploadDies", killReceiver},
		{"AStoppedFollowerFailsNoRequest", stopFollower},
		{"AStoppedLeaderIsReplaced", stopLeader},
		{"WritesAndReadsGoOnWithoutOneNode", withoutOne},
		{"ScenariosOfIAMGoOnWithoutOneNode", scenariosGoOn},
		{"AWipedShardDirectoryIsFilledAgain", wiped},
		{"FlippedBitsAreNeverServedAndMended", flipped},
		{"ObjectsThatAreDeletedWhileANodeIsAwayStayDeleted", deletedWhileAway},
	} {
		t.Run(sub.name, func(t *testing.T) {
			kept(t, c)
			sub.run(t, c)
		})
	}
}

func killAll(t *testing.T, c *rig.Cluster) {
	l := newLoad(t, c, "kill-all")
	k := root(c)
	var users []string
	for round := range 3 {
		l.start(t, 6)
		name := fmt.Sprintf("survivor-%d", round)
		_, err := iamClient(c.Nodes[round], k).CreateUser(soon(t), &iam.CreateUserInput{UserName: &name})
		must(t, err)
		users = append(users, name)
		l.progress(t, 40)
		must(t, c.KillAll())
		l.stop()
		must(t, c.StartAll(soon(t)))
	}
	l.verify(t)
	for i, name := range users {
		_, err := iamClient(c.Nodes[(i+1)%3], k).GetUser(soon(t), &iam.GetUserInput{UserName: &name})
		must(t, err)
	}
}

func killLeader(t *testing.T, c *rig.Cluster) {
	l := newLoad(t, c, "kill-leader")
	for _, group := range []string{"control", "index-0"} {
		l.start(t, 4)
		l.progress(t, 20)
		leader, err := c.Leader(soon(t), group)
		must(t, err)
		must(t, leader.Kill())
		began := time.Now()
		next, err := c.Leader(soon(t), group)
		must(t, err)
		within(t, "a new leader of "+group, 5*time.Second, time.Since(began))
		if next == leader {
			t.Fatal("the dead node leads")
		}
		l.progress(t, 20)
		l.stop()
		must(t, c.StartAll(soon(t)))
	}
	l.verify(t)
}

// halves is a body that calls half once half of it is read.
type halves struct {
	*bytes.Reader
	size int64
	half func()
}

func (h *halves) Read(p []byte) (int, error) {
	if h.half != nil && int64(h.Len()) < h.size/2 {
		h.half()
		h.half = nil
	}
	return h.Reader.Read(p[:min(len(p), 256<<10)])
}

func newHalves(body []byte, half func()) *halves {
	return &halves{bytes.NewReader(body), int64(len(body)), half}
}

// upload is one PUT whose body is read as it is sent.
func upload(t *testing.T, n *rig.Node, k key, bucket, name string, body io.Reader, size int64) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "PUT", n.Endpoint()+"/"+bucket+"/"+name, io.NopCloser(body))
	must(t, err)
	req.ContentLength = size
	signHTTP(t, req, k)
	transport := &http.Transport{DisableKeepAlives: true}
	return transport.RoundTrip(req)
}

func killMidUpload(t *testing.T, c *rig.Cluster) {
	k := root(c)
	bucket(t, s3Client(c.Nodes[0], k), "mid-upload")
	body := noise("mid", 48<<20)
	for i, victim := range c.Nodes {
		name := fmt.Sprintf("k%d", i)
		through := c.Nodes[(i+1)%3]
		resp, err := upload(t, through, k, "mid-upload", name, newHalves(body, func() { must(t, victim.Kill()) }), int64(len(body)))
		must(t, err)
		raw, err := io.ReadAll(resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
		if resp.StatusCode != 200 {
			t.Errorf("%s died, and the upload through %s got %s: %s", victim.Name, through.Name, resp.Status, raw)
		}
		for _, n := range c.Nodes {
			if n.Runs() && !bytes.Equal(get(t, s3Client(n, k), "mid-upload", name), body) {
				t.Errorf("%s reads other bytes", n.Name)
			}
		}
		must(t, c.StartAll(soon(t)))
		must(t, c.Repaired(soon(t)))
		if !bytes.Equal(get(t, s3Client(victim, k), "mid-upload", name), body) {
			t.Errorf("%s, which is back, reads other bytes", victim.Name)
		}
	}
}

func killReceiver(t *testing.T, c *rig.Cluster) {
	k := root(c)
	bucket(t, s3Client(c.Nodes[0], k), "receiver")
	body := noise("receiver", 32<<20)
	resp, err := upload(t, c.Nodes[1], k, "receiver", "k", newHalves(body, func() { must(t, c.Nodes[1].Kill()) }), int64(len(body)))
	if err == nil {
		t.Errorf("the node is dead, and answers %s", resp.Status)
		must(t, resp.Body.Close())
	}
	must(t, c.StartAll(soon(t)))
	absent(t, c, k, "receiver", "k")
}

// pause stops a process until the test's part ends or resume is called.
func pause(t *testing.T, n *rig.Node) (resume func()) {
	t.Helper()
	must(t, n.Signal(syscall.SIGSTOP))
	done := false
	resume = func() {
		if !done {
			done = true
			must(t, n.Signal(syscall.SIGCONT))
		}
	}
	t.Cleanup(resume)
	return resume
}

func stopFollower(t *testing.T, c *rig.Cluster) {
	l := newLoad(t, c, "stopped")
	control, err := c.Leader(soon(t), "control")
	must(t, err)
	index, err := c.Leader(soon(t), "index-0")
	must(t, err)
	var slow *rig.Node
	l.clients = nil
	for _, n := range c.Nodes {
		if n != control && n != index && slow == nil {
			slow = n
			continue
		}
		l.clients = append(l.clients, s3Client(n, root(c)))
	}
	l.start(t, 4)
	l.progress(t, 20)
	resume := pause(t, slow)
	l.progress(t, 60)
	l.stop()
	if len(l.errs) > 0 {
		t.Errorf("requests failed while %s was stopped: %v", slow.Name, l.errs)
	}
	l.verify(t)
	resume()
	l.verify(t, s3Client(slow, root(c)))
}

// stopLeader: the others elect another; nothing that was acknowledged is lost, and the old leader, when it goes on,
// does not answer from the past.
func stopLeader(t *testing.T, c *rig.Cluster) {
	k := root(c)
	l := newLoad(t, c, "stopped-leader")
	old, err := c.Leader(soon(t), "index-0")
	must(t, err)
	var others []*rig.Node
	l.clients = nil
	for _, n := range c.Nodes {
		if n != old {
			others = append(others, n)
			l.clients = append(l.clients, s3Client(n, k))
		}
	}
	put(t, s3Client(old, k), l.bucket, "register", []byte("before"))
	resume := pause(t, old)
	waitFor(t, "a write through "+others[0].Name, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := s3Client(others[0], k).PutObject(ctx, &s3.PutObjectInput{Bucket: &l.bucket, Key: aws.String("register"), Body: strings.NewReader("after")})
		return err
	})
	l.start(t, 4)
	l.progress(t, 20)
	l.stop()
	resume()
	// Right after it goes on, the old leader may refuse, or answer the truth.
	for range 20 {
		out, err := s3Client(old, k).GetObject(soon(t), &s3.GetObjectInput{Bucket: &l.bucket, Key: aws.String("register")})
		if err != nil {
			continue
		}
		raw, err := io.ReadAll(out.Body)
		must(t, errors.Join(err, out.Body.Close()))
		if string(raw) != "after" {
			t.Fatalf("%s was stopped while leading, and now reads %q", old.Name, raw)
		}
	}
	must(t, c.Ready(soon(t)))
	l.verify(t)
}

func withoutOne(t *testing.T, c *rig.Cluster) {
	k := root(c)
	l := newLoad(t, c, "without-one")
	all := l.clients
	for i, victim := range c.Nodes {
		must(t, victim.Kill())
		l.clients = []*s3.Client{s3Client(c.Nodes[(i+1)%3], k), s3Client(c.Nodes[(i+2)%3], k)}
		must(t, c.Ready(soon(t)))
		errs := len(l.errs)
		l.start(t, 4)
		l.progress(t, 30)
		l.stop()
		if i > 0 && len(l.errs) > errs { // the first may fall into the election
			t.Errorf("requests failed while %s was dead: %v", victim.Name, l.errs)
		}
		l.verify(t)
		must(t, c.StartAll(soon(t)))
		must(t, c.Repaired(soon(t)))
	}
	l.verify(t, all...)
}

func wiped(t *testing.T, c *rig.Cluster) {
	l := newLoad(t, c, "wiped")
	l.start(t, 4)
	l.progress(t, 40)
	l.stop()
	victim := c.Nodes[1]
	must(t, victim.Stop(soon(t)))
	dir := filepath.Join(victim.Dir, "shard")
	if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", dir, err, len(files))
	}
	must(t, os.RemoveAll(dir))
	must(t, c.StartAll(soon(t)))
	l.verify(t)
	mend(t, c)
	// Now the others may be gone, one at a time, and the filled node must do.
	must(t, c.Nodes[0].Kill())
	must(t, c.Ready(soon(t)))
	l.verify(t, s3Client(victim, root(c)))
	must(t, c.StartAll(soon(t)))
}

// mend scrubs every node until each finds all of its shards right.
func mend(t *testing.T, c *rig.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	must(t, rig.Await(ctx, "every shard to be right again", func(ctx context.Context) error { return c.Scrub(ctx) }))
}

// flipped changes single bits in a node's segment files, while it is down and while it runs.
func flipped(t *testing.T, c *rig.Cluster) {
	l := newLoad(t, c, "flipped")
	l.start(t, 4)
	l.progress(t, 60)
	l.stop()
	victim := c.Nodes[2]
	must(t, victim.Stop(soon(t)))
	n := flipBits(t, filepath.Join(victim.Dir, "shard"), 40)
	t.Logf("%d bits flipped", n)
	must(t, c.StartAll(soon(t)))
	l.verify(t)
	mend(t, c)
	flipBits(t, filepath.Join(victim.Dir, "shard"), 40) // under the running node
	l.verify(t)
	mend(t, c)
	l.verify(t)
}

// flipBits flips n bits at random places of the segment files below dir.
func flipBits(t *testing.T, dir string, n int) int {
	t.Helper()
	files := segments(t, dir)
	for range n {
		file := files[rand.IntN(len(files))]
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		must(t, err)
		info, err := f.Stat()
		must(t, err)
		at := rand.Int64N(info.Size())
		var b [1]byte
		_, err = f.ReadAt(b[:], at)
		must(t, err)
		b[0] ^= 1 << rand.IntN(8)
		_, err = f.WriteAt(b[:], at)
		must(t, errors.Join(err, f.Close()))
	}
	return n
}

// segments are the segment files below dir that hold anything.
func segments(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "obj.") || !strings.HasSuffix(d.Name(), ".bin") {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			files = append(files, path)
		}
		return err
	}))
	if len(files) == 0 {
		t.Fatalf("no segment files in %s", dir)
	}
	return files
}

func deletedWhileAway(t *testing.T, c *rig.Cluster) {
	k := root(c)
	client := s3Client(c.Nodes[0], k)
	bucket(t, client, "gone")
	for i := range 20 {
		put(t, client, "gone", fmt.Sprint(i), noise(fmt.Sprint(i), 200_000))
	}
	must(t, c.Nodes[2].Kill())
	must(t, c.Ready(soon(t)))
	for i := range 20 {
		_, err := client.DeleteObject(soon(t), &s3.DeleteObjectInput{Bucket: aws.String("gone"), Key: aws.String(fmt.Sprint(i))})
		must(t, err)
	}
	must(t, c.StartAll(soon(t)))
	for i := range 20 {
		absent(t, c, k, "gone", fmt.Sprint(i))
	}
	waitFor(t, "the garbage to be collected on all nodes", func() error {
		for _, n := range c.Nodes {
			s, err := n.Status(soon(t))
			if err != nil || s.Repair.Garbage > 0 {
				return fmt.Errorf("%+v: %w", s.Repair, err)
			}
		}
		return nil
	})
	_, err := client.DeleteBucket(soon(t), &s3.DeleteBucketInput{Bucket: aws.String("gone")})
	must(t, err)
}

// TestFiveNodesServeWithoutTwo is RS(3,2).
func TestFiveNodesServeWithoutTwo(t *testing.T) {
	c := form(t, 5)
	l := newLoad(t, c, "five")
	l.start(t, 4)
	l.progress(t, 40)
	l.stop()
	for _, pair := range [][2]int{{0, 1}, {2, 4}} {
		must(t, c.Nodes[pair[0]].Kill())
		must(t, c.Nodes[pair[1]].Kill())
		must(t, c.Ready(soon(t)))
		all := l.clients
		l.clients = nil
		for _, n := range c.Nodes {
			if n.Runs() {
				l.clients = append(l.clients, s3Client(n, root(c)))
			}
		}
		l.verify(t)
		l.start(t, 4)
		l.progress(t, 30)
		l.stop()
		l.verify(t)
		must(t, c.StartAll(soon(t)))
		must(t, c.Repaired(soon(t)))
		l.clients = all
		l.verify(t)
	}
}

// TestOneNodeKeepsWhatItHasAcknowledged is RS(1,0).
func TestOneNodeKeepsWhatItHasAcknowledged(t *testing.T) {
	c := form(t, 1)
	l := newLoad(t, c, "one")
	for range 2 {
		l.start(t, 4)
		l.progress(t, 40)
		must(t, c.KillAll())
		l.stop()
		must(t, c.StartAll(soon(t)))
		l.verify(t)
	}
}
