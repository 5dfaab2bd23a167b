package ec2

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ebssdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"hive/fsm"
)

var errBroken = errors.New("its node is away")

func startOf(size int64) *ebssdk.StartSnapshotInput {
	return &ebssdk.StartSnapshotInput{VolumeSize: &size}
}

func TestASnapshotIsWrittenAndReadByBlock(t *testing.T) {
	r := newStorageRig(t)
	in := startOf(2)
	in.Description, in.ClientToken = str("by block"), str("once")
	in.Tags = []ebstypes.Tag{{Key: str("a"), Value: str("b")}}
	start, err := r.ebs.StartSnapshot(r.ctx, in)
	r.ok(err)
	again, err := r.ebs.StartSnapshot(r.ctx, in)
	r.ok(err)
	id := *start.SnapshotId
	if *again.SnapshotId != id || start.Status != ebstypes.StatusPending || *start.BlockSize != BlockSize || *start.VolumeSize != 2 || *start.OwnerId != aliceID {
		t.Errorf("%+v, then %+v", start, again)
	}
	in.VolumeSize = aws.Int64(3)
	_, err = r.ebs.StartSnapshot(r.ctx, in)
	wantCode(t, err, "ConflictException")
	for _, i := range []int64{4095, 0, 7} {
		r.ok(r.put(id, i, bytes.Repeat([]byte{byte(i) + 1}, BlockSize)))
	}
	x := r.record(string(r.snapshot(id).Volume))
	if x.Builder == "" || x.Owner != "n-node1" || x.Replicas[0] != "n-node1" {
		t.Errorf("the builder is %+v", x)
	}
	volumes, err := r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{})
	if err != nil || len(volumes.Volumes) != 0 {
		t.Errorf("the builder is told of: %v, %v", volumes, err)
	}
	_, err = r.client.DescribeVolumes(r.ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{string(x.ID)}})
	wantCode(t, err, "InvalidVolume.NotFound")
	complete := &ebssdk.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: aws.Int32(3)}
	for range 2 { // asked again it is completed still
		done, err := r.ebs.CompleteSnapshot(r.ctx, complete)
		if err != nil || done.Status != ebstypes.StatusCompleted {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	list, err := r.ebs.ListSnapshotBlocks(r.ctx, &ebssdk.ListSnapshotBlocksInput{SnapshotId: &id})
	r.ok(err)
	if len(list.Blocks) != 3 || *list.BlockSize != BlockSize || *list.VolumeSize != 2 || list.NextToken != nil || list.ExpiryTime == nil {
		t.Fatalf("%+v", list)
	}
	for n, i := range []int32{0, 7, 4095} {
		b := list.Blocks[n]
		if got := r.get(b, id); *b.BlockIndex != i || !bytes.Equal(got, bytes.Repeat([]byte{byte(i) + 1}, BlockSize)) {
			t.Errorf("block %d is %d", i, *b.BlockIndex)
		}
	}
	told, err := r.client.DescribeSnapshots(r.ctx, &sdk.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	r.ok(err)
	if s := told.Snapshots[0]; *s.VolumeId != noVolume || *s.VolumeSize != 2 || *s.Description != "by block" || len(s.Tags) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestBlocksAreListedInPages(t *testing.T) {
	r := newStorageRig(t)
	start, err := r.ebs.StartSnapshot(r.ctx, startOf(1))
	r.ok(err)
	id := *start.SnapshotId
	for i := range int64(250) {
		r.ok(r.storage.WriteBuilder(r.ctx, fsm.SnapshotID(id), []byte{1}, 2*i*BlockSize))
	}
	r.ok(r.storage.FinishBuilder(r.ctx, fsm.SnapshotID(id)))
	var got []int32
	pages := ebssdk.NewListSnapshotBlocksPaginator(r.ebs, &ebssdk.ListSnapshotBlocksInput{SnapshotId: &id, MaxResults: aws.Int32(100), StartingBlockIndex: aws.Int32(10)})
	count := 0
	for ; pages.HasMorePages(); count++ {
		page, err := pages.NextPage(r.ctx)
		r.ok(err)
		for _, b := range page.Blocks {
			got = append(got, *b.BlockIndex)
		}
	}
	if len(got) != 245 || got[0] != 10 || got[244] != 498 || count != 3 {
		t.Errorf("%d blocks in %d pages: %v", len(got), count, got)
	}
}

func TestASnapshotOnAParentSharesItsContent(t *testing.T) {
	r := newStorageRig(t)
	parent := r.blocks(map[int64]byte{0: 1})
	in := startOf(2)
	in.ParentSnapshotId = &parent
	start, err := r.ebs.StartSnapshot(r.ctx, in)
	r.ok(err)
	x := r.record(string(r.snapshot(*start.SnapshotId).Volume))
	if x.Lineage != r.snapshot(parent).Lineage || string(x.Snapshot) != parent || x.Size != 2 || *start.ParentSnapshotId != parent {
		t.Errorf("%+v", x)
	}
	_, err = r.bobs.StartSnapshot(r.ctx, in)
	wantCode(t, err, "ResourceNotFoundException")
}

func TestAWrongBlockIsRefusedInAWSsWords(t *testing.T) {
	r := newStorageRig(t)
	start, err := r.ebs.StartSnapshot(r.ctx, startOf(1))
	r.ok(err)
	id, done := *start.SnapshotId, r.blocks(map[int64]byte{0: 1})
	whole := make([]byte, BlockSize)
	reason := func(err error, want ebstypes.ValidationExceptionReason) {
		t.Helper()
		var refused *ebstypes.ValidationException
		if !errors.As(err, &refused) || refused.Reason != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	reason(r.put(id, blocksPerGiB, whole), ebstypes.ValidationExceptionReasonInvalidBlock)
	reason(r.put(id, -1, whole), ebstypes.ValidationExceptionReasonInvalidBlock)
	reason(r.put(id, 0, whole[:1000]), ebstypes.ValidationExceptionReasonInvalidBlock)
	reason(r.put(done, 0, whole), ebstypes.ValidationExceptionReasonInvalidSnapshotId)
	reason(r.put("snap-x", 0, whole), ebstypes.ValidationExceptionReasonInvalidSnapshotId)
	wantCode(t, r.put("snap-00000000000000000", 0, whole), "ResourceNotFoundException")
	_, err = r.ebs.PutSnapshotBlock(r.ctx, &ebssdk.PutSnapshotBlockInput{
		SnapshotId: &id, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(whole), DataLength: aws.Int32(BlockSize), Checksum: str("AAAA"), ChecksumAlgorithm: "SHA256",
	})
	reason(err, ebstypes.ValidationExceptionReasonInvalidBlock)
	_, err = r.ebs.GetSnapshotBlock(r.ctx, &ebssdk.GetSnapshotBlockInput{SnapshotId: &done, BlockIndex: aws.Int32(0), BlockToken: str("AAAA")})
	reason(err, ebstypes.ValidationExceptionReasonInvalidBlockToken)
	_, err = r.ebs.GetSnapshotBlock(r.ctx, &ebssdk.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: aws.Int32(0), BlockToken: str("AAAA")})
	reason(err, ebstypes.ValidationExceptionReasonInvalidSnapshotId)
	_, err = r.ebs.ListSnapshotBlocks(r.ctx, &ebssdk.ListSnapshotBlocksInput{SnapshotId: &done, MaxResults: aws.Int32(99)})
	reason(err, ebstypes.ValidationExceptionReasonInvalidParameterValue)
	_, err = r.ebs.ListSnapshotBlocks(r.ctx, &ebssdk.ListSnapshotBlocksInput{SnapshotId: &done, NextToken: str("AAAA")})
	reason(err, ebstypes.ValidationExceptionReasonInvalidPageToken)
	_, err = r.ebs.CompleteSnapshot(r.ctx, &ebssdk.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: aws.Int32(0), Checksum: str("AAAA")})
	reason(err, ebstypes.ValidationExceptionReasonInvalidParameterValue)
	for _, size := range []int64{0, -1, 65537} {
		_, err = r.ebs.StartSnapshot(r.ctx, startOf(size))
		reason(err, ebstypes.ValidationExceptionReasonInvalidVolumeSize)
	}
	encrypted := startOf(1)
	encrypted.Encrypted = aws.Bool(true)
	_, err = r.ebs.StartSnapshot(r.ctx, encrypted)
	reason(err, ebstypes.ValidationExceptionReasonInvalidParameterValue)
	tagged := startOf(1)
	tagged.Tags = []ebstypes.Tag{{Key: str("aws:x")}}
	_, err = r.ebs.StartSnapshot(r.ctx, tagged)
	reason(err, ebstypes.ValidationExceptionReasonInvalidTag)
	_, err = r.bobs.ListSnapshotBlocks(r.ctx, &ebssdk.ListSnapshotBlocksInput{SnapshotId: &done})
	wantCode(t, err, "ResourceNotFoundException")
	volume := r.volume(1)
	snap, err := r.client.CreateSnapshot(r.ctx, &sdk.CreateSnapshotInput{VolumeId: &volume})
	r.ok(err)
	reason(r.put(*snap.SnapshotId, 0, whole), ebstypes.ValidationExceptionReasonInvalidSnapshotId)
	r.storage.broken = errBroken
	wantCode(t, r.put(id, 0, whole), "InternalServerException")
	_, err = r.client.DeleteSnapshot(r.ctx, &sdk.DeleteSnapshotInput{SnapshotId: &id})
	r.ok(err)
	wantCode(t, r.put(id, 0, whole), "ResourceNotFoundException")
}

func TestASnapshotThatNobodyWritesToIsGivenUp(t *testing.T) {
	r := newStorageRig(t)
	short, err := r.ebs.StartSnapshot(r.ctx, &ebssdk.StartSnapshotInput{VolumeSize: aws.Int64(1), Timeout: aws.Int32(10)})
	r.ok(err)
	usual, err := r.ebs.StartSnapshot(r.ctx, startOf(1))
	r.ok(err)
	w := &builderWatch{seen: map[fsm.SnapshotID]sight{}}
	states := func() [2]string {
		t.Helper()
		r.ok(r.service.watchBuilders(r.ctx, w))
		return [2]string{r.snapshot(*short.SnapshotId).State, r.snapshot(*usual.SnapshotId).State}
	}
	states()
	r.pass(9 * time.Minute)
	builder := r.record(string(r.snapshot(*short.SnapshotId).Volume))
	r.must(&fsm.CheckpointVolume{ID: builder.ID, Generation: builder.Generation, Map: fsm.VolumeMap{Seq: 1}}) // it was written to
	states()
	r.pass(9 * time.Minute)
	if got := states(); got != [2]string{fsm.SnapshotPending, fsm.SnapshotPending} {
		t.Errorf("after 9 minutes without a write: %v", got)
	}
	r.pass(time.Minute)
	if got := states(); got != [2]string{fsm.SnapshotError, fsm.SnapshotPending} {
		t.Errorf("after 10 minutes: %v", got)
	}
	if x := r.snapshot(*short.SnapshotId); x.Message == "" || r.record(string(builder.ID)).ID != "" {
		t.Errorf("%+v, or its builder is left", x)
	}
	r.pass(time.Hour)
	if got := states(); got[1] != fsm.SnapshotError {
		t.Errorf("after an hour: %v", got)
	}
	wantCode(t, r.put(*short.SnapshotId, 0, make([]byte, BlockSize)), "ValidationException")
}

func TestChangedBlocksAreThoseWhoseContentDiffers(t *testing.T) {
	r := newStorageRig(t)
	first := r.blocks(map[int64]byte{0: 1, 1: 1, 5: 1})
	in := startOf(1)
	in.ParentSnapshotId = &first
	start, err := r.ebs.StartSnapshot(r.ctx, in)
	r.ok(err)
	second := *start.SnapshotId
	for i, b := range map[int64]byte{0: 1, 1: 2, 9: 3} { // 5 is not there: the engine of the test shares nothing
		r.ok(r.put(second, i, bytes.Repeat([]byte{b}, BlockSize)))
	}
	r.ok(r.storage.FinishBuilder(r.ctx, fsm.SnapshotID(second)))
	changed := func(first *string, from int32) (got []int32, out *ebssdk.ListChangedBlocksOutput) {
		t.Helper()
		out, err := r.ebs.ListChangedBlocks(r.ctx, &ebssdk.ListChangedBlocksInput{FirstSnapshotId: first, SecondSnapshotId: &second, StartingBlockIndex: &from})
		r.ok(err)
		for _, b := range out.ChangedBlocks {
			got = append(got, *b.BlockIndex)
		}
		return got, out
	}
	got, out := changed(&first, 0)
	if !slices.Equal(got, []int32{1, 5, 9}) {
		t.Fatalf("%v", got)
	}
	one, five, nine := out.ChangedBlocks[0], out.ChangedBlocks[1], out.ChangedBlocks[2]
	if one.FirstBlockToken == nil || one.SecondBlockToken == nil || five.SecondBlockToken != nil || nine.FirstBlockToken != nil {
		t.Errorf("%+v", out.ChangedBlocks)
	}
	r.get(ebstypes.Block{BlockIndex: nine.BlockIndex, BlockToken: nine.SecondBlockToken}, second)
	if got, _ := changed(&first, 2); !slices.Equal(got, []int32{5, 9}) {
		t.Errorf("from 2 on: %v", got)
	}
	if got, _ := changed(nil, 0); !slices.Equal(got, []int32{0, 1, 9}) {
		t.Errorf("without a first: %v", got)
	}
	other := r.blocks(map[int64]byte{0: 1})
	_, err = r.ebs.ListChangedBlocks(r.ctx, &ebssdk.ListChangedBlocksInput{FirstSnapshotId: &other, SecondSnapshotId: &second})
	var refused *ebstypes.ValidationException
	if !errors.As(err, &refused) || refused.Reason != ebstypes.ValidationExceptionReasonUnrelatedSnapshots {
		t.Errorf("%v", err)
	}
}

func TestChangedBlocksComeInPagesOfBoundedWork(t *testing.T) {
	r := newStorageRig(t)
	first := r.blocks(map[int64]byte{0: 1})
	in := startOf(1)
	in.ParentSnapshotId = &first
	start, err := r.ebs.StartSnapshot(r.ctx, in)
	r.ok(err)
	second := *start.SnapshotId
	for i := range int64(600) {
		r.ok(r.storage.WriteBuilder(r.ctx, fsm.SnapshotID(second), []byte{1}, 3*i*BlockSize))
	}
	r.ok(r.storage.FinishBuilder(r.ctx, fsm.SnapshotID(second)))
	var got []int32
	pages := ebssdk.NewListChangedBlocksPaginator(r.ebs, &ebssdk.ListChangedBlocksInput{FirstSnapshotId: &first, SecondSnapshotId: &second})
	count := 0
	for ; pages.HasMorePages(); count++ {
		page, err := pages.NextPage(r.ctx)
		r.ok(err)
		for _, b := range page.ChangedBlocks {
			got = append(got, *b.BlockIndex)
		}
	}
	if len(got) != 600 || got[0] != 0 || got[599] != 3*599 || !slices.IsSorted(got) || count != 3 {
		t.Errorf("%d blocks in %d pages", len(got), count)
	}
}
