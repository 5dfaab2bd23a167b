package fsm_test

import (
	"errors"
	"maps"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

func TestEventCursorsNeverGoBack(t *testing.T) {
	g := fsmtest.New(t, fsm.Control)
	for _, step := range []struct{ put, want map[fsm.GroupID]uint64 }{
		{map[fsm.GroupID]uint64{"control": 5}, map[fsm.GroupID]uint64{"control": 5}},
		{map[fsm.GroupID]uint64{"control": 3, "index-0": 9}, map[fsm.GroupID]uint64{"control": 5, "index-0": 9}},
		{map[fsm.GroupID]uint64{"control": 6}, map[fsm.GroupID]uint64{"control": 6, "index-0": 9}},
	} {
		if err := g.Propose(t.Context(), &fsm.AdvanceEvents{Cursors: step.put}); err != nil {
			t.Fatal(err)
		}
		err := g.View(func(v *fsm.View) error {
			if got := fsm.EventCursors(v); !maps.Equal(got, step.want) {
				t.Errorf("after %v: %v, want %v", step.put, got, step.want)
			}
			if n := fsm.Notices(v, 0, 10); len(n) > 0 {
				t.Errorf("a cursor told of itself: %v", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventCursorOfAGroupWithoutNameIsRefused(t *testing.T) {
	err := fsmtest.New(t, fsm.Control).Propose(t.Context(), &fsm.AdvanceEvents{Cursors: map[fsm.GroupID]uint64{"": 1}})
	if !errors.Is(err, fsm.ErrInvalid) {
		t.Error(err)
	}
}
