package compat

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"testing"
	"time"
)

func scenarios(t *testing.T) []Scenario {
	t.Helper()
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func provider(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestScenarios runs every scenario against one front door in this process, by requests of our own and by the Go SDK.
func TestScenarios(t *testing.T) {
	key := provider(t)
	some := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, s := range scenarios(t) {
		t.Run(s.File+"/"+s.Title, func(t *testing.T) {
			t.Parallel()
			p := newInProcess(t, key, some)
			if err := Run(t.Context(), p.World, &Wire{http.DefaultClient, p.Clock}, &s); err != nil {
				t.Errorf("by HTTP: %v", err)
			}
			if s.NeedsForms() || s.Large() {
				return // what only requests of our own can say, and what takes too long to say twice
			}
			p = newInProcess(t, key, some)
			if err := Run(t.Context(), p.World, &SDK{http.DefaultClient, p.Clock}, &s); err != nil {
				t.Errorf("by the Go SDK: %v", err)
			}
		})
	}
}

// TestScenariosByBoto3 runs those that need neither another clock nor other requests than a client sends.
func TestScenariosByBoto3(t *testing.T) {
	key := provider(t)
	boto, err := NewBoto()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := boto.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range scenarios(t) {
		if s.NeedsClock() || s.NeedsForms() || s.Large() || !s.Knows(boto.Knows) {
			continue // they run by requests of our own
		}
		t.Run(s.File+"/"+s.Title, func(t *testing.T) {
			if err := Run(t.Context(), newInProcess(t, key, time.Now()).World, boto, &s); err != nil {
				t.Error(err)
			}
		})
	}
}
