package raftnode

import "errors"

// Causes that a caller can act on.
var (
	// ErrNoLeader is a group in which no leader was found before the caller's context ended. Nothing was
	// proposed.
	ErrNoLeader = errors.New("no leader")
	// ErrUnknownOutcome is a proposal that may or may not have been, or yet be, recorded.
	ErrUnknownOutcome = errors.New("the outcome is not known")
	// ErrStopped is a group that is not running any more.
	ErrStopped = errors.New("group has stopped")
	// ErrReplaying is a state that was built again from a snapshot and has not yet reached what it was
	// before the node went down: to show it would be to go back in time.
	ErrReplaying = errors.New("the state is being built again from the log")
	// ErrQuorum is a change of membership that would leave the group without a living majority.
	ErrQuorum = errors.New("the change would lose quorum")
	// ErrStale is a change of membership that was decided on another configuration than the present one.
	ErrStale = errors.New("the membership has changed since it was read")
	// ErrNotMember is a change about a node that is not in the group.
	ErrNotMember = errors.New("not in the group")
)

// Causes for which Open refuses a directory. None of them is mended by starting again: the node must be
// removed from the cluster and join again with an empty directory, or its directory be restored.
var (
	ErrLogMissing   = errors.New("the log file is missing")
	ErrLogTruncated = errors.New("the log file is truncated")
	ErrLogCorrupt   = errors.New("the log file is corrupt")
	ErrStateLost    = errors.New("state is lost that no snapshot and no log entry here holds")
	ErrWrongDir     = errors.New("the directory belongs to another node or group")
	ErrInUse        = errors.New("the directory is in use by another process")
)

// errNotLeader is the answer of a node that does not lead, or not in the term that was asked for.
var errNotLeader = errors.New("not the leader")
