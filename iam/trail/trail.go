// Package trail keeps the audit trail: every call that was to change something, with who made it, from where, with what and
// with what answer, and answers CloudTrail's LookupEvents over it.
//
// The answer of a change waits for its event: what a client was told to be done is on the trail. It never keeps a secret
// (redact.go), the reading of data, or what is done to objects and blocks: those are CloudTrail's data events.
package trail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/actions"
	"hive/iam/principal"
)

// Group is what this package needs of the control group.
type Group interface {
	Propose(ctx context.Context, cmd fsm.Command) error
	ReadIndex(ctx context.Context) error
	View(fn func(*fsm.View) error) error
}

// Config is what a Trail needs.
type Config struct {
	Group  Group
	Node   fsm.NodeID
	Region string
	Leader func() bool // whether this node leads the control group, and so prunes
	Clock  func() time.Time
	Rand   io.Reader
	Log    *slog.Logger

	// Kept is how long events are kept, 0 meaning 90 days as in CloudTrail, and how many of an account, 0 meaning 50,000.
	Kept func() (age time.Duration, events int64)
}

// Trail records calls. It is safe for concurrent use.
type Trail struct {
	cfg Config

	mu      sync.Mutex // guards what is below
	queue   []*entry
	dropped int
	wake    chan struct{} // has one element when the queue is not empty
}

type entry struct {
	event fsm.AuditEvent
	size  int
	done  chan struct{} // closed when it is recorded
}

// Bounds of what waits for its record, and of one command.
const (
	maxQueue      = 10_000
	maxBatch      = 256
	maxBatchBytes = 1 << 20
	patience      = 5 * time.Second // that an answer waits for its event
	pruneEvery    = 10 * time.Minute
)

// New is a Trail; Run records.
func New(cfg Config) *Trail {
	return &Trail{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Audited tells whether calls of an operation are kept: those that change something, and those that give credentials.
func Audited(service, op string) bool {
	row, ok := actions.Lookup(service, op)
	if !ok {
		return false
	}
	switch service {
	case "s3":
		return row.Mutating() && (strings.Contains(op, "Bucket") || strings.Contains(op, "PublicAccessBlock"))
	case "ebs":
		return row.Mutating() && op != "PutSnapshotBlock"
	case "sts":
		return strings.HasPrefix(op, "Assume") || op == "GetSessionToken" || op == "GetFederationToken"
	}
	return row.Mutating()
}

// Record keeps a call. For one that has changed something it returns when the event is recorded, or, when the control group
// does not take it, after a while: the event is then recorded when it does, or lost with this process, and the log says so.
func (t *Trail) Record(ctx context.Context, call *protocol.Call) {
	c := call.Caller
	if c == nil || c.Account == "" || !Audited(call.Service, call.Op) || dryRun(call.Err) {
		return
	}
	e := &entry{event: t.event(call), done: make(chan struct{})}
	whole, err := fsm.EncodeCommand(&fsm.RecordAudit{Events: []fsm.AuditEvent{e.event}})
	if err != nil { // in the queue it would stop all that come after it
		t.cfg.Log.Error("an audit event cannot be recorded", "request", c.RequestID, "op", call.Op, "err", err)
		return
	}
	e.size = len(whole)
	if !t.put(e) || call.Err != nil {
		return
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-e.done:
	case <-ctx.Done():
	case <-wait.C:
		t.cfg.Log.Warn("a change was answered before its audit event was recorded", "request", c.RequestID, "op", call.Op)
	}
}

// dryRun tells whether a call was one that changes nothing.
func dryRun(err error) bool {
	refusal := (*protocol.Error)(nil)
	return errors.As(err, &refusal) && refusal.Code == "DryRunOperation"
}

// put queues an event; false when the queue is full.
func (t *Trail) put(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) >= maxQueue {
		if t.dropped++; t.dropped == 1 {
			t.cfg.Log.Error("audit events are lost: too many wait for the control group")
		}
		return false
	}
	t.queue = append(t.queue, e)
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return true
}

// take takes what one command can hold from the queue.
func (t *Trail) take() []*entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, size := 0, 0
	for n < len(t.queue) && n < maxBatch && (n == 0 || size+t.queue[n].size <= maxBatchBytes) {
		size += t.queue[n].size
		n++
	}
	batch := t.queue[:n:n]
	t.queue = t.queue[n:]
	if t.dropped > 0 && len(t.queue) < maxQueue/2 {
		t.cfg.Log.Error("audit events were lost", "count", t.dropped)
		t.dropped = 0
	}
	return batch
}

