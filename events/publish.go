package events

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"hive/fsm"
)

// cursors are, by group, the index of the last entry whose notices were sent.
type cursors map[fsm.GroupID]uint64

// publish sends what the groups have to tell until ctx ends, over one connection after the other.
func (b *Bridge) publish(ctx context.Context) {
	down := false
	for ctx.Err() == nil {
		err := b.session(ctx, func() {
			if down {
				b.cfg.Log.Info("NATS is back: what was missed is sent")
			}
			down = false
		})
		if err != nil && ctx.Err() == nil && !down {
			down = true
			b.cfg.Log.Warn("events are not sent; they are kept and sent later", "err", err)
		}
		b.pause(ctx)
	}
}

// session is one connection and what was sent over it.
type session struct {
	*Bridge
	conn   *nats.Conn
	sent   cursors
	peers  *cohort // nil when NATS is elsewhere
	ledger *ledger
}

var errClosed = errors.New("the connection to NATS has ended")

// session publishes over one connection until it breaks or ctx ends. It begins where the cluster's cursors say.
func (b *Bridge) session(ctx context.Context, began func()) error {
	conn, closed, err := b.dial(ctx)
	if err != nil {
		return err
	}
	since := b.cfg.Clock()
	if b.embedded() {
		since = b.server.Since()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); conn.Close(); <-closed }()
	defer context.AfterFunc(ctx, conn.Close)()
	select {
	case <-time.After(since.Add(b.cfg.Timing.Settle).Sub(b.cfg.Clock())):
	case <-closed:
		return errClosed
	}
	s := &session{Bridge: b, conn: conn, ledger: &ledger{hold: b.cfg.Timing.Hold}}
	if s.sent, err = b.committed(); err != nil {
		return err
	}
	if b.embedded() {
		if s.peers, err = newCohort(s); err != nil {
			return err
		}
		if err := s.peers.greet(ctx); err != nil {
			return err
		}
	}
	began()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	wake := make(chan struct{}, 1)
	work.Go(func() { wakes(ctx, b.cfg.Groups, wake) })
	work.Go(func() { s.keepCursors(ctx) })
	return s.follow(ctx, wake, closed)
}

// committed are the cursors in the cluster's state.
func (b *Bridge) committed() (at cursors, err error) {
	err = b.cfg.Groups[0].View(func(v *fsm.View) error { at = fsm.EventCursors(v); return nil })
	if err == nil {
		for _, g := range b.cfg.Groups {
			at[g.ID] = max(at[g.ID], 0) // a cursor for every group: what is not there cannot go back
		}
	}
	return at, err
}

func (s *session) follow(ctx context.Context, wake, closed <-chan struct{}) error {
	probe := time.NewTicker(s.cfg.Timing.Look)
	defer probe.Stop()
	for {
		if err := s.drain(ctx); err != nil {
			return err
		}
		select {
		case <-wake:
		case <-probe.C:
			if s.peers != nil && s.peers.someBehind() {
				if err := s.confirm(ctx); err != nil {
					return err
				}
			}
		case <-closed:
			return errClosed
		case <-ctx.Done():
			return nil
		}
	}
}

// drain sends pages of all groups in turn until there is nothing more.
func (s *session) drain(ctx context.Context) error {
	for {
		idle := true
		for _, g := range s.cfg.Groups {
			n, err := s.pump(ctx, g)
			if err != nil {
				return err
			}
			idle = idle && n == 0
		}
		if idle {
			return nil
		}
	}
}

// pump sends one page of a group and waits until it has arrived.
func (s *session) pump(ctx context.Context, g Group) (int, error) {
	at := s.sent[g.ID]
	p, err := g.read(at)
	if err != nil || len(p.notices) == 0 {
		return 0, err
	}
	if at > 0 && p.oldest > at {
		s.cfg.Log.Warn("events may be lost: they are older than what is kept", "group", g.ID, "sent", at, "oldest", p.oldest)
	}
	for _, n := range p.notices {
		if err := s.send(s.cfg.Realm.Event(g.ID, n)); err != nil {
			return 0, err
		}
	}
	s.sent[g.ID] = p.notices[len(p.notices)-1].Index
	s.Bridge.sent.Add(uint64(len(p.notices)))
	return len(p.notices), s.confirm(ctx)
}

