package s3

import (
	"context"
	"errors"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// maxTries bounds how often an operation decides again because what it had decided on changed.
const maxTries = 8

// scope is who asks for which bucket.
type scope struct {
	caller   *principal.Caller
	bucket   fsm.BucketName
	expected *string // x-amz-expected-bucket-owner
}

// allows refuses a bucket of another account.
func (sc scope) allows(owner fsm.AccountID) error {
	if sc.caller == nil || string(owner) != sc.caller.Account || (sc.expected != nil && *sc.expected != string(owner)) {
		return accessDenied.with("BucketName", string(sc.bucket))
	}
	return nil
}

func (sc scope) noSuchBucket() *protocol.Error {
	return noSuchBucket.with("BucketName", string(sc.bucket))
}

// record is the bucket as the control group has it now.
func (s *Service) record(ctx context.Context, sc scope) (fsm.Bucket, error) {
	var b fsm.Bucket
	var ok bool
	err := s.view(ctx, s.cfg.Control, func(v *fsm.View) error {
		b, ok = fsm.Buckets.Get(v, sc.bucket)
		return nil
	})
	switch {
	case err != nil:
		return b, err
	case !ok:
		return b, sc.noSuchBucket()
	}
	return b, sc.allows(b.Owner)
}

// read runs fn on the state of an index group as of now, once the caller may use the bucket. A bucket
// without a gate there has no objects there: fn runs all the same when the bucket exists.
func (s *Service) read(ctx context.Context, sc scope, g Group, fn func(*fsm.View) error) error {
	known := false
	err := s.view(ctx, g, func(v *fsm.View) error {
		gate, ok := fsm.Gates.Get(v, sc.bucket)
		if !ok || gate.Sealed {
			return nil
		}
		known = true
		if err := sc.allows(gate.Owner); err != nil {
			return err
		}
		return fn(v)
	})
	if err != nil || known {
		return err
	}
	if _, err := s.record(ctx, sc); err != nil {
		return err
	}
	return s.view(ctx, g, fn)
}

// write has propose make a change to a bucket whose gate is open in an index group, again when
// the bucket changed meanwhile (fsm.ErrConflict).
func (s *Service) write(ctx context.Context, sc scope, g Group, propose func(fsm.Gate) error) error {
	gate, err := s.gate(ctx, sc, g)
	for range maxTries {
		if err != nil {
			return err
		}
		if err = propose(gate); !errors.Is(err, fsm.ErrConflict) {
			return err
		}
		gate, err = s.openGate(ctx, sc, g)
	}
	return operationAborted.with("BucketName", string(sc.bucket))
}

// gate is the bucket's open gate in an index group. What this node knows suffices, as a command's Check
// finds out when it is outdated; only a refusal is asked about again.
func (s *Service) gate(ctx context.Context, sc scope, g Group) (fsm.Gate, error) {
	gate, err := s.localGate(sc, g)
	if err != nil {
		return s.openGate(ctx, sc, g)
	}
	return gate, nil
}

func (s *Service) localGate(sc scope, g Group) (fsm.Gate, error) {
	var gate fsm.Gate
	err := s.local(g, func(v *fsm.View) error {
		var ok bool
		if gate, ok = fsm.Gates.Get(v, sc.bucket); !ok || gate.Sealed {
			return sc.noSuchBucket()
		}
		return sc.allows(gate.Owner)
	})
	return gate, err
}

// openGate opens the bucket's gate in an index group, unless it is open. It thereby goes on with a
// creation that was cut off, and cancels a deletion.
func (s *Service) openGate(ctx context.Context, sc scope, g Group) (fsm.Gate, error) {
	for range maxTries {
		if err := s.readIndex(ctx, g); err != nil {
			return fsm.Gate{}, err
		}
		if gate, err := s.localGate(sc, g); err == nil {
			return gate, nil
		}
		b, err := s.record(ctx, sc)
		if err != nil {
			return fsm.Gate{}, err
		}
		if !b.Deleting {
			err := s.propose(ctx, g, &fsm.OpenGate{Name: sc.bucket, Owner: b.Owner, Born: b.Born, Seq: b.Rev})
			if err == nil {
				return fsm.Gate{Owner: b.Owner, Born: b.Born, Seq: b.Rev}, nil
			}
			if !errors.Is(err, fsm.ErrConflict) {
				return fsm.Gate{}, err
			}
		}
		// Being deleted, or the group has seen a later decision or is above this one: decide anew.
		err = s.propose(ctx, s.cfg.Control, &fsm.ReopenBucket{Name: sc.bucket, Rev: b.Rev})
		if err != nil && !refused(err) {
			return fsm.Gate{}, err
		}
	}
	return fsm.Gate{}, operationAborted.with("BucketName", string(sc.bucket))
}
