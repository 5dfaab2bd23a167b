package ec2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// BlockSize is the size in bytes of the blocks that the EBS direct APIs carry.
const BlockSize = 512 << 10

const blocksPerGiB = (1 << 30) / BlockSize

// blockTokenLife is how long AWS's tokens of blocks are good for. Ours do not expire: they are told the same.
const blockTokenLife = 7 * 24 * time.Hour

// Blocks is what the EBS direct APIs need of the volumes' engine, from any node.
type Blocks interface {
	WriteBuilder(ctx context.Context, id fsm.SnapshotID, p []byte, off int64) error
	FinishBuilder(ctx context.Context, id fsm.SnapshotID) error
	// ReadSnapshot fills p from a completed snapshot.
	ReadSnapshot(ctx context.Context, id fsm.SnapshotID, p []byte, off int64) error
	// SnapshotExtents yields the runs of a completed snapshot within [off, off+n) that were ever written, in order.
	SnapshotExtents(ctx context.Context, id fsm.SnapshotID, off, n int64, yield func(off, n int64) bool) error
}

// Direct answers the operations of the EBS direct APIs (service ebs): snapshots by block.
type Direct struct {
	s      *Service
	blocks Blocks
}

// NewDirect is the Direct beside a Service.
func NewDirect(s *Service, blocks Blocks) *Direct { return &Direct{s, blocks} }

// Reasons of a ValidationException.
const (
	reasonParameter = "INVALID_PARAMETER_VALUE"
	reasonSnapshot  = "INVALID_SNAPSHOT_ID"
	reasonBlock     = "INVALID_BLOCK"
	reasonToken     = "INVALID_BLOCK_TOKEN"
	reasonPage      = "INVALID_PAGE_TOKEN"
	reasonTag       = "INVALID_TAG"
	reasonSize      = "INVALID_VOLUME_SIZE"
	reasonUnrelated = "UNRELATED_SNAPSHOTS"
)

func invalidBlocks(reason, format string, args ...any) *protocol.Error {
	e := protocol.Errorf(http.StatusBadRequest, "ValidationException", format, args...)
	e.Fields = []protocol.Field{{Name: "Reason", Value: reason}}
	return e
}

func noSnapshot(id string) *protocol.Error {
	e := protocol.Errorf(http.StatusNotFound, "ResourceNotFoundException", "The snapshot '%s' does not exist.", id)
	e.Fields = []protocol.Field{{Name: "Reason", Value: "SNAPSHOT_NOT_FOUND"}}
	return e
}

// snapshot is the caller's snapshot of an id in a state. The state at hand is asked first: an id that was told to the
// caller is most often there.
func (d *Direct) snapshot(ctx context.Context, c *principal.Caller, id *string, state string) (fsm.Snapshot, error) {
	name := aws.ToString(id)
	if checkID("snap", name) != nil {
		return fsm.Snapshot{}, invalidBlocks(reasonSnapshot, "The snapshot id '%s' is not valid.", name)
	}
	var x fsm.Snapshot
	look := func(v *fsm.View) error {
		var ok bool
		if x, ok = fsm.Snapshots.Get(v, fsm.SnapshotID(name)); !ok || x.Account != account(c) {
			return noSnapshot(name)
		}
		return nil
	}
	err := d.s.cfg.Control.View(look)
	if err != nil || x.State != state {
		err = d.s.read(ctx, look)
	}
	if err == nil && x.State != state {
		err = invalidBlocks(reasonSnapshot, "The snapshot '%s' is in the state '%s': it must be %s.", name, x.State, state)
	}
	if err == nil && state == fsm.SnapshotPending && !x.Direct {
		err = invalidBlocks(reasonSnapshot, "The snapshot '%s' is one of a volume: no blocks can be put into it.", name)
	}
	return x, err
}

// explain words a failure of the engine: by then the snapshot may be gone or in another state.
func (d *Direct) explain(ctx context.Context, c *principal.Caller, x fsm.Snapshot, err error) error {
	if _, now := d.snapshot(ctx, c, aws.String(string(x.ID)), x.State); now != nil {
		return now
	}
	return errors.Join(protocol.Errorf(http.StatusInternalServerError, "InternalServerException",
		"The blocks of snapshot '%s' cannot be reached now. Try again.", x.ID), err)
}

