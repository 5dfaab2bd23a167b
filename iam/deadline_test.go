package iam

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"hive/awsd/protocol"
	"hive/fsm"
)

// leaderless is a group that never gets an answer.
type leaderless struct{ Group }

func (leaderless) Propose(ctx context.Context, _ fsm.Command) error {
	<-ctx.Done()
	return ctx.Err()
}

func (leaderless) ReadIndex(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAGroupWithoutALeaderIsServiceUnavailable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as the deadline would
	for what, err := range map[string]error{
		"propose": patient{leaderless{}}.Propose(ctx, new(fsm.UpdateUser)),
		"read":    patient{leaderless{}}.ReadIndex(ctx),
	} {
		var answer *protocol.Error
		if !errors.As(err, &answer) || answer.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := fsm.Errorf(fsm.ErrNotFound, "user/x")
	if got := unavailable(refused); !errors.Is(got, fsm.ErrNotFound) || got != refused {
		t.Errorf("a refusal became %v", got)
	}
}
