package main

import (
	"strings"
	"testing"
)

func TestEveryOperationStandsOnThePageOnce(t *testing.T) {
	for _, s := range services() {
		t.Run(s.title, func(t *testing.T) {
			raw, err := render([]service{s})
			if err != nil {
				t.Fatal(err)
			}
			ops, err := s.api.Operations()
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range ops {
				if n := strings.Count(string(raw), "`"+op.Name+"`"); n != 1 {
					t.Errorf("%s stands on the page %d times", op.Name, n)
				}
			}
		})
	}
}

func TestAHandlerThatNoModelKnowsIsAnError(t *testing.T) {
	s := services()[0]
	s.handlers["PutObjectTwice"] = s.handlers["PutObject"]
	if _, err := render([]service{s}); err == nil {
		t.Error("the page was made all the same")
	}
}
