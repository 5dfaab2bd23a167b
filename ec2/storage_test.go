package ec2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ebssdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd"
	"hive/awsd/ebsapi"
	"hive/fsm"
	"hive/iam/actions"
	"hive/internal/fsmtest"
)

// memStorage is the volumes' engine in memory. Volumes have no content: only what is put by block has.
type memStorage struct {
	control *fsmtest.Group
	mu      sync.Mutex // guards what is below
	blocks  map[fsm.SnapshotID]map[int64][]byte
	broken  error // of every call
	freezes int
}

func (m *memStorage) Freeze(ctx context.Context, id fsm.SnapshotID) error {
	m.mu.Lock()
	m.freezes++
	err := m.broken
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.FinishBuilder(ctx, id)
}

func (m *memStorage) WriteBuilder(_ context.Context, id fsm.SnapshotID, p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blocks[id] == nil {
		m.blocks[id] = map[int64][]byte{}
	}
	for at := int64(0); at < int64(len(p)); at += BlockSize {
		end := min(at+BlockSize, int64(len(p)))
		block := make([]byte, BlockSize)
		copy(block, p[at:end])
		m.blocks[id][(off+at)/BlockSize] = block
	}
	return m.broken
}

func (m *memStorage) FinishBuilder(ctx context.Context, id fsm.SnapshotID) error {
	var generation uint64
	err := m.control.View(func(v *fsm.View) error {
		s, _ := fsm.Snapshots.Get(v, id)
		x, _ := fsm.Volumes.Get(v, s.Volume)
		generation = x.Generation
		return nil
	})
	if err != nil {
		return err
	}
	return m.control.Propose(ctx, &fsm.CompleteSnapshot{ID: id, Generation: generation, Now: 1})
}

func (m *memStorage) ReadSnapshot(_ context.Context, id fsm.SnapshotID, p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(p)
	copy(p, m.blocks[id][off/BlockSize])
	return m.broken
}

func (m *memStorage) SnapshotExtents(_ context.Context, id fsm.SnapshotID, off, n int64, yield func(off, n int64) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var indexes []int64
	for i := range m.blocks[id] {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	for _, i := range indexes {
		// One page of each block is told, so that callers must round.
		if at := i*BlockSize + 4096; at >= off && at < off+n && !yield(at, 4096) {
			return nil
		}
	}
	return m.broken
}

// storageRig is the rig with an engine, and service ebs behind a front door of its own.
type storageRig struct {
	*rig
	ctx     context.Context
	storage *memStorage
	ebs     *ebssdk.Client // alice's
	bobs    *ebssdk.Client
}

const storageZone = "us-test-1a"

func newStorageRig(t testing.TB) *storageRig {
	t.Helper()
	r := &storageRig{rig: newRig(t), ctx: t.Context()}
	r.storage = &memStorage{control: r.group, blocks: map[fsm.SnapshotID]map[int64][]byte{}}
	r.service.cfg.Storage = r.storage
	direct := NewDirect(r.service, r.storage)
	door := awsd.New(awsd.Config{Region: testRegion, Keys: twoUsers{}, Authorizer: twoUsers{}, Services: []awsd.Service{
		{API: ebsapi.API(), Handlers: ebsapi.Bind(direct), Access: actions.New(testRegion, r.group.View).Access("ebs")},
	}})
	srv := httptest.NewServer(door)
	t.Cleanup(srv.Close)
	as := func(key string) *ebssdk.Client {
		return ebssdk.New(ebssdk.Options{Region: testRegion, BaseEndpoint: &srv.URL, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(key, "secret", "")})
	}
	r.ebs, r.bobs = as("AKIAALICE"), as("AKIABOB")
	return r
}

func (r *storageRig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *storageRig) volume(size int32) string {
	r.t.Helper()
	out, err := r.client.CreateVolume(r.ctx, &sdk.CreateVolumeInput{AvailabilityZone: str(storageZone), Size: &size, VolumeType: types.VolumeTypeGp3})
	r.ok(err)
	return *out.VolumeId
}

// instance launches an instance of a new image in the zone, and lets its node say that it runs, or has stopped.
func (r *storageRig) instance(state string) string {
	r.t.Helper()
	snap := r.blocks(map[int64]byte{0: 1})
	image, err := r.client.RegisterImage(r.ctx, registration(snap, "image of "+snap))
	r.ok(err)
	in := launchOf(*image.ImageId, "t3.nano", 1, 1)
	in.Placement = &types.Placement{AvailabilityZone: str(storageZone)}
	out, err := r.client.RunInstances(r.ctx, in)
	r.ok(err)
	id := *out.Instances[0].InstanceId
	r.observe(id, fsm.InstanceRunning)
	r.view(func(v *fsm.View) {
		for _, x := range fsm.VolumesOf(v, fsm.InstanceID(id)) {
			defer r.must(&fsm.SetVolumeAttached{ID: x.ID, Generation: x.Generation})
		}
	})
	if state == fsm.InstanceStopped {
		r.observe(id, fsm.InstanceStopped)
	}
	return id
}

func (r *storageRig) snapshot(id string) (x fsm.Snapshot) {
	r.t.Helper()
	r.view(func(v *fsm.View) { x, _ = fsm.Snapshots.Get(v, fsm.SnapshotID(id)) })
	return x
}

func (r *storageRig) record(id string) (x fsm.Volume) {
	r.t.Helper()
	r.view(func(v *fsm.View) { x, _ = fsm.Volumes.Get(v, fsm.VolumeID(id)) })
	return x
}

// blocks makes a completed snapshot of 1 GiB with blocks that are filled with a byte each.
func (r *storageRig) blocks(content map[int64]byte) string {
	r.t.Helper()
	out, err := r.ebs.StartSnapshot(r.ctx, &ebssdk.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	r.ok(err)
	for i, b := range content {
		r.ok(r.put(*out.SnapshotId, i, bytes.Repeat([]byte{b}, BlockSize)))
	}
	_, err = r.ebs.CompleteSnapshot(r.ctx, &ebssdk.CompleteSnapshotInput{SnapshotId: out.SnapshotId, ChangedBlocksCount: aws.Int32(int32(len(content)))})
	r.ok(err)
	return *out.SnapshotId
}

func (r *storageRig) put(id string, index int64, data []byte) error {
	sum := sha256.Sum256(data)
	_, err := r.ebs.PutSnapshotBlock(r.ctx, &ebssdk.PutSnapshotBlockInput{
		SnapshotId: &id, BlockIndex: aws.Int32(int32(index)), BlockData: bytes.NewReader(data), DataLength: aws.Int32(int32(len(data))),
		Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
	})
	return err
}

func (r *storageRig) get(b ebstypes.Block, id string) []byte {
	r.t.Helper()
	got, err := r.ebs.GetSnapshotBlock(r.ctx, &ebssdk.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: b.BlockIndex, BlockToken: b.BlockToken})
	r.ok(err)
	data, err := io.ReadAll(got.BlockData)
	r.ok(err)
	return data
}

// registration is of an image whose root is a snapshot.
func registration(snap, name string) *sdk.RegisterImageInput {
	return &sdk.RegisterImageInput{
		Name: &name, Architecture: types.ArchitectureValuesX8664, BootMode: types.BootModeValuesUefi, RootDeviceName: aws.String("/dev/sda1"),
		VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: &snap, VolumeType: types.VolumeTypeGp3}}},
	}
}
