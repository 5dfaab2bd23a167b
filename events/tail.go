package events

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"hive/events/pattern"
	"hive/fsm"
)

// Tail is what somebody wants to see of the events that this node's state has.
type Tail struct {
	// From is the index in each group's log that it begins with; Now, with what comes from now on.
	From uint64
	Now  bool
	// Group is the only group that is wanted; "" is all.
	Group fsm.GroupID
	// Filter is what is wanted; nil is everything.
	Filter *pattern.Pattern
	// Once ends after what is there; otherwise it goes on with what comes.
	Once bool
}

// ErrNoGroup is a group that the cluster does not have.
var ErrNoGroup = errors.New("the cluster has no such group")

// Follow hands the events of this node's state to yield, each as one line of JSON, in order within a group and as far as
// possible by time across groups, until ctx ends or yield fails. It needs no NATS.
func (b *Bridge) Follow(ctx context.Context, want Tail, yield func(line []byte) error) error {
	readers, err := b.readers(want)
	if err != nil {
		return err
	}
	return b.follow(ctx, readers, want, yield)
}

// readers stand where a tail begins. What is committed from now on comes after them.
func (b *Bridge) readers(want Tail) ([]*reader, error) {
	var out []*reader
	for _, g := range b.cfg.Groups {
		if want.Group != "" && g.ID != want.Group {
			continue
		}
		r := &reader{group: g, at: max(want.From, 1) - 1}
		if want.Now {
			p, err := g.read(math.MaxUint64)
			if err != nil {
				return nil, err
			}
			r.at = p.applied
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: %w", want.Group, ErrNoGroup)
	}
	return out, nil
}

func (b *Bridge) follow(ctx context.Context, readers []*reader, want Tail, yield func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	wake := make(chan struct{}, 1)
	if !want.Once {
		var groups []Group
		for _, r := range readers {
			groups = append(groups, r.group)
		}
		work.Go(func() { wakes(ctx, groups, wake) })
	}
	for {
		if err := b.replay(ctx, readers, want.Filter, yield); err != nil {
			return err
		}
		if want.Once {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// reader is one group's place in a tail.
type reader struct {
	group Group
	at    uint64 // index of what was read last
	next  []fsm.Noticed
}

// fill reads the next page once the last is used up.
func (r *reader) fill() error {
	if len(r.next) > 0 {
		return nil
	}
	p, err := r.group.read(r.at)
	if err != nil || len(p.notices) == 0 {
		return err
	}
	r.next, r.at = p.notices, p.notices[len(p.notices)-1].Index
	return nil
}

// replay yields what there is, the oldest of all groups first.
func (b *Bridge) replay(ctx context.Context, readers []*reader, filter *pattern.Pattern, yield func([]byte) error) error {
	for ctx.Err() == nil {
		var filled []*reader
		for _, r := range readers {
			if err := r.fill(); err != nil {
				return err
			}
			if len(r.next) > 0 {
				filled = append(filled, r)
			}
		}
		if len(filled) == 0 {
			return nil
		}
		r := slices.MinFunc(filled, func(a, b *reader) int { return cmp.Compare(a.next[0].Time, b.next[0].Time) })
		e := b.cfg.Realm.Event(r.group.ID, r.next[0])
		r.next = r.next[1:]
		line, err := e.JSON()
		if err != nil {
			return err
		}
		if filter != nil && !filter.Match(e.Subject(), line) {
			continue
		}
		if err := yield(line); err != nil {
			return err
		}
	}
	return nil
}

// ServeTail answers GET ?from=INDEX&group=GROUP&filter=PATTERN&once=true: a stream of events, one JSON object a line.
// Without from it begins with what comes.
func (b *Bridge) ServeTail(w http.ResponseWriter, r *http.Request) {
	want, err := tailOf(r)
	var readers []*reader
	if err == nil {
		readers, err = b.readers(want) // before the answer begins: what comes after it is seen
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if err := out.Flush(); err != nil {
		return // whoever asked is gone
	}
	err = b.follow(r.Context(), readers, want, func(line []byte) error {
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil {
		b.cfg.Log.Debug("events tail ended", "err", err)
	}
}

func tailOf(r *http.Request) (Tail, error) {
	q := r.URL.Query()
	want := Tail{Now: true, Group: fsm.GroupID(q.Get("group")), Once: q.Get("once") == "true"}
	var err error
	if text := q.Get("from"); text != "" {
		want.Now = false
		if want.From, err = strconv.ParseUint(text, 10, 64); err != nil {
			return want, fmt.Errorf("from=%q: give an index", text)
		}
	}
	if text := q.Get("filter"); text != "" {
		want.Filter, err = pattern.Parse(text)
	}
	return want, err
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(map[string]string{"error": err.Error()}); err != nil {
		return // whoever asked is gone
	}
}
