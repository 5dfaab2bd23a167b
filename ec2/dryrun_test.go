package ec2

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestEveryDryRunTellsWhatWouldBeAndChangesNothing(t *testing.T) {
	r, tried := newEveryRig(t), 0
	before := r.digest()
	for _, op := range operations(t) {
		if !op.Notes.DryRun {
			continue
		}
		tried++
		in := r.request(t, op.Name)
		dry := reflect.ValueOf(in).Elem().FieldByName("DryRun")
		dry.Set(reflect.ValueOf(aws.Bool(true)))
		_, err := call(r.ctx, r.client, op.Name, in)
		if wantCode(t, err, "DryRunOperation"); httpStatus(err) != 412 || !strings.Contains(err.Error(), "Request would have succeeded, but DryRun flag is set.") {
			t.Errorf("%s: %v", op.Name, err)
		}
		for _, set := range []bool{true, false} {
			dry.Set(reflect.ValueOf(aws.Bool(set)))
			_, err := call(r.ctx, r.clerk, op.Name, in)
			if wantCode(t, err, "UnauthorizedOperation"); httpStatus(err) != 403 || !strings.Contains(err.Error(), "Encoded authorization failure message: ") {
				t.Errorf("%s by a user who may not, with DryRun %t: %v", op.Name, set, err)
			}
		}
		if after := r.digest(); after != before {
			t.Errorf("%s changed the state", op.Name)
			before = after
		}
	}
	t.Logf("%d operations have dry runs", tried)
}

// What a dry run says would succeed does: otherwise the test above proves nothing.
func TestEveryRequestOfTheDryRunsCanBeDone(t *testing.T) {
	reader := newEveryRig(t)
	before := reader.digest()
	for _, op := range operations(t) {
		r := reader
		if !strings.HasPrefix(op.Name, "Describe") && !strings.HasPrefix(op.Name, "Get") {
			r = newEveryRig(t) // what it does is not in the way of the others
		}
		if _, err := call(r.ctx, r.client, op.Name, r.request(t, op.Name)); err != nil {
			t.Errorf("%s: %v", op.Name, err)
		}
	}
	if reader.digest() != before {
		t.Error("what only reads changed the state")
	}
}
