package ec2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/actions"
)

// importRig is a storageRig whose node imports objects of one bucket, which hold raw disks.
type importRig struct {
	*storageRig
	objects map[string][]byte
	hold    chan struct{} // ToRaw waits for it unless it is nil
	began   chan struct{} // told when ToRaw begins
}

func newImportRig(t testing.TB) *importRig {
	r := &importRig{storageRig: newStorageRig(t), objects: map[string][]byte{}, began: make(chan struct{}, 10)}
	cfg := &r.service.cfg
	cfg.Scratch = t.TempDir()
	cfg.Objects = func(_ context.Context, who fsm.AccountID, bucket, key string) (io.ReadCloser, int64, error) {
		b, ok := r.objects[key]
		if who != aliceID || bucket != "disks" || !ok {
			return nil, 0, protocol.Errorf(404, "NoSuchKey", "The specified key does not exist.")
		}
		return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
	}
	cfg.ToRaw = func(ctx context.Context, src, _, dst string, progress func(done, total int64)) error {
		r.began <- struct{}{}
		if r.hold != nil {
			select {
			case <-r.hold:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		data, err := os.ReadFile(src)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(data, []byte("bad")) {
			return errors.New("not a disk image of this format")
		}
		progress(int64(len(data)), int64(len(data)))
		return os.WriteFile(dst, data, 0o600)
	}
	return r
}

// start runs the service until the test, or what is returned, ends it.
func (r *importRig) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.service.Run(ctx) }()
	var once bool
	stop = func() {
		if !once {
			once = true
			cancel()
			if err := <-done; err != nil {
				r.t.Error(err)
			}
		}
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *importRig) task(id string) (x fsm.ImportTask) {
	r.t.Helper()
	r.view(func(v *fsm.View) { x, _ = fsm.ImportTasks.Get(v, id) })
	return x
}

// until waits for a task to be as wanted.
func (r *importRig) until(id string, wanted func(fsm.ImportTask) bool) fsm.ImportTask {
	r.t.Helper()
	limit := time.After(time.Minute)
	for {
		changed := r.group.Changed()
		x := r.task(id)
		if wanted(x) {
			return x
		}
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("the task stays %+v", x)
		}
	}
}

func (r *importRig) importImage(key string) string {
	r.t.Helper()
	out, err := r.client.ImportImage(r.ctx, &sdk.ImportImageInput{Description: str("a disk"), DiskContainers: []types.ImageDiskContainer{
		{Format: str("raw"), UserBucket: &types.UserBucket{S3Bucket: str("disks"), S3Key: &key}},
	}})
	r.ok(err)
	if *out.Status != importActive || out.ImageId != nil {
		r.t.Errorf("%+v", out)
	}
	return *out.ImportTaskId
}

func ended(x fsm.ImportTask) bool { return x.Status != importActive }

// diskOf is a disk of three parts with zeroes between them.
func diskOf() []byte {
	disk := make([]byte, 5<<20+512)
	copy(disk, "boot")
	copy(disk[510:], "\x55\xaa") // a boot record
	disk[3<<20-1] = 1
	disk[len(disk)-1] = 2
	return disk
}

func TestADiskInS3BecomesAnImage(t *testing.T) {
	r := newImportRig(t)
	r.objects["d.raw"] = diskOf()
	r.start()
	id := r.importImage("d.raw")
	if x := r.until(id, ended); x.Status != importCompleted || x.Size != 5<<20+512 || x.Message != "" {
		t.Fatalf("%+v", x)
	}
	out, err := r.client.DescribeImportImageTasks(r.ctx, &sdk.DescribeImportImageTasksInput{ImportTaskIds: []string{id},
		Filters: []types.Filter{{Name: str("task-state"), Values: []string{"completed"}}}})
	r.ok(err)
	task := out.ImportImageTasks[0]
	if *task.Description != "a disk" || len(task.SnapshotDetails) != 1 || *task.SnapshotDetails[0].UserBucket.S3Key != "d.raw" || *task.SnapshotDetails[0].Format != "RAW" {
		t.Errorf("%+v", task)
	}
	images, err := r.client.DescribeImages(r.ctx, &sdk.DescribeImagesInput{ImageIds: []string{*task.ImageId}})
	r.ok(err)
	image := images.Images[0]
	if *image.Name != id || image.BootMode != types.BootModeValuesLegacyBios || image.State != types.ImageStateAvailable || *image.BlockDeviceMappings[0].Ebs.VolumeSize != 1 {
		t.Errorf("%+v", image)
	}
	snap := fsm.SnapshotID(*task.SnapshotDetails[0].SnapshotId)
	got, want := make([]byte, 6<<20), make([]byte, 6<<20)
	copy(want, diskOf())
	for off := int64(0); off < int64(len(got)); off += BlockSize {
		r.ok(r.storage.ReadSnapshot(r.ctx, snap, got[off:off+BlockSize], off))
	}
	if !bytes.Equal(got, want) {
		t.Error("the content differs")
	}
	if n := len(r.storage.blocks[snap]); n > 6 {
		t.Errorf("%d blocks were written", n)
	}
	left, err := os.ReadDir(r.service.cfg.Scratch + "/" + importsDirName)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
}

