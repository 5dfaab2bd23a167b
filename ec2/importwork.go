package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/fsm"
	"hive/internal/gpt"
)

// An import is carried out by one node, one at a time: the object is read to a file, made raw, and what is not zero is
// written through the snapshot's builder. The record of the task says before each step which snapshot and image it
// makes, so that a node that begins again finds what it has left.

const (
	importWrite    = 1 << 20 // bytes of one write
	importWriters  = 4
	importTry      = 30 * time.Second // how long one write is tried again
	importPause    = 200 * time.Millisecond
	progressSteps  = 5 // percent between two records of the progress
	progressRead   = 30
	progressRaw    = 60
	progressWrite  = 98
	importsDirName = "imports"
)

// errOver is an import that somebody else has ended.
var errOver = errors.New("the import is no longer this node's to carry out")

// runImports carries out this node's imports until ctx ends.
func (s *Service) runImports(ctx context.Context) {
	if s.cfg.Objects == nil || s.cfg.ToRaw == nil {
		return
	}
	dir := filepath.Join(s.cfg.Scratch, importsDirName)
	if err := os.RemoveAll(dir); err != nil { // of a daemon that was killed
		s.cfg.Log.ErrorContext(ctx, "files of earlier imports are not removed", "dir", dir, "err", err)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	lost := map[fsm.NodeID]time.Time{}
	for ctx.Err() == nil {
		changed := s.cfg.Control.Changed()
		s.noteLost(lost)
		task, ok := s.nextImport(ctx, lost)
		if ok {
			s.carryOut(ctx, task, filepath.Join(dir, task.ID))
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-ticker.C:
		}
	}
}

// nextImport is the oldest import that this node has to carry out: its own, or on the leader one of a node that is lost,
// which it takes.
func (s *Service) nextImport(ctx context.Context, lost map[fsm.NodeID]time.Time) (next fsm.ImportTask, ok bool) {
	leads := s.cfg.Leader()
	err := s.cfg.Control.View(func(v *fsm.View) error {
		for _, t := range fsm.ImportTasks.Scan(v, "") {
			since, dead := lost[t.Node]
			taken := leads && (dead && s.cfg.Clock().Sub(since) >= s.cfg.NodeLostAfter || !fsm.Members.Has(v, t.Node))
			if t.Status == importActive && (t.Node == s.cfg.Node || taken) && (!ok || t.Created < next.Created) {
				next, ok = t, true
			}
		}
		return nil
	})
	if err == nil && ok && next.Node != s.cfg.Node {
		err = s.record(ctx, &next, func(t *fsm.ImportTask) { t.Node = s.cfg.Node })
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errOver) {
			s.cfg.Log.ErrorContext(ctx, "imports cannot be looked up", "err", err)
		}
		return next, false
	}
	return next, ok
}

// record changes a task's record; errOver when it has been changed by others.
func (s *Service) record(ctx context.Context, task *fsm.ImportTask, change func(*fsm.ImportTask)) error {
	after := *task
	change(&after)
	err := s.cfg.Control.Propose(ctx, &fsm.PutImportTask{Task: after, Rev: task.Rev})
	if errors.Is(err, fsm.ErrConflict) {
		return errOver
	}
	if err != nil {
		return err
	}
	return s.cfg.Control.View(func(v *fsm.View) error {
		now, _ := fsm.ImportTasks.Get(v, task.ID)
		if now.Status != after.Status || now.Node != after.Node || now.Progress != after.Progress || now.Message != after.Message {
			return errOver
		}
		*task = now
		return nil
	})
}

// carryOut carries one import out, and records how it ended. When ctx ends it stays active, to be begun again.
func (s *Service) carryOut(ctx context.Context, task fsm.ImportTask, dir string) {
	log := s.cfg.Log.With("task", task.ID)
	err := s.carry(ctx, &task, dir)
	if gone := os.RemoveAll(dir); gone != nil {
		log.ErrorContext(ctx, "an import's files are not removed", "dir", dir, "err", gone)
	}
	switch {
	case err == nil:
		log.InfoContext(ctx, "import completed", "snapshot", task.Snapshot, "image", task.Image)
		return
	case ctx.Err() != nil:
		return
	}
	if errors.Is(err, errOver) && s.takenOver(task) {
		log.InfoContext(ctx, "import given up: another node carries it out")
		return
	}
	if drop := s.dropPending(ctx, task); drop != nil {
		log.ErrorContext(ctx, "an import's snapshot is not removed", "snapshot", task.Snapshot, "err", drop)
	}
	if errors.Is(err, errOver) {
		log.InfoContext(ctx, "import given up: it was cancelled")
		return
	}
	log.WarnContext(ctx, "import failed", "err", err)
	if told := s.record(ctx, &task, func(t *fsm.ImportTask) { t.Status, t.Message = importDeleted, failureOf(err) }); told != nil && !errors.Is(told, errOver) {
		log.ErrorContext(ctx, "an import's failure is not recorded; it begins again", "err", told)
	}
}

