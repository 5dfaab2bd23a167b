package raftnode

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// status is what became of a proposal, as the leader knows. The numbers cross between nodes.
type status uint8

const (
	isRecorded  status = 1 // in the log and applied on the leader; the command may have been refused
	isRefused   status = 2 // certainly not in the log: try the leader of the moment
	isUnknown   status = 3
	isInvalid   status = 4 // certainly not in the log: the leader cannot decode it
	isForgotten status = 5 // sent again so late that the leader does not know any more
)

// verdict is a leader's answer to a proposal.
type verdict struct {
	status   status
	index    uint64
	code     uint8  // of fsm.Error; 0 when the command was recorded without refusal
	resource string // of fsm.Error, or why the proposal is invalid
}

func (v verdict) refusal() error {
	if v.code == 0 {
		return nil
	}
	return &fsm.Error{Code: v.code, Resource: v.resource}
}

// outgoing is a proposal on its way to the log, and its verdict once done is closed.
type outgoing struct {
	id      proposalID
	entry   []byte
	done    chan struct{}
	verdict verdict
}

func newOutgoing(id proposalID, entry []byte) *outgoing {
	return &outgoing{id: id, entry: entry, done: make(chan struct{})}
}

func (o *outgoing) settle(v verdict) {
	o.verdict = v
	close(o.done)
}

// remember is how long the leader of a term knows which proposals it has accepted: longer than anyone
// sends one again (resendFor).
const remember = 10 * time.Second

// inbox is where the leader accepts proposals: each once in its term, however often it is sent.
type inbox struct {
	raft  *raft.Raft
	class fsm.Class

	mu     sync.Mutex // guards what is below
	term   uint64
	young  map[proposalID]*outgoing
	old    map[proposalID]*outgoing
	turned time.Time         // when young became old
	floors map[uint64]uint64 // run of a node -> highest number that was forgotten
}

// accept takes proposals for term and sees to their verdicts. It answers what to wait for, in their order:
// for one that was accepted before, the earlier.
func (b *inbox) accept(term uint64, items []*outgoing) []*outgoing {
	now, leads := leadingTerm(b.raft)
	if !leads || now != term {
		for _, o := range items {
			o.settle(verdict{status: isRefused})
		}
		return items
	}
	out, fresh := b.take(term, items)
	if len(fresh) > 0 {
		go b.record(term, fresh) // ends with leadership, or with raft
	}
	return out
}

func (b *inbox) take(term uint64, items []*outgoing) (out, fresh []*outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if term != b.term || b.young == nil {
		b.term, b.turned = term, time.Now()
		b.young, b.old = make(map[proposalID]*outgoing), make(map[proposalID]*outgoing)
		b.floors = make(map[uint64]uint64)
	}
	if time.Since(b.turned) > remember {
		b.turn()
	}
	for _, o := range items {
		have, ok := b.young[o.id]
		if !ok {
			have, ok = b.old[o.id]
		}
		switch {
		case ok:
			o = have
		case o.id.number <= b.floors[o.id.run]:
			o.settle(verdict{status: isForgotten})
		default:
			b.young[o.id] = o
			fresh = append(fresh, o)
		}
		out = append(out, o)
	}
	return out, fresh
}

func (b *inbox) turn() {
	for id := range b.old {
		b.floors[id.run] = max(b.floors[id.run], id.number)
	}
	b.old, b.young, b.turned = b.young, make(map[proposalID]*outgoing), time.Now()
}

// record appends proposals to the log. One that this version cannot decode would stop every node.
func (b *inbox) record(term uint64, items []*outgoing) {
	futures := make([]raft.ApplyFuture, len(items))
	for i, o := range items {
		if _, err := fsm.DecodeCommand(b.class, o.entry); err != nil {
			o.settle(verdict{status: isInvalid, resource: err.Error()})
			continue
		}
		futures[i] = b.raft.ApplyLog(raft.Log{Data: o.entry, Extensions: encodeTag(o.id, term)}, 0)
	}
	for i, f := range futures {
		if f != nil {
			items[i].settle(verdictOf(f))
			items[i].entry = nil // remembered by its id alone
		}
	}
}

func verdictOf(f raft.ApplyFuture) verdict {
	err := f.Error()
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return verdict{status: isRefused} // raft answers these before it appends
	}
	if err != nil {
		return verdict{status: isUnknown}
	}
	answer, _ := f.Response().(error)
	refusal := (*fsm.Error)(nil)
	switch {
	case answer == nil:
		return verdict{status: isRecorded, index: f.Index()}
	case errors.As(answer, &refusal):
		return verdict{status: isRecorded, index: f.Index(), code: refusal.Code, resource: refusal.Resource}
	case errors.Is(answer, errVoid):
		return verdict{status: isRefused}
	default: // the machine has stopped
		return verdict{status: isUnknown}
	}
}
