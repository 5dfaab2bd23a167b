package iam

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
)

// BenchmarkManyUsers is what single calls cost in an account of 100,000 users, all with one policy.
func BenchmarkManyUsers(b *testing.B) {
	const many = 100_000
	r, ctx := newRig(b), b.Context()
	if err := r.group.Propose(ctx, &fsm.SetQuota{Account: account, Name: fsm.QuotaUsers, Limit: 2 * many}); err != nil {
		b.Fatal(err)
	}
	arn := managedPrefix + "ReadOnlyAccess"
	for i := range many {
		id := fsm.EntityID(fmt.Sprintf("AIDA%017d", i))
		for _, cmd := range []fsm.Command{
			&fsm.CreateUser{User: fsm.User{Account: account, ID: id, Name: fmt.Sprintf("user-%06d", i), Path: "/", Created: 1}},
			&fsm.AttachPolicy{Account: account, Owner: id, ARN: arn},
		} {
			if err := r.group.Propose(ctx, cmd); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("GetUser", func(b *testing.B) {
		for b.Loop() {
			must(r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: aws.String("user-050000")}))(b)
		}
	})
	b.Run("ListUsersPage", func(b *testing.B) {
		for b.Loop() {
			must(r.ListUsers(ctx, r.root, &awsiam.ListUsersInput{Marker: marker("user-050000")}))(b)
		}
	})
	b.Run("ListEntitiesForPolicyPage", func(b *testing.B) {
		for b.Loop() {
			must(r.ListEntitiesForPolicy(ctx, r.root, &awsiam.ListEntitiesForPolicyInput{PolicyArn: &arn, Marker: marker("AIDA00000000000050000")}))(b)
		}
	})
	b.Run("GetPolicy", func(b *testing.B) {
		for b.Loop() {
			must(r.GetPolicy(ctx, r.root, &awsiam.GetPolicyInput{PolicyArn: &arn}))(b)
		}
	})
	i := 0
	b.Run("CreateUser", func(b *testing.B) {
		for b.Loop() {
			i++
			must(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{UserName: aws.String(fmt.Sprint("new-", i))}))(b)
		}
	})
}
