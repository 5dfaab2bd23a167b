package events_test

import (
	"fmt"
	"testing"
)

func TestEveryTenantGetsItsOwnEventsInOrderOnEveryServer(t *testing.T) {
	r := newRig(t)
	a, b, c := r.three()
	clients := []*client{r.subscriber(alice, a), r.subscriber(alice, b), r.subscriber(alice, c)}
	other := r.subscriber(bob, b)
	var mine, theirs []string
	for i := range 300 {
		name := fmt.Sprintf("k%03d", i)
		r.object(alice, name)
		r.object(bob, "b"+name)
		mine, theirs = append(mine, name), append(theirs, "b"+name)
		if i%10 == 0 {
			r.keyPair(alice, "p"+name)
			mine = append(mine, "p"+name)
		}
	}
	for _, c := range clients {
		c.inOrder(mine)
	}
	other.inOrder(theirs)
	eventually(t, "one publisher", func() bool {
		return a.bridge.Status().Publishing && !b.bridge.Status().Publishing && !c.bridge.Status().Publishing
	})
}
