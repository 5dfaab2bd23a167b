// Package shard is the blob layer under S3 and EBS: it cuts blobs into Reed-Solomon shards, places
// them on nodes, keeps them in segment files, and reads, moves, mends and deletes them. It knows
// neither buckets nor volumes, and it never acknowledges what has not been synced on every node
// that should have it, or on enough others that one more loss loses nothing.
package shard

import (
	"errors"

	"hive/fsm"
)

// ID names a blob; Ref is what an index record keeps of it; Owed is a shard that a node lacks.
type (
	ID   = fsm.BlobID
	Ref  = fsm.BlobRef
	Owed = fsm.Owed
)

// Causes that a caller can act on.
var (
	// ErrDiskFull refuses a write before the disk is full; reads and deletes go on.
	ErrDiskFull = errors.New("disk is full: delete objects or add room")
	// ErrUnavailable is a write that too few nodes can take now to be as safe as promised, or a
	// read that too few nodes answer now. Trying later may help.
	ErrUnavailable = errors.New("too few storage nodes answer")
	// ErrNotFound is a blob of which no node has a shard.
	ErrNotFound = errors.New("no such blob")
	// ErrLost is a blob of which fewer shards are left than it takes to read it, while every
	// node answered.
	ErrLost = errors.New("too few shards of the blob are left")
	// ErrCorrupt is stored bytes that do not match their checksum.
	ErrCorrupt = errors.New("stored bytes do not match their checksum")
	// ErrFailed is a disk that failed to write: the store takes no more until it is reopened.
	ErrFailed = errors.New("disk failed to write: the shard store takes no writes until restart")
	// ErrNoTable means that the cluster has no partition table yet.
	ErrNoTable = errors.New("no partition table: the cluster is not formed yet")
	// ErrClosed is a store that was closed.
	ErrClosed = errors.New("shard store is closed")
)
