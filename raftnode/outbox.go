package raftnode

import (
	"context"
	"sync"
)

const (
	maxRequestItems = 64      // proposals in one request to the leader
	maxRequestBytes = 1 << 20 // of their entries; a larger one goes alone
	maxRequests     = 4       // on their way at once
)

// outbox sends proposals to the leader: those that wait together go together.
type outbox struct {
	send func(ctx context.Context, to raftView, items []*outgoing)
	wake chan struct{} // has room for one

	mu    sync.Mutex // guards queue
	queue []addressed
}

type addressed struct {
	to   raftView
	item *outgoing
}

func newOutbox(g *Group) *outbox {
	return &outbox{send: g.sendProposals, wake: make(chan struct{}, 1)}
}

func (b *outbox) put(to raftView, item *outgoing) {
	b.mu.Lock()
	b.queue = append(b.queue, addressed{to, item})
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run sends until the group stops. What is still queued then is answered by Group.stopped.
func (b *outbox) run(l *live) {
	slots := make(chan struct{}, maxRequests)
	var requests sync.WaitGroup
	defer requests.Wait()
	for {
		select {
		case <-b.wake:
		case <-l.ctx.Done():
			return
		}
		for {
			select {
			case slots <- struct{}{}:
			case <-l.ctx.Done():
				return
			}
			to, items := b.next()
			if len(items) == 0 {
				<-slots
				break
			}
			requests.Go(func() {
				defer func() { <-slots }()
				b.send(l.ctx, to, items)
			})
		}
	}
}

// next takes the proposals at the head of the queue that go to the same leader.
func (b *outbox) next() (to raftView, items []*outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := 0
	for _, a := range b.queue {
		if len(items) == 0 {
			to = a.to
		}
		size += len(a.item.entry)
		if a.to != to || len(items) == maxRequestItems || len(items) > 0 && size > maxRequestBytes {
			break
		}
		items = append(items, a.item)
	}
	clear(b.queue[:len(items)])
	b.queue = b.queue[len(items):]
	if len(b.queue) == 0 {
		b.queue = nil
	}
	return to, items
}

// sendProposals asks the leader to record items and settles each.
func (g *Group) sendProposals(ctx context.Context, to raftView, items []*outgoing) {
	req := proposeRequest{Term: to.term, Items: make([]wireProposal, len(items))}
	for i, o := range items {
		req.Items[i] = wireProposal{Run: o.id.run, Number: o.id.number, Entry: o.entry}
	}
	var resp proposeResponse
	err := g.call(ctx, to, "propose", req, &resp)
	for i, o := range items {
		switch {
		case certainlyNot(err):
			o.settle(verdict{status: isRefused})
		case err != nil || i >= len(resp.Verdicts):
			o.settle(verdict{status: isUnknown})
		default:
			o.settle(resp.Verdicts[i].verdict())
		}
	}
}

// What goes over the wire, in CBOR with integer keys. Numbers never change meaning; an unknown one is
// skipped.
type (
	proposeRequest struct {
		Term  uint64         `cbor:"1,keyasint"`
		Items []wireProposal `cbor:"2,keyasint"`
	}
	wireProposal struct {
		Run    uint64 `cbor:"1,keyasint"`
		Number uint64 `cbor:"2,keyasint"`
		Entry  []byte `cbor:"3,keyasint"`
	}
	proposeResponse struct {
		Verdicts []wireVerdict `cbor:"1,keyasint"` // in the order of the request
	}
	wireVerdict struct {
		Status   uint8  `cbor:"1,keyasint"`
		Index    uint64 `cbor:"2,keyasint,omitempty"`
		Code     uint8  `cbor:"3,keyasint,omitempty"`
		Resource string `cbor:"4,keyasint,omitempty"`
	}
)

func (w wireVerdict) verdict() verdict {
	return verdict{status(w.Status), w.Index, w.Code, w.Resource}
}

func (v verdict) wire() wireVerdict {
	return wireVerdict{Status: uint8(v.status), Index: v.index, Code: v.code, Resource: v.resource}
}

func (p wireProposal) outgoing() *outgoing {
	return newOutgoing(proposalID{p.Run, p.Number}, p.Entry)
}
