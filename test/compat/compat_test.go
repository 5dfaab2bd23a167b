package compat

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"testing"
)

func scenarios(t *testing.T) []Scenario {
	t.Helper()
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestScenarios runs every scenario against one front door, through the two clients that need no other process.
func TestScenarios(t *testing.T) {
	provider, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios(t) {
		t.Run(s.File+"/"+s.Title, func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"wire", "sdk"} {
				p := newInProcess(t, provider)
				var client Client = &Wire{http.DefaultClient, p.Clock}
				if name == "sdk" {
					client = &SDK{http.DefaultClient, p.Clock}
				}
				if name == "sdk" && s.NeedsForms() {
					continue
				}
				if err := Run(t.Context(), p.World, client, &s); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}
