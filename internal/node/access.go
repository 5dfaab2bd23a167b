package node

import (
	"context"
	"crypto/rand"
	"time"

	"hive/fsm"
	"hive/iam"
	"hive/iam/trail"
	"hive/net/imds"
)

// access is all that knows who asks and what they may.
type access struct {
	users      *iam.Service
	tokens     *iam.STS
	keys       *iam.Keys
	authorizer *iam.Authorizer
	uses       *iam.Uses
}

func (n *Node) newAccess() *access {
	a := &access{
		users:      iam.New(iam.Config{Group: n.control, Sealer: n.box, Clock: time.Now, Rand: rand.Reader, Log: n.log}),
		keys:       iam.NewKeys(n.control, n.box, time.Now),
		authorizer: iam.NewAuthorizer(n.control, n.box, time.Now),
		uses:       iam.NewUses(iam.UsesConfig{Group: n.control, Region: n.cfg.Region, Clock: time.Now, Log: n.log}),
	}
	a.tokens = iam.NewSTS(iam.STSConfig{
		Group: n.control, Sealer: n.box, Authorizer: a.authorizer, MFA: a.users.VerifyMFA, Clock: time.Now, Rand: rand.Reader, Log: n.log,
	})
	return a
}

// newTrail is the audit trail. The calls of every service go through it.
func (n *Node) newTrail() *trail.Trail {
	return trail.New(trail.Config{
		Group: n.control, Node: n.cfg.Node, Region: n.cfg.Region, Leader: n.control.IsLeader, Clock: time.Now, Rand: rand.Reader, Log: n.log,
		Kept: func() (age time.Duration, events int64) {
			t := n.tuning.Load()
			return time.Duration(t.AuditDays) * 24 * time.Hour, t.AuditKeep
		},
	})
}

// limits are the settings' limits on an account's calls of an operation.
func (n *Node) limits(service, op string) (perSecond float64, burst int) {
	r, _ := n.tuning.Load().Limit(service, op)
	return r.PerSecond, r.Burst
}

// roleCredentials gives the metadata service the credentials of instances' roles in its words.
func roleCredentials(tokens *iam.STS) func(context.Context, fsm.Instance) (imds.Credentials, error) {
	return func(ctx context.Context, i fsm.Instance) (imds.Credentials, error) {
		c, err := tokens.InstanceCredentials(ctx, i)
		return imds.Credentials{
			Refused: c.Refused, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, Token: c.Token, Updated: c.Updated, Expires: c.Expires,
		}, err
	}
}
