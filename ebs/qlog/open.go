package qlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"hive/fsm"
)

// grace is how long an opening waits for more copies than it needs; a second try waits for all.
const grace = 250 * time.Millisecond

// errMore: with the copies that answered so far the log cannot be decided.
var errMore = errors.New("more copies are needed")

// errTorn: the chosen log was shortened to what is before a record that cannot have been synced.
var errTorn = errors.New("the log has a torn end")

// errRaced: another opening of the same generation was faster at some copy.
var errRaced = errors.New("another opening of the same generation")

// Open makes this node the log's owner: it installs the generation at a majority of the copies, takes the newest log among
// them, mends and completes it from the others, brings a majority to it, and calls replay for each record from cfg.From
// on, in order. Opening again under the same generation ends the earlier opening. Errors: ErrFenced, ErrNoQuorum,
// ErrCorrupt, replay's.
func Open(ctx context.Context, cfg Config, replay func(Record) error) (*Log, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r, err := cfg.Store.replica(cfg.Volume)
	if err != nil {
		return nil, err
	}
	inc, wait := uint64(0), grace
	for try := 0; ; try++ {
		o := &opening{cfg: cfg, r: r, inc: inc, grace: wait}
		l, err := o.run(ctx)
		switch {
		case err == nil:
			if err := l.begin(ctx, o, replay); err != nil {
				return nil, errors.Join(err, l.Close())
			}
			return l, nil
		case errors.Is(err, errRaced) && try < 8:
			inc = o.inc
		case errors.Is(err, errMore) && wait == grace:
			wait = 2 * patience
		default:
			return nil, err
		}
	}
}

// opening is one attempt.
type opening struct {
	cfg   Config
	r     *replica
	s     *session
	inc   uint64 // highest incarnation known of this generation
	grace time.Duration
	log   *Log

	copies  []*answer // in the order of cfg.Replicas
	missing []string  // why copies did not answer
	open    int       // that have neither answered nor failed
	prov    bool      // no copy is a member yet: all count
	flushed uint64    // a majority had synced up to here, as some record says
}

// answer is what one copy said.
type answer struct {
	node      fsm.NodeID
	c         *client // nil: this node's
	rep       report
	refusedBy term
	err       error
}

func (o *opening) run(ctx context.Context) (l *Log, err error) {
	defer func() {
		if err != nil {
			o.hangUp()
		}
	}()
	if err := o.installHere(ctx); err != nil {
		return nil, err
	}
	if err := o.reach(ctx); err != nil {
		return nil, err
	}
	for _, a := range o.copies {
		o.flushed = max(o.flushed, a.rep.flushed)
	}
	for {
		best, err := o.choose()
		if err != nil {
			return nil, err
		}
		err = o.bring(ctx, best)
		if errors.Is(err, errTorn) {
			o.tellHere()
			continue // without what is torn, another log may be the newest
		}
		if err != nil {
			return nil, err
		}
		return o.log, o.enough(best)
	}
}

func (o *opening) hangUp() {
	if o.log != nil {
		o.log.cancel()
		if err := o.r.release(o.s); err != nil {
			o.cfg.Log.Warn("giving up an opening of a volume's log", "volume", o.cfg.Volume, "err", err)
		}
	}
	for _, a := range o.copies {
		if a.c != nil {
			a.c.close()
		}
	}
}

// installHere makes a new term and installs it on this node's copy.
func (o *opening) installHere(ctx context.Context) error {
	mine := o.promised()
	if mine.gen > o.cfg.Generation {
		return o.fenced(mine, o.cfg.Self)
	}
	if mine.gen == o.cfg.Generation {
		o.inc = max(o.inc, mine.inc)
	}
	var b [4]byte
	if _, err := io.ReadFull(o.cfg.Rand, b[:]); err != nil {
		return fmt.Errorf("draw an incarnation: %w", err)
	}
	o.inc = (o.inc>>32+1)<<32 | uint64(binary.LittleEndian.Uint32(b[:]))
	l := &Log{cfg: o.cfg, r: o.r, lost: make(chan struct{}), changed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.self = slices.Contains(o.cfg.Replicas, o.cfg.Self)
	l.s = &session{term: term{o.cfg.Generation, o.inc}, owner: l}
	l.s.kill = l.killed
	o.s, o.log = l.s, l
	refusedBy, err := o.r.install(l.s)
	if err != nil {
		return err
	}
	return o.refusal(refusedBy, o.cfg.Self)
}

// killed is called when this node's copy has a newer owner or is closed.
func (l *Log) killed() {
	l.r.mu.Lock()
	err := l.r.check(l.s)
	l.r.mu.Unlock()
	if err != nil {
		l.lose(err)
	}
}

func (o *opening) promised() term {
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	return o.r.promised()
}

func (o *opening) fenced(by term, node fsm.NodeID) error {
	return fmt.Errorf("%w: volume %s, generation %d on node %s", ErrFenced, o.cfg.Volume, by.gen, node)
}

// refusal is the error of a copy that has promised another term.
func (o *opening) refusal(by term, node fsm.NodeID) error {
	switch {
	case by == term{}:
		return nil
	case by.gen > o.cfg.Generation:
		return o.fenced(by, node)
	}
	o.inc = max(o.inc, by.inc)
	return fmt.Errorf("%w: volume %s, generation %d on node %s", errRaced, o.cfg.Volume, by.gen, node)
}

// reach installs the term on the other nodes' copies, until a majority that counts has answered and a moment more.
func (o *opening) reach(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan *answer, len(o.cfg.Replicas))
	for _, node := range o.cfg.Replicas {
		if node == o.cfg.Self {
			o.copies = append(o.copies, &answer{node: node, rep: o.r.tell()})
			continue
		}
		o.open++
		go func() { answers <- o.askOne(ctx, node) }()
	}
	defer func() { // those that are late are ended, and waited for
		cancel()
		for ; o.open > 0; o.open-- {
			if a := <-answers; a.c != nil {
				a.c.close()
			}
		}
	}()
	var late <-chan time.Time
	for o.open > 0 {
		if late == nil && o.quorum() == nil {
			timer := time.NewTimer(o.grace)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case a := <-answers:
			o.open--
			if err := o.take(a); err != nil {
				return err
			}
		case <-late:
			for ; o.open > 0; o.open-- {
				cancel()
				if err := o.take(<-answers); err != nil {
					return err
				}
			}
		}
	}
	return o.quorum()
}

