// Package ec2 is what the operations of Amazon EC2 and EBS mean: instances, volumes, snapshots, images, key pairs, tags
// and the default network, over the records of the control group. It never parses a request, evaluates a policy, starts
// a guest, moves a block or touches a network: it decides and records, and the nodes' agents do what the records say.
//
// A handler reads a View that sees every write acknowledged before, decides, and proposes one command; a decision that
// another has overtaken is made again.
package ec2

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Group is what this package needs of the control group.
type Group interface {
	// Propose returns once the command is applied here, with its Check's error if it was refused.
	Propose(ctx context.Context, cmd fsm.Command) error
	// ReadIndex returns once View sees every write acknowledged before the call, on any node.
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
	// Changed is closed when the next entries have been applied.
	Changed() <-chan struct{}
}

// CapEC2 is the capability of nodes that run instances.
const CapEC2 = "ec2"

// NodeInfo is what gossip tells of a member.
type NodeInfo struct {
	ID        fsm.NodeID
	Zone      string
	Caps      []string
	Alive     bool
	VCPUs     int      // that instances can have
	MemoryMiB int64    // that instances can have
	Archs     []string // that its guests can have; none means x86_64 alone
}

// hosts tells whether instances can be started on the node.
func (n NodeInfo) hosts() bool { return n.Alive && slices.Contains(n.Caps, CapEC2) }

// runs tells whether the node's guests can have an architecture.
func (n NodeInfo) runs(arch string) bool {
	if len(n.Archs) == 0 {
		return arch == archX86
	}
	return slices.Contains(n.Archs, arch)
}

// Storage is what this package needs of the volumes' engine, from any node.
type Storage interface {
	// Freeze returns once the content of a pending snapshot of a volume is decided.
	Freeze(ctx context.Context, id fsm.SnapshotID) error
	// WriteBuilder writes into a pending snapshot that has a builder; durable at return.
	WriteBuilder(ctx context.Context, id fsm.SnapshotID, p []byte, off int64) error
	// FinishBuilder ends what WriteBuilder began: the snapshot becomes completed.
	FinishBuilder(ctx context.Context, id fsm.SnapshotID) error
}

// Config is what a Service needs.
type Config struct {
	Region  string
	Node    fsm.NodeID // this one
	Control Group
	Nodes   func() []NodeInfo // every member, as gossip sees it now
	Storage Storage
	// Console is the last output of an instance's serial console and when it was written, asked of its node.
	Console func(ctx context.Context, i fsm.Instance) ([]byte, time.Time, error)
	// Objects opens an object of S3 for an import, with its size. Nil where this node serves none.
	Objects func(ctx context.Context, account fsm.AccountID, bucket, key string) (io.ReadCloser, int64, error)
	// ToRaw makes a raw disk of an image file, which must have the named format, told in bytes as it goes on.
	ToRaw    func(ctx context.Context, src, format, dst string, progress func(done, total int64)) error
	Scratch  string      // directory for files of imports
	Leader   func() bool // whether this node leads the control group
	Replicas int         // copies of a volume's log
	Clock    func() time.Time
	Rand     io.Reader
	Log      *slog.Logger

	// NodeLostAfter is how long a node must be dead before what it was to end is ended without it; 0 means a minute.
	NodeLostAfter time.Duration
}

// Service answers the operations of EC2: one method for each; see awsd/ec2api.
type Service struct{ cfg Config }

// New is a Service.
func New(cfg Config) *Service {
	cfg.Control = patient{cfg.Control}
	cfg.Rand = &sharedReader{r: cfg.Rand}
	if cfg.NodeLostAfter == 0 {
		cfg.NodeLostAfter = time.Minute
	}
	return &Service{cfg: cfg}
}

// read runs fn on a View that sees every write acknowledged before, on any node.
func (s *Service) read(ctx context.Context, fn func(*fsm.View) error) error {
	if err := s.cfg.Control.ReadIndex(ctx); err != nil {
		return fmt.Errorf("read EC2: %w", err)
	}
	return refusal(s.cfg.Control.View(fn))
}