// takenOver tells whether another node has an import now.
func (s *Service) takenOver(task fsm.ImportTask) bool {
	var now fsm.ImportTask
	err := s.cfg.Control.View(func(v *fsm.View) error { now, _ = fsm.ImportTasks.Get(v, task.ID); return nil })
	return err != nil || now.Node != s.cfg.Node
}

// clientError is a failure that the disk's owner can mend.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

// failureOf words why an import has failed, as EC2 does: whose fault it is, and what.
func failureOf(err error) string {
	var client clientError
	if errors.As(err, &client) || isRefusal(err) {
		return "ClientError: " + err.Error()
	}
	return "ServerError: " + err.Error()
}

// dropPending deletes the snapshot of an import that comes to nothing.
func (s *Service) dropPending(ctx context.Context, task fsm.ImportTask) error {
	if task.Snapshot == "" {
		return nil
	}
	err := s.cfg.Control.Propose(ctx, &fsm.DeleteSnapshot{ID: task.Snapshot, Account: task.Account})
	if errors.Is(err, fsm.ErrNotFound) || errors.Is(err, fsm.ErrInUse) {
		return nil
	}
	return err
}

// carry is the import from its first step to its last.
func (s *Service) carry(ctx context.Context, task *fsm.ImportTask, dir string) error {
	var done fsm.Snapshot
	if err := s.read(ctx, func(v *fsm.View) error { done, _ = fsm.Snapshots.Get(v, task.Snapshot); return nil }); err != nil {
		return err
	}
	if done.State != fsm.SnapshotCompleted { // else it was, before this node's daemon was started again
		if err := s.dropPending(ctx, *task); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		raw, err := s.fetchDisk(ctx, task, dir)
		if err != nil {
			return err
		}
		if err := s.writeDisk(ctx, task, raw); err != nil {
			return err
		}
	}
	if task.Image != "" {
		if err := s.registerImport(ctx, task); err != nil {
			return err
		}
	}
	return s.record(ctx, task, func(t *fsm.ImportTask) { t.Status, t.Progress, t.Message = importCompleted, 100, "" })
}

// stage tells how an import goes: percents from the first to the last, at most every progressSteps.
func (s *Service) stage(ctx context.Context, task *fsm.ImportTask, message string, from, to int) func(done, total int64) error {
	return func(done, total int64) error {
		percent := from
		if total > 0 {
			percent += int(int64(to-from) * min(done, total) / total)
		}
		if task.Message == message && percent < task.Progress+progressSteps {
			return nil
		}
		return s.record(ctx, task, func(t *fsm.ImportTask) { t.Message, t.Progress = message, percent })
	}
}

// fetchDisk reads the object to a file and makes a raw disk of it. It answers the raw file's name.
func (s *Service) fetchDisk(ctx context.Context, task *fsm.ImportTask, dir string) (string, error) {
	body, size, err := s.cfg.Objects(ctx, task.Account, task.Bucket, task.Key)
	if err != nil {
		return "", err
	}
	packed := filepath.Join(dir, "object")
	err = s.copyObject(ctx, task, body, size, packed)
	if err := errors.Join(err, body.Close()); err != nil {
		return "", fmt.Errorf("read s3://%s/%s: %w", task.Bucket, task.Key, err)
	}
	raw := filepath.Join(dir, "raw")
	tell := s.stage(ctx, task, "converting", progressRead, progressRaw)
	limited, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err = s.cfg.ToRaw(limited, packed, task.Format, raw, func(done, total int64) {
		if err := tell(done, total); err != nil {
			stop(err)
		}
	})
	switch cause := context.Cause(limited); {
	case cause != nil && ctx.Err() == nil:
		return "", cause
	case err != nil:
		return "", clientError{err}
	}
	return raw, os.Remove(packed)
}