// askOne connects to one copy and installs the term there.
func (o *opening) askOne(ctx context.Context, node fsm.NodeID) *answer {
	a := &answer{node: node}
	c, err := connect(ctx, o.cfg.Dial, node, o.cfg.Volume)
	if err != nil {
		a.err = err
		return a
	}
	release := c.guard(ctx)
	a.rep, a.refusedBy, a.err = c.install(o.s.term)
	if !release() && a.err == nil {
		a.err = context.Cause(ctx)
	}
	if a.err != nil || a.refusedBy != (term{}) {
		c.close()
		return a
	}
	a.c = c
	return a
}

func (o *opening) take(a *answer) error {
	if a.err != nil {
		o.missing = append(o.missing, fmt.Sprintf("%s (%v)", a.node, a.err))
		return nil
	}
	if err := o.refusal(a.refusedBy, a.node); err != nil {
		return err
	}
	o.copies = append(o.copies, a)
	return nil
}

// quorum tells whether those that answered may decide what the log is.
func (o *opening) quorum() error {
	need := majority(len(o.cfg.Replicas))
	members, used := 0, o.cfg.From > 1
	var empty []string
	for _, a := range o.copies {
		used = used || a.rep.used
		if a.rep.member {
			members++
		} else {
			empty = append(empty, fmt.Sprintf("%s (remembers nothing)", a.node))
		}
	}
	all := len(o.copies) == len(o.cfg.Replicas)
	o.prov = members < need && (o.cfg.Clean || !used && (members == 0 || all))
	if members >= need || o.prov && len(o.copies) >= need {
		return nil
	}
	return fmt.Errorf("%w: volume %s: %d of %d count; not: %s", ErrNoQuorum, o.cfg.Volume, members, len(o.cfg.Replicas),
		strings.Join(append(o.missing, empty...), ", "))
}

// best is the newest of the logs that count.
func (o *opening) best() *answer {
	var best *answer
	for _, a := range o.copies {
		if (a.rep.member || o.prov) && (best == nil || better(&a.rep, &best.rep)) {
			best = a
		}
	}
	return best
}

// choose is the newest log that counts, and whose damaged records other copies have.
func (o *opening) choose() (*answer, error) {
	for {
		best := o.best()
		if err := o.patch(best); !errors.Is(err, errTorn) {
			return best, err
		}
	}
}

// patch finds for each damaged record of a log another copy that has it, and learns its term there: without all terms the
// logs cannot be compared, and nothing may be cut before.
func (o *opening) patch(best *answer) error {
	for _, h := range slices.Clone(best.rep.holes) {
		for seq := max(h.first, o.cfg.From); seq <= h.last; seq++ {
			i := slices.IndexFunc(o.copies, func(a *answer) bool {
				same, ok := common(&a.rep, &best.rep)
				return a != best && ok && same >= seq && a.rep.holds(seq)
			})
			if i < 0 {
				return o.giveUp(best, seq)
			}
			best.rep.learn(seq, o.copies[i].rep.aligned(&best.rep).termAt(seq))
		}
	}
	return nil
}

// tellHere takes what this node's copy now is.
func (o *opening) tellHere() {
	for _, a := range o.copies {
		if a.c == nil {
			a.rep = o.r.tell()
		}
	}
}

