package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// manyDocuments are 20 policies of 20 statements each; only the last of the last allows the request.
func manyDocuments(t testing.TB) []*Document {
	var docs []*Document
	for i := range 20 {
		var statements []string
		for j := range 20 {
			statements = append(statements, fmt.Sprintf(
				`{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::bucket-%d-%d","arn:aws:s3:::bucket-%d-%d/*"],
				"Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}`, i, j, i, j))
		}
		docs = append(docs, parse(t, document(strings.Join(statements, ",")), Identity))
	}
	return docs
}

func BenchmarkEvaluate20PoliciesOf20Statements(b *testing.B) {
	docs := manyDocuments(b)
	r := &Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket-19-19/some/key", Caller: alice(), Now: now}
	took := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		started := time.Now()
		if got := Evaluate(docs, r); got.Effect != Allow {
			b.Fatal(got)
		}
		if len(took) < cap(took) {
			took = append(took, time.Since(started))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

func BenchmarkParse(b *testing.B) {
	text := []byte(document(`{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}`))
	for b.Loop() {
		if _, err := Parse(text, Identity); err != nil {
			b.Fatal(err)
		}
	}
}
