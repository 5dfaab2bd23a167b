package ebs

import (
	"context"
	"testing"
)

// A daemon that was restarted serves its volumes again under the same generation, at the same socket; and an instance that is
// started again at once has its volume, whatever is left of settling it.
func TestVolumeIsServedAgain(t *testing.T) {
	r := newRig(t, 1, nil)
	ctx := context.Background()
	id := r.volume(1, "")
	e, g := r.attach(id, "n-a")
	c := connect(t, e)
	c.write(0, pattern(1, 1<<20)) // not flushed: the daemon does it when it ends in order
	r.halt("n-a")
	r.start("n-a")
	again, err := r.node("n-a").Attach(ctx, id, g)
	if err != nil || again != e {
		t.Fatalf("attached again: %+v, %v; was %+v", again, err, e)
	}
	c = connect(t, again)
	wantBytes(t, "after a restart", c.read(0, 1<<20), pattern(1, 1<<20))
	for i := range byte(5) {
		c.write(int64(i)<<20, pattern(i, 1<<20))
		c.bye()
		if err := r.node("n-a").Detach(ctx, id, g); err != nil {
			t.Fatal(err)
		}
		e, g = r.attach(id, "n-a")
		c = connect(t, e)
		wantBytes(t, "after a quick start", c.read(int64(i)<<20, 1<<20), pattern(i, 1<<20))
	}
}
