// Package ebs is the volumes of the cluster: the engine that makes a block device of a quorum log and immutable chunks, and
// a node's manager that opens volumes, serves them over NBD, freezes snapshots, and gives up what no map refers to. It
// never decides who owns a volume, never changes what EC2 shows of one, and never acknowledges a flush that a majority of
// the log's copies has not synced.
package ebs

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"hive/fsm"
	"hive/internal/vfs"
)

// Proto is the ALPN under which nodes reach each other's copies of the logs.
const Proto = "hive-volume"

// Causes that a caller can act on.
var (
	// ErrNotOwner: this node may not open the volume under that generation, or has lost it to a newer owner.
	ErrNotOwner = errors.New("another node owns the volume")
	// ErrNotFound: there is no such volume or snapshot.
	ErrNotFound = errors.New("no such volume or snapshot")
	// ErrState: the snapshot is not in a state for this: it is completed already, or not yet.
	ErrState = errors.New("the snapshot is in another state")
	// ErrInvalid: an id, a range or an alignment that no volume has.
	ErrInvalid = errors.New("invalid request to a volume")
	// ErrUnavailable: who could answer does not now. Trying later may help.
	ErrUnavailable = errors.New("the volume cannot be reached now")
	// ErrClosed: the volume or the manager has been closed.
	ErrClosed = errors.New("the volume is closed")
)

// Group is a replicated state machine, as raftnode runs it.
type Group interface {
	// Propose returns nil once cmd is committed and applied here, or the error of its Check (a *fsm.Error). After any
	// other error it is unknown whether cmd was or will be committed.
	Propose(ctx context.Context, cmd fsm.Command) error
	// ReadIndex returns once View sees every write acknowledged before the call.
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
	// Changed is closed at the next change of the state.
	Changed() <-chan struct{}
}

// IndexGroup is a group that keeps the rows of chunks.
type IndexGroup interface {
	Propose(ctx context.Context, cmd fsm.Command) error
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
}

// Blobs stores bytes. Package shard does.
type Blobs interface {
	Write(ctx context.Context, key string, r io.Reader, size int64) (fsm.BlobRef, []fsm.Owed, error)
	Read(ctx context.Context, ref fsm.BlobRef, off, n int64) (io.ReadCloser, error)
}

// Config is what a Manager needs. Fields without a default must be set.
type Config struct {
	Node    fsm.NodeID
	Dir     string // of the logs
	RunDir  string // of the unix sockets; short: a socket's path has at most 107 bytes
	FS      vfs.FS
	Control Group
	Index   []IndexGroup // index-0, …: the chunks of a lineage are in one of them
	Blobs   Blobs
	Client  *http.Client                                                               // of the internal HTTP API
	Dial    func(ctx context.Context, node fsm.NodeID, proto string) (net.Conn, error) // to a node's cluster port
	Alive   func(fsm.NodeID) bool                                                      // gossip's opinion; nil believes everyone alive
	Leader  func() bool                                                                // whether this node leads the control group; nil: never
	Clock   func() time.Time
	Log     *slog.Logger

	// CacheBytes bounds the block cache of all volumes; CacheBytes the function says how much of it is used. 1 GiB.
	CacheBytes int64
	// CheckpointAt is how many bytes of log make a checkpoint begin; 256 MiB. DirtyMax is where writes wait for it; 2 GiB.
	CheckpointAt, DirtyMax int64
	// IdleAfter is how long a volume must not have been written for its log to be checkpointed; 5 s. At the latest it is
	// after ten times as long.
	IdleAfter time.Duration
	// Tick is how often the manager looks when nothing tells it of a change; 5 s.
	Tick time.Duration
	// SweepEvery is how often the leader looks for chunks that no map has; 1 minute.
	SweepEvery  time.Duration
	SegmentSize int64 // of the logs' files; qlog's default
}

func (c *Config) setDefaults() error {
	if c.Node == "" || c.Dir == "" || c.RunDir == "" || c.FS == nil || c.Control == nil || len(c.Index) == 0 || c.Blobs == nil ||
		c.Client == nil || c.Dial == nil || c.Clock == nil || c.Log == nil {
		return errors.New("ebs: Config lacks a part that has no default")
	}
	if c.Alive == nil {
		c.Alive = func(fsm.NodeID) bool { return true }
	}
	if c.Leader == nil {
		c.Leader = func() bool { return false }
	}
	c.CacheBytes = cmp.Or(c.CacheBytes, 1<<30)
	c.CheckpointAt = cmp.Or(c.CheckpointAt, 256<<20)
	c.DirtyMax = max(cmp.Or(c.DirtyMax, 2<<30), 2*c.CheckpointAt)
	c.IdleAfter = cmp.Or(c.IdleAfter, 5*time.Second)
	c.Tick = cmp.Or(c.Tick, 5*time.Second)
	c.SweepEvery = cmp.Or(c.SweepEvery, time.Minute)
	return nil
}

// index is the group of a lineage's chunks, by FNV-1a (64 bit): it must never change.
func (c *Config) index(lineage string) IndexGroup {
	h := fnv.New64a()
	h.Write([]byte(lineage)) //nolint:errcheck // a hash takes all
	return c.Index[h.Sum64()%uint64(len(c.Index))]
}

// validID tells that an id has the given prefix and is of letters and digits: it may be a file's name.
func validID(id, prefix string) bool {
	if len(id) <= len(prefix) || len(id) > 40 || id[:len(prefix)] != prefix {
		return false
	}
	for _, c := range []byte(id[len(prefix):]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
