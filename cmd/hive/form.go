package main

import (
	"context"
	"fmt"
	"slices"

	"hive/fsm"
	"hive/internal/admin"
)

// formation is how far a cluster has come together, as one node knows it.
type formation struct {
	target, joined, acknowledged int
	formed                       bool
}

func formationOf(s admin.Status) formation {
	f := formation{target: s.TargetSize, joined: len(s.Members), formed: s.Formed}
	for _, m := range s.Members {
		if s.Epoch > 0 && m.Epoch >= s.Epoch {
			f.acknowledged++
		}
	}
	return f
}

// complete tells that all nodes are there and have acknowledged the settings in force.
func (f formation) complete() bool {
	return f.formed && f.joined >= f.target && f.acknowledged >= f.joined
}

func (f formation) String() string {
	if f.target == 0 {
		return "waiting for the cluster's log to arrive"
	}
	target := max(f.target, f.joined) // more than the target may join later
	return fmt.Sprintf("joined %d of %d, acknowledged %d of %d", f.joined, target, f.acknowledged, target)
}

// acknowledgedBy tells that the cluster has formed and node has its settings.
func acknowledgedBy(s admin.Status, node fsm.NodeID) bool {
	return s.Formed && slices.ContainsFunc(s.Members, func(m admin.Member) bool {
		return m.Node == node && s.Epoch > 0 && m.Epoch >= s.Epoch
	})
}

// awaitFormation shows how the cluster comes together until done says so.
func awaitFormation(ctx context.Context, d *daemon, bar *progress, done func(admin.Status) bool) error {
	defer bar.close()
	return d.await(ctx, func(s admin.Status) bool {
		f := formationOf(s)
		bar.show(f.joined+f.acknowledged, "%v", f)
		return done(s)
	})
}

// interrupted tells, after Ctrl-C, that the daemon goes on.
func interrupted(ctx context.Context, err error, dir, command string) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("interrupted: the daemon goes on in the background; run `hive %s` again with the same flags to go on waiting, `hive status --hive-dir %s` to look, `hive stop --hive-dir %s` to stop it",
		command, dir, dir)
}
