package iam

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/internal/seal"
)

// BenchmarkLookupAndAuthorize: what every signed request costs besides its signature.
func BenchmarkLookupAndAuthorize(b *testing.B) {
	r := &rig{group: fsmtest.New(b, fsm.Control)}
	r.box = must(seal.New(bytes.Repeat([]byte{7}, seal.KeySize), rand.Reader))(b)
	first := must(Bootstrap(BootstrapOptions{AccountID: account, Sealer: r.box, Rand: rand.Reader}))(b)
	user := fsm.User{Account: account, ID: "AIDAAAAAAAAAAAAAAAAAA", Name: "alice", Path: "/"}
	role := fsm.Role{Account: account, ID: "AROAAAAAAAAAAAAAAAAAA", Name: "r", Path: "/", Trust: "{}", MaxSession: 3600}
	secret := must(r.box.Seal([]byte("secret"), fsm.AccessKeyID("AKIAALICE00000000000").SealContext()))(b)
	cmds := []fsm.Command{
		first.Commands[0], &fsm.CreateUser{User: user}, &fsm.CreateRole{Role: role},
		&fsm.CreateAccessKey{Key: fsm.AccessKey{Account: account, User: user.ID, ID: "AKIAALICE00000000000", Secret: secret}},
	}
	for _, owner := range []fsm.EntityID{user.ID, role.ID} {
		cmds = append(cmds,
			&fsm.AttachPolicy{Account: account, Owner: owner, ARN: managedPrefix + "AmazonS3FullAccess"},
			&fsm.AttachPolicy{Account: account, Owner: owner, ARN: managedPrefix + "AmazonEC2FullAccess"},
			&fsm.PutInlinePolicy{Account: account, Owner: owner, Policy: fsm.InlinePolicy{Name: "p", Document: allow("iam:Get*", "*")}},
		)
	}
	for _, cmd := range cmds {
		if err := r.group.Propose(b.Context(), cmd); err != nil {
			b.Fatal(err)
		}
	}
	clock := func() time.Time { return started }
	keys, auth := NewKeys(r.group, r.box, clock), NewAuthorizer(r.group, r.box, clock)
	need := []protocol.Access{{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"}}
	roleID, roleToken := r.roleSession(b, role.ID)
	narrowID, narrowToken := r.roleSession(b, role.ID, allow("s3:*", "*"))
	for _, c := range []struct{ name, id, token string }{
		{"user with three policies", "AKIAALICE00000000000", ""},
		{"session of a role with three policies", roleID, roleToken},
		{"session with a policy of its own", narrowID, narrowToken},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, caller, err := keys.Lookup(b.Context(), c.id, c.token)
				if err != nil {
					b.Fatal(err)
				}
				if err := auth.Authorize(b.Context(), &caller, need); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
