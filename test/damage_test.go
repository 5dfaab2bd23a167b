package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/test/rig"
)

// damages are what happens to a file while its node is down.
var damages = []struct {
	name string
	do   func(path string, size int64) error
}{
	{"emptied", func(path string, _ int64) error { return os.Truncate(path, 0) }},
	{"halved", func(path string, size int64) error { return os.Truncate(path, size/2) }},
	{"flipped", flipMiddle},
	{"zeroed at its end", zeroEnd},
	{"removed", func(path string, _ int64) error { return os.Remove(path) }},
}

func flipMiddle(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil || size == 0 {
		return errors.Join(err, f.Close())
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], size/2)
	b[0] ^= 0x10
	_, err2 := f.WriteAt(b[:], size/2)
	return errors.Join(err, err2, f.Close())
}

func zeroEnd(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	n := min(size, 4096)
	_, err = f.WriteAt(make([]byte, n), size-n)
	return errors.Join(err, f.Close())
}

// TestDamagedFilesAreRefusedOrRebuilt damages each file of a node that is down, in each way. What the node may then do
// is serve with the same state as the others and every object right, or say which file is bad and end. It may not crash,
// hang, or serve something else.
func TestDamagedFilesAreRefusedOrRebuilt(t *testing.T) {
	c := form(t, 3)
	l := newLoad(t, c, "damaged")
	l.start(t, 4)
	l.progress(t, 60)
	l.stop()
	victim := c.Nodes[2]
	must(t, victim.Stop(soon(t)))
	healthy := filepath.Join(shortDir(t), "copy")
	copyDir(t, victim.Dir, healthy)
	for _, file := range stateFiles(t, healthy) {
		for _, d := range damages {
			t.Run(kindOf(file)+" "+d.name, func(t *testing.T) {
				must(t, os.RemoveAll(victim.Dir))
				copyDir(t, healthy, victim.Dir)
				info, err := os.Stat(filepath.Join(victim.Dir, file))
				must(t, err)
				must(t, d.do(filepath.Join(victim.Dir, file), info.Size()))
				damaged(t, c, victim, file, l)
			})
		}
	}
	must(t, os.RemoveAll(victim.Dir))
	copyDir(t, healthy, victim.Dir)
	must(t, c.StartAll(soon(t)))
}

func damaged(t *testing.T, c *rig.Cluster, victim *rig.Node, file string, l *load) {
	must(t, os.Truncate(victim.LogFile, 0))
	must(t, victim.Start())
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	err := victim.Serves(ctx)
	if victim.Runs() {
		if err != nil {
			t.Errorf("neither refused nor served: %v", err)
			must(t, victim.Kill())
			return
		}
		if err := c.SameStates(soon(t)); err != nil {
			t.Error(err)
		}
		l.verify(t, s3Client(victim, root(c)))
		must(t, victim.Stop(soon(t)))
		t.Log("rebuilt")
		return
	}
	log, err := os.ReadFile(victim.LogFile)
	must(t, err)
	if strings.Contains(string(log), "panic:") || strings.Contains(string(log), "SIGSEGV") || strings.Contains(string(log), "goroutine ") {
		t.Errorf("it crashed:\n%s", log)
	}
	if !strings.Contains(string(log), filepath.Base(file)) && !strings.Contains(string(log), filepath.Dir(file)) {
		t.Errorf("refused without a word of the file:\n%s", log)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	t.Log("refused: " + lines[len(lines)-1])
}

// stateFiles are the files that a node cannot make up, relative to its directory; of segments only the first two.
func stateFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	segments := 0
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(d.Name(), "obj.") {
			if segments++; segments > 2 {
				return nil
			}
		}
		switch d.Name() {
		case "hive.pid", "hive.log", "lock", "hosts.hive", "zone.hive", "credentials":
			return nil
		}
		files = append(files, rel)
		return nil
	}))
	return files
}

var digits = regexp.MustCompile(`[0-9]{3,}(-[0-9]+)*`)

// kindOf is a file's name without what changes from run to run.
func kindOf(file string) string {
	return digits.ReplaceAllString(strings.ReplaceAll(file, "/", "."), "N")
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
	if err != nil {
		t.Fatalf("cp: %s", out)
	}
	must(t, ignore(os.Remove(filepath.Join(to, "admin.sock")), os.ErrNotExist))
}

// TestAFullDiskRefusesWritesAndServesTheRest puts a cluster onto small file systems.
func TestAFullDiskRefusesWritesAndServesTheRest(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a small file system needs root")
	}
	const size = 192 << 20
	disk := shortDir(t)
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", size)))
	t.Cleanup(func() { must(t, syscall.Unmount(disk, 0)) })
	c := form(t, 1, func(o *rig.Options) { o.Place = func(int) string { return filepath.Join(disk, "node1") } })
	k := root(c)
	client := s3Client(c.Nodes[0], k)
	bucket(t, client, "full")
	stored := 0
	var refusal error
	for ; stored < 400 && refusal == nil; stored++ {
		name := fmt.Sprintf("o%d", stored)
		_, refusal = client.PutObject(soon(t), &s3.PutObjectInput{Bucket: aws.String("full"), Key: &name, Body: newHalves(noise(name, 1<<20), nil)})
	}
	stored--
	t.Logf("%d MiB stored, then %v", stored, refusal)
	if refusal == nil || stored < 20 {
		t.Fatalf("%d objects of 1 MiB on a disk of %d MiB: %v", stored, size>>20, refusal)
	}
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(refusal, &answer) || (answer.HTTPStatusCode() != 507 && answer.HTTPStatusCode() != 503) || !saysFull(refusal) {
		t.Errorf("the refusal is %v, want that the disk is full", refusal)
	}
	var fs syscall.Statfs_t
	must(t, syscall.Statfs(disk, &fs))
	if free := int64(fs.Bavail) * fs.Bsize; free < 1<<20 {
		t.Errorf("writes were refused when only %d bytes were left", free)
	}
	for i := range stored {
		name := fmt.Sprintf("o%d", i)
		if got := get(t, client, "full", name); string(got) != string(noise(name, 1<<20)) {
			t.Errorf("%s reads other bytes", name)
		}
	}
	_, err := iamClient(c.Nodes[0], k).ListUsers(soon(t), nil)
	must(t, err)
	for i := range stored {
		_, err := client.DeleteObject(soon(t), &s3.DeleteObjectInput{Bucket: aws.String("full"), Key: aws.String(fmt.Sprintf("o%d", i))})
		must(t, err)
	}
	waitFor(t, "room again after deletes", func() error {
		_, err := client.PutObject(soon(t), &s3.PutObjectInput{Bucket: aws.String("full"), Key: aws.String("again"), Body: newHalves(noise("again", 1<<20), nil)})
		return err
	})
}

func saysFull(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "space") || strings.Contains(text, "full") || strings.Contains(text, "capacity") || strings.Contains(text, "storage")
}
