package qlog

import (
	"context"
	"errors"
	"fmt"

	"hive/fsm"
)

// begin starts the owner's work on the log that an opening has chosen: its own first record, then every copy that can be
// reached is made like this node's, until a majority has that record synced and remembers to be a member.
func (l *Log) begin(ctx context.Context, o *opening, replay func(Record) error) error {
	l.flushed = o.flushed
	l.flushedNow.Store(l.flushed)
	room := l.cfg.Store.pool.get()
	defer l.cfg.Store.pool.put(room)
	at, err := l.r.appendOne(l.s, header{kind: opened, flushed: l.flushed}, nil, room[:])
	if err != nil {
		return err
	}
	l.opened = at.Seq
	l.start(o)
	if err := l.syncTo(ctx, l.opened); err != nil {
		return err
	}
	if err := l.await(ctx, func() bool { return l.members() >= majority(len(l.cfg.Replicas)) }); err != nil {
		return err
	}
	if o.prov { // a copy that is down today must not be needed tomorrow: let all that answered become members
		all, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if err := l.await(all, func() bool { return l.members() >= len(o.copies) }); err != nil && all.Err() == nil {
			return err
		}
	}
	l.mu.Lock()
	l.voting.votes = l.voting.member
	for _, k := range l.links {
		k.votes = k.member
	}
	l.mu.Unlock()
	l.cfg.Log.Info("opened a volume's log", "volume", l.cfg.Volume, "generation", l.cfg.Generation, "from", l.cfg.From, "seq", l.opened)
	return l.replay(ctx, replay)
}

// start makes the links to the other copies, with the connections of those that answered.
func (l *Log) start(o *opening) {
	said := map[fsm.NodeID]*answer{}
	for _, a := range o.copies {
		said[a.node] = a
	}
	if a := said[l.cfg.Self]; a != nil {
		l.voting = voter{votes: a.rep.member || o.prov, member: a.rep.member}
	}
	for _, node := range l.cfg.Replicas {
		if node != l.cfg.Self {
			k := newLink(l, node)
			if a := said[node]; a != nil {
				k.voter = voter{votes: a.rep.member || o.prov, member: a.rep.member}
			}
			l.links = append(l.links, k)
		}
	}
	l.syncer = newSyncer(l.r, l.s, l.cfg.Store.cfg.Settle, l.localSynced)
	if l.self {
		l.done.Go(func() { l.syncer.run(l.ctx) })
	}
	for _, k := range l.links {
		a := said[k.node]
		if a == nil {
			a = &answer{}
		}
		l.done.Go(func() { k.run(l.ctx, a.c, a.rep) })
	}
}

// replay gives the records that the log held when it was opened.
func (l *Log) replay(ctx context.Context, take func(Record) error) error {
	var buf []byte
	for seq := l.cfg.From; seq < l.opened; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("replay the log of %s: %w", l.cfg.Volume, context.Cause(ctx))
		}
		out, n, err := l.r.chunk(buf[:0], seq, l.opened-1, chunkSize)
		if errors.Is(err, errHole) {
			if err := l.mend(ctx, seq); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for b := out; len(b) > 0; {
			h, err := parse(b, 0, 0)
			if err != nil {
				return err
			}
			if err := l.replayOne(&h, b, take); err != nil {
				return err
			}
			b = b[h.span():]
		}
		buf, seq = out, seq+uint64(n)
	}
	return nil
}

func (l *Log) replayOne(h *header, b []byte, take func(Record) error) error {
	if h.kind == opened {
		return nil
	}
	at, err := l.r.position(h.seq)
	if err != nil {
		return err
	}
	at.Length = h.data
	return take(Record{
		Seq: h.seq, Generation: h.term.gen, Kind: h.kind, Offset: h.offset, Length: h.length,
		Data: b[h.dataAt() : h.dataAt()+int(h.data)], At: at,
	})
}

// position is where a whole record is; without the length of its data.
func (r *replica) position(seq uint64) (Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(seq)
	if s == nil || s.offs[seq-s.first] == 0 {
		return Position{}, fmt.Errorf("record %d: %w", seq, errHole)
	}
	return Position{Seq: seq, Segment: s.number, Offset: s.offs[seq-s.first]}, nil
}
