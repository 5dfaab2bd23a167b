package pattern_test

import (
	"errors"
	"strings"
	"testing"

	"hive/events/pattern"
)

const event = `{
	"version": "0", "id": "12345678-1234-8234-8234-123456789012", "detail-type": "EC2 Instance State-change Notification",
	"source": "aws.ec2", "account": "123456789012", "time": "2026-01-02T03:04:05Z", "region": "eu-1",
	"resources": ["arn:aws:ec2:eu-1:123456789012:instance/i-1", "arn:aws:ec2:eu-1:123456789012:volume/vol-1"],
	"detail": {
		"instance-id": "i-1", "state": "running", "size": 300, "ratio": 3.0e2, "flag": true, "none": null, "empty": "", "ip": "10.0.0.7",
		"path": "dir/file.png", "list": [], "sets": [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], "object": {"key": "Photos/A*b\\c", "size": 5}
	}
}`

const subject = "hive.eu-1.123456789012.ec2.ec2-instance-state-change-notification"

func TestEventsAreMatchedAsEventBridgeMatchesThem(t *testing.T) {
	for _, c := range []struct {
		pattern string
		want    bool
	}{
		{`{"source": ["aws.ec2"]}`, true},
		{`{"source": ["aws.s3", "aws.ec2"]}`, true},
		{`{"source": ["aws.s3"]}`, false},
		{`{"source": ["AWS.EC2"]}`, false},
		{`{"source": ["aws.ec2"], "detail": {"state": ["running"]}}`, true},
		{`{"source": ["aws.ec2"], "detail": {"state": ["stopped"]}}`, false},
		{`{"absent": ["x"]}`, false},
		{`{"detail": {"absent": {"deeper": ["x"]}}}`, false},
		// values of other types
		{`{"detail": {"size": [300]}}`, true},
		{`{"detail": {"size": ["300"]}}`, false},
		{`{"detail": {"ratio": [300]}}`, false}, // written differently
		{`{"detail": {"ratio": [3.0e2]}}`, true},
		{`{"detail": {"flag": [true]}}`, true},
		{`{"detail": {"flag": [false]}}`, false},
		{`{"detail": {"none": [null]}}`, true},
		{`{"detail": {"absent": [null]}}`, false},
		{`{"detail": {"empty": [""]}}`, true},
		{`{"detail": {"none": [""]}}`, false},
		// arrays
		{`{"resources": ["arn:aws:ec2:eu-1:123456789012:volume/vol-1"]}`, true},
		{`{"resources": [{"prefix": "arn:aws:ec2:eu-1:123456789012:volume/"}]}`, true},
		{`{"resources": [{"prefix": "arn:aws:s3"}]}`, false},
		{`{"detail": {"sets": {"a": ["1"], "b": ["2"]}}}`, true},
		{`{"detail": {"sets": {"a": ["1"], "b": ["4"]}}}`, false}, // of two elements
		// prefix, suffix, case
		{`{"region": [{"prefix": "eu-"}]}`, true},
		{`{"region": [{"prefix": "us-"}]}`, false},
		{`{"region": [{"prefix": ""}]}`, true},
		{`{"region": [{"prefix": {"equals-ignore-case": "EU-"}}]}`, true},
		{`{"region": [{"prefix": "EU-"}]}`, false},
		{`{"detail": {"path": [{"suffix": ".png"}]}}`, true},
		{`{"detail": {"path": [{"suffix": {"equals-ignore-case": ".PNG"}}]}}`, true},
		{`{"detail": {"path": [{"suffix": ".jpg"}]}}`, false},
		{`{"detail": {"size": [{"prefix": "3"}]}}`, false},
		{`{"detail-type": [{"equals-ignore-case": "ec2 instance state-change notification"}]}`, true},
		// anything-but
		{`{"detail": {"state": [{"anything-but": "stopped"}]}}`, true},
		{`{"detail": {"state": [{"anything-but": "running"}]}}`, false},
		{`{"detail": {"state": [{"anything-but": ["stopped", "running"]}]}}`, false},
		{`{"detail": {"size": [{"anything-but": 300}]}}`, false},
		{`{"detail": {"size": [{"anything-but": [1, 2]}]}}`, true},
		{`{"detail": {"absent": [{"anything-but": "x"}]}}`, false},
		{`{"detail": {"state": [{"anything-but": {"prefix": "run"}}]}}`, false},
		{`{"detail": {"state": [{"anything-but": {"prefix": ["stop", "term"]}}]}}`, true},
		{`{"detail": {"path": [{"anything-but": {"suffix": ".png"}}]}}`, false},
		{`{"detail": {"state": [{"anything-but": {"equals-ignore-case": ["RUNNING"]}}]}}`, false},
		{`{"detail": {"path": [{"anything-but": {"wildcard": "*/lib/*"}}]}}`, true},
		{`{"resources": [{"anything-but": "arn:aws:ec2:eu-1:123456789012:volume/vol-1"}]}`, true}, // the other one
		// numeric
		{`{"detail": {"size": [{"numeric": [">", 299]}]}}`, true},
		{`{"detail": {"size": [{"numeric": [">", 0, "<=", 300]}]}}`, true},
		{`{"detail": {"size": [{"numeric": [">", 0, "<", 300]}]}}`, false},
		{`{"detail": {"ratio": [{"numeric": ["=", 300]}]}}`, true},
		{`{"detail": {"size": [{"numeric": [">=", 301]}]}}`, false},
		{`{"detail": {"state": [{"numeric": [">", 0]}]}}`, false},
		{`{"detail": {"object": {"size": [{"numeric": ["<", 10]}]}}}`, true},
		// exists
		{`{"detail": {"state": [{"exists": true}]}}`, true},
		{`{"detail": {"state": [{"exists": false}]}}`, false},
		{`{"detail": {"absent": [{"exists": false}]}}`, true},
		{`{"detail": {"absent": {"deeper": [{"exists": false}]}}}`, true},
		{`{"detail": {"none": [{"exists": true}]}}`, true},
		{`{"detail": {"object": [{"exists": true}]}}`, false}, // no value, but an object
		{`{"detail": {"absent": [{"exists": false}, "x"]}}`, true},
		{`{"detail": {"state": [{"exists": false}, "running"]}}`, true},
		// wildcard
		{`{"detail": {"path": [{"wildcard": "dir/*.png"}]}}`, true},
		{`{"detail": {"path": [{"wildcard": "*"}]}}`, true},
		{`{"detail": {"path": [{"wildcard": "d*r/f*e.p*g"}]}}`, true},
		{`{"detail": {"path": [{"wildcard": "*.jpg"}]}}`, false},
		{`{"detail": {"path": [{"wildcard": "dir/file.png"}]}}`, true},
		{`{"detail": {"path": [{"wildcard": "dir*dir"}]}}`, false},
		{`{"detail": {"object": {"key": [{"wildcard": "Photos/A\\*b\\\\*"}]}}}`, true},
		{`{"detail": {"path": [{"wildcard": "dir/\\*"}]}}`, false},
		// cidr
		{`{"detail": {"ip": [{"cidr": "10.0.0.0/24"}]}}`, true},
		{`{"detail": {"ip": [{"cidr": "10.0.1.0/24"}]}}`, false},
		{`{"detail": {"state": [{"cidr": "10.0.0.0/8"}]}}`, false},
		// $or
		{`{"$or": [{"source": ["aws.s3"]}, {"detail": {"state": ["running"]}}]}`, true},
		{`{"$or": [{"source": ["aws.s3"]}, {"detail": {"state": ["stopped"]}}]}`, false},
		{`{"source": ["aws.s3"], "$or": [{"region": ["eu-1"]}, {"region": ["eu-2"]}]}`, false},
		{`{"detail": {"$or": [{"state": ["stopped"]}, {"size": [{"numeric": [">", 100]}]}]}}`, true},
		// globs on the subject
		{subject, true},
		{"hive.eu-1.123456789012.ec2.*", true},
		{"hive.*.*.ec2.*", true},
		{"hive.*.*.s3.*", false},
		{"hive.*", false},
		{"hive.>", true},
		{"hive.eu-1.123456789012.ec2.ec2-instance-state-change-notification.>", false},
		{"**", true},
		{"**.ec2.*", true},
		{"**.s3.**", false},
		{"hive.**.ec2-*-notification", true},
		{"hive.eu-?.**", true},
		{"hive.us-?.**", false},
		{"*-*.**", false},
		{"hive.eu-1.12345678901?.ec2.ec2-instance*", true},
	} {
		p, err := pattern.Parse(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := p.Match(subject, []byte(event)); got != c.want {
			t.Errorf("%s: %v", c.pattern, got)
		}
	}
}

func TestPatternsThatMeanNothingAreRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "{}", "{", `{"source": "aws.ec2"}`, `{"source": []}`, `{"source": [[]]}`, `{"source": 1}`, `{"source": ["x"]} {}`,
		`{"detail": {}}`, `{"source": [{"prefix": 1}]}`, `{"source": [{"prefix": "a", "suffix": "b"}]}`, `{"source": [{}]}`,
		`{"source": [{"like": "x"}]}`, `{"source": [{"exists": "true"}]}`, `{"source": [{"numeric": [">"]}]}`,
		`{"source": [{"numeric": ["~", 1]}]}`, `{"source": [{"numeric": [">", "1"]}]}`, `{"source": [{"numeric": [">", 1e999]}]}`,
		`{"source": [{"numeric": []}]}`, `{"source": [{"anything-but": []}]}`, `{"source": [{"anything-but": null}]}`,
		`{"source": [{"anything-but": [true]}]}`, `{"source": [{"anything-but": {"exists": true}}]}`, `{"source": [{"wildcard": "a**b"}]}`,
		`{"source": [{"wildcard": "a\\b"}]}`, `{"source": [{"cidr": "10.0.0.0"}]}`, `{"$or": []}`, `{"$or": [{"a": ["b"]}]}`, `{"$or": ["a", "b"]}`,
		"hive..x", "hive.>.x", ".", "not a pattern", "[1]", strings.Repeat("a", 20_000),
		strings.Repeat(`{"a":`, 100) + `["x"]` + strings.Repeat("}", 100),
	} {
		if _, err := pattern.Parse(text); !errors.Is(err, pattern.ErrInvalid) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func TestWhatIsNoJSONObjectIsNotMeant(t *testing.T) {
	p, err := pattern.Parse(`{"source": [{"exists": false}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "null", "[]", "{", `{} {}`} {
		if p.Match(subject, []byte(text)) {
			t.Errorf("%q", text)
		}
	}
	if !p.Match(subject, []byte("{}")) {
		t.Error("an object without a source")
	}
}

// A pattern comes from whoever can ask: none may take long.
func TestStarsDoNotMultiply(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	p, err := pattern.Parse(`{"k": [{"wildcard": "` + strings.Repeat("*a", 4000) + `*b"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if p.Match("", []byte(`{"k": "`+long+`"}`)) {
		t.Error("there is no b")
	}
	g, err := pattern.Parse(strings.Repeat("**.a.", 1000) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if g.Match(strings.Repeat("a.", 5000)+"c", nil) {
		t.Error("there is no b")
	}
}

func FuzzPatternNeverPanics(f *testing.F) {
	f.Add(`{"source": [{"anything-but": {"prefix": ["a"]}}]}`, event)
	f.Add("hive.*.>", "{}")
	f.Fuzz(func(t *testing.T, text, event string) {
		p, err := pattern.Parse(text)
		if err != nil {
			if !errors.Is(err, pattern.ErrInvalid) {
				t.Error(err)
			}
			return
		}
		p.Match(subject, []byte(event))
	})
}
