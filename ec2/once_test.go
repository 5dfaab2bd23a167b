package ec2

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// otherwise changes a request that has a client token.
func otherwise(t *testing.T, in any) {
	t.Helper()
	switch in := in.(type) {
	case *sdk.RunInstancesInput:
		in.InstanceType = "t3.micro"
	case *sdk.CreateVolumeInput:
		in.Size = aws.Int32(2)
	case *sdk.ImportImageInput:
		in.Description = str("another")
	case *sdk.ImportSnapshotInput:
		in.Description = str("another")
	default:
		t.Fatalf("no other request than %T is known here", in)
	}
}

func TestEveryClientTokenMakesOneThing(t *testing.T) {
	r, tried := newEveryRig(t), 0
	for _, op := range operations(t) {
		if op.Notes.ClientToken == "" {
			continue
		}
		tried++
		in := r.request(t, op.Name)
		member := func(name string, value any) { reflect.ValueOf(in).Elem().FieldByName(name).Set(reflect.ValueOf(value)) }
		member(op.Notes.ClientToken, str("token"))
		member("DryRun", aws.Bool(true))
		_, err := call(r.ctx, r.client, op.Name, in)
		wantCode(t, err, "DryRunOperation") // and the token is not used by it
		member("DryRun", aws.Bool(false))
		first, err := call(r.ctx, r.client, op.Name, in)
		if err != nil {
			t.Errorf("%s: %v", op.Name, err)
			continue
		}
		before := r.digest()
		again, err := call(r.ctx, r.client, op.Name, in)
		if err != nil || answer(again) != answer(first) {
			t.Errorf("%s answers again: %v\n%s\nand first\n%s", op.Name, err, answer(again), answer(first))
		}
		member("DryRun", aws.Bool(true))
		_, err = call(r.ctx, r.client, op.Name, in)
		wantCode(t, err, "DryRunOperation")
		otherwise(t, in)
		for _, dry := range []bool{true, false} {
			member("DryRun", aws.Bool(dry))
			_, err = call(r.ctx, r.client, op.Name, in)
			if wantCode(t, err, "IdempotentParameterMismatch"); httpStatus(err) != 400 {
				t.Errorf("%s: %v", op.Name, err)
			}
		}
		if r.digest() != before {
			t.Errorf("%s: a token that was used changed the state", op.Name)
		}
	}
	t.Logf("%d operations have client tokens", tried)
}

func TestAClientTokenOfAnImportIsKnownWhenTheObjectIsGone(t *testing.T) {
	r := newEveryRig(t)
	in := &sdk.ImportSnapshotInput{ClientToken: str("token"), DiskContainer: &types.SnapshotDiskContainer{Url: str("s3://disks/disk")}}
	first, again := &sdk.ImportSnapshotOutput{}, &sdk.ImportSnapshotOutput{}
	r.made(in, first)
	delete(r.objects, "disk")
	r.made(in, again)
	if *again.ImportTaskId != *first.ImportTaskId {
		t.Errorf("the token began %s and then %s", *first.ImportTaskId, *again.ImportTaskId)
	}
	in.ClientToken = str("other")
	_, err := r.client.ImportSnapshot(r.ctx, in)
	wantCode(t, err, "InvalidParameter")
}