func (s *Service) copyObject(ctx context.Context, task *fsm.ImportTask, body io.Reader, size int64, name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	tell := s.stage(ctx, task, "validating", 0, progressRead)
	var done int64
	for err = tell(0, size); err == nil; err = tell(done, size) {
		var n int64
		n, err = io.CopyN(f, body, 8<<20)
		done += n
		if err != nil || ctx.Err() != nil {
			err = errors.Join(err, ctx.Err())
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && done != size {
		err = fmt.Errorf("the object has %d bytes, %d came", size, done)
	}
	return errors.Join(err, f.Close())
}

// writeDisk makes the snapshot of a raw disk.
func (s *Service) writeDisk(ctx context.Context, task *fsm.ImportTask, raw string) error {
	f, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return err
	}
	boot := task.BootMode
	if boot == "" && task.Image != "" {
		if boot, err = bootOf(f); err != nil {
			return err
		}
	}
	gib := max(1, (st.Size()+1<<30-1)>>30)
	if most := volumeTypes[1].most; gib > most {
		return clientError{fmt.Errorf("the disk has %d GiB, a volume at most %d", gib, most)}
	}
	cmd, err := s.newBuilder(task.Account, orElse(task.Description, "Created by AWS-VMImport service for "+task.ID), gib, nil)
	if err != nil {
		return err
	}
	err = s.record(ctx, task, func(t *fsm.ImportTask) {
		t.Snapshot, t.Size, t.BootMode, t.Message = cmd.Snapshot.ID, st.Size(), boot, "updating"
	})
	if err != nil {
		return err
	}
	if err := s.cfg.Control.Propose(ctx, cmd); err != nil {
		return err
	}
	if err := s.writeBlocks(ctx, task, f, st.Size()); err != nil {
		return err
	}
	return s.cfg.Storage.FinishBuilder(ctx, cmd.Snapshot.ID)
}

// bootOf is how a raw disk boots; one that cannot boot is its owner's mistake.
func bootOf(disk io.ReaderAt) (string, error) {
	uefi, err := gpt.HasESP(disk)
	if err != nil || uefi {
		return bootUEFI, err
	}
	bios, err := gpt.HasBootRecord(disk)
	if err == nil && !bios {
		err = clientError{errors.New("the disk has neither an EFI system partition nor a boot record: no machine can boot it")}
	}
	return bootBIOS, err
}

// writeBlocks writes what is not zero, several writes at a time.
func (s *Service) writeBlocks(ctx context.Context, task *fsm.ImportTask, f *os.File, size int64) error {
	tell := s.stage(ctx, task, "updating", progressRaw, progressWrite)
	id := task.Snapshot
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(importWriters)
	for off := int64(0); off < size && inner.Err() == nil; off += importWrite {
		if err := tell(off, size); err != nil {
			return errors.Join(err, group.Wait())
		}
		p := make([]byte, min(importWrite, size-off))
		if _, err := f.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(err, group.Wait())
		}
		if p = trimZeroes(p); p != nil {
			group.Go(func() error { return s.writeBlock(inner, id, p, off) })
		}
	}
	return group.Wait()
}

// trimZeroes cuts the sectors of zeroes off the end; nil is left of what has nothing else.
func trimZeroes(p []byte) []byte {
	const sector = 512
	end := len(p)
	for end > 0 && p[end-1] == 0 {
		end--
	}
	if end == 0 {
		return nil
	}
	end = (end + sector - 1) / sector * sector
	if end > len(p) { // a disk's size is a multiple of sectors; one that is not gets the rest as zeroes
		p = append(p, make([]byte, end-len(p))...)
	}
	return p[:end]
}

// writeBlock writes through the builder, again while its node is away.
func (s *Service) writeBlock(ctx context.Context, id fsm.SnapshotID, p []byte, off int64) error {
	limited, cancel := context.WithTimeout(ctx, importTry)
	defer cancel()
	for {
		err := s.cfg.Storage.WriteBuilder(limited, id, p, off)
		if err == nil || limited.Err() != nil {
			return err
		}
		if missing := s.cfg.Control.View(func(v *fsm.View) error {
			if x, _ := fsm.Snapshots.Get(v, id); x.State != fsm.SnapshotPending {
				return errOver
			}
			return nil
		}); missing != nil {
			return missing
		}
		timer := time.NewTimer(importPause)
		select {
		case <-timer.C:
		case <-limited.Done():
			timer.Stop()
			return err
		}
	}
}

// registerImport makes the image of an import whose snapshot is completed. AWS names it as the task.
func (s *Service) registerImport(ctx context.Context, task *fsm.ImportTask) error {
	if err := s.record(ctx, task, func(t *fsm.ImportTask) { t.Message, t.Progress = "preparing ami", progressWrite }); err != nil {
		return err
	}
	return s.decide(ctx, func(v *fsm.View) (fsm.Command, error) {
		if fsm.Images.Has(v, task.Image) {
			return nil, nil // before this node's daemon was started again
		}
		x, err := completedSnapshot(v, task.Account, task.Snapshot)
		if err != nil {
			return nil, err
		}
		return &fsm.RegisterImage{Image: fsm.Image{
			ID: task.Image, Account: task.Account, Name: task.ID, Description: task.Description, Arch: task.Arch, BootMode: task.BootMode,
			RootDevice: defaultRootDevice, Created: s.now(),
			Mappings: []fsm.BlockMapping{{Device: defaultRootDevice, Snapshot: x.ID, Size: x.Size, Type: defaultVolumeType, DeleteOnTermination: true}},
		}}, nil
	})
}
