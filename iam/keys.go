package iam

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"hive/fsm"
	"hive/iam/principal"
	"hive/iam/session"
)

// What Lookup says of session tokens.
var (
	// ErrBadToken is a session token that is not of the access key, or whose holder is gone.
	ErrBadToken = errors.New("session token is not valid for the access key")
	// ErrExpiredToken is the token of a session that is over.
	ErrExpiredToken = errors.New("session token has expired")
)

// Keys finds the secret of an access key and who it speaks for.
//
// Secrets are opened anew for every request: that takes a third of a microsecond, so there is no cache
// to be believed over the state.
type Keys struct {
	group  Group
	sealer Sealer
	codec  *session.Codec
	clock  func() time.Time
}

// NewKeys reads keys from group and opens their secrets, and session tokens, with sealer.
func NewKeys(group Group, sealer Sealer, clock func() time.Time) *Keys {
	return &Keys{group: patient{group}, sealer: sealer, codec: session.New(sealer), clock: clock}
}

// Lookup answers from this node's state, which lags behind an acknowledged write elsewhere by as long as
// the log takes to arrive: milliseconds, unless this node is cut off. So that a key made on one node signs
// a request to another at once, a key is refused only after ReadIndex, on a state that has every
// acknowledged write. A key that was switched off or deleted elsewhere is believed until the entry
// arrives here.
//
// Temporary credentials have no record that could be deleted. They are good while who they stand on is there, and that is
// asked after ReadIndex: what ends a session on one node ends it on all at once.
//
// Errors: ErrNoSuchKey, ErrInactiveKey, ErrBadToken, ErrExpiredToken; any other means that it could not be told.
func (k *Keys) Lookup(ctx context.Context, accessKeyID, token string) (secret string, caller principal.Caller, err error) {
	if !wordPattern(accessKeyID, minKeyID, maxKeyID) {
		return "", caller, ErrNoSuchKey
	}
	if token != "" {
		return k.session(ctx, accessKeyID, token)
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
		if key.Inactive || suspended(v, key.Account) {
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

// suspended tells whether nobody of an account may do anything: also when there is no such account.
func suspended(v *fsm.View, id fsm.AccountID) bool {
	account, ok := fsm.AccountOf(v, id)
	return !ok || account.Suspended
}

// speaker is who a key speaks for.
func speaker(v *fsm.View, key fsm.AccessKey) (principal.Caller, bool) {
	caller := principal.Caller{Account: string(key.Account), AccessKey: string(key.ID)}
	return caller, stand(v, &caller, string(key.User))
}

// stand makes a caller the user of that id or, without one, the root user. It tells whether there is such a one.
func stand(v *fsm.View, c *principal.Caller, user string) bool {
	if user == "" {
		c.Root, c.UserID, c.ARN = true, c.Account, rootARN(c.Account)
		return true
	}
	u, ok := fsm.UserByID(v, fsm.AccountID(c.Account), fsm.EntityID(user))
	c.UserID, c.UserName, c.ARN = user, u.Name, u.ARN()
	return ok
}

// session opens a token and finds who its session speaks for.
func (k *Keys) session(ctx context.Context, accessKeyID, token string) (secret string, caller principal.Caller, err error) {
	creds, err := k.codec.Open(token)
	if err != nil || subtle.ConstantTimeCompare([]byte(creds.AccessKey), []byte(accessKeyID)) != 1 {
		return "", caller, ErrBadToken
	}
	if !k.clock().Before(creds.Session.Expires) {
		return "", caller, ErrExpiredToken
	}
	if err := k.group.ReadIndex(ctx); err != nil {
		return "", caller, fmt.Errorf("look for the session of %s: %w", accessKeyID, err)
	}
	caller = principal.Caller{Account: creds.Account, AccessKey: accessKeyID, Session: &creds.Session}
	err = k.group.View(func(v *fsm.View) error {
		if suspended(v, fsm.AccountID(creds.Account)) || !holder(v, &caller) {
			return ErrBadToken
		}
		return nil
	})
	if err != nil {
		return "", principal.Caller{}, err
	}
	return creds.Secret, caller, nil
}

// holder fills in who holds a caller's session, as it is now, and tells whether it still stands on someone.
func holder(v *fsm.View, c *principal.Caller) bool {
	s := c.Session
	switch s.Kind {
	case principal.RoleSession:
		role, ok := fsm.RoleByID(v, fsm.AccountID(c.Account), fsm.EntityID(s.Issuer))
		c.ARN, c.UserID, s.IssuerARN = roleSessionARN(c.Account, role.Name, s.Name), s.Issuer+":"+s.Name, role.ARN()
		return ok
	case principal.UserSession:
		ok := stand(v, c, s.Issuer) && sameAccount(v, c)
		s.IssuerARN = c.ARN
		return ok
	case principal.FederatedSession:
		issuer := principal.Caller{Account: c.Account}
		ok := stand(v, &issuer, s.Issuer) && sameAccount(v, c)
		c.ARN, c.UserID, s.IssuerARN = federatedARN(c.Account, s.Name), c.Account+":"+s.Name, issuer.ARN
		return ok
	}
	return false
}

// nodesApart is how far the clocks of two nodes may be apart.
const nodesApart = time.Minute

// sameAccount tells whether a session is not older than its account. Users and roles have ids that never come again, but an
// account that was deleted can be made anew under its id, and the root user has no other.
func sameAccount(v *fsm.View, c *principal.Caller) bool {
	account, ok := fsm.AccountOf(v, fsm.AccountID(c.Account))
	return ok && !c.Session.Issued.Add(nodesApart).Before(time.Unix(account.Created, 0))
}

func roleSessionARN(account, role, session string) string {
	return "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + session
}

func federatedARN(account, name string) string {
	return "arn:aws:sts::" + account + ":federated-user/" + name
}