// bring makes this node's copy the chosen log, whole.
func (o *opening) bring(ctx context.Context, best *answer) error {
	if best.rep.base > o.cfg.From {
		return fmt.Errorf("%w: volume %s, node %s: records from %d on are wanted, the log begins at %d", ErrCorrupt,
			o.cfg.Volume, best.node, o.cfg.From, best.rep.base)
	}
	if best.rep.next < o.cfg.From { // everything it has is in the checkpoint, and more
		return o.r.reset(o.s, o.cfg.From)
	}
	if err := o.r.cut(o.s, o.cfg.From); err != nil {
		return err
	}
	mine := o.r.tell()
	keep, ok := best.rep.next-1, true
	if best.c != nil {
		keep, ok = common(&mine, &best.rep)
	}
	if !ok {
		if err := o.r.reset(o.s, o.cfg.From); err != nil {
			return err
		}
	} else if err := o.r.truncate(o.s, keep); err != nil {
		return err
	}
	for _, h := range o.r.tell().holes {
		if err := o.obtain(ctx, best, h, o.r.fill); err != nil {
			return err
		}
	}
	if err := o.obtain(ctx, best, span{o.r.end(), best.rep.next - 1}, o.r.appendAll); err != nil {
		return err
	}
	return o.verify(ctx, best)
}

// verify reads the records that some copy within reach has not, for they must be sent to it: damage that nobody has seen
// yet is found while the log can still be decided.
func (o *opening) verify(ctx context.Context, best *answer) error {
	seq := o.r.end()
	for _, a := range o.copies {
		same, ok := common(&a.rep, &best.rep)
		if !ok {
			same = 0
		}
		seq = min(seq, max(same+1, o.r.begin()))
	}
	var buf []byte
	for seq < o.r.end() {
		out, n, err := o.r.chunk(buf[:0], seq, o.r.end()-1, chunkSize)
		if errors.Is(err, errHole) {
			o.r.damage(seq)
			if err := o.obtain(ctx, best, span{seq, seq}, o.r.fill); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		buf, seq = out, seq+uint64(n)
	}
	return nil
}

// obtain gets records of the chosen log, wherever they are whole. At one that nobody has it gives up.
func (o *opening) obtain(ctx context.Context, best *answer, want span, put func(*session, []byte) error) error {
	for want.first <= want.last {
		next := want.first
		for _, a := range o.sources(best) {
			last := want.last
			if a != best {
				same, ok := common(&a.rep, &best.rep)
				if !ok {
					continue
				}
				last = min(last, same)
			}
			if a.c == nil || next > last {
				continue
			}
			var err error
			if next, err = o.from(ctx, a, span{next, last}, put); err != nil {
				return err
			}
		}
		if next == want.first {
			return o.giveUp(best, next)
		}
		want.first = next
	}
	return nil
}

// from gets records of one copy and answers the first that it did not have.
func (o *opening) from(ctx context.Context, a *answer, want span, put func(*session, []byte) error) (uint64, error) {
	release := a.c.guard(ctx)
	defer release()
	var failed error
	next, err := a.c.fetch(want.first, want.last, func(b []byte) error {
		failed = put(o.s, b)
		return failed
	})
	switch {
	case failed != nil:
		return next, failed
	case err != nil:
		return next, fmt.Errorf("%w: volume %s: %w", ErrNoQuorum, o.cfg.Volume, err)
	}
	return next, nil
}

// sources are the copies, the chosen one first.
func (o *opening) sources(best *answer) []*answer {
	out := []*answer{best}
	for _, a := range o.copies {
		if a != best {
			out = append(out, a)
		}
	}
	return out
}

// giveUp decides about a record of the chosen log that no copy within reach has whole. If its own copy had synced it, it is
// rot, and it is corruption if that copy, those that may have synced it too and those that did not answer can be a
// majority. Else the log is torn there: what follows is no evidence of anything, and the copy counts without it.
func (o *opening) giveUp(best *answer, seq uint64) error {
	could := len(o.cfg.Replicas) - len(o.copies)
	for _, a := range o.copies {
		same, ok := common(&a.rep, &best.rep)
		known := a == best || ok && same >= seq
		if known && a.rep.mark >= seq || !known && a.rep.holds(seq) {
			could++
		}
	}
	if best.rep.mark >= seq && could >= majority(len(o.cfg.Replicas)) {
		return o.corrupt(best, seq)
	}
	o.cfg.Log.Info("a torn end of a volume's log is cut", "volume", o.cfg.Volume, "node", best.node, "seq", seq)
	best.rep.truncate(seq - 1)
	return errTorn
}

func (o *opening) corrupt(best *answer, seq uint64) error {
	err := fmt.Errorf("%w: volume %s, node %s, record %d is whole nowhere; not asked: %s", ErrCorrupt, o.cfg.Volume, best.node, seq,
		strings.Join(o.missing, ", "))
	if len(o.copies) < len(o.cfg.Replicas) {
		err = errors.Join(errMore, err)
	}
	return err
}

// enough fails where a record says that more was synced than the log has now.
func (o *opening) enough(best *answer) error {
	if end := o.r.end(); o.flushed >= end {
		return o.corrupt(best, end)
	}
	return nil
}
