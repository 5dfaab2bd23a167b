package actions_test

import (
	"slices"
	"testing"

	"hive/awsd/cloudtrailapi"
	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/awsd/taggingapi"
	"hive/ec2"
	"hive/iam"
	"hive/iam/actions"
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
		"tagging":    {taggingapi.API(), nil},
		"cloudtrail": {cloudtrailapi.API(), nil},
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
