package policy

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// conditionsOfMany are conditions that the request of the benchmarks meets, of every family.
var conditionsOfMany = []string{
	`"IpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.0/24"]}`,
	`"StringLike":{"s3:prefix":["home/${aws:username}/*","public/*"]}`,
	`"Bool":{"aws:SecureTransport":"true"},"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`,
	`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/staff/*"}`,
	`"NumericLessThanEquals":{"s3:max-keys":"1000"},"StringNotEquals":{"aws:PrincipalTag/team":["red","green"]}`,
	`"ForAllValues:StringEquals":{"aws:TagKeys":["a","b","c"]},"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}`,
}

// manyDocuments are 20 policies of 20 statements each, with wildcards and conditions. shape makes a statement's
// elements but its condition; unmet is what all have but the very last, which alone allows the request.
func manyDocuments(t testing.TB, unmet string, shape func(i, j int) string) []*Document {
	var docs []*Document
	for i := range 20 {
		var statements []string
		for j := range 20 {
			condition := conditionsOfMany[(i+j)%len(conditionsOfMany)]
			if i*j != 19*19 {
				condition += "," + unmet
			}
			statements = append(statements, `{"Effect":"Allow",`+shape(i, j)+`,"Condition":{`+condition+`}}`)
		}
		docs = append(docs, parse(t, document(strings.Join(statements, ",")), Identity))
	}
	return docs
}

// threadTime is the clock that counts the CPU time of the calling thread (CLOCK_THREAD_CPUTIME_ID).
const threadTime = 3

// busy is the CPU time that this thread has had: what others do on the machine does not count.
func busy(b *testing.B) time.Duration {
	var t syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadTime, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		b.Fatal(errno)
	}
	return time.Duration(t.Nano())
}

// BenchmarkDecide20PoliciesOf20Statements asks 400 statements and reports the CPU time of the middle and of the slowest
// hundredth of all decisions.
func BenchmarkDecide20PoliciesOf20Statements(b *testing.B) {
	mixed := func(i, j int) string {
		return fmt.Sprintf(`"Action":["s3:Get*","s3:List*","s3:*Tagging"],"Resource":["arn:aws:s3:::bucket-%d-%d","arn:aws:s3:::bucket-%d-%d/*"]`, i, j, i, j)
	}
	alike := func(i, j int) string {
		return `"Action":["s3:Put*","s3:?et*bject"],"Resource":["arn:aws:s3:::other-*","arn:aws:s3:::*-19/home/${aws:username}/*"]`
	}
	const absent, other = `"StringEquals":{"aws:RequestTag/none":"x"}`, `"StringNotLike":{"s3:prefix":["other/*","*/${aws:username}/x"]}`
	for _, c := range []struct {
		name, unmet string
		shape       func(i, j int) string
	}{
		{"mixed", absent, mixed}, // the statements speak of many resources, as those of a real user do
		{"alike", absent, alike}, // all speak of the request
		{"worst", other, alike},  // and of the conditions the dearest is the one that is not met
	} {
		b.Run(c.name, func(b *testing.B) {
			p := &Policies{Identity: manyDocuments(b, c.unmet, c.shape)}
			a := askerOf(b, "alice")
			r := a.request("s3:GetObject", "arn:aws:s3:::bucket-19-19/home/Alice/some/key", map[string][]string{
				"s3:prefix": {"home/Alice/x"}, "s3:max-keys": {"100"}, "aws:tagkeys": {"a", "b"},
			})
			took := make([]time.Duration, 0, 1<<18)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			for b.Loop() {
				started := busy(b)
				if got := Decide(p, r); got.Effect != Allow || got.Document != 19 {
					b.Fatal(got)
				}
				if len(took) < cap(took) {
					took = append(took, busy(b)-started)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(document(`{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}`))
	for b.Loop() {
		if _, err := Parse(text, Identity); err != nil {
			b.Fatal(err)
		}
	}
}
