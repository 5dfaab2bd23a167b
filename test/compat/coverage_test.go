package compat

import (
	"testing"

	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/stsapi"
	"hive/iam"
)

// elsewhere are what no scenario can show, and why.
var elsewhere = map[string]string{
	"sts DecodeAuthorizationMessage succeed": "messages are EC2's: the whole-system tests decode one",
}

// TestEveryOperationHasScenarios: of each operation that has a handler one shows its success, and one its refusal.
func TestEveryOperationHasScenarios(t *testing.T) {
	all := scenarios(t)
	if len(all) < 300 {
		t.Errorf("%d scenarios, want at least 300", len(all))
	}
	succeeds, refused := map[string]bool{}, map[string]bool{}
	for _, s := range all {
		for _, step := range s.Steps {
			if name := step.Service + " " + step.Op; step.Want.Status == 0 {
				succeeds[name] = true
			} else {
				refused[name] = true
			}
		}
	}
	for service, handlers := range map[string]protocol.Handlers{"iam": iamapi.Bind(&iam.Service{}), "sts": stsapi.Bind(&iam.STS{})} {
		for op := range handlers {
			name := service + " " + op
			for what, shown := range map[string]bool{name + " succeed": succeeds[name], name + " refused": refused[name]} {
				if reason := elsewhere[what]; shown == (reason != "") {
					t.Errorf("scenarios show %s: %v; reason why they do not: %q", what, shown, reason)
				}
			}
		}
	}
}
