// Package qlog is the quorum log under EBS volumes: one log per volume, written by one owner at a time and copied to a
// few nodes. A record counts as synced when a majority of the copies has it durable; a new owner that reaches a majority
// sees every such record and shuts out every older owner. It never knows what a record means to a volume, never chooses
// who owns one, and never drops a record that its owner has not called checkpointed.
package qlog

import (
	"cmp"
	"errors"

	"hive/fsm"
)

// Kind says what a record does to its volume. Only Write has data. The log keeps 0 for its own records.
type Kind uint8

// The kinds of a volume's records.
const (
	Write Kind = 1
	Zero  Kind = 2
	Trim  Kind = 3

	// opened is the record that every owner writes first: it gives the log's end the owner's own term, so that a
	// later owner cannot prefer an older one's records that never were synced (Raft, section 5.4.2).
	opened Kind = 0
)

// MaxData is the most data of one record, in bytes.
const MaxData = 32 << 20

// Record is one change of a volume, as replay gives it. Data is valid until replay returns.
type Record struct {
	Seq, Generation uint64
	Kind            Kind
	Offset, Length  int64 // of the range in the volume, bytes
	Data            []byte
	At              Position // where ReadAt finds Data again
}

// Position is where an owner's own copy holds a record. It is valid for the Log that answered it, until the record is cut.
type Position struct {
	Seq     uint64
	Segment uint32
	Offset  uint32 // of the record in its segment file
	Length  uint32 // of its data
}

// What a caller can act on.
var (
	// ErrFenced: a newer owner has installed itself; this one can never append or sync again.
	ErrFenced = errors.New("a newer owner of the volume's log is installed")
	// ErrNoQuorum: fewer than a majority of the log's copies answered. The error names who did not.
	ErrNoQuorum = errors.New("no majority of the volume's log copies answered")
	// ErrCorrupt: a record that may have been synced is whole on no copy within reach. The error names volume, node
	// and sequence.
	ErrCorrupt = errors.New("the volume's log is corrupt")
	// ErrCut: the record was called checkpointed and is gone.
	ErrCut = errors.New("the record has been cut from the log")
	// ErrClosed: the Log or the Store has been closed.
	ErrClosed = errors.New("the log is closed")
	// ErrFailed: this node's disk failed to write or sync the log; what it holds is unknown until a restart reads it.
	ErrFailed = errors.New("this node's copy of the log has failed")

	errHole = errors.New("the record is damaged on this copy")
	errWire = errors.New("malformed frame")
)

// term is one opening of a log: the attachment's generation, and a number that grows with each opening under it. A term
// and a sequence name one record for ever.
type term struct{ gen, inc uint64 }

func (t term) compare(o term) int {
	return cmp.Or(cmp.Compare(t.gen, o.gen), cmp.Compare(t.inc, o.inc))
}

// validVolume tells that an id can be a directory's name.
func validVolume(v fsm.VolumeID) bool {
	if len(v) < 5 || len(v) > 40 || v[:4] != "vol-" {
		return false
	}
	for _, c := range []byte(v[4:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// majority is how many of n copies are one.
func majority(n int) int { return n/2 + 1 }
