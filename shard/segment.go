package shard

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"hive/internal/vfs"
)

// segment is one open segment file.
type segment struct {
	fileHeader
	f    vfs.File
	sync committer
	// refs counts the store itself and every reader: a segment that was compacted away stays
	// readable until the last of them lets go.
	refs atomic.Int32

	// end is where the next record goes; written under disk.appendMu.
	end atomic.Uint32
	// entries are what the sidecar will hold, while this is the active segment; guarded by
	// disk.appendMu.
	entries []entry

	// What follows is guarded by disk.mu.
	live  int64               // bytes of records that count
	tombs map[[2]uint32]int64 // bytes of tombstones by the segments of what they delete
	hurt  bool                // holds bytes that are no record, before its end
}

func segmentName(number uint32) string { return fmt.Sprintf("obj.%07d.bin", number) }
func sidecarName(number uint32) string { return fmt.Sprintf("obj.%07d.idx", number) }

// segmentNumber is the number in a file's name, and whether it has one.
func segmentNumber(name, suffix string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutPrefix(digits, "obj."); !ok || len(digits) < 7 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n > 0
}

// drop lets go of the segment; the last one closes the file.
func (s *segment) drop() error {
	if s.refs.Add(-1) == 0 {
		return s.f.Close()
	}
	return nil
}

// readFull reads len(b) bytes at off, or answers ErrCorrupt where the file is shorter.
func (s *segment) readFull(b []byte, off int64) error {
	n, err := s.f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("segment %d ends at %d: %w", s.number, off+int64(n), ErrCorrupt)
	}
	return fmt.Errorf("read segment %d at %d: %w", s.number, off, err)
}

// readHeader reads and verifies the header and table of the record at off. The bytes that it
// answers are room's.
func (s *segment) readHeader(off, length uint32, room []byte) (header, []byte, error) {
	want := header{length: length}
	b := room[:want.payloadAt()]
	if err := s.readFull(b, int64(off)); err != nil {
		return header{}, nil, err
	}
	h, err := parse(b, at{s.nonce, s.number, off})
	if errors.Is(err, errNoRecord) || err == nil && h.length != length {
		err = fmt.Errorf("no record at %d of segment %d: %w", off, s.number, ErrCorrupt)
	}
	return h, b, err
}

// committer shares one fdatasync among the appends of a segment (group commit): whoever waits is
// answered by a sync that began after its last byte was written.
type committer struct {
	mu      sync.Mutex // guards what is below
	synced  uint32     // the file is durable up to here
	leading bool       // somebody is syncing
	next    *batch     // those whose bytes the running sync may miss
}

// batch is the appends that one sync will answer.
type batch struct {
	lead chan struct{} // has a token for the waiter that is to sync
	done chan struct{} // closed when synced
	err  error         // written before done is closed
}

// position is up to where the file is known to be durable.
func (c *committer) position() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}

// advance notes that the file is durable up to pos.
func (c *committer) advance(pos uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced = max(c.synced, pos)
}

// wait returns once the file is durable up to pos. end is up to where it has been written, and
// flush syncs it.
func (c *committer) wait(pos uint32, end func() uint32, flush func() error) error {
	c.mu.Lock()
	if c.synced >= pos {
		c.mu.Unlock()
		return nil
	}
	if c.next == nil {
		c.next = &batch{lead: make(chan struct{}, 1), done: make(chan struct{})}
	}
	mine := c.next
	if !c.leading {
		c.leading = true
		mine.lead <- struct{}{}
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
	case <-mine.lead:
		c.run(mine, end, flush)
	}
	return mine.err
}

// run syncs for mine and hands the lead to the next batch, if any.
func (c *committer) run(mine *batch, end func() uint32, flush func() error) {
	c.mu.Lock()
	c.next = nil // who comes now waits for the next sync
	c.mu.Unlock()
	covered := end()
	mine.err = flush()
	c.mu.Lock()
	if mine.err == nil {
		c.synced = max(c.synced, covered)
	}
	if c.next != nil {
		c.next.lead <- struct{}{}
	} else {
		c.leading = false
	}
	c.mu.Unlock()
	close(mine.done)
}