func TestADiskInS3BecomesASnapshot(t *testing.T) {
	r := newImportRig(t)
	r.objects["d.raw"] = diskOf()
	r.start()
	in := &sdk.ImportSnapshotInput{Description: str("a disk"), ClientToken: str("once"), DiskContainer: &types.SnapshotDiskContainer{Url: str("s3://disks/d.raw")},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImportSnapshotTask, Tags: []types.Tag{{Key: str("a"), Value: str("b")}}}}}
	made, err := r.client.ImportSnapshot(r.ctx, in)
	r.ok(err)
	again, err := r.client.ImportSnapshot(r.ctx, in)
	r.ok(err)
	if *again.ImportTaskId != *made.ImportTaskId {
		t.Errorf("a client token began two imports")
	}
	r.until(*made.ImportTaskId, ended)
	out, err := r.client.DescribeImportSnapshotTasks(r.ctx, &sdk.DescribeImportSnapshotTasksInput{Filters: []types.Filter{{Name: str("tag:a"), Values: []string{"b"}}}})
	r.ok(err)
	if len(out.ImportSnapshotTasks) != 1 {
		t.Fatalf("%d tasks", len(out.ImportSnapshotTasks))
	}
	d := out.ImportSnapshotTasks[0].SnapshotTaskDetail
	if *d.Status != importCompleted || *d.DiskImageSize != 5<<20+512 || r.snapshot(*d.SnapshotId).State != fsm.SnapshotCompleted {
		t.Errorf("%+v", d)
	}
	other, err := r.bob.DescribeImportSnapshotTasks(r.ctx, &sdk.DescribeImportSnapshotTasksInput{})
	if err != nil || len(other.ImportSnapshotTasks) != 0 {
		t.Errorf("another account sees %v, %v", other, err)
	}
}

func TestAnImportThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	r := newImportRig(t)
	r.objects["bad"], r.objects["good"], r.objects["unbootable"] = []byte("bad disk"), diskOf(), make([]byte, 4096)
	r.start()
	id := r.importImage("unbootable")
	if x := r.until(id, ended); x.Status != importDeleted || !strings.HasPrefix(x.Message, "ClientError: the disk has neither") {
		t.Errorf("%+v", x)
	}
	id = r.importImage("bad")
	if x := r.until(id, ended); x.Status != importDeleted || x.Message != "ClientError: not a disk image of this format" {
		t.Errorf("%+v", x)
	}
	r.storage.mu.Lock()
	r.storage.broken = errBroken
	r.storage.mu.Unlock()
	id = r.importImage("good")
	r.until(id, func(x fsm.ImportTask) bool { return x.Snapshot != "" })
	snap := r.task(id).Snapshot
	_, err := r.client.CancelImportTask(r.ctx, &sdk.CancelImportTaskInput{ImportTaskId: &id, CancelReason: str("no more")})
	r.ok(err)
	// The worker finds its record changed, and drops the snapshot.
	for r.snapshot(string(snap)).ID != "" {
		changed := r.group.Changed()
		if r.snapshot(string(snap)).ID == "" {
			break
		}
		<-changed
	}
	if x := r.task(id); x.Status != importDeleted || x.Message != "no more" {
		t.Errorf("%+v", x)
	}
	_, err = r.client.CancelImportTask(r.ctx, &sdk.CancelImportTaskInput{ImportTaskId: &id})
	wantCode(t, err, "IncorrectState")
}

func TestAnImportGoesOnWhenItsDaemonIsStartedAgain(t *testing.T) {
	r := newImportRig(t)
	r.objects["d.raw"] = diskOf()
	r.hold = make(chan struct{})
	stop := r.start()
	id := r.importImage("d.raw")
	<-r.began
	stop()
	if x := r.task(id); x.Status != importActive {
		t.Fatalf("%+v", x)
	}
	close(r.hold)
	r.start()
	if x := r.until(id, ended); x.Status != importCompleted {
		t.Errorf("%+v", x)
	}
}

