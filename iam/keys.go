package iam

import (
	"context"
	"errors"
	"fmt"

	"hive/fsm"
	"hive/iam/principal"
)

// Keys finds the secret of an access key and who it speaks for.
//
// Secrets are opened anew for every request: that takes a third of a microsecond, so there is no cache
// to be believed over the state.
type Keys struct {
	group  Group
	sealer Sealer
}

// NewKeys reads keys from group and opens their secrets with sealer.
func NewKeys(group Group, sealer Sealer) *Keys { return &Keys{group: patient{group}, sealer: sealer} }

// Lookup answers from this node's state, which lags behind an acknowledged write elsewhere by as long as
// the log takes to arrive: milliseconds, unless this node is cut off. So that a key made on one node signs
// a request to another at once, a key is refused only after ReadIndex, on a state that has every
// acknowledged write. A key that was switched off or deleted elsewhere is believed until the entry
// arrives here.
//
// Errors: ErrNoSuchKey, ErrInactiveKey; any other means that it could not be told.
func (k *Keys) Lookup(ctx context.Context, accessKeyID string) (secret string, caller principal.Caller, err error) {
	if !wordPattern(accessKeyID, minKeyID, maxKeyID) {
		return "", caller, ErrNoSuchKey
	}
	key, caller, err := k.find(fsm.AccessKeyID(accessKeyID))
	if errors.Is(err, ErrNoSuchKey) || errors.Is(err, ErrInactiveKey) {
		if err := k.group.ReadIndex(ctx); err != nil {
			return "", principal.Caller{}, fmt.Errorf("look for access key %s: %w", accessKeyID, err)
		}
		key, caller, err = k.find(fsm.AccessKeyID(accessKeyID))
	}
	if err != nil {
		return "", principal.Caller{}, err
	}
	plain, err := k.sealer.Open(key.Secret, key.ID.SealContext())
	if err != nil {
		return "", principal.Caller{}, fmt.Errorf("open access key %s: %w", accessKeyID, err)
	}
	return string(plain), caller, nil
}

func (k *Keys) find(id fsm.AccessKeyID) (key fsm.AccessKey, caller principal.Caller, err error) {
	err = k.group.View(func(v *fsm.View) error {
		var ok bool
		if key, ok = fsm.AccessKeyByID(v, id); !ok {
			return ErrNoSuchKey
		}
		if key.Inactive {
			return ErrInactiveKey
		}
		caller, ok = speaker(v, key)
		if !ok {
			return ErrNoSuchKey
		}
		return nil
	})
	return key, caller, err
}

// speaker is who a key speaks for.
func speaker(v *fsm.View, key fsm.AccessKey) (principal.Caller, bool) {
	caller := principal.Caller{Account: string(key.Account), AccessKey: string(key.ID)}
	if key.Root() {
		caller.Root, caller.UserID, caller.ARN = true, caller.Account, rootARN(caller.Account)
		return caller, true
	}
	user, ok := fsm.UserByID(v, key.Account, key.User)
	caller.UserID, caller.UserName, caller.ARN = string(user.ID), user.Name, user.ARN()
	return caller, ok
}