// StartSnapshot makes a pending snapshot that blocks are put into: on the content of a parent, or on zeroes.
func (d *Direct) StartSnapshot(ctx context.Context, c *principal.Caller, in *ebs.StartSnapshotInput) (*ebs.StartSnapshotOutput, error) {
	tags, err := checkStart(in)
	if err != nil {
		return nil, err
	}
	once, err := d.once(c, in)
	if err != nil {
		return nil, err
	}
	var x fsm.Snapshot
	err = d.s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if once != nil {
			if used, ok := fsm.TokenUsed(v, once.Account, once.Op, once.Token); ok {
				return nil, repeated(v, once, used, &x)
			}
		}
		cmd, err := d.newStart(v, c, in)
		if err != nil {
			return nil, err
		}
		if cmd.Tags, cmd.Once = tags, once; once != nil {
			once.IDs = []string{string(cmd.Snapshot.ID)}
		}
		x = cmd.Snapshot
		x.Size = cmd.Builder.Size
		return cmd, nil
	})
	if err != nil {
		return nil, err
	}
	d.s.changed(ctx, c, "snapshot started", "snapshot", x.ID, "size_gib", x.Size)
	return &ebs.StartSnapshotOutput{
		SnapshotId: aws.String(string(x.ID)), OwnerId: aws.String(string(x.Account)), Status: types.StatusPending, StartTime: timeOf(x.Started),
		VolumeSize: aws.Int64(x.Size), BlockSize: aws.Int32(BlockSize), Description: aws.String(x.Description), Tags: in.Tags,
		ParentSnapshotId: in.ParentSnapshotId, SseType: types.SSETypeNone,
	}, nil
}

// repeated answers a client token that was used: with the same snapshot, or that it does not fit.
func repeated(v *fsm.View, once *fsm.ClientToken, used fsm.ClientToken, x *fsm.Snapshot) error {
	var ok bool
	if *x, ok = fsm.Snapshots.Get(v, fsm.SnapshotID(used.IDs[0])); !ok || !used.Same(once.Hash) {
		return protocol.Errorf(http.StatusConflict, "ConflictException", "The client token '%s' was used for another request.", once.Token)
	}
	return nil
}

// checkStart checks what can be told without the state.
func checkStart(in *ebs.StartSnapshotInput) ([]fsm.Tag, error) {
	if err := supports(in, "VolumeSize", "Description", "Tags", "ClientToken", "ParentSnapshotId", "Timeout"); err != nil {
		return nil, invalidBlocks(reasonParameter, "Encrypted snapshots are not supported: leave Encrypted and KmsKeyArn out.")
	}
	switch size := aws.ToInt64(in.VolumeSize); {
	case size < 1 || size > 65536:
		return nil, invalidBlocks(reasonSize, "The volume size of %d GiB is not valid: give 1 to 65536.", size)
	case len(aws.ToString(in.Description)) > maxDescription:
		return nil, invalidBlocks(reasonParameter, "The description has more than %d characters.", maxDescription)
	case len(aws.ToString(in.ClientToken)) > 255:
		return nil, invalidBlocks(reasonParameter, "The client token has more than 255 characters.")
	case in.Timeout != nil && (*in.Timeout < 10 || *in.Timeout > 4320):
		return nil, invalidBlocks(reasonParameter, "The timeout of %d minutes is not valid: give 10 to 4320.", *in.Timeout)
	}
	list := make([]ec2types.Tag, 0, len(in.Tags))
	for _, t := range in.Tags {
		list = append(list, ec2types.Tag{Key: t.Key, Value: t.Value})
	}
	tags, err := validTags(list)
	if err != nil {
		return nil, invalidBlocks(reasonTag, "The tags are not valid: %v", err)
	}
	return tags, nil
}

func (d *Direct) once(c *principal.Caller, in *ebs.StartSnapshotInput) (*fsm.ClientToken, error) {
	if aws.ToString(in.ClientToken) == "" {
		return nil, nil
	}
	hash, err := requestHash(in, "ClientToken")
	return &fsm.ClientToken{Account: account(c), Op: "StartSnapshot", Token: *in.ClientToken, Hash: hash, Created: d.s.now()}, err
}

func (d *Direct) newStart(v *fsm.View, c *principal.Caller, in *ebs.StartSnapshotInput) (*fsm.CreateSnapshot, error) {
	var parent *fsm.Snapshot
	if in.ParentSnapshotId != nil {
		p, ok := fsm.Snapshots.Get(v, fsm.SnapshotID(*in.ParentSnapshotId))
		switch {
		case !ok || p.Account != account(c):
			return nil, noSnapshot(*in.ParentSnapshotId)
		case p.State != fsm.SnapshotCompleted:
			return nil, invalidBlocks(reasonSnapshot, "The snapshot '%s' is not completed.", p.ID)
		case p.Size > *in.VolumeSize:
			return nil, invalidBlocks(reasonSize, "The volume size of %d GiB is below that of the parent: %d GiB.", *in.VolumeSize, p.Size)
		}
		parent = &p
	}
	cmd, err := d.s.newBuilder(account(c), aws.ToString(in.Description), *in.VolumeSize, parent)
	if err == nil {
		cmd.Snapshot.Timeout = aws.ToInt32(in.Timeout)
	}
	return cmd, err
}

