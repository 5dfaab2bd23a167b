package iam

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
	"hive/internal/fsmtest"
	"hive/internal/seal"
)

// follower is a second node: it has its own state, which sees the first node's log when it asks.
type follower struct {
	*fsm.Machine
	leader *fsmtest.Group

	mu   sync.Mutex // guards log
	log  []*raft.Log
	down error
}

func newFollower(t *testing.T, leader *fsmtest.Group) *follower {
	m, err := fsm.Open(fsm.Config{
		Path: filepath.Join(t.TempDir(), "state"), Class: fsm.Control, BootID: "b", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &follower{Machine: m, leader: leader}
}

// Propose applies cmd on the first node; this one has it in its log only.
func (f *follower) Propose(ctx context.Context, cmd fsm.Command) error {
	entry, err := fsm.EncodeCommand(cmd)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, &raft.Log{Index: uint64(len(f.log) + 1), Type: raft.LogCommand, Data: entry})
	return f.leader.Propose(ctx, cmd)
}

func (f *follower) ReadIndex(context.Context) error {
	if f.down != nil {
		return f.down
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ApplyBatch(f.log)
	return f.Failure()
}

func TestKeyMadeOnOneNodeIsFoundOnAnotherAtOnce(t *testing.T) {
	r := newRig(t)
	r.group = fsmtest.New(t, fsm.Control)
	behind := newFollower(t, r.group)
	if err := behind.Propose(t.Context(), r.first.Commands[0]); err != nil {
		t.Fatal(err)
	}
	other := r.on(behind)
	secret, caller, err := other.keys.Lookup(t.Context(), r.first.AccessKeyID, "")
	if err != nil || secret != r.first.SecretAccessKey || !caller.Root || caller.Account != account {
		t.Fatalf("%+v, %v", caller, err)
	}
	toggle := &fsm.UpdateAccessKey{Account: account, ID: fsm.AccessKeyID(r.first.AccessKeyID), Inactive: true}
	if err := behind.Propose(t.Context(), toggle); err != nil {
		t.Fatal(err)
	}
	if err := behind.ReadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.keys.Lookup(t.Context(), r.first.AccessKeyID, ""); !errors.Is(err, ErrInactiveKey) {
		t.Errorf("a key that was switched off: %v", err)
	}
	toggle.Inactive = false
	if err := behind.Propose(t.Context(), toggle); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.keys.Lookup(t.Context(), r.first.AccessKeyID, ""); err != nil {
		t.Errorf("a key that was switched on again: %v", err)
	}
}

func TestPolicyAttachedOnOneNodeCountsOnAnotherAtOnce(t *testing.T) {
	r := newRig(t)
	r.group = fsmtest.New(t, fsm.Control)
	behind := newFollower(t, r.group)
	other := r.on(behind)
	user := fsm.User{Account: account, ID: "AIDA1", Name: "alice", Path: "/"}
	c := &principal.Caller{Account: account, ARN: user.ARN(), UserID: "AIDA1", UserName: "alice"}
	need := []protocol.Access{{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"}}
	for _, cmd := range []fsm.Command{r.first.Commands[0], &fsm.CreateUser{User: user}} {
		if err := behind.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, other.auth.Authorize(t.Context(), c, need), 403, "AccessDenied")
	attach := &fsm.AttachPolicy{Account: account, Owner: "AIDA1", ARN: managedPrefix + "ReadOnlyAccess"}
	if err := behind.Propose(t.Context(), attach); err != nil {
		t.Fatal(err)
	}
	if err := other.auth.Authorize(t.Context(), c, need); err != nil {
		t.Error(err)
	}
	behind.down = errors.New("no leader")
	if err := other.auth.Authorize(t.Context(), c, need); err != nil {
		t.Errorf("what this node knows to be allowed needs no leader: %v", err)
	}
	need[0].Action = "s3:PutObject"
	if err := other.auth.Authorize(t.Context(), c, need); !errors.Is(err, behind.down) {
		t.Errorf("a denial that cannot be told for sure: %v", err)
	}
}

func TestSessionThatWasRevokedOnOneNodeIsOverOnAnotherAtOnce(t *testing.T) {
	r := newRig(t)
	r.group = fsmtest.New(t, fsm.Control)
	behind := newFollower(t, r.group)
	other := r.on(behind)
	role := fsm.Role{Account: account, ID: "AROAAAAAAAAAAAAAAAAAA", Name: "r", Path: "/", Trust: "{}", MaxSession: 3600}
	all := fsm.InlinePolicy{Name: "all", Document: allow("*", "*")}
	for _, cmd := range []fsm.Command{
		r.first.Commands[0], &fsm.CreateRole{Role: role}, &fsm.PutInlinePolicy{Account: account, Owner: role.ID, Policy: all},
	} {
		if err := behind.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	id, token := r.roleSession(t, role.ID)
	need := []protocol.Access{{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"}}
	ask := func() error {
		t.Helper()
		_, c, err := other.keys.Lookup(t.Context(), id, token)
		if err != nil {
			return err
		}
		return other.auth.Authorize(t.Context(), &c, need)
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	all.Document = deny("*", "*")
	if err := behind.Propose(t.Context(), &fsm.PutInlinePolicy{Account: account, Owner: role.ID, Policy: all}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, ask(), 403, "AccessDenied")
	behind.down = errors.New("no leader")
	if err := ask(); !errors.Is(err, behind.down) {
		t.Errorf("a node that cannot ask: %v", err)
	}
	behind.down = nil
	for _, cmd := range []fsm.Command{
		&fsm.DeleteInlinePolicy{Account: account, Owner: role.ID, Name: "all"}, &fsm.DeleteRole{Account: account, ID: role.ID},
	} {
		if err := behind.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(); !errors.Is(err, ErrBadToken) {
		t.Errorf("the role is gone: %v", err)
	}
}

// roleSession makes credentials of a role as STS does.
func (r *rig) roleSession(t testing.TB, role fsm.EntityID, policies ...string) (id, token string) {
	t.Helper()
	tokens := NewSTS(STSConfig{Group: r.group, Sealer: r.box, Clock: func() time.Time { return started }, Rand: rand.Reader})
	s := &principal.Session{Kind: principal.RoleSession, Name: "s", Issuer: string(role), Policies: policies, Restricted: len(policies) > 0}
	got := must(tokens.issue(account, s, 3600, nil))(t)
	return *got.credentials.AccessKeyId, *got.credentials.SessionToken
}

func TestKeysRefuseOnlyWhatTheyCanTell(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"", "AKIANOSUCHKEY0000000", "short", strings.Repeat("A", 200), "AKIA\x00000000000000000"} {
		if _, _, err := r.keys.Lookup(t.Context(), id, ""); !errors.Is(err, ErrNoSuchKey) {
			t.Errorf("%q: %v", id, err)
		}
	}
	cut := newFollower(t, r.group)
	cut.down = errors.New("no leader")
	_, _, err := NewKeys(cut, r.box, func() time.Time { return started }).Lookup(t.Context(), r.first.AccessKeyID, "")
	if !errors.Is(err, cut.down) || errors.Is(err, ErrNoSuchKey) {
		t.Errorf("a node that cannot ask: %v", err)
	}
	wrong, err := seal.New(bytes.Repeat([]byte{8}, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewKeys(r.group, wrong, func() time.Time { return started }).Lookup(t.Context(), r.first.AccessKeyID, ""); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("another seal key: %v", err)
	}
}

func TestBootstrapTakesOrDrawsTheFirstKey(t *testing.T) {
	r := newRig(t)
	given, err := Bootstrap(BootstrapOptions{
		AccountID: account, AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG", Sealer: r.box, Now: started, Rand: rand.Reader,
	})
	if err != nil || given.AccessKeyID != "AKIAIOSFODNN7EXAMPLE" || given.SecretAccessKey != "wJalrXUtnFEMI/K7MDENG" {
		t.Errorf("%v", err)
	}
	drawn, err := Bootstrap(BootstrapOptions{Sealer: r.box, Now: started, Rand: rand.Reader})
	if err != nil || !drawn.AccountID.Valid() || drawn.AccountID[0] == '0' || len(drawn.AccessKeyID) != 20 || len(drawn.SecretAccessKey) != 40 {
		t.Errorf("%s %s %v", drawn.AccountID, drawn.AccessKeyID, err)
	}
	for _, o := range []BootstrapOptions{
		{AccountID: "123"}, {AccountID: "12345678901a"}, {AccessKeyID: "AKIAIOSFODNN7EXAMPLE"}, {SecretAccessKey: "wJalrXUtnFEMI"},
		{AccessKeyID: "short", SecretAccessKey: "wJalrXUtnFEMI"}, {AccessKeyID: "AKIA IOSFODNN7EXAMPL", SecretAccessKey: "wJalrXUtnFEMI"},
		{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "short"}, {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "with a space"},
	} {
		o.Sealer, o.Rand = r.box, rand.Reader
		_, err := Bootstrap(o)
		if !errors.Is(err, ErrBadInput) || o.SecretAccessKey != "" && strings.Contains(err.Error(), o.SecretAccessKey) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Bootstrap(BootstrapOptions{Sealer: r.box, Rand: strings.NewReader("")}); err == nil {
		t.Error("an id was drawn from nothing")
	}
}
