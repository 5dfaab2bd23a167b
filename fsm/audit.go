package fsm

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// AuditEvent is a call that was to change something, as CloudTrail tells of it.
type AuditEvent struct {
	Account     AccountID     `cbor:"1,keyasint"` // in which it was called
	ID          string        `cbor:"2,keyasint"` // a UUID
	Time        int64         `cbor:"3,keyasint"` // Unix ms
	RequestID   string        `cbor:"4,keyasint"`
	Source      string        `cbor:"5,keyasint"`            // "iam.amazonaws.com"
	Name        string        `cbor:"6,keyasint"`            // of the operation
	Principal   string        `cbor:"7,keyasint,omitempty"`  // ARN
	Type        string        `cbor:"8,keyasint,omitempty"`  // of userIdentity: Root, IAMUser, AssumedRole, FederatedUser, WebIdentityUser
	PrincipalID string        `cbor:"9,keyasint,omitempty"`  // its id
	UserName    string        `cbor:"10,keyasint,omitempty"` // of a user; of a role's session its name
	Issuer      string        `cbor:"11,keyasint,omitempty"` // ARN of the role or user that a session stands on
	AccessKey   string        `cbor:"12,keyasint,omitempty"`
	MFA         bool          `cbor:"13,keyasint,omitempty"`
	SourceIP    string        `cbor:"14,keyasint,omitempty"`
	UserAgent   string        `cbor:"15,keyasint,omitempty"`
	Node        NodeID        `cbor:"16,keyasint"`           // that answered
	Index       uint64        `cbor:"17,keyasint,omitempty"` // of the control group's log when it was answered; 0: nothing was changed
	Code        string        `cbor:"18,keyasint,omitempty"` // of the refusal
	Message     string        `cbor:"19,keyasint,omitempty"` // likewise
	Parameters  []byte        `cbor:"20,keyasint,omitempty"` // JSON, without secrets
	Response    []byte        `cbor:"21,keyasint,omitempty"` // JSON, without secrets
	Resources   []AuditTarget `cbor:"22,keyasint,omitempty"`
}

// AuditTarget is a resource that a call names or has made.
type AuditTarget struct {
	Type string `cbor:"1,keyasint"` // "AWS::IAM::User"
	Name string `cbor:"2,keyasint"`
}

// auditKey is the account, a zero byte and 20 hex digits: the log index and the place in the command.
type auditKey string

func keyOfAudit(account AccountID, index uint64, place int) auditKey {
	return auditKey(Key(string(account), fmt.Sprintf("%016x%04x", index, place)))
}

var auditEvents = Table[auditKey, AuditEvent]{Name: "audit", Watch: watchAudit}

func watchAudit(w *Writer, _ auditKey, old, now *AuditEvent) {
	e := either(old, now)
	w.count(e.Account, auditCount, one(now)-one(old))
	if e.changedNothing() {
		w.count(e.Account, auditIdleCount, one(now)-one(old))
	}
	if old != nil {
		return
	}
	detail, err := json.Marshal(map[string]any{
		"eventID": e.ID, "eventName": e.Name, "eventSource": e.Source, "requestID": e.RequestID, "sourceIPAddress": e.SourceIP,
		"userAgent": e.UserAgent, "userIdentity": map[string]string{"type": e.Type, "arn": e.Principal, "accountId": string(e.Account),
			"accessKeyId": e.AccessKey, "userName": e.UserName},
		"errorCode": e.Code, "errorMessage": e.Message, "requestParameters": rawJSON(e.Parameters), "readOnly": false,
	})
	if err != nil {
		detail = []byte("{}") // of Parameters that are no JSON, which their proposer has made
	}
	w.tell(Notice{
		Source: "aws." + sourceName(e.Source), DetailType: "AWS API Call via CloudTrail", Account: e.Account, Detail: map[string]string{"#": string(detail)},
	})
}

func sourceName(s string) string {
	for i := range len(s) {
		if s[i] == '.' {
			return s[:i]
		}
	}
	return s
}

func rawJSON(b []byte) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("null")
	}
	return b
}

// Under which the audit events of an account are counted beside its quotas: all, and those that changed nothing.
const (
	auditCount     = "audit-events"
	auditIdleCount = "audit-events-idle"
)

// changedNothing tells of a refusal, and of the making of a session: what anybody can have as many of as he likes.
func (e *AuditEvent) changedNothing() bool { return e.Code != "" || e.Source == "sts.amazonaws.com" }

// AuditEvents are an account's events from the newest to the oldest, from the one before a key on; no key means all.
func AuditEvents(v *View, account AccountID, before string) iter.Seq2[string, AuditEvent] {
	return func(yield func(string, AuditEvent) bool) {
		for k, e := range auditEvents.Back(v, auditKey(Key(string(account), "")), auditKey(before)) {
			if !yield(string(k), e) {
				return
			}
		}
	}
}