// newBuilder is the command that begins a snapshot of its own, which blocks are written into.
func (s *Service) newBuilder(owner fsm.AccountID, description string, size int64, parent *fsm.Snapshot) (*fsm.CreateSnapshot, error) {
	id, err := s.newID("snap")
	if err != nil {
		return nil, err
	}
	here := s.node(s.cfg.Node)
	x, err := s.newVolume(owner, here.Zone, parent)
	if err != nil {
		return nil, err
	}
	x.Size, x.Type, x.Builder = size, defaultVolumeType, fsm.SnapshotID(id)
	if err := s.placeVolume(&x, here.ID); err != nil {
		return nil, err
	}
	if x.Owner = s.aliveOf(x.Replicas); slices.Contains(x.Replicas, here.ID) {
		x.Owner = here.ID
	}
	return &fsm.CreateSnapshot{
		Snapshot: fsm.Snapshot{ID: x.Builder, Account: owner, Volume: x.ID, Started: s.now(), Description: description}, Builder: &x,
	}, nil
}

// aliveOf is the first of the nodes that is alive; placeVolume has seen to it that there is one.
func (s *Service) aliveOf(nodes []fsm.NodeID) fsm.NodeID {
	for _, id := range nodes {
		if s.node(id).Alive {
			return id
		}
	}
	return nodes[0]
}

// PutSnapshotBlock writes one block of a pending snapshot.
func (d *Direct) PutSnapshotBlock(ctx context.Context, c *principal.Caller, in *ebs.PutSnapshotBlockInput) (*ebs.PutSnapshotBlockOutput, error) {
	x, err := d.snapshot(ctx, c, in.SnapshotId, fsm.SnapshotPending)
	if err != nil {
		return nil, err
	}
	if err := checkBlock(x, in.BlockIndex); err != nil {
		return nil, err
	}
	if n := aws.ToInt32(in.DataLength); n != BlockSize {
		return nil, invalidBlocks(reasonBlock, "The data length of %d bytes is not valid: a block has %d.", n, BlockSize)
	}
	data := make([]byte, BlockSize+1)
	n, err := io.ReadFull(in.BlockData, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return nil, err
	}
	sum := sha256.Sum256(data[:n])
	switch text := base64.StdEncoding.EncodeToString(sum[:]); {
	case n != BlockSize:
		return nil, invalidBlocks(reasonBlock, "The block has %d bytes, not %d.", n, BlockSize)
	case text != aws.ToString(in.Checksum):
		return nil, invalidBlocks(reasonBlock, "The checksum does not match the block: the SHA256 of what has come is %s.", text)
	}
	if err := d.blocks.WriteBuilder(ctx, x.ID, data[:n], int64(*in.BlockIndex)*BlockSize); err != nil {
		return nil, d.explain(ctx, c, x, err)
	}
	return &ebs.PutSnapshotBlockOutput{Checksum: in.Checksum, ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256}, nil
}

func checkBlock(x fsm.Snapshot, index *int32) error {
	if i := int64(aws.ToInt32(index)); i < 0 || i >= x.Size*blocksPerGiB {
		return invalidBlocks(reasonBlock, "The block %d is not within the snapshot: it has %d blocks.", i, x.Size*blocksPerGiB)
	}
	return nil
}

// CompleteSnapshot ends the putting of blocks. The count of changed blocks is not compared: blocks may have been put twice.
func (d *Direct) CompleteSnapshot(ctx context.Context, c *principal.Caller, in *ebs.CompleteSnapshotInput) (*ebs.CompleteSnapshotOutput, error) {
	x, err := d.snapshot(ctx, c, in.SnapshotId, fsm.SnapshotPending)
	switch {
	case err != nil && x.State == fsm.SnapshotCompleted && x.Direct && x.Account == account(c):
		return &ebs.CompleteSnapshotOutput{Status: types.StatusCompleted}, nil // asked again
	case err != nil:
		return nil, err
	case aws.ToInt32(in.ChangedBlocksCount) < 0:
		return nil, invalidBlocks(reasonParameter, "The count of changed blocks is below zero.")
	case in.Checksum != nil:
		return nil, invalidBlocks(reasonParameter, "A checksum over all blocks is not supported: each block's own was verified. Leave it out.")
	}
	if err := d.blocks.FinishBuilder(ctx, x.ID); err != nil {
		return nil, d.explain(ctx, c, x, err)
	}
	d.s.changed(ctx, c, "snapshot completed", "snapshot", x.ID)
	return &ebs.CompleteSnapshotOutput{Status: types.StatusCompleted}, nil
}

// blockToken stands for a block of a snapshot. It is no secret: who may read is IAM's to say.
func blockToken(id fsm.SnapshotID, index int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "block %s %d", id, index))
	return base64.StdEncoding.EncodeToString(sum[:24])
}