// headerID makes a JetStream drop an event that it has already (NATS, "Message Deduplication").
const headerID = "Nats-Msg-Id"

// headerRoom is what the headers of a message may take of what NATS lets it be.
const headerRoom = 256

// send publishes one event. One that is longer than NATS takes goes without detail and resources.
func (s *session) send(e Event) error {
	body, err := e.JSON()
	if err == nil && int64(len(body)) > s.conn.MaxPayload()-headerRoom {
		e.Detail, e.Resources = map[string]any{"truncated": true, "size": len(body)}, []string{}
		body, err = e.JSON()
	}
	if err != nil {
		return fmt.Errorf("event %s/%d: %w", e.Hive.Group, e.Hive.Index, err)
	}
	return s.conn.PublishMsg(&nats.Msg{Subject: e.Subject(), Data: body, Header: nats.Header{headerID: {e.ID}}})
}

// confirm returns once NATS has what was sent, on all servers that can be reached.
func (s *session) confirm(ctx context.Context) error {
	if s.peers == nil {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := s.conn.FlushWithContext(ctx); err != nil {
			return err
		}
		s.ledger.add(s.cfg.Clock(), maps.Clone(s.sent))
		return nil
	}
	again, err := s.peers.confirm(ctx, s.sent)
	if err != nil {
		return err
	}
	if again != nil {
		s.sent = lower(s.sent, again)
	}
	s.ledger.add(s.cfg.Clock(), s.peers.floor(s.sent))
	return nil
}

const (
	proposeEvery   = time.Second
	proposeTimeout = 5 * time.Second
)

// keepCursors tells the cluster how far events were sent, at most once a second. When it cannot, more is sent again by
// the next that publishes.
func (s *session) keepCursors(ctx context.Context) {
	every := min(proposeEvery, s.cfg.Timing.Look)
	for {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
		ripe := s.ledger.ripe(s.cfg.Clock())
		at, err := s.committed()
		if err != nil {
			continue // the state is being replaced; publishing itself tells of it
		}
		ahead := cursors{}
		for id, index := range ripe {
			if index > at[id] {
				ahead[id] = index
			}
		}
		if len(ahead) == 0 {
			continue
		}
		if err := s.propose(ctx, &fsm.AdvanceEvents{Cursors: ahead}); err != nil {
			s.cfg.Log.Debug("event cursors", "err", err)
		}
	}
}

func (s *session) propose(ctx context.Context, cmd fsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	return s.cfg.Propose(ctx, cmd)
}

// ledger remembers what was sent when, until it is old enough to count as having arrived: what a server was about to
// hand to its clients when it died is sent again by the next.
type ledger struct {
	hold time.Duration

	mu      sync.Mutex // guards what is below
	stamps  []stamp    // oldest first
	pending *stamp     // the newest, too close to the last of stamps
}

type stamp struct {
	at   time.Time
	sent cursors
}

// ledgerSteps is how many stamps a ledger keeps of the time that it holds.
const ledgerSteps = 8

func (l *ledger) add(now time.Time, sent cursors) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = &stamp{now, sent}
	l.stepLocked(now)
}

// stepLocked takes the pending stamp in when it is its time. The caller holds mu.
func (l *ledger) stepLocked(now time.Time) {
	if l.pending == nil {
		return
	}
	if n := len(l.stamps); n > 0 && now.Sub(l.stamps[n-1].at) < l.hold/ledgerSteps {
		return
	}
	l.stamps, l.pending = append(l.stamps, stamp{now, l.pending.sent}), nil
}

// ripe are the newest cursors that have been held long enough; nil for none.
func (l *ledger) ripe(now time.Time) cursors {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stepLocked(now)
	for len(l.stamps) > 1 && now.Sub(l.stamps[1].at) >= l.hold {
		l.stamps = l.stamps[1:]
	}
	if len(l.stamps) == 0 || now.Sub(l.stamps[0].at) < l.hold {
		return nil
	}
	return l.stamps[0].sent
}
