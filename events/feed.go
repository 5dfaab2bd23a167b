package events

import (
	"context"
	"sync"

	"hive/fsm"
)

// Group is a Raft group as this package sees it: what it has committed, and when that changes.
type Group struct {
	ID      fsm.GroupID
	View    func(func(*fsm.View) error) error
	Changed func() <-chan struct{} // closed at the next change
}

// pageSize is how many notices are held at a time.
const pageSize = 256

// page is the next notices of a group.
type page struct {
	notices []fsm.Noticed
	oldest  uint64 // index of the oldest that is kept
	applied uint64 // index of the state that was read
}

// read takes the notices after an index, pageSize of them and the rest of the last one's entry.
func (g Group) read(after uint64) (p page, err error) {
	err = g.View(func(v *fsm.View) error {
		p = page{notices: fsm.Notices(v, after, pageSize), oldest: fsm.OldestNotice(v), applied: v.Index()}
		return nil
	})
	return p, err
}

// wakes runs until ctx ends and puts a word into the channel whenever one of the groups has changed.
func wakes(ctx context.Context, groups []Group, wake chan<- struct{}) {
	var work sync.WaitGroup
	for _, g := range groups {
		work.Go(func() {
			for {
				changed := g.Changed()
				select {
				case wake <- struct{}{}:
				default: // it has not read the last word yet: one is enough
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	work.Wait()
}
