package actions_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/cloudtrailapi"
	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/awsd/taggingapi"
	"hive/ec2"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/iam/principal"
	"hive/iam/trail"
	"hive/s3"
)

// models are all services with what answers them.
func models() map[string]struct {
	api      *protocol.API
	handlers protocol.Handlers
} {
	type model = struct {
		api      *protocol.API
		handlers protocol.Handlers
	}
	return map[string]model{
		"ec2":        {ec2api.API(), ec2api.Bind(&ec2.Service{})},
		"ebs":        {ebsapi.API(), ebsapi.Bind(&ec2.Direct{})},
		"s3":         {s3api.API(), s3api.Bind(&s3.Service{})},
		"iam":        {iamapi.API(), iamapi.Bind(&iam.Service{})},
		"sts":        {stsapi.API(), stsapi.Bind(&iam.STS{})},
		"tagging":    {taggingapi.API(), taggingapi.Bind(&ec2.Tagging{})},
		"cloudtrail": {cloudtrailapi.API(), cloudtrailapi.Bind(&trail.Trail{})},
	}
}

func TestEveryOperationThatIsAnsweredHasARow(t *testing.T) {
	seen := 0
	for service, m := range models() {
		if m.api.Service != service {
			t.Errorf("%s signs as %s", service, m.api.Service)
		}
		for op := range m.handlers {
			seen++
			if _, ok := actions.Lookup(service, op); !ok {
				t.Errorf("%s %s has a handler and no row", service, op)
			}
		}
	}
	if seen < 140 {
		t.Errorf("%d operations are bound", seen)
	}
}

func TestEveryOperationOfTheSmallModelsHasARow(t *testing.T) {
	for _, service := range []string{"iam", "sts", "s3", "ebs"} {
		ops, err := models()[service].api.Operations()
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			if _, ok := actions.Lookup(service, op.Name); !ok {
				t.Errorf("%s %s has no row", service, op.Name)
			}
		}
	}
}

func TestEveryRowFitsItsOperationsInput(t *testing.T) {
	for service, m := range models() {
		var names []string
		for _, row := range actions.Rows(service) {
			names = append(names, row.Operation)
			op := m.api.Operation(row.Operation)
			if op == nil {
				t.Errorf("%s has no operation %s", service, row.Operation)
				continue
			}
			if err := actions.Compile(service, row.Operation, op.InputType()); err != nil {
				t.Errorf("%s: %v", service, err)
			}
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(actions.Rows(service)) {
			t.Errorf("%s: an operation has two rows", service)
		}
	}
}

func TestEveryAnsweredOperationOfS3NamesItsBucket(t *testing.T) {
	access := actions.New("us-test-1", noState).Access("s3")
	caller := &principal.Caller{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/x", UserName: "x"}
	m := models()["s3"]
	for name := range m.handlers {
		in := reflect.New(m.api.Operation(name).InputType())
		for field, value := range map[string]string{"Bucket": "bucket", "Key": "key", "CopySource": "from/there"} {
			if f := in.Elem().FieldByName(field); f.IsValid() {
				f.Set(reflect.ValueOf(&value))
			}
		}
		if del, ok := in.Interface().(*sdk.DeleteObjectsInput); ok {
			del.Delete = &types.Delete{Objects: []types.ObjectIdentifier{{Key: del.Bucket}}}
		}
		need := access(caller, name, in.Interface())
		last := need[len(need)-1]
		if name != "ListBuckets" && !strings.HasPrefix(last.Resource, "arn:aws:s3:::bucket") || !strings.HasPrefix(last.Action, "s3:") {
			t.Errorf("%s needs %v", name, need)
		}
	}
}

// TestWhatCannotBeReadIsLikeWhatIsNotThere: the handler, and the Authorizer, read again and say why they cannot.
func TestWhatCannotBeReadIsLikeWhatIsNotThere(t *testing.T) {
	get := actions.New("us-test-1", noState).Of("iam", "GetUser")
	name := "bob"
	need := get(&principal.Caller{Account: "123456789012"}, &awsiam.GetUserInput{UserName: &name})
	if len(need) != 1 || need[0].Resource != "arn:aws:iam::123456789012:user/bob" {
		t.Errorf("%v", need)
	}
}

func noState(func(*fsm.View) error) error { return errors.New("no state") }
