// Package s3 is what the operations of Amazon S3 mean: buckets, objects, listings and multipart
// uploads, over the records of the index groups and a store of blobs. It never parses a request,
// verifies a signature, evaluates a policy or knows where a blob's bytes lie.
//
// A PUT writes a blob, then commits one record in the index group of its key; whatever is not
// committed is garbage. A read asks ReadIndex first, so that it sees every write acknowledged
// before it, on any node. Package fsm's Gate tells how buckets and index groups agree.
package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/fsm"
)

// Group is a replicated state machine, as raftnode runs it.
type Group interface {
	// Propose returns nil once cmd is committed and applied here, or the error of its Check (a
	// *fsm.Error). After any other error it is unknown whether cmd was or will be committed.
	Propose(ctx context.Context, cmd fsm.Command) error
	// ReadIndex returns once View sees every write acknowledged before the call.
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
}

// Blobs stores bytes. Package shard does.
type Blobs interface {
	// Write stores size bytes of r, or all when size is -1, safe once it returns.
	Write(ctx context.Context, key string, r io.Reader, size int64) (fsm.BlobRef, []fsm.Owed, error)
	// Read opens n bytes from off on. The reader may be an io.WriterTo.
	Read(ctx context.Context, ref fsm.BlobRef, off, n int64) (io.ReadCloser, error)
	// Delete removes a blob; done when no node has a shard of it any more.
	Delete(ctx context.Context, ref fsm.BlobRef) (done bool, err error)
}

// Config is what a Service needs.
type Config struct {
	Region  string
	Control Group   // the group "control": buckets
	Index   []Group // "index-0", …: objects, spread by hash of bucket and key
	Blobs   Blobs
	Clock   func() time.Time
	Rand    io.Reader // of upload ids; safe for concurrent use
	Log     *slog.Logger
}

// Service answers the operations of S3. Its methods are named after them; see awsd/s3api.
type Service struct {
	cfg     Config
	buffers sync.Pool // of *[smallBody]byte
}

// New makes a Service.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, buffers: sync.Pool{New: func() any { return new([smallBody]byte) }}}
}

// target is an object's place: its index group and its keys there.
type target struct {
	bucket fsm.BucketName
	key    string
	id     fsm.ObjectID
	group  Group
}

// target checks the names of an object and finds its place.
func (s *Service) target(bucket, key *string) (target, error) {
	name, err := bucketName(bucket)
	if err != nil {
		return target{}, err
	}
	if err := checkKey(key); err != nil {
		return target{}, err
	}
	id := fsm.NewObjectID(name, *key)
	return target{bucket: name, key: *key, id: id, group: s.group(id)}, nil
}

// group is the index group of an object, by FNV-1a (64 bit): it must never change.
func (s *Service) group(id fsm.ObjectID) Group {
	if len(s.cfg.Index) == 1 {
		return s.cfg.Index[0]
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	return s.cfg.Index[h.Sum64()%uint64(len(s.cfg.Index))]
}

// blobKey is the name by which the blob store places an object's bytes.
func (t target) blobKey() string { return string(t.bucket) + "/" + t.key }

// eachIndex runs fn for all index groups at once and answers the first error.
func (s *Service) eachIndex(ctx context.Context, fn func(ctx context.Context, i int, g Group) error) error {
	if len(s.cfg.Index) == 1 {
		return fn(ctx, 0, s.cfg.Index[0])
	}
	all, ctx := errgroup.WithContext(ctx)
	for i, g := range s.cfg.Index {
		all.Go(func() error { return fn(ctx, i, g) })
	}
	return all.Wait()
}

func (s *Service) now() int64 { return s.cfg.Clock().UnixMilli() }

func timeOf(ms int64) *time.Time {
	t := time.UnixMilli(ms).UTC()
	return &t
}

// canonicalID is the 64 hex digits by which S3 names an account in owners and grants.
func canonicalID(account fsm.AccountID) *string {
	sum := sha256.Sum256([]byte("hive canonical user " + account))
	id := hex.EncodeToString(sum[:])
	return &id
}
