package ebs

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"hive/ebs/nbd"
	"hive/ebs/qlog"
	"hive/internal/vfs"
)

// device is a volume as NBD serves it.
type device struct{ v *volume }

var _ interface {
	nbd.Device
	nbd.Quick
} = device{}

// errnoOf gives an error the number that the guest's side is to see.
func errnoOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotOwner), errors.Is(err, ErrClosed), errors.Is(err, qlog.ErrFenced), errors.Is(err, qlog.ErrClosed):
		return fmt.Errorf("%w: %w", syscall.ESHUTDOWN, err)
	case errors.Is(err, vfs.ErrNoSpace):
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	case errors.Is(err, ErrInvalid):
		return fmt.Errorf("%w: %w", syscall.EINVAL, err)
	default:
		return fmt.Errorf("%w: %w", syscall.EIO, err)
	}
}

// Size is the volume's.
func (d device) Size() int64 { return d.v.size }

// ReadAt reads from the cache or from where the volume lies.
func (d device) ReadAt(ctx context.Context, p []byte, off int64) error {
	return errnoOf(d.v.read(ctx, p, off))
}

// WriteAt appends to the log.
func (d device) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	return errnoOf(d.v.write(ctx, p, off, fua))
}

// Zero is one record, whatever n is. It always makes a hole: a thick zero would be no safer here.
func (d device) Zero(ctx context.Context, off, n int64, fua, _ bool) error {
	return errnoOf(d.v.zero(ctx, qlog.Zero, off, n, fua))
}

// Trim makes zeroes of a range: EBS promises nothing, this promises more.
func (d device) Trim(ctx context.Context, off, n int64, fua bool) error {
	return errnoOf(d.v.zero(ctx, qlog.Trim, off, n, fua))
}

// Flush waits for a majority of the log's copies.
func (d device) Flush(ctx context.Context) error { return errnoOf(d.v.sync(ctx)) }

// Extents tells data from holes.
func (d device) Extents(ctx context.Context, off, n int64, yield func(length int64, hole, zero bool) bool) error {
	return errnoOf(d.v.extents(ctx, off, n, func(length int64, data bool) bool { return yield(length, !data, !data) }))
}

// TryRead answers what the cache has.
func (d device) TryRead(p []byte, off int64) bool { return d.v.tryRead(p, off) }

// TryWrite writes when the log has room.
func (d device) TryWrite(p []byte, off int64) bool {
	v := d.v
	if len(p) > writeMax || v.check(off, int64(len(p))) != nil || v.dirty.Load() >= v.cfg.DirtyMax {
		return false
	}
	if v.change(qlog.Write, off, int64(len(p)), p) != nil {
		return false // who tries again by the long way is told the cause
	}
	v.begin()
	return true
}