// GetSnapshotBlock reads one block of a completed snapshot.
func (d *Direct) GetSnapshotBlock(ctx context.Context, c *principal.Caller, in *ebs.GetSnapshotBlockInput) (*ebs.GetSnapshotBlockOutput, error) {
	x, err := d.snapshot(ctx, c, in.SnapshotId, fsm.SnapshotCompleted)
	if err != nil {
		return nil, err
	}
	if err := checkBlock(x, in.BlockIndex); err != nil {
		return nil, err
	}
	index := int64(*in.BlockIndex)
	if aws.ToString(in.BlockToken) != blockToken(x.ID, index) {
		return nil, invalidBlocks(reasonToken, "The block token is not the one of block %d of snapshot '%s'.", index, x.ID)
	}
	data := make([]byte, BlockSize)
	if err := d.blocks.ReadSnapshot(ctx, x.ID, data, index*BlockSize); err != nil {
		return nil, d.explain(ctx, c, x, err)
	}
	sum := sha256.Sum256(data)
	return &ebs.GetSnapshotBlockOutput{
		BlockData: io.NopCloser(bytes.NewReader(data)), DataLength: aws.Int32(BlockSize),
		Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
	}, nil
}

// blockPage is the part of a list that a request asks for: up to max blocks from an index on.
type blockPage struct {
	from int64
	max  int
}

// Limits of MaxResults of a list of blocks.
const (
	leastBlocks = 100
	mostBlocks  = 10000
)

// pageOf reads the page of a list. The token is base64 of "next", what is listed and the index, parted by spaces.
func pageOf(x fsm.Snapshot, what string, token *string, maxResults, start *int32) (blockPage, error) {
	p := blockPage{from: int64(aws.ToInt32(start)), max: mostBlocks}
	if maxResults != nil {
		if *maxResults < leastBlocks || *maxResults > mostBlocks {
			return p, invalidBlocks(reasonParameter, "MaxResults %d is not valid: give %d to %d.", *maxResults, leastBlocks, mostBlocks)
		}
		p.max = int(*maxResults)
	}
	if p.from < 0 {
		return p, invalidBlocks(reasonParameter, "The starting block index is below zero.")
	}
	if token == nil {
		return p, nil
	}
	raw, err := base64.StdEncoding.DecodeString(*token)
	words := strings.Fields(string(raw))
	if err == nil && len(words) == 3 && words[0] == "next" && words[1] == what {
		if p.from, err = strconv.ParseInt(words[2], 10, 64); err == nil && p.from >= 0 && p.from < x.Size*blocksPerGiB {
			return p, nil
		}
	}
	return p, invalidBlocks(reasonPage, "The page token is not one of this list.")
}

func pageToken(what string, index int64) *string {
	return aws.String(base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "next %s %d", what, index)))
}

// written are up to max+1 blocks of a snapshot from an index on that were ever written.
func (d *Direct) written(ctx context.Context, id fsm.SnapshotID, size, from int64, max int) ([]int64, error) {
	var out []int64
	off := from * BlockSize
	err := d.blocks.SnapshotExtents(ctx, id, off, size<<30-off, func(off, n int64) bool {
		for i := off / BlockSize; i*BlockSize < off+n && len(out) <= max; i++ {
			if len(out) == 0 || out[len(out)-1] < i {
				out = append(out, i)
			}
		}
		return len(out) <= max
	})
	return out, err
}

// ListSnapshotBlocks tells which blocks of a completed snapshot were ever written.
func (d *Direct) ListSnapshotBlocks(ctx context.Context, c *principal.Caller, in *ebs.ListSnapshotBlocksInput) (*ebs.ListSnapshotBlocksOutput, error) {
	x, err := d.snapshot(ctx, c, in.SnapshotId, fsm.SnapshotCompleted)
	if err != nil {
		return nil, err
	}
	p, err := pageOf(x, string(x.ID), in.NextToken, in.MaxResults, in.StartingBlockIndex)
	if err != nil {
		return nil, err
	}
	out := &ebs.ListSnapshotBlocksOutput{
		Blocks: []types.Block{}, BlockSize: aws.Int32(BlockSize), VolumeSize: &x.Size, ExpiryTime: aws.Time(d.s.cfg.Clock().Add(blockTokenLife)),
	}
	if p.from >= x.Size*blocksPerGiB {
		return out, nil
	}
	list, err := d.written(ctx, x.ID, x.Size, p.from, p.max)
	if err != nil {
		return nil, d.explain(ctx, c, x, err)
	}
	if len(list) > p.max {
		out.NextToken, list = pageToken(string(x.ID), list[p.max]), list[:p.max]
	}
	for _, i := range list {
		out.Blocks = append(out.Blocks, types.Block{BlockIndex: aws.Int32(int32(i)), BlockToken: aws.String(blockToken(x.ID, i))})
	}
	return out, nil
}
