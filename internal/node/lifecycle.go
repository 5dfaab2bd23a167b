package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// stage is a part of the node that runs until its context ends. Stages start in order and end in
// the reverse order, each only when those after it have ended: the front door drains while Raft
// still runs, Raft hands its leadership over while the port still runs.
type stage struct {
	name string
	run  func(ctx context.Context) error
}

// stageDeadline is how long a stage may take to end.
const stageDeadline = 20 * time.Second

// runStages runs the stages until ctx ends or one of them ends by itself, which is an error.
func runStages(ctx context.Context, log *slog.Logger, stages []stage) error {
	type ended struct {
		name string
		err  error
	}
	early := make(chan ended, len(stages))
	var cancels []context.CancelFunc
	var dones []chan error
	for _, s := range stages {
		// A stage ends when it is its turn, not when ctx does.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan error, 1)
		go func() {
			err := s.run(own)
			if own.Err() == nil {
				early <- ended{s.name, err}
			}
			done <- err
		}()
		cancels, dones = append(cancels, cancel), append(dones, done)
	}
	var failure error
	select {
	case <-ctx.Done():
	case e := <-early:
		failure = fmt.Errorf("%s ended: %w", e.name, orUnexpected(e.err))
	}
	for i := len(stages) - 1; i >= 0; i-- {
		cancels[i]()
		select {
		case err := <-dones[i]:
			if err != nil && failure == nil {
				failure = fmt.Errorf("%s: %w", stages[i].name, err)
			}
		case <-time.After(stageDeadline):
			log.Error("a part of the node does not end", "part", stages[i].name)
			failure = errors.Join(failure, fmt.Errorf("%s did not end within %v", stages[i].name, stageDeadline))
		}
	}
	return failure
}

func orUnexpected(err error) error {
	if err == nil {
		return errors.New("without a reason")
	}
	return err
}

// together runs parts until all have ended; the first that fails ends the others.
func together(parts ...func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		errs := make([]error, len(parts))
		var work sync.WaitGroup
		for i, part := range parts {
			work.Go(func() {
				if errs[i] = part(ctx); errs[i] != nil {
					cancel()
				}
			})
		}
		work.Wait()
		return errors.Join(errs...)
	}
}
