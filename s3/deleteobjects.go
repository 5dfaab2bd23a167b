package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const maxDeletes = 1000

// DeleteObjects removes up to 1000 objects, with one commit per index group as a rule; each
// conditional one has its own.
func (s *Service) DeleteObjects(ctx context.Context, c *principal.Caller, in *sdk.DeleteObjectsInput) (*sdk.DeleteObjectsOutput, error) {
	name, err := bucketName(in.Bucket)
	if err != nil {
		return nil, err
	}
	if in.Delete == nil || len(in.Delete.Objects) == 0 || len(in.Delete.Objects) > maxDeletes {
		return nil, malformedXML.with()
	}
	sc := scope{caller: c, bucket: name, expected: in.ExpectedBucketOwner}
	d := deletion{s: s, sc: sc, plain: map[Group][]int{}, items: in.Delete.Objects, errs: make([]error, len(in.Delete.Objects))}
	for i, item := range d.items {
		d.add(ctx, i, item)
	}
	for g, indexes := range d.plain {
		d.removeAll(ctx, g, indexes)
	}
	return d.output(aws.ToBool(in.Delete.Quiet))
}

type deletion struct {
	s     *Service
	sc    scope
	plain map[Group][]int // indexes of items without a condition
	items []types.ObjectIdentifier
	errs  []error // of each item
}

func (d *deletion) add(ctx context.Context, i int, item types.ObjectIdentifier) {
	t, err := d.s.target(aws.String(string(d.sc.bucket)), item.Key)
	if err == nil {
		err = checkVersion(item.VersionId)
	}
	if err == nil && (item.Size != nil || item.LastModifiedTime != nil) {
		err = notImplemented.says("Deletes can be conditional on ETag only.")
	}
	switch {
	case err != nil:
		d.errs[i] = err
	case aws.ToString(item.ETag) != "":
		d.errs[i] = d.s.remove(ctx, d.sc, t.group, []string{t.key}, fsm.Precondition{ETag: unquoted(*item.ETag)})
	default:
		d.plain[t.group] = append(d.plain[t.group], i)
	}
}

// maxDrops is how many blobs one command may give up, but for an object that has more: a command keeps
// the whole group waiting while it is recorded.
const maxDrops = 4000

func (d *deletion) removeAll(ctx context.Context, g Group, indexes []int) {
	for len(indexes) > 0 {
		n, err := d.few(g, indexes)
		keys := make([]string, n)
		for at, i := range indexes[:n] {
			keys[at] = *d.items[i].Key
		}
		if err == nil {
			err = d.s.remove(ctx, d.sc, g, keys, fsm.Precondition{})
		}
		for _, i := range indexes[:n] {
			d.errs[i] = err
		}
		indexes = indexes[n:]
	}
}

// few is how many of the items one command shall remove, as far as this node knows their parts.
func (d *deletion) few(g Group, indexes []int) (n int, err error) {
	drops := 0
	return n, d.s.local(g, func(v *fsm.View) error {
		for _, i := range indexes {
			head, _ := fsm.ObjectHeads.Get(v, fsm.NewObjectID(d.sc.bucket, *d.items[i].Key))
			if drops += 1 + head.Parts; drops > maxDrops && n > 0 {
				return nil
			}
			n++
		}
		return nil
	})
}

// output lists what was done. A bucket that cannot be used is the request's error.
func (d *deletion) output(quiet bool) (*sdk.DeleteObjectsOutput, error) {
	out := &sdk.DeleteObjectsOutput{}
	for i, err := range d.errs {
		item := d.items[i]
		if err == nil {
			if !quiet {
				out.Deleted = append(out.Deleted, types.DeletedObject{Key: item.Key, VersionId: item.VersionId})
			}
			continue
		}
		var answer *protocol.Error
		if !errors.As(err, &answer) {
			return nil, err
		}
		if answer.Code == noSuchBucket.code || answer.Code == accessDenied.code {
			return nil, answer
		}
		out.Errors = append(out.Errors, types.Error{Key: item.Key, VersionId: item.VersionId, Code: &answer.Code, Message: &answer.Message})
	}
	return out, nil
}