// AuditSince are events of all accounts that were recorded after an index of the log, oldest first, about max of them, and the
// index up to which they are all.
func AuditSince(v *View, index uint64, max int) (events []AuditEvent, upTo uint64) {
	type placed struct {
		key   string // without the account
		event AuditEvent
	}
	var out []placed
	cut := "" // what is after it was not read of some account
	for _, a := range Accounts(v, "") {
		n := 0
		for k, e := range auditEvents.From(v, keyOfAudit(a.ID, index+1, 0)) {
			if e.Account != a.ID {
				break
			}
			place := string(k)[len(a.ID):]
			// The events of one entry stay together.
			if n++; n > max && indexOfAudit(place) != indexOfAudit(out[len(out)-1].key) {
				if last := out[len(out)-1].key; cut == "" || indexOfAudit(last) < indexOfAudit(cut) {
					cut = last
				}
				break
			}
			out = append(out, placed{place, e})
		}
	}
	slices.SortFunc(out, func(a, b placed) int { return compare(a.key, b.key) })
	upTo = v.Index()
	if cut != "" {
		upTo = indexOfAudit(cut)
	}
	for _, p := range out {
		if indexOfAudit(p.key) > upTo {
			break
		}
		events = append(events, p.event)
	}
	return events, upTo
}

// indexOfAudit is the log index in what keyOfAudit writes after the account.
func indexOfAudit(place string) uint64 {
	n, err := strconv.ParseUint(place[1:17], 16, 64)
	if err != nil {
		panic(corruptState{fmt.Errorf("audit key %q: %w", place, err)})
	}
	return n
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

var auditKinds = []KindEntry{
	{270, Control, func() Command { return new(RecordAudit) }},
	{271, Control, func() Command { return new(PruneAudit) }},
	{275, Control, func() Command { return new(RecordLeader) }},
}

// RecordAudit keeps events.
type RecordAudit struct {
	Events []AuditEvent `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *RecordAudit) Kind() Kind { return 270 }

// Check accepts all.
func (c *RecordAudit) Check(*View) error { return nil }

// Record writes the events of accounts that there are.
func (c *RecordAudit) Record(w *Writer) {
	for i, e := range c.Events {
		if accounts.Has(&w.View, e.Account) {
			auditEvents.Put(w, keyOfAudit(e.Account, w.index, i), e)
		}
	}
}

// PruneAudit removes an account's oldest events: those before a time, and those beyond a number; maxPrune of them at most.
type PruneAudit struct {
	Account AccountID `cbor:"1,keyasint"`
	Before  int64     `cbor:"2,keyasint"` // Unix ms
	Keep    int64     `cbor:"3,keyasint"`
}

// maxPrune bounds what one command removes.
const maxPrune = 1000

// Kind is the command's number in the log.
func (c *PruneAudit) Kind() Kind { return 271 }

// Check accepts all.
func (c *PruneAudit) Check(*View) error { return nil }

// Record removes them.
func (c *PruneAudit) Record(w *Writer) {
	for _, k := range auditToPrune(&w.View, c.Account, c.Before, c.Keep) {
		auditEvents.Delete(w, k)
	}
}

// AuditToPrune tells whether PruneAudit has something to remove.
func AuditToPrune(v *View, account AccountID, before, keep int64) bool {
	return len(auditToPrune(v, account, before, keep)) > 0
}

// auditToPrune is what is too old, and the oldest of what is too much. What changed nothing may have one half of the room:
// beyond it that goes first, so that nobody can push the changes out.
func auditToPrune(v *View, account AccountID, before, keep int64) []auditKey {
	over := UsedOf(v, account, auditCount) - keep
	idle := min(over, UsedOf(v, account, auditIdleCount)-keep/2)
	if idle > 0 {
		over = idle
	}
	var out []auditKey
	for k, e := range auditEvents.Scan(v, auditKey(Key(string(account), ""))) {
		old := e.Time < before
		if len(out) >= maxPrune || !old && int64(len(out)) >= over {
			break
		}
		if old || idle <= 0 || e.changedNothing() {
			out = append(out, k)
		}
	}
	return out
}

// leadership is who leads a group.
type leadership struct {
	Node NodeID `cbor:"1,keyasint"`
	Term uint64 `cbor:"2,keyasint"`
}

var leaderships = Table[GroupID, leadership]{Name: "leadership", Watch: watchLeadership}

func watchLeadership(w *Writer, id GroupID, old, now *leadership) {
	if now == nil || old != nil && old.Node == now.Node {
		return
	}
	w.tell(Notice{
		Source: "hive.cluster", DetailType: "Hive Leadership Change",
		Detail: map[string]string{"group": string(id), "node_id": string(now.Node), "term#": number(now.Term)},
	})
}

// RecordLeader notes who leads a group, which its leader says of itself.
type RecordLeader struct {
	Group GroupID `cbor:"1,keyasint"`
	Node  NodeID  `cbor:"2,keyasint"`
	Term  uint64  `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *RecordLeader) Kind() Kind { return 275 }

// Check refuses what is older than what is known (ErrConflict).
func (c *RecordLeader) Check(v *View) error {
	if have, ok := leaderships.Get(v, c.Group); ok && have.Term >= c.Term {
		return Errorf(ErrConflict, "leader/"+string(c.Group))
	}
	return nil
}

// Record writes it.
func (c *RecordLeader) Record(w *Writer) { leaderships.Put(w, c.Group, leadership{c.Node, c.Term}) }

// LeaderKnown is who is on record as the leader of a group, and in which term; "" before the first.
func LeaderKnown(v *View, group GroupID) (NodeID, uint64) {
	l, _ := leaderships.Get(v, group)
	return l.Node, l.Term
}
