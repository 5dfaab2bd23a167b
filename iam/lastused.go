package iam

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// Uses remembers what access keys and roles were used for at this node, and says so to the cluster once in a while: a
// request must not cost a write. What a node that is killed has not said yet is lost.
type Uses struct {
	cfg UsesConfig

	mu   sync.Mutex // guards seen
	seen map[usedThing]fsm.LastUsed
}

// UsesConfig is what Uses needs.
type UsesConfig struct {
	Group  Group
	Region string
	Clock  func() time.Time
	Log    *slog.Logger
}

// usedThing is an access key or a role.
type usedThing struct {
	account string
	key     string // "" of a role
	role    string
}

const (
	usesEvery  = time.Minute
	usesGrace  = 2 * time.Second // for the last ones when the node stops
	usesAtMost = 10_000          // things that are remembered until they are told
)

// NewUses remembers nothing yet.
func NewUses(cfg UsesConfig) *Uses {
	cfg.Group = patient{cfg.Group}
	return &Uses{cfg: cfg, seen: map[usedThing]fsm.LastUsed{}}
}

// Note is told of every request that was proved. It is quick.
func (u *Uses) Note(c *principal.Caller, service string) {
	thing := usedThing{account: c.Account}
	switch {
	case c.Session == nil && c.AccessKey != "":
		thing.key = c.AccessKey
	case c.Session != nil && c.Session.Kind == principal.RoleSession:
		thing.role = c.Session.Issuer
	default:
		return // no key, or what AWS does not count as its use
	}
	now := u.cfg.Clock().Unix()
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.seen[thing]; known || len(u.seen) < usesAtMost {
		u.seen[thing] = fsm.LastUsed{Time: now, Region: u.cfg.Region, Service: service}
	}
}

// Run says once a minute what was used, and a last time when ctx ends.
func (u *Uses) Run(ctx context.Context) error {
	tick := time.NewTicker(usesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.Tell(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), usesGrace)
			defer cancel()
			u.Tell(last)
			return nil
		}
	}
}

// Tell records what was used since it was called last. What cannot be recorded now is kept for the next time.
func (u *Uses) Tell(ctx context.Context) {
	u.mu.Lock()
	seen := u.seen
	u.seen = map[usedThing]fsm.LastUsed{}
	u.mu.Unlock()
	if len(seen) == 0 {
		return
	}
	cmd := &fsm.RecordUses{Uses: make([]fsm.Use, 0, len(seen))}
	for thing, last := range seen {
		cmd.Uses = append(cmd.Uses, fsm.Use{
			Account: fsm.AccountID(thing.account), Key: fsm.AccessKeyID(thing.key), Role: fsm.EntityID(thing.role), Last: last,
		})
	}
	if err := u.cfg.Group.Propose(ctx, cmd); err != nil {
		u.cfg.Log.DebugContext(ctx, "uses of keys and roles are told later", "count", len(seen), "cause", err)
		u.keep(seen)
	}
}

func (u *Uses) keep(seen map[usedThing]fsm.LastUsed) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for thing, last := range seen {
		if _, newer := u.seen[thing]; !newer && len(u.seen) < usesAtMost {
			u.seen[thing] = last
		}
	}
}

// notAvailable stands where AWS knows no value.
const notAvailable = "N/A"

// GetAccessKeyLastUsed tells when a key of the caller's account was last used, to about a minute. Errors: NoSuchEntity.
func (s *Service) GetAccessKeyLastUsed(ctx context.Context, c *principal.Caller, in *awsiam.GetAccessKeyLastUsedInput) (*awsiam.GetAccessKeyLastUsedOutput, error) {
	id, err := validKeyID(in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	out := &awsiam.GetAccessKeyLastUsedOutput{AccessKeyLastUsed: &types.AccessKeyLastUsed{Region: aws.String(notAvailable), ServiceName: aws.String(notAvailable)}}
	err = s.read(ctx, func(v *fsm.View) error {
		key, ok := fsm.AccessKeyByID(v, id)
		if !ok || string(key.Account) != c.Account {
			return fsm.Errorf(fsm.ErrNotFound, "access-key/"+string(id))
		}
		if user, ok := fsm.UserByID(v, key.Account, key.User); ok {
			out.UserName = aws.String(user.Name)
		}
		if last, ok := fsm.KeyLastUsed(v, key.Account, id); ok {
			out.AccessKeyLastUsed = &types.AccessKeyLastUsed{LastUsedDate: date(last.Time), Region: aws.String(last.Region), ServiceName: aws.String(last.Service)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
