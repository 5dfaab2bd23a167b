package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hive/fsm"
)

// Registry makes the changes to who belongs to the cluster. Each is one command under the next
// signed epoch.
type Registry struct {
	Group  Group
	Sealer Sealer
	Clock  func() time.Time
}

// change reads the settings, lets edit make a command under the next epoch, and proposes it;
// when another change was faster it reads again.
func (r *Registry) change(ctx context.Context, edit func(*fsm.View, fsm.Cluster, signer) (fsm.Command, error)) error {
	for {
		var cmd fsm.Command
		err := r.Group.View(func(v *fsm.View) error {
			c, ok := fsm.TheCluster(v)
			if !ok {
				return errors.New("this node does not know its cluster yet: wait for it to catch up")
			}
			var err error
			cmd, err = edit(v, c, func(members []fsm.Member) (fsm.Settings, error) {
				key, err := openSigning(c, r.Sealer)
				if err != nil {
					return fsm.Settings{}, err
				}
				have, err := VerifyBundle(c.Settings.Bundle, c.SigningKey)
				if err != nil {
					return fsm.Settings{}, err
				}
				b := NewBundle(c.ID, c.TargetSize, c.Settings.Epoch+1, members)
				b.Tuning = have.Tuning
				return b.Sign(key)
			})
			return err
		})
		if err != nil || cmd == nil {
			return err
		}
		err = r.Group.Propose(ctx, cmd)
		if !errors.Is(err, fsm.ErrConflict) {
			return err
		}
		if err := r.Group.ReadIndex(ctx); err != nil {
			return err
		}
	}
}

// signer makes the next epoch's settings for the given members.
type signer func(members []fsm.Member) (fsm.Settings, error)

// membersOf are the members in the order of their ids.
func membersOf(v *fsm.View) []fsm.Member {
	var out []fsm.Member
	for _, m := range fsm.Members.Scan(v, "") {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b fsm.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

// admit proposes a new member.
func (r *Registry) admit(ctx context.Context, m fsm.Member, token string) error {
	return r.change(ctx, func(v *fsm.View, _ fsm.Cluster, sign signer) (fsm.Command, error) {
		settings, err := sign(append(membersOf(v), m))
		return &fsm.AdmitMember{Member: m, TokenID: token, Now: r.Clock().Unix(), Settings: settings}, err
	})
}

// Update changes one member's record. The function edit returns false when nothing changes.
func (r *Registry) Update(ctx context.Context, node fsm.NodeID, edit func(*fsm.Member) bool) error {
	return r.change(ctx, func(v *fsm.View, _ fsm.Cluster, sign signer) (fsm.Command, error) {
		members := membersOf(v)
		i := slices.IndexFunc(members, func(m fsm.Member) bool { return m.ID == node })
		if i < 0 {
			return nil, fmt.Errorf("%s is not a member: see `hive node list`", node)
		}
		if !edit(&members[i]) {
			return nil, nil
		}
		settings, err := sign(members)
		return &fsm.UpdateMember{Member: members[i], Settings: settings}, err
	})
}

// Remove takes a node out of the members.
func (r *Registry) Remove(ctx context.Context, node fsm.NodeID) error {
	return r.change(ctx, func(v *fsm.View, _ fsm.Cluster, sign signer) (fsm.Command, error) {
		members := membersOf(v)
		left := slices.DeleteFunc(slices.Clone(members), func(m fsm.Member) bool { return m.ID == node })
		if len(left) == len(members) {
			return nil, fmt.Errorf("%s is not a member: see `hive node list`", node)
		}
		settings, err := sign(left)
		return &fsm.RemoveMember{Node: node, Settings: settings}, err
	})
}

// NewToken makes a join token and its record.
func (r *Registry) NewToken(ctx context.Context, t JoinToken, life time.Duration, uses int, caps []string) (fsm.Token, error) {
	if life <= 0 || uses <= 0 {
		return fsm.Token{}, fmt.Errorf("%w: a token needs an expiry and uses above zero", ErrBadInput)
	}
	if len(caps) > 0 {
		var err error
		if caps, err = CheckCaps(caps); err != nil {
			return fsm.Token{}, err
		}
	}
	now := r.Clock()
	record := t.Record(now.Unix(), now.Add(life).Unix(), uses, caps)
	return record, r.Group.Propose(ctx, &fsm.CreateToken{Token: record})
}

// Keeper writes every new settings bundle that the control group holds as cluster.json, once it
// has verified it, and acknowledges it.
type Keeper struct {
	Group Group
	Node  fsm.NodeID
	// Epoch is of the settings that the node has from before: lower ones are not believed again.
	Epoch uint64
	// Write replaces cluster.json durably.
	Write func(raw []byte) error
	// Written is called after each, with the bundle that this node now believes.
	Written func(Bundle)
}

const (
	// retryAck is how long an acknowledgement that found no leader waits.
	retryAck   = time.Second
	ackTimeout = 10 * time.Second
)

// Run follows the control group until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	have, acked := k.Epoch, uint64(0)
	for {
		changed := k.Group.Changed()
		var c fsm.Cluster
		var self fsm.Member
		err := k.Group.View(func(v *fsm.View) error {
			c, _ = fsm.TheCluster(v)
			self, _ = fsm.Members.Get(v, k.Node)
			return nil
		})
		if err != nil {
			return err
		}
		if c.Settings.Epoch > have {
			if err := k.believe(c); err != nil {
				return err
			}
			have = c.Settings.Epoch
		}
		var retry <-chan time.Time
		acked = max(acked, self.Acked)
		if self.ID != "" && acked < have {
			if k.acknowledge(ctx, have) {
				acked = have
			} else {
				retry = time.After(retryAck)
			}
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return nil
		}
	}
}

// acknowledge tells the cluster; it answers false when that must be tried again.
func (k *Keeper) acknowledge(ctx context.Context, epoch uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return k.Group.Propose(ctx, &fsm.AckEpoch{Node: k.Node, Epoch: epoch}) == nil
}

func (k *Keeper) believe(c fsm.Cluster) error {
	b, err := VerifyBundle(c.Settings.Bundle, c.SigningKey)
	if err != nil {
		return fmt.Errorf("epoch %d: %w", c.Settings.Epoch, err)
	}
	if b.Epoch != c.Settings.Epoch || b.ClusterID != c.ID {
		return fmt.Errorf("epoch %d of %s in the settings of epoch %d of %s: %w", b.Epoch, b.ClusterID, c.Settings.Epoch, c.ID, ErrBadSignature)
	}
	if err := k.Write(c.Settings.Bundle); err != nil {
		return err
	}
	k.Written(b)
	return nil
}