func TestAnImportOfALostNodeIsTaken(t *testing.T) {
	r := newImportRig(t)
	r.objects["d.raw"] = diskOf()
	id := r.importImage("d.raw")
	moved := r.task(id)
	moved.Node = "n-node2"
	r.must(&fsm.PutImportTask{Task: moved, Rev: moved.Rev})
	r.service.cfg.NodeLostAfter = time.Minute
	r.kill(1)
	lost := map[fsm.NodeID]time.Time{}
	r.service.noteLost(lost)
	if _, ok := r.service.nextImport(r.ctx, lost); ok {
		t.Error("taken before the node was lost for long enough")
	}
	r.pass(time.Minute)
	if x, ok := r.service.nextImport(r.ctx, lost); !ok || x.Node != "n-node1" || r.task(id).Node != "n-node1" {
		t.Errorf("%+v, %v", x, ok)
	}
}

func TestAWrongImportIsRefusedInAWSsWords(t *testing.T) {
	r := newImportRig(t)
	r.objects["d.raw"], r.objects["empty"] = diskOf(), nil
	good := func() types.ImageDiskContainer {
		return types.ImageDiskContainer{Format: str("RAW"), UserBucket: &types.UserBucket{S3Bucket: str("disks"), S3Key: str("d.raw")}}
	}
	for name, c := range map[string]struct {
		edit func(*sdk.ImportImageInput)
		code string
	}{
		"no disk":          {func(in *sdk.ImportImageInput) { in.DiskContainers = nil }, "InvalidParameter"},
		"two disks":        {func(in *sdk.ImportImageInput) { in.DiskContainers = append(in.DiskContainers, good()) }, "InvalidParameter"},
		"a strange format": {func(in *sdk.ImportImageInput) { in.DiskContainers[0].Format = str("OVA") }, "InvalidParameter"},
		"no source":        {func(in *sdk.ImportImageInput) { in.DiskContainers[0].UserBucket = nil }, "MissingParameter"},
		"no key":           {func(in *sdk.ImportImageInput) { in.DiskContainers[0].UserBucket.S3Key = nil }, "MissingParameter"},
		"two sources":      {func(in *sdk.ImportImageInput) { in.DiskContainers[0].Url = str("s3://disks/d.raw") }, "InvalidParameterCombination"},
		"a URL of the web": {func(in *sdk.ImportImageInput) {
			in.DiskContainers[0].UserBucket, in.DiskContainers[0].Url = nil, str("http://x/y")
		}, "InvalidParameterValue"},
		"no such object":     {func(in *sdk.ImportImageInput) { in.DiskContainers[0].UserBucket.S3Key = str("none") }, "InvalidParameter"},
		"an empty object":    {func(in *sdk.ImportImageInput) { in.DiskContainers[0].UserBucket.S3Key = str("empty") }, "InvalidParameter"},
		"a snapshot":         {func(in *sdk.ImportImageInput) { in.DiskContainers[0].SnapshotId = str("snap-00000000000000000") }, "UnsupportedOperation"},
		"Windows":            {func(in *sdk.ImportImageInput) { in.Platform = str("Windows") }, "UnsupportedOperation"},
		"encrypted":          {func(in *sdk.ImportImageInput) { in.Encrypted = aws.Bool(true) }, "UnsupportedOperation"},
		"32 bits":            {func(in *sdk.ImportImageInput) { in.Architecture = str("i386") }, "UnsupportedOperation"},
		"a long description": {func(in *sdk.ImportImageInput) { in.Description = str(strings.Repeat("x", 256)) }, "InvalidParameterValue"},
		"dry run":            {func(in *sdk.ImportImageInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation"},
		"tags of other tasks": {func(in *sdk.ImportImageInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: "image", Tags: []types.Tag{{Key: str("a")}}}}
		}, "InvalidParameterValue"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &sdk.ImportImageInput{DiskContainers: []types.ImageDiskContainer{good()}}
			c.edit(in)
			_, err := r.client.ImportImage(r.ctx, in)
			wantCode(t, err, c.code)
		})
	}
	for _, c := range []struct{ id, code string }{{"import-ami-x", "InvalidConversionTaskId.Malformed"}, {"import-ami-00000000000000000", "InvalidConversionTaskId"}} {
		_, err := r.client.DescribeImportImageTasks(r.ctx, &sdk.DescribeImportImageTasksInput{ImportTaskIds: []string{c.id}})
		wantCode(t, err, c.code)
		_, err = r.client.CancelImportTask(r.ctx, &sdk.CancelImportTaskInput{ImportTaskId: &c.id})
		wantCode(t, err, c.code)
	}
	need := actions.New(testRegion, r.group.View).Of("ec2", "ImportImage")(alice, &sdk.ImportImageInput{DiskContainers: []types.ImageDiskContainer{good()}})
	if !slices.ContainsFunc(need, func(a protocol.Access) bool {
		return a.Action == "s3:GetObject" && a.Resource == "arn:aws:s3:::disks/d.raw"
	}) {
		t.Errorf("reading the object needs no permission: %+v", need)
	}
}
