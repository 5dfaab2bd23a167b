package ec2

import (
	"testing"

	"hive/awsd/ec2api"
)

func TestEveryOperationThatTakesFiltersNamesThem(t *testing.T) {
	s := New(Config{})
	handlers, api := ec2api.Bind(s), ec2api.API()
	ops, err := api.Operations()
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		if got := s.FilterNames(op.Name); handlers[op.Name] != nil && (len(got) > 0) != op.Notes.Filters {
			t.Errorf("%s: the model has filters: %v, and they are named %q", op.Name, op.Notes.Filters, got)
		}
	}
}
