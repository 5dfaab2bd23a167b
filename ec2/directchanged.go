package ec2

import (
	"bytes"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"hive/fsm"
	"hive/iam/principal"
)

// mostCompared is how many blocks one request compares by their content: a page may be shorter than was asked for.
const mostCompared = 256

// ListChangedBlocks tells which blocks differ between two snapshots of one lineage, by their content: those that were ever
// written in either of them are read and compared. Without a first snapshot it tells all that were written in the second.
func (d *Direct) ListChangedBlocks(ctx context.Context, c *principal.Caller, in *ebs.ListChangedBlocksInput) (*ebs.ListChangedBlocksOutput, error) {
	second, err := d.snapshot(ctx, c, in.SecondSnapshotId, fsm.SnapshotCompleted)
	if err != nil {
		return nil, err
	}
	var first fsm.Snapshot
	if in.FirstSnapshotId != nil {
		if first, err = d.snapshot(ctx, c, in.FirstSnapshotId, fsm.SnapshotCompleted); err != nil {
			return nil, err
		}
		if first.Lineage != second.Lineage {
			return nil, invalidBlocks(reasonUnrelated, "The snapshots '%s' and '%s' are not of one volume.", first.ID, second.ID)
		}
	}
	what := string(first.ID) + "/" + string(second.ID)
	p, err := pageOf(second, what, in.NextToken, in.MaxResults, in.StartingBlockIndex)
	if err != nil {
		return nil, err
	}
	out := &ebs.ListChangedBlocksOutput{
		ChangedBlocks: []types.ChangedBlock{}, BlockSize: aws.Int32(BlockSize), VolumeSize: &second.Size, ExpiryTime: aws.Time(d.s.cfg.Clock().Add(blockTokenLife)),
	}
	next, err := d.compare(ctx, comparison{first, second, p}, func(x types.ChangedBlock) { out.ChangedBlocks = append(out.ChangedBlocks, x) })
	if err != nil {
		return nil, d.explain(ctx, c, second, err)
	}
	if next >= 0 {
		out.NextToken = pageToken(what, next)
	}
	return out, nil
}

// comparison is a page of the blocks in which two snapshots differ; first has no id when there is none.
type comparison struct {
	first, second fsm.Snapshot
	page          blockPage
}

// compare tells the blocks that differ, and answers where the next page begins; -1 after the last.
func (d *Direct) compare(ctx context.Context, x comparison, tell func(types.ChangedBlock)) (next int64, err error) {
	most := x.page.max
	if x.first.ID != "" {
		most = min(most, mostCompared)
	}
	var before, after []int64
	if x.first.ID != "" && x.page.from < x.first.Size*blocksPerGiB {
		if before, err = d.written(ctx, x.first.ID, x.first.Size, x.page.from, most); err != nil {
			return 0, err
		}
	}
	if x.page.from < x.second.Size*blocksPerGiB {
		if after, err = d.written(ctx, x.second.ID, x.second.Size, x.page.from, most); err != nil {
			return 0, err
		}
	}
	for n := 0; len(before)+len(after) > 0; n++ {
		index, inBefore, inAfter := least(&before, &after)
		if n == most {
			return index, nil
		}
		changed := types.ChangedBlock{BlockIndex: aws.Int32(int32(index))}
		if inBefore {
			changed.FirstBlockToken = aws.String(blockToken(x.first.ID, index))
		}
		if inAfter {
			changed.SecondBlockToken = aws.String(blockToken(x.second.ID, index))
		}
		if inBefore && inAfter {
			same, err := d.same(ctx, x, index)
			if err != nil {
				return 0, err
			}
			if same {
				continue
			}
		}
		tell(changed)
	}
	return -1, nil
}

// least takes the smallest index off the lists, and tells which had it.
func least(a, b *[]int64) (index int64, inA, inB bool) {
	switch {
	case len(*a) == 0:
		inB = true
	case len(*b) == 0:
		inA = true
	default:
		inA, inB = (*a)[0] <= (*b)[0], (*b)[0] <= (*a)[0]
	}
	if inA {
		index, *a = (*a)[0], (*a)[1:]
	}
	if inB {
		index, *b = (*b)[0], (*b)[1:]
	}
	return index, inA, inB
}

// same tells whether both snapshots have the same content at a block.
func (d *Direct) same(ctx context.Context, x comparison, index int64) (bool, error) {
	a, b := make([]byte, BlockSize), make([]byte, BlockSize)
	if err := d.blocks.ReadSnapshot(ctx, x.first.ID, a, index*BlockSize); err != nil {
		return false, err
	}
	err := d.blocks.ReadSnapshot(ctx, x.second.ID, b, index*BlockSize)
	return bytes.Equal(a, b), err
}
