package ec2

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

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

func TestEveryFilterThatIsNamedIsTakenAndNoOther(t *testing.T) {
	r, tried, ops := newEveryRig(t), 0, 0
	ask := func(op, name string) error {
		in := reflect.New(reflect.ValueOf(r.request(t, op)).Elem().Type())
		in.Elem().FieldByName("Filters").Set(reflect.ValueOf([]types.Filter{{Name: &name, Values: []string{"x", "*y?"}}}))
		_, err := call(r.ctx, r.client, op, in.Interface())
		return err
	}
	for _, op := range operations(t) {
		if !op.Notes.Filters {
			continue
		}
		ops++
		names := r.service.FilterNames(op.Name)
		for _, name := range names {
			tried++
			if err := ask(op.Name, name); err != nil {
				t.Errorf("%s by %s: %v", op.Name, name, err)
			}
		}
		for _, name := range []string{"no-such-filter", "tag", "Tag:a", "vpc_id", strings.ToUpper(names[0])} {
			err := ask(op.Name, name)
			if wantCode(t, err, "InvalidParameterValue"); httpStatus(err) != 400 || !strings.Contains(err.Error(), "The filter '"+name+"' is invalid") {
				t.Errorf("%s by %s: %v", op.Name, name, err)
			}
		}
	}
	t.Logf("%d operations, %d filters", ops, tried)
}

func TestEveryFilterThatAWSDocumentsIsTaken(t *testing.T) {
	raw, err := os.ReadFile("testdata/filters.txt")
	if err != nil {
		t.Fatal(err)
	}
	s, documented := New(Config{}), 0
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		if words[0] == "#" {
			continue
		}
		for _, name := range words[1:] {
			if documented++; !slices.Contains(s.FilterNames(words[0]), name) {
				t.Errorf("%s has no filter %s", words[0], name)
			}
		}
	}
	t.Logf("%d documented filters", documented)
}
