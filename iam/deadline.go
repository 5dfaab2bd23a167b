package iam

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
)

// groupDeadline is how long the control group may take, an election included, before the client is told
// to come again.
const groupDeadline = 12 * time.Second

// patient is a Group that answers in time: what it cannot tell by then is AWS's ServiceUnavailable.
type patient struct{ Group }

// Propose is the Group's, in time.
func (p patient) Propose(ctx context.Context, cmd fsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, groupDeadline)
	defer cancel()
	return unavailable(p.Group.Propose(ctx, cmd))
}

// ReadIndex is the Group's, in time.
func (p patient) ReadIndex(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, groupDeadline)
	defer cancel()
	return unavailable(p.Group.ReadIndex(ctx))
}

// unavailable leaves refusals as they are; anything else is a group that could not answer.
func unavailable(err error) error {
	if refused := (*fsm.Error)(nil); err == nil || errors.As(err, &refused) {
		return err
	}
	return errors.Join(protocol.Errorf(http.StatusServiceUnavailable, "ServiceUnavailable",
		"The request could not be completed: too few of the cluster's nodes answer. A change may still come into force. Try again; an operator sees more with hive status."), err)
}
