package actions

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryRowCanBeRead(t *testing.T) {
	if _, err := build("us-test-1", nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range Services() {
		if len(Rows(s)) == 0 {
			t.Errorf("%s has no rows", s)
		}
	}
	if Rows("sqs") != nil {
		t.Error("a service without a file has rows")
	}
}

func TestLookupTellsOfEveryRow(t *testing.T) {
	n := New("us-test-1", nil)
	for _, s := range Services() {
		for _, want := range Rows(s) {
			row, ok := Lookup(s, want.Operation)
			if !ok || row.Level != want.Level || row.Operation != want.Operation || row.Service != s {
				t.Errorf("%s %s: %+v, %v", s, want.Operation, row, ok)
			}
			if whole, ok := n.Row(s, want.Operation); !ok || len(whole.Needs) != len(want.Needs) {
				t.Errorf("%s %s: %+v, %v", s, want.Operation, whole, ok)
			}
		}
	}
	for _, x := range [][2]string{{"ec2", "resource"}, {"ec2", "all"}, {"ec2", "let"}, {"ec2", "#"}, {"ec2", ""}, {"ec2", "Describe"}, {"sqs", "SendMessage"}, {"s3", "RunInstances"}} {
		if row, ok := Lookup(x[0], x[1]); ok {
			t.Errorf("%v: %+v", x, row)
		}
		if row, ok := n.Row(x[0], x[1]); ok {
			t.Errorf("%v: %+v", x, row)
		}
	}
}

func TestAccessLevelsAreSane(t *testing.T) {
	reading := []string{"Describe", "List", "Get", "Head", "Search", "Lookup", "Select", "Simulate"}
	for _, s := range Services() {
		for _, r := range Rows(s) {
			reads := slices.ContainsFunc(reading, func(p string) bool { return strings.HasPrefix(r.Operation, p) })
			switch r.Operation {
			case "GenerateCredentialReport", "GenerateServiceLastAccessedDetails", "GenerateOrganizationsAccessReport":
				reads = true // AWS counts these as reading
			case "GetWebIdentityToken", "GetDelegatedAccessToken":
				reads = false // and these not
			}
			if reads == r.Mutating() {
				t.Errorf("%s %s is %s", s, r.Operation, r.Level)
			}
			tags := strings.Contains(strings.ToLower(r.Operation), "tag") && !reads
			if tags != (r.Level == Tagging) {
				t.Errorf("%s %s is %s", s, r.Operation, r.Level)
			}
			if r.Level != Permissions && (strings.Contains(r.Operation, "Policy") || strings.Contains(r.Operation, "Boundary")) && !reads && r.Operation != "UpdateAccountPasswordPolicy" && r.Level != Tagging {
				t.Errorf("%s %s is %s", s, r.Operation, r.Level)
			}
		}
	}
}
