package iam

import (
	"context"
	"errors"
	"sync"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// serviceEC2 is the principal that a role's trust policy must name for instances to have it.
const serviceEC2 = "ec2.amazonaws.com"

// ErrNoRole is an instance that has no role: no instance profile, or one that is gone or empty.
var ErrNoRole = errors.New("the instance has no role")

// InstanceCredentials are what the metadata service gives an instance for its role.
type InstanceCredentials struct {
	Role            fsm.EntityID
	Refused         string // why EC2 cannot assume the role; the rest but Role and Updated is then empty
	AccessKeyID     string
	SecretAccessKey string
	Token           string
	Updated         time.Time
	Expires         time.Time
}

// instanceSessions are the credentials that instances of this node have now.
type instanceSessions struct {
	mu   sync.Mutex // guards have
	have map[fsm.InstanceID]InstanceCredentials
}

// How long the cluster may take to make new credentials: guests' clients give up after a second.
const (
	patienceWith    = 500 * time.Millisecond // while there are good ones
	patienceWithout = 5 * time.Second
)

// manyInstances is how many are remembered before those that are over are dropped.
const manyInstances = 256

func (k *instanceSessions) get(id fsm.InstanceID, role fsm.EntityID) (InstanceCredentials, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.have[id]
	return c, ok && c.Role == role
}

func (k *instanceSessions) put(id fsm.InstanceID, c InstanceCredentials, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.have == nil {
		k.have = map[fsm.InstanceID]InstanceCredentials{}
	}
	if len(k.have) >= manyInstances {
		for other, c := range k.have {
			if !now.Before(c.Expires) {
				delete(k.have, other)
			}
		}
	}
	k.have[id] = c
}

// InstanceCredentials are the credentials of an instance's role: the same ones until half of their life is over, then new
// ones. While the cluster does not answer, those that are good still are given. Errors: ErrNoRole.
func (s *STS) InstanceCredentials(ctx context.Context, i fsm.Instance) (InstanceCredentials, error) {
	var role fsm.Role
	err := s.cfg.Group.View(func(v *fsm.View) error {
		profile, _ := fsm.InstanceProfileByID(v, i.Account, i.Profile)
		var ok bool
		if role, ok = fsm.RoleByID(v, i.Account, profile.Role); !ok {
			return ErrNoRole
		}
		return nil
	})
	if err != nil {
		return InstanceCredentials{}, err
	}
	now := s.cfg.Clock()
	have, ok := s.instances.get(i.ID, role.ID)
	if ok && now.Before(have.Updated.Add(have.Expires.Sub(have.Updated)/2)) {
		return have, nil
	}
	kept := ok && now.Before(have.Expires)
	wait := patienceWithout
	if kept {
		wait = patienceWith
	}
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fresh, err := s.forInstance(asking, i, &role)
	switch {
	case err != nil && kept:
		s.cfg.Log.WarnContext(ctx, "no new credentials for an instance yet", "instance", i.ID, "role", role.Name, "cause", err)
		return have, nil
	case err != nil:
		return InstanceCredentials{}, err
	case fresh.Refused == "":
		s.instances.put(i.ID, fresh, now)
	}
	return fresh, nil
}

// forInstance assumes a role as EC2 does for an instance.
func (s *STS) forInstance(ctx context.Context, i fsm.Instance, role *fsm.Role) (InstanceCredentials, error) {
	ask := &assumption{
		action: actionAssumeRole, arn: role.ARN(), service: serviceEC2, seconds: int32(instanceLife / time.Second),
		session: principal.Session{Name: string(i.ID), Instance: string(i.ID)},
	}
	out := InstanceCredentials{Role: role.ID, Updated: s.cfg.Clock().UTC().Truncate(time.Second)}
	current, err := s.assume(ctx, &principal.Caller{Anonymous: true}, ask)
	if denial := (*protocol.Error)(nil); errors.As(err, &denial) && denial.Code == codeDenied {
		out.Refused = "EC2 cannot assume the role " + role.Name + ": its trust policy must allow sts:AssumeRole to the service " + serviceEC2 + "."
		return out, nil
	}
	if err != nil {
		return out, err
	}
	ask.seconds = int32(instanceLife / time.Second) // EC2's own sessions are not bound by the role's longest
	got, _, err := s.become(ctx, current, ask, nil)
	if err != nil {
		return out, err
	}
	c := got.credentials
	out.AccessKeyID, out.SecretAccessKey, out.Token, out.Expires = *c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken, *c.Expiration
	return out, nil
}
