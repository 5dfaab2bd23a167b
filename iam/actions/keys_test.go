package actions_test

import (
	"strings"
	"testing"

	"hive/iam/actions"
	"hive/iam/policy"
)

// TestPoliciesCanNameEveryKeyThatRequestsHave holds the two lists together: a key that policies cannot name is refused in
// them, and one that no request has would never hold.
func TestPoliciesCanNameEveryKeyThatRequestsHave(t *testing.T) {
	keys := actions.Keys()
	if len(keys) < 100 {
		t.Errorf("there are %d keys", len(keys))
	}
	for _, key := range keys {
		if strings.HasSuffix(key, "/") {
			key += "x"
		}
		doc := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"` + key + `":"x"}}}]}`
		if _, err := policy.Parse([]byte(doc), policy.Identity); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}
