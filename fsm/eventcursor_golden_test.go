package fsm

var eventGolden = []Command{
	&AdvanceEvents{Cursors: map[GroupID]uint64{"control": 7, "index-0": 1 << 40}},
}
