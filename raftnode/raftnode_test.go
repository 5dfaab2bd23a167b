package raftnode

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hive/fsm"
)

func TestProposalsFromAnyNodeAreReadOnAll(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	for i, m := range nodes {
		name := fmt.Sprintf("bucket-%d", i)
		if err := m.Propose(ctx, set(name, uint64(i+1))); err != nil {
			t.Fatalf("%s: %v", m.id, err)
		}
		if got := get(t, m, name); got != uint64(i+1) {
			t.Errorf("%s does not read its own write: %d", m.id, got)
		}
		for _, other := range nodes {
			if err := other.ReadIndex(ctx); err != nil {
				t.Fatalf("%s: %v", other.id, err)
			}
			if got := get(t, other, name); got != uint64(i+1) {
				t.Errorf("%s reads %d, %s wrote %d", other.id, got, m.id, i+1)
			}
		}
	}
	r.compare()
}

func TestRefusalReachesTheProposerOnAnyNode(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	if err := nodes[0].Propose(ctx, &fsm.OpenGate{Name: "b", Born: 1, Seq: 9}); err != nil {
		t.Fatal(err)
	}
	for _, m := range nodes {
		err := m.Propose(ctx, &fsm.OpenGate{Name: "b", Born: 2, Seq: 3})
		refusal := (*fsm.Error)(nil)
		if !errors.Is(err, fsm.ErrConflict) || !errors.As(err, &refusal) || refusal.Resource != "b" {
			t.Errorf("%s: %v", m.id, err)
		}
	}
	r.compare()
}

func TestCommandOfAnotherClassIsNeverInTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 30*time.Second)
	for _, m := range nodes {
		err := m.Propose(ctx, &fsm.RevokeToken{ID: "x"}) // of the control group
		if err == nil || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("%s: %v", m.id, err)
		}
	}
	if err := nodes[1].Propose(ctx, set("b", 1)); err != nil {
		t.Fatal(err)
	}
	r.compare()
}

func TestManyProposersOnAllNodesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nodes := r.form(3)
	ctx := testContext(t, 60*time.Second)
	const each = 100
	var wg sync.WaitGroup
	for _, m := range nodes {
		for i := range each {
			wg.Go(func() {
				name := fmt.Sprintf("%s-%d", m.id, i)
				if err := m.Propose(ctx, set(name, 7)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if got, err := lookup(m, name); err != nil || got != 7 {
					t.Errorf("%s reads %d, %v", name, got, err)
				}
			})
		}
	}
	wg.Wait()
	r.compare()
	count := 0
	err := nodes[2].View(func(v *fsm.View) error {
		for range fsm.Gates.Scan(v, "n-") {
			count++
		}
		return nil
	})
	if err != nil || count != 3*each {
		t.Errorf("%d records, %v", count, err)
	}
}