// maxTries bounds how often a decision on what changes meanwhile is made again.
const maxTries = 8

// decide reads, lets fn decide, and proposes what it answers, again when that was overtaken: refused with ErrConflict,
// or with one of the causes in again. A nil command is a decision to change nothing. Whatever fn leaves outside must
// be made anew in each call of it.
func (s *Service) decide(ctx context.Context, fn func(*fsm.View) (fsm.Command, error), again ...error) error {
	for try := 1; ; try++ {
		var cmd fsm.Command
		err := s.read(ctx, func(v *fsm.View) (err error) {
			cmd, err = fn(v)
			return err
		})
		if err != nil || cmd == nil {
			return err
		}
		err = s.cfg.Control.Propose(ctx, cmd)
		if over := overQuota(err); over != nil {
			return over
		}
		overtaken := errors.Is(err, fsm.ErrConflict) ||
			slices.ContainsFunc(again, func(cause error) bool { return errors.Is(err, cause) })
		if overtaken && try < maxTries {
			continue
		}
		return refusal(err)
	}
}

// changed writes the log's line of a change of state that a caller asked for.
func (s *Service) changed(ctx context.Context, c *principal.Caller, what string, args ...any) {
	s.cfg.Log.InfoContext(ctx, what, append(args, "account", c.Account, "by", c.ARN)...)
}

// newID draws an id: the prefix, a hyphen and 17 hex digits.
func (s *Service) newID(prefix string) (string, error) {
	raw, err := s.draw(9)
	if err != nil {
		return "", err
	}
	return prefix + "-" + hex.EncodeToString(raw)[:17], nil
}

// draw draws n random bytes.
func (s *Service) draw(n int) ([]byte, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(s.cfg.Rand, raw); err != nil {
		return nil, fmt.Errorf("draw %d random bytes: %w", n, err)
	}
	return raw, nil
}

// sharedReader makes a reader safe for concurrent use.
type sharedReader struct {
	mu sync.Mutex // guards r
	r  io.Reader
}

// Read reads.
func (x *sharedReader) Read(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.r.Read(p)
}

func (s *Service) now() int64 { return s.cfg.Clock().UnixMilli() }

// node is what gossip tells of a node; not alive when it tells nothing.
func (s *Service) node(id fsm.NodeID) NodeInfo {
	for _, n := range s.cfg.Nodes() {
		if n.ID == id {
			return n
		}
	}
	return NodeInfo{ID: id}
}

func timeOf(ms int64) *time.Time {
	t := time.UnixMilli(ms).UTC()
	return &t
}

// unless0 is a time that is left out when it is 0.
func unless0(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	return timeOf(ms)
}

func account(c *principal.Caller) fsm.AccountID { return fsm.AccountID(c.Account) }

// arn is the ARN of a resource of the caller's account, for example of "instance/i-…".
func (s *Service) arn(c *principal.Caller, resource string) string {
	return "arn:aws:ec2:" + s.cfg.Region + ":" + c.Account + ":" + resource
}

// groupDeadline is how long the control group may take, an election included, before the client is told to come again.
const groupDeadline = 12 * time.Second

// patient is a Group that answers in time: what it cannot tell by then is ServiceUnavailable.
type patient struct{ Group }

// Propose is the Group's, in time.
func (p patient) Propose(ctx context.Context, cmd fsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, groupDeadline)
	defer cancel()
	return unavailable(p.Group.Propose(ctx, cmd))
}

// ReadIndex is the Group's, in time.
func (p patient) ReadIndex(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, groupDeadline)
	defer cancel()
	return unavailable(p.Group.ReadIndex(ctx))
}

// unavailable leaves refusals as they are; anything else is a group that could not answer.
func unavailable(err error) error {
	if refused := (*fsm.Error)(nil); err == nil || errors.As(err, &refused) {
		return err
	}
	return errors.Join(protocol.Errorf(http.StatusServiceUnavailable, "ServiceUnavailable",
		"The request could not be completed: too few of the cluster's nodes answer. A change may still come into force. Try again; an operator sees more with hive status."), err)
}