// Run records what is queued until ctx ends, and then what is left, if the control group takes it in time.
func (t *Trail) Run(ctx context.Context) error {
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		select {
		case <-t.wake:
			t.flush(ctx)
		case <-prune.C:
			if err := t.Prune(ctx); err != nil && ctx.Err() == nil {
				t.cfg.Log.Warn("old audit events stay", "err", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			t.flush(last)
			return nil
		}
	}
}

// flush records until the queue is empty or ctx ends.
func (t *Trail) flush(ctx context.Context) {
	for {
		batch := t.take()
		if len(batch) == 0 {
			return
		}
		cmd := &fsm.RecordAudit{}
		for _, e := range batch {
			cmd.Events = append(cmd.Events, e.event)
		}
		for err := t.cfg.Group.Propose(ctx, cmd); err != nil; err = t.again(ctx, cmd) {
			if ctx.Err() != nil {
				t.cfg.Log.Error("audit events are lost with this process", "count", len(batch), "err", err)
				return
			}
			t.cfg.Log.Warn("audit events wait", "count", len(batch), "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
		for _, e := range batch {
			close(e.done)
		}
		if err := t.trim(ctx, batch); err != nil && ctx.Err() == nil {
			t.cfg.Log.Warn("too many audit events stay", "err", err)
		}
	}
}

// again proposes what is not recorded yet: a proposal may have come by although it was answered with an error.
func (t *Trail) again(ctx context.Context, cmd *fsm.RecordAudit) error {
	if err := t.cfg.Group.ReadIndex(ctx); err != nil {
		return err
	}
	err := t.cfg.Group.View(func(v *fsm.View) error {
		cmd.Events = slices.DeleteFunc(cmd.Events, func(e fsm.AuditEvent) bool { return recorded(v, &e) })
		return nil
	})
	if err != nil || len(cmd.Events) == 0 {
		return err
	}
	return t.cfg.Group.Propose(ctx, cmd)
}

// recorded tells whether an event is among the newest of its account.
func recorded(v *fsm.View, e *fsm.AuditEvent) bool {
	seen := 0
	for _, have := range fsm.AuditEvents(v, e.Account, "") {
		if have.ID == e.ID {
			return true
		}
		if seen++; seen == maxQueue {
			break
		}
	}
	return false
}

// trimBy is how many events an account may have too many until they are removed.
const trimBy = 1000

// trim removes what is too much of the accounts of a batch, so that the trail cannot grow from one Prune to the next.
func (t *Trail) trim(ctx context.Context, batch []*entry) error {
	_, keep := t.cfg.Kept()
	keep = cmp.Or(keep, 50_000)
	done := map[fsm.AccountID]bool{}
	for _, e := range batch {
		id := e.event.Account
		if done[id] {
			continue
		}
		done[id] = true
		over := false
		err := t.cfg.Group.View(func(v *fsm.View) error { over = fsm.AuditToPrune(v, id, 0, keep+trimBy); return nil })
		if err == nil && over {
			err = t.cfg.Group.Propose(ctx, &fsm.PruneAudit{Account: id, Keep: keep})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Prune removes what is too old or too much, when this node leads.
func (t *Trail) Prune(ctx context.Context) error {
	if !t.cfg.Leader() {
		return nil
	}
	age, keep := t.cfg.Kept()
	before, keep := t.cfg.Clock().Add(-cmp.Or(age, 90*24*time.Hour)).UnixMilli(), cmp.Or(keep, 50_000)
	for {
		var cmds []fsm.Command
		err := t.cfg.Group.View(func(v *fsm.View) error {
			for _, a := range fsm.Accounts(v, "") {
				if fsm.AuditToPrune(v, a.ID, before, keep) {
					cmds = append(cmds, &fsm.PruneAudit{Account: a.ID, Before: before, Keep: keep})
				}
			}
			return nil
		})
		if err != nil || len(cmds) == 0 {
			return err
		}
		for _, cmd := range cmds {
			if err := t.cfg.Group.Propose(ctx, cmd); err != nil {
				return err
			}
		}
	}
}

// event is a call as it is kept.
func (t *Trail) event(call *protocol.Call) fsm.AuditEvent {
	c := call.Caller
	e := fsm.AuditEvent{
		Account: fsm.AccountID(c.Account), ID: t.uuid(), Time: t.cfg.Clock().UnixMilli(), RequestID: c.RequestID,
		Source: sources[call.Service], Name: call.Op, Principal: clean(c.ARN), Type: identityType(c), PrincipalID: clean(c.UserID),
		UserName: clean(c.UserName), AccessKey: c.AccessKey, SourceIP: clean(c.SourceIP), UserAgent: clean(c.UserAgent), Node: t.cfg.Node,
	}
	parameters := redacted(call.Input)
	e.Parameters = kept(parameters)
	if s := c.Session; s != nil {
		e.Issuer, e.MFA = s.IssuerARN, !s.MFA.IsZero()
		if e.UserName == "" {
			e.UserName = s.Name
		}
	}
	found := targets{}
	found.add(call)
	if call.Err != nil {
		refusal := &protocol.Error{Code: "InternalFailure"}
		errors.As(call.Err, &refusal)
		e.Code, e.Message = refusal.Code, clean(refusal.Message)
	} else {
		response := redacted(call.Output)
		e.Response = kept(response)
		found.scan(response)
		e.Index = t.index()
	}
	found.scan(parameters)
	e.Resources = found.list
	return e
}

// sources are the event sources of services, by signing name.
var sources = map[string]string{
	"iam": "iam.amazonaws.com", "sts": "sts.amazonaws.com", "ec2": "ec2.amazonaws.com", "ebs": "ebs.amazonaws.com",
	"s3": "s3.amazonaws.com", "tagging": "tagging.amazonaws.com", "cloudtrail": "cloudtrail.amazonaws.com",
}

func identityType(c *principal.Caller) string {
	switch s := c.Session; {
	case c.Root:
		return "Root"
	case c.Anonymous:
		return "WebIdentityUser"
	case s != nil && s.Kind == principal.FederatedSession:
		return "FederatedUser"
	case s != nil && s.Kind == principal.RoleSession:
		return "AssumedRole"
	}
	return "IAMUser"
}

// index is the index of the control group's log that this node's state has reached: a change that was made here is in it.
func (t *Trail) index() (index uint64) {
	if err := t.cfg.Group.View(func(v *fsm.View) error { index = v.Index(); return nil }); err != nil {
		t.cfg.Log.Warn("the index of a change is not known", "err", err)
	}
	return index
}

func (t *Trail) uuid() string {
	var b [16]byte
	t.mu.Lock()
	_, err := io.ReadFull(t.cfg.Rand, b[:])
	t.mu.Unlock()
	if err != nil {
		t.cfg.Log.Error("an audit event has no id of its own", "err", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
