package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"hive/internal/admin"
)

// snapshots is a daemon's admin socket that takes the requests of an import, as EC2 and the EBS direct APIs would.
type snapshots struct {
	mu        sync.Mutex // guards what is below
	size      int64
	blocks    map[string][]byte // by path
	failing   map[string]int    // how often a path is answered 503 yet
	refuse    string            // an EC2 action that is refused
	completed bool
	deleted   bool
	forms     []string // bodies of EC2 requests
	names     string   // images that there are
	lost      bool     // the registration is carried out, and answered as one that was before
	onBlock   func()   // called at each block
}

var blockPath = regexp.MustCompile(`^/aws/ebs/snapshots/snap-1/blocks/(\d+)$`)

func (s *snapshots) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch path := r.URL.Path; {
	case blockPath.MatchString(path) && r.Method == http.MethodPut:
		if s.failing[path]--; s.failing[path] >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.blocks[blockPath.FindStringSubmatch(path)[1]] = body
		if s.onBlock != nil {
			s.onBlock()
		}
		w.WriteHeader(http.StatusCreated)
	case path == "/aws/ebs/snapshots":
		var in struct{ VolumeSize int64 }
		if err := json.Unmarshal(body, &in); err != nil {
			panic(err)
		}
		s.size = in.VolumeSize
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"SnapshotId":"snap-1"}`)
	case path == "/aws/ebs/snapshots/completion/snap-1":
		s.completed = true
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"Status":"completed"}`)
	case path == "/aws/ec2/":
		s.ec2(w, string(body))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *snapshots) ec2(w http.ResponseWriter, form string) {
	s.forms = append(s.forms, form)
	switch {
	case s.refuse != "" && strings.Contains(form, "Action="+s.refuse):
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<Response><Errors><Error><Code>InvalidAMIName.Malformed</Code><Message>no such name</Message></Error></Errors></Response>`)
	case strings.Contains(form, "Action=DescribeImages"):
		fmt.Fprint(w, `<DescribeImagesResponse><imagesSet>`+s.names+`</imagesSet></DescribeImagesResponse>`)
	case strings.Contains(form, "Action=RegisterImage") && s.lost:
		s.names = `<item><imageId>ami-1</imageId><rootDeviceName>/dev/sda1</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/sda1</deviceName><ebs><snapshotId>snap-1</snapshotId></ebs></item></blockDeviceMapping></item>`
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<Response><Errors><Error><Code>InvalidAMIName.Duplicate</Code><Message>taken</Message></Error></Errors></Response>`)
	case strings.Contains(form, "Action=RegisterImage"):
		fmt.Fprint(w, `<RegisterImageResponse><imageId>ami-1</imageId></RegisterImageResponse>`)
	case strings.Contains(form, "Action=DeleteSnapshot"):
		s.deleted = true
		fmt.Fprint(w, `<DeleteSnapshotResponse><return>true</return></DeleteSnapshotResponse>`)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

// content is what the snapshot holds.
func (s *snapshots) content(t *testing.T, n int) []byte {
	t.Helper()
	out := make([]byte, n)
	for index, block := range s.blocks {
		var i int
		if _, err := fmt.Sscan(index, &i); err != nil {
			t.Fatal(err)
		}
		if i*blockSize >= n {
			t.Fatalf("block %d is beyond the disk", i)
		}
		copy(out[i*blockSize:], block)
	}
	return out
}

// serveSnapshots answers at the admin socket of a directory that it makes.
func serveSnapshots(t *testing.T, s *snapshots) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	s.blocks = map[string][]byte{}
	if s.failing == nil {
		s.failing = map[string]int{}
	}
	srv := &http.Server{Handler: s}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-served
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// hiveCall runs the program and answers its exit code and what it wrote.
func hiveCall(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"hive"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// sparseDisk is a disk of odd length with content in few places, at the end too.
func sparseDisk(t *testing.T) (file string, content []byte) {
	t.Helper()
	content = make([]byte, 20*blockSize+513)
	copy(content[510:], "\x55\xaa") // the boot record's signature
	copy(content[3*blockSize-7:], "over the edge of blocks")
	copy(content[len(content)-3:], "end")
	content[11*blockSize+12345] = 1
	file = filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(content); at += blockSize {
		if part := content[at:min(at+blockSize, len(content))]; !isZero(part) {
			if _, err := f.WriteAt(part, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return file, content
}

func TestADiskIsImportedWithoutItsZeroes(t *testing.T) {
	s := &snapshots{failing: map[string]int{"/aws/ebs/snapshots/snap-1/blocks/2": 2}}
	dir := serveSnapshots(t, s)
	file, want := sparseDisk(t)
	code, stdout, stderr := hiveCall(t, "image", "import", file, "--name", "my disk", "--hive-dir", dir, "--description", "of a test")
	if code != 0 || stdout != "ami-1\n" {
		t.Fatalf("exit %d, %q, %s", code, stdout, stderr)
	}
	if !bytes.Equal(s.content(t, len(want)+blockSize)[:len(want)], want) || len(s.blocks) != 5 || s.size != 1 || !s.completed || s.deleted {
		t.Errorf("%d blocks of %d GiB, completed %v, deleted %v", len(s.blocks), s.size, s.completed, s.deleted)
	}
	last := s.forms[len(s.forms)-1]
	for _, part := range []string{"Name=my+disk", "BootMode=legacy-bios", "SnapshotId=snap-1", "Architecture=x86_64", "Description=of+a+test"} {
		if !strings.Contains(last, part) {
			t.Errorf("the registration lacks %s: %s", part, last)
		}
	}
	if !strings.Contains(stderr, "no EFI system partition") || !strings.Contains(stderr, "uploading disk.raw: 100 %") {
		t.Errorf("told: %s", stderr)
	}
}

func TestAnImportOfQcow2IsTheSameDisk(t *testing.T) {
	s := &snapshots{}
	dir := serveSnapshots(t, s)
	file, want := sparseDisk(t)
	packed := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", file, packed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	scratch := t.TempDir()
	code, stdout, stderr := hiveCall(t, "image", "import", packed, "--name", "n", "--hive-dir", dir, "--scratch", scratch, "--boot-mode", "uefi", "--output", "json")
	var got importedImage
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v, %q, %s", code, err, stdout, stderr)
	}
	if got.ID != "ami-1" || got.Snapshot != "snap-1" || got.Size != 1 || got.BootMode != "uefi" || got.Sent != 5*blockSize {
		t.Errorf("%+v", got)
	}
	if !bytes.Equal(s.content(t, len(want)+blockSize)[:len(want)], want) {
		t.Error("the content differs")
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
}

func TestAFailedImportLeavesNoSnapshot(t *testing.T) {
	s := &snapshots{refuse: "RegisterImage"}
	dir := serveSnapshots(t, s)
	file, _ := sparseDisk(t)
	code, stdout, stderr := hiveCall(t, "image", "import", file, "--name", "n", "--hive-dir", dir)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "no such name") || !s.deleted {
		t.Errorf("exit %d, %q, %s, deleted %v", code, stdout, stderr, s.deleted)
	}
}

func TestAnImportThatIsInterruptedLeavesNoSnapshot(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	s := &snapshots{onBlock: interrupt}
	dir := serveSnapshots(t, s)
	file, _ := sparseDisk(t)
	var out, errs bytes.Buffer
	code := run(ctx, []string{"hive", "image", "import", file, "--name", "n", "--hive-dir", dir}, strings.NewReader(""), &out, &errs)
	if code != 1 || out.Len() != 0 || !s.deleted || s.completed {
		t.Errorf("exit %d, %s%s, deleted %v", code, &out, &errs, s.deleted)
	}
}

func TestARegistrationWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	s := &snapshots{lost: true}
	dir := serveSnapshots(t, s)
	file, _ := sparseDisk(t)
	code, stdout, stderr := hiveCall(t, "image", "import", file, "--name", "n", "--hive-dir", dir)
	if code != 0 || stdout != "ami-1\n" || s.deleted {
		t.Errorf("exit %d, %q, %s, deleted %v", code, stdout, stderr, s.deleted)
	}
}

func TestAnImportIsRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_ENDPOINT_URL", "")
	s := &snapshots{names: `<item><imageId>ami-0</imageId><name>taken</name></item>`}
	dir := serveSnapshots(t, s)
	file, _ := sparseDisk(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		want string
		args []string
	}{
		"the name is taken":   {1, "ami-0", []string{file, "--name", "taken", "--hive-dir", dir}},
		"no name":             {2, "name", []string{file, "--hive-dir", dir}},
		"no file":             {2, "FILE", []string{"--name", "n", "--hive-dir", dir}},
		"a strange boot mode": {2, "boot-mode", []string{file, "--name", "n", "--boot-mode", "floppy"}},
		"a strange arch":      {2, "arch", []string{file, "--name", "n", "--arch", "vax"}},
		"bios on arm64":       {2, "boot-mode", []string{file, "--name", "n", "--arch", "arm64", "--boot-mode", "legacy-bios"}},
		"two targets":         {2, "one or the other", []string{file, "--name", "n", "--hive-dir", dir, "--endpoint-url", "http://x"}},
		"no daemon":           {1, "no daemon answers", []string{file, "--name", "n", "--hive-dir", t.TempDir()}},
		"keys are missing":    {1, "names no AWS keys", []string{file, "--name", "n", "--endpoint-url", "http://127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := hiveCall(t, append([]string{"image", "import"}, c.args...)...)
			if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d, %q, %s", code, stdout, stderr)
			}
		})
	}
	s.names = ""
	for _, path := range []string{empty, filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if code, _, stderr := hiveCall(t, "image", "import", path, "--name", "n", "--hive-dir", dir); code != 1 || stderr == "" {
			t.Errorf("%s: exit %d, %s", path, code, stderr)
		}
	}
	if len(s.blocks) != 0 || s.size != 0 {
		t.Errorf("%d blocks were sent", len(s.blocks))
	}
}

func TestImagesAreListed(t *testing.T) {
	s := &snapshots{names: `<item><imageId>ami-2</imageId><name>b</name><imageState>available</imageState><architecture>arm64</architecture><bootMode>uefi</bootMode>` +
		`<isPublic>true</isPublic><rootDeviceName>/dev/sda1</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/sda1</deviceName><ebs><snapshotId>snap-2</snapshotId><volumeSize>8</volumeSize></ebs></item></blockDeviceMapping></item>` +
		`<item><imageId>ami-1</imageId><name>a</name></item>`}
	dir := serveSnapshots(t, s)
	code, stdout, stderr := hiveCall(t, "image", "list", "--hive-dir", dir)
	lines := strings.Split(stdout, "\n")
	if code != 0 || len(lines) < 3 || !strings.HasPrefix(lines[1], "ami-1") || !strings.Contains(lines[2], "8 GiB") || !strings.Contains(lines[2], "true") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}
