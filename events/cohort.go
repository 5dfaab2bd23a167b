package events

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"hive/fsm"
)

// The servers of a cluster pass messages on without a receipt. So after each page the publisher asks, on the same way,
// whether all before has arrived, and every node that serves answers from its own server. A server that does not answer
// is not waited for again until it does; it is then sent what it may have missed.

// syncSubject is what the publisher asks on, and replies name the node and the number of the question. It lies outside of
// what tenants can see.
const syncSubject = "hive-sync"

// cohort is the other servers as one session of the publisher knows them.
type cohort struct {
	s       *session
	inbox   string
	answers *nats.Subscription
	seq     uint64             // of the last question
	asked   map[uint64]cursors // what had been sent before the last two questions
	peers   map[fsm.NodeID]*peer
}

type peer struct {
	has    cursors // that it has certainly got
	behind bool    // it did not answer, and is not waited for
}

func newCohort(s *session) (*cohort, error) {
	c := &cohort{s: s, inbox: nats.NewInbox(), peers: map[fsm.NodeID]*peer{}, asked: map[uint64]cursors{}}
	var err error
	c.answers, err = s.conn.SubscribeSync(c.inbox)
	return c, err
}

// greet finds out which of the servers can be reached. The others are heard of when they answer.
func (c *cohort) greet(ctx context.Context) error {
	if err := c.ask(ctx, c.s.sent); err != nil {
		return err
	}
	missing := c.s.others()
	return c.listen(ctx, func() bool { return len(missing) > 0 }, func(id fsm.NodeID, _ uint64) {
		delete(missing, id)
		c.peers[id] = &peer{has: maps.Clone(c.s.sent)}
	})
}

func (c *cohort) ask(ctx context.Context, sent cursors) error {
	c.seq++
	c.asked[c.seq] = maps.Clone(sent)
	delete(c.asked, c.seq-2)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := c.s.conn.PublishRequest(syncSubject, c.inbox, []byte(strconv.FormatUint(c.seq, 10))); err != nil {
		return err
	}
	return c.s.conn.FlushWithContext(ctx)
}

// confirm returns once all servers that can be reached have what was sent. It answers from where to send again to those
// that have come back.
func (c *cohort) confirm(ctx context.Context, sent cursors) (again cursors, err error) {
	alive := c.s.others()
	maps.DeleteFunc(c.peers, func(id fsm.NodeID, _ *peer) bool { return !alive[id] })
	if err := c.ask(ctx, sent); err != nil {
		return nil, err
	}
	waiting := map[fsm.NodeID]bool{}
	for id, p := range c.peers {
		if !p.behind {
			waiting[id] = true
		}
	}
	err = c.listen(ctx, func() bool { return len(waiting) > 0 }, func(id fsm.NodeID, seq uint64) {
		p, known := c.peers[id]
		has, recent := c.asked[seq]
		switch {
		case !alive[id] || !recent:
		case !known:
			c.peers[id] = &peer{has: has}
		case p.behind: // whatever it answers to: there is a way to it again
			p.behind = false
			again = lower(again, p.has)
			c.s.cfg.Log.Info("a NATS server is back: it is sent what it missed", "node", id)
		case seq == c.seq:
			p.has = has
			delete(waiting, id)
		}
	})
	for id := range waiting {
		c.peers[id].behind = true
		c.s.cfg.Log.Warn("a NATS server does not answer; it is sent what it misses when it does", "node", id)
	}
	return again, err
}

// listen hands answers to heard until there is nothing to wait for, or the time for it is over. What lies there already is
// always heard.
func (c *cohort) listen(ctx context.Context, more func() bool, heard func(fsm.NodeID, uint64)) error {
	deadline := time.Now().Add(c.s.cfg.Timing.Sync)
	for {
		wait := time.Nanosecond
		if more() {
			wait = time.Until(deadline)
		}
		m, err := c.answers.NextMsg(max(wait, time.Nanosecond))
		if errors.Is(err, nats.ErrTimeout) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		node, text, ok := strings.Cut(string(m.Data), " ")
		seq, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil || fsm.NodeID(node) == c.s.cfg.Node {
			continue
		}
		heard(fsm.NodeID(node), seq)
	}
}

func (c *cohort) someBehind() bool {
	for _, p := range c.peers {
		if p.behind {
			return true
		}
	}
	return false
}

// floor is what has certainly arrived everywhere.
func (c *cohort) floor(sent cursors) cursors {
	out := maps.Clone(sent)
	for _, p := range c.peers {
		if p.behind {
			out = lower(out, p.has)
		}
	}
	return out
}

// lower is the lower of two cursors for each group; nil is above all. A group that one of them does not have was not sent.
func lower(a, b cursors) cursors {
	if a == nil {
		return maps.Clone(b)
	}
	out := cursors{}
	for id, at := range a {
		out[id] = min(at, b[id])
	}
	for id := range b {
		out[id] = min(a[id], b[id])
	}
	return out
}

// keepAnswering tells the publisher, on whatever node it is, what has arrived at this node's server.
func (b *Bridge) keepAnswering(ctx context.Context) {
	for ctx.Err() == nil {
		if err := b.answer(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.Debug("NATS: answers to the publisher", "err", err)
		}
		b.pause(ctx)
	}
}

func (b *Bridge) answer(ctx context.Context) error {
	conn, closed, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Subscribe(syncSubject, func(m *nats.Msg) {
		if err := m.Respond(fmt.Appendf(nil, "%s %s", b.cfg.Node, m.Data)); err != nil {
			b.cfg.Log.Debug("NATS: answer to the publisher", "err", err)
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-closed:
		return errClosed
	case <-ctx.Done():
		return nil
	}
}
