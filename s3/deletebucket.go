package s3

import (
	"context"
	"errors"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/fsm"
	"hive/iam/principal"
)

// DeleteBucket removes an empty bucket: see fsm.Gate for its steps, any of which may be the last
// before a crash. What is left then, the next deletion, creation or write of the bucket mends.
func (s *Service) DeleteBucket(ctx context.Context, c *principal.Caller, in *sdk.DeleteBucketInput) (*sdk.DeleteBucketOutput, error) {
	name, err := bucketName(in.Bucket)
	if err != nil {
		return nil, err
	}
	sc := scope{caller: c, bucket: name, expected: in.ExpectedBucketOwner}
	for range maxTries {
		b, err := s.record(ctx, sc)
		if codeOf(err) == noSuchBucket.code {
			s.removeGates(ctx, name, 0)
		}
		if err != nil {
			return nil, err
		}
		if err = s.deleteBucket(ctx, sc, b); err == nil {
			return &sdk.DeleteBucketOutput{}, nil
		}
		if !errors.Is(err, fsm.ErrConflict) {
			return nil, err
		}
	}
	return nil, operationAborted.with("BucketName", string(name))
}

// deleteBucket answers fsm.ErrConflict when someone else decided about the bucket meanwhile.
func (s *Service) deleteBucket(ctx context.Context, sc scope, b fsm.Bucket) error {
	if err := s.checkEmpty(ctx, sc); err != nil {
		return err // before anything has changed
	}
	if err := s.propose(ctx, s.cfg.Control, &fsm.BeginDeleteBucket{Name: sc.bucket, Rev: b.Rev}); err != nil {
		return sc.gone(err)
	}
	b, err := s.record(ctx, sc)
	if err != nil {
		return err
	}
	if !b.Deleting {
		return fsm.Errorf(fsm.ErrConflict, string(sc.bucket))
	}
	err = s.eachIndex(ctx, func(ctx context.Context, _ int, g Group) error {
		return s.propose(ctx, g, &fsm.SealGate{Name: sc.bucket, Owner: b.Owner, Born: b.Born, Seq: b.Rev})
	})
	if errors.Is(err, fsm.ErrInUse) {
		return s.cancelDelete(ctx, sc, b)
	}
	if err != nil {
		return err
	}
	err = s.propose(ctx, s.cfg.Control, &fsm.RemoveBucket{Name: sc.bucket, Rev: b.Rev})
	if err != nil && !errors.Is(err, fsm.ErrNotFound) { // not found: another deletion has ended
		return err
	}
	s.removeGates(ctx, sc.bucket, b.Rev)
	return nil
}

// gone tells a client that the bucket is not there any more.
func (sc scope) gone(err error) error {
	if errors.Is(err, fsm.ErrNotFound) {
		return sc.noSuchBucket()
	}
	return err
}

// checkEmpty refuses a bucket that holds something, so that the usual refusal changes nothing.
func (s *Service) checkEmpty(ctx context.Context, sc scope) error {
	return s.eachIndex(ctx, func(ctx context.Context, _ int, g Group) error {
		return s.view(ctx, g, func(v *fsm.View) error {
			if fsm.BucketHolds(v, sc.bucket) {
				return bucketNotEmpty.with("BucketName", string(sc.bucket))
			}
			return nil
		})
	})
}

// cancelDelete gives the bucket back after an object was found in it. Gates that were sealed are
// opened by the next write if not here.
func (s *Service) cancelDelete(ctx context.Context, sc scope, b fsm.Bucket) error {
	err := s.propose(ctx, s.cfg.Control, &fsm.ReopenBucket{Name: sc.bucket, Rev: b.Rev})
	if err != nil && !refused(err) { // refused: someone else has decided already
		return err
	}
	return bucketNotEmpty.with("BucketName", string(sc.bucket))
}

// removeGates forgets the sealed gates of a bucket that is gone: those sealed under seq, or under
// whatever when seq is 0. One that stays is harmless: a new bucket of that name takes it over.
func (s *Service) removeGates(ctx context.Context, name fsm.BucketName, seq uint64) {
	err := s.eachIndex(ctx, func(ctx context.Context, _ int, g Group) error {
		last := seq
		if last == 0 {
			var gate fsm.Gate
			if err := s.local(g, func(v *fsm.View) error { gate, _ = fsm.Gates.Get(v, name); return nil }); err != nil {
				return err
			}
			if !gate.Sealed {
				return nil
			}
			last = gate.Seq
		}
		return s.propose(ctx, g, &fsm.RemoveGate{Name: name, Seq: last})
	})
	if err != nil && !refused(err) {
		s.cfg.Log.Warn("gate of a deleted bucket stays until its name is used again", "bucket", name, "err", err)
	}
}
