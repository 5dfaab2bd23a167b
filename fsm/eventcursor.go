package fsm

import (
	"maps"
	"slices"
)

// eventCursors are how far the notices of each group were sent, by group.
var eventCursors = Table[GroupID, eventCursor]{Name: "eventcursor"}

type eventCursor struct {
	Index uint64 `cbor:"1,keyasint"`
}

// maxEventGroups bounds what one command moves: a cluster has one group for control and a few for objects.
const maxEventGroups = 1024

var eventKinds = []KindEntry{
	{280, Control, func() Command { return new(AdvanceEvents) }},
}

// EventCursors are, by group, the index of the last entry whose notices were all sent.
func EventCursors(v *View) map[GroupID]uint64 {
	out := map[GroupID]uint64{}
	for id, c := range eventCursors.From(v, "") {
		out[id] = c.Index
	}
	return out
}

// AdvanceEvents tells how far the notices of groups were sent. A cursor never goes back: of two nodes that publish for a
// moment the one that is behind changes nothing.
type AdvanceEvents struct {
	Cursors map[GroupID]uint64 `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *AdvanceEvents) Kind() Kind { return 280 }

// Check refuses groups without a name and more of them than a cluster has (ErrInvalid).
func (c *AdvanceEvents) Check(*View) error {
	if _, unnamed := c.Cursors[""]; unnamed || len(c.Cursors) > maxEventGroups {
		return Errorf(ErrInvalid, "event cursors")
	}
	for id := range c.Cursors {
		if len(id) > maxIAMName {
			return Errorf(ErrInvalid, "event cursors")
		}
	}
	return nil
}

// Record moves the cursors that are behind.
func (c *AdvanceEvents) Record(w *Writer) {
	for _, id := range slices.Sorted(maps.Keys(c.Cursors)) {
		if have, _ := eventCursors.Get(&w.View, id); c.Cursors[id] > have.Index {
			eventCursors.Put(w, id, eventCursor{Index: c.Cursors[id]})
		}
	}
}
