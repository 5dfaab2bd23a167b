package test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"hive/test/rig"
)

// isolationCalls is the table of what is called: at least one call for each operation that is answered. A line is a service,
// an operation and its input as JSON, in which $Name stands for what an account has (see tenantOf) and $name for what
// is the same for everybody. Indented lines after it are what is right besides a refusal when Name is another account's:
//
//	answers Name: why       an answer that tells nothing of the other account
//	tells Name: why         an answer that does, as AWS's
//	refuses Name with Code: why   a code that is not one of foreignCodes
const isolationCalls = "testdata/isolation.txt"

// foreignCodes are the errors for what an account does not have or may not touch.
var foreignCodes = map[string]*regexp.Regexp{
	"s3":      regexp.MustCompile(`^(AccessDenied|NoSuchUpload|Forbidden)$`),
	"iam":     regexp.MustCompile(`^(NoSuchEntity|AccessDenied)$`),
	"sts":     regexp.MustCompile(`^(AccessDenied|InvalidAuthorizationMessageException)$`),
	"ec2":     regexp.MustCompile(`^(Invalid\w+\.NotFound|InvalidConversionTaskId)$`),
	"ebs":     regexp.MustCompile(`^(ResourceNotFoundException|AccessDeniedException)$`),
	"tagging": regexp.MustCompile(`^AccessDeniedException$`), "cloudtrail": regexp.MustCompile(`^$`),
}

// probe is a line of the table.
type probe struct {
	service, op, input string
	names              []string // of what is an account's, in the input
	may                map[string]allowed
}

// allowed is an exception: what is right for one name.
type allowed struct{ answer, tell, code, why string }

func (p probe) String() string { return p.service + " " + p.op + " " + p.input }

var (
	placeholder = regexp.MustCompile(`\$[A-Za-z]\w*`)
	exception   = regexp.MustCompile(`^\t(answers|tells|refuses) (\w+)(?: with (\w+))?: (.+)$`)
)

func readProbes(t *testing.T) (all []probe) {
	t.Helper()
	raw, err := os.ReadFile(isolationCalls)
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimRight(line, "\n")
		if m := exception.FindStringSubmatch(line); m != nil {
			p := all[len(all)-1]
			if !slices.Contains(p.names, m[2]) {
				t.Errorf("%s has no $%s", p, m[2])
			}
			a := allowed{code: m[3], why: m[4]}
			switch m[1] {
			case "answers":
				a.answer = m[1]
			case "tells":
				a.answer, a.tell = m[1], m[1]
			}
			p.may[m[2]] = a
			continue
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) != 3 || !json.Valid([]byte(words[2])) {
			t.Fatalf("%s: %q is no call", isolationCalls, line)
		}
		p := probe{service: words[0], op: words[1], input: words[2], may: map[string]allowed{}}
		for _, name := range placeholder.FindAllString(p.input, -1) {
			if name = name[1:]; name[0] < 'a' && !slices.Contains(p.names, name) {
				p.names = append(p.names, name)
			}
		}
		all = append(all, p)
	}
	return all
}

// answeredOps are the operations that the program answers, as "service Operation". The page has them from the tables that the
// program answers by, and `make lint` fails when it is out of date.
func answeredOps(t *testing.T) (ops []string) {
	t.Helper()
	page, err := os.Open("../docs/api.md")
	must(t, err)
	defer page.Close()
	services := map[string]string{"S3": "s3", "IAM": "iam", "STS": "sts", "EC2": "ec2", "EBS direct APIs": "ebs", "CloudTrail": "cloudtrail", "Resource Groups Tagging API": "tagging"}
	service, listed := "", false
	for lines := bufio.NewScanner(page); lines.Scan(); {
		line := lines.Text()
		if title, ok := strings.CutPrefix(line, "## "); ok {
			if service = services[title]; service == "" {
				t.Errorf("the service %s is not known here", title)
			}
		}
		if strings.HasPrefix(line, "### ") {
			listed = strings.HasPrefix(line, "### Answered")
		}
		if words := strings.Split(line, "`"); listed && strings.HasPrefix(line, "| `") {
			ops = append(ops, service+" "+words[1])
		}
	}
	return ops
}

// reads tells whether an operation changes nothing.
func reads(op string) bool {
	return slices.ContainsFunc([]string{"Get", "List", "Describe", "Head", "Lookup", "Simulate", "Decode"}, func(verb string) bool { return strings.HasPrefix(op, verb) })
}

// isolated: no call of one account shows or changes anything of another.
func isolated(t *testing.T, c *rig.Cluster) {
	probes := readProbes(t)
	for _, op := range answeredOps(t) {
		if !slices.ContainsFunc(probes, func(p probe) bool { return p.service+" "+p.op == op }) {
			t.Errorf("%s is answered, and %s does not call it", op, isolationCalls)
		}
	}
	var a, b *tenantWorld
	var g errgroup.Group
	shared := sharedValues(t)
	furnished := func(name string, w **tenantWorld) func() error {
		account, k := tenant(t, c.Nodes[0], "isolated-"+name)
		return func() (err error) {
			*w, err = tenantOf(soon(t), c.Nodes, k, account, name, shared)
			return err
		}
	}
	g.Go(furnished("alpha", &a))
	g.Go(furnished("omega", &b))
	defer func() {
		for _, name := range []string{"isolated-alpha", "isolated-omega"} {
			must(t, second(hive(t, "account", "delete", name, "--force", "--yes", "--hive-dir", c.Nodes[0].Dir)))
		}
	}()
	must(t, g.Wait())
	before := a.look(t, probes)
	x := intrusion{T: t, into: a, markers: a.markers()}
	clerk := b.as(t, c.Nodes[1], "administrator")
	for phase := range phases {
		x.run(b, phase, probes)
		x.run(clerk, phase, slices.DeleteFunc(slices.Clone(probes), func(p probe) bool { return !slices.Contains(byAdministrator, p.op) }))
	}
	t.Logf("%d operations, %d calls: %d with a name of another account (%d of them answered as listed), %d without", len(answeredOps(t)), x.calls.Load(),
		x.foreign.Load(), x.excepted.Load(), x.calls.Load()-x.foreign.Load())
	after := a.look(t, probes)
	t.Logf("the account's own view: %d reads", len(before))
	if len(before) < 120 {
		t.Errorf("only %d of an account's own reads are answered to itself", len(before))
	}
	for _, call := range slices.Sorted(maps.Keys(before)) {
		if before[call] != after[call] {
			t.Errorf("%s: after another account's calls its owner sees\n%s\nand before\n%s", call, after[call], before[call])
		}
	}
}

// byAdministrator are operations that a user tries too who may do everything in its own account.
var byAdministrator = []string{"GetObject", "PutObject", "ListObjectsV2", "DeleteBucket", "GetUser", "DeleteUser", "AttachUserPolicy", "AssumeRole", "GetPolicy", "CreateAccessKey",
	"DescribeInstances", "DescribeVolumes", "DeleteVolume", "CreateVolume", "CreateSnapshot", "TerminateInstances", "CreateTags", "ListSnapshotBlocks", "GetResources", "LookupEvents"}

// intrusion is what one account does with what is another's.
type intrusion struct {
	*testing.T
	into                     *tenantWorld
	markers                  []string
	calls, foreign, excepted atomic.Int64
}

// phases are the order of a probe's calls: what the caller sees before it has tried anything, for its own trail and its own
// names then have the other's in them; what is refused; and what is done, which the calls before must not find.
const phases = 3

func (p probe) phase(name string) int {
	switch answers := name == "" || p.may[name].answer != ""; {
	case answers && reads(p.op):
		return 0
	case !answers:
		return 1
	}
	return 2
}

// run makes a phase's calls, those of the last one after the other: they follow the table.
func (x *intrusion) run(by *tenantWorld, phase int, probes []probe) {
	var g errgroup.Group
	if g.SetLimit(4); phase == phases-1 {
		g.SetLimit(1)
	}
	for _, p := range probes {
		for _, name := range append(slices.Clone(p.names), "") {
			if (name == "") == (len(p.names) == 0) && p.phase(name) == phase {
				g.Go(func() error { x.try(by, p, name); return nil })
			}
		}
	}
	must(x.T, g.Wait())
}

// try is a call with the caller's own values but one, which is the other account's; "" is none.
func (x *intrusion) try(from *tenantWorld, p probe, foreign string) {
	if x.calls.Add(1); foreign != "" {
		x.foreign.Add(1)
	}
	out, err := from.call(x.Context(), p.service, p.op, p.input, func(name string) string {
		if name == foreign {
			return x.into.has[name]
		}
		return ""
	})
	value, may := x.into.has[foreign], p.may[foreign]
	what := fmt.Sprintf("%s by %s with %s = %s of another account", p, from.who, foreign, value)
	got := code(err)
	switch {
	case foreign == "":
		if err != nil {
			x.Errorf("%s by %s: %v", p, from.who, err)
		}
	case value == "":
		x.Errorf("%s: an account has no %s", p, foreign)
	case err != nil && got == "":
		x.Errorf("%s: %v", what, err)
	case err == nil && may.answer == "":
		x.Errorf("%s was done: %.300s", what, out)
	case err != nil && (may.answer != "" || may.code != got) && (may.code != "" || !foreignCodes[p.service].MatchString(got)):
		x.Errorf("%s is refused by %v", what, err)
	}
	if err != nil && (strings.HasSuffix(got, "NotFound") || got == "NoSuchEntity") && !strings.Contains(err.Error(), lastPart(value)) {
		x.Errorf("%s is refused, and not for that: %v", what, err)
	}
	if may != (allowed{}) {
		x.excepted.Add(1)
	}
	if may.tell != "" {
		return
	}
	said := out
	if err != nil {
		said = err.Error()
	}
	if value != "" {
		said = strings.ReplaceAll(said, value, "") // what the request says is no secret
	}
	for _, marker := range x.markers {
		if strings.Contains(said, marker) {
			x.Errorf("%s shows %s:\n%.2000s", what, marker, said)
		}
	}
}

// lastPart is a value's part after the last slash, which is the name in an ARN.
func lastPart(value string) string { return value[strings.LastIndexByte(value, '/')+1:] }

// markers are what must not be seen of an account.
func (w *tenantWorld) markers() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Values(w.has)), func(s string) bool { return len(s) < 8 })
}

// look is what an account sees of itself: the answer to each call that changes nothing, without what differs by the minute.
func (w *tenantWorld) look(t *testing.T, probes []probe) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for _, p := range probes {
		if !reads(p.op) || slices.Contains(volatileOps, p.op) || p.service == "sts" {
			continue
		}
		out, err := w.call(t.Context(), p.service, p.op, p.input, nil)
		if err != nil {
			if cmp.Or(p.may["Buckets"].why, p.may["Marker"].why, p.may["Tags"].why) == "" {
				t.Errorf("%s by its owner: %v", p, err)
			}
			continue
		}
		var v any
		must(t, json.Unmarshal([]byte(out), &v))
		raw, err := json.Marshal(steady(v))
		must(t, err)
		seen[p.String()] = string(raw)
	}
	return seen
}

// volatileOps answer otherwise each time, whoever does what.
var volatileOps = []string{"GetCredentialReport", "LookupEvents", "ListSnapshotBlocks", "ListChangedBlocks", "GetSnapshotBlock", "GetConsoleOutput"}

// steady is a decoded answer without members that tell of use and time.
func steady(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, x := range v {
			if strings.Contains(name, "LastUsed") || slices.Contains([]string{"NextToken", "Marker", "ContinuationToken", "JobCompletionDate", "JobCreationDate"}, name) {
				delete(v, name)
				continue
			}
			v[name] = steady(x)
		}
	case []any:
		for i := range v {
			v[i] = steady(v[i])
		}
	}
	return v
}

// call has an operation carried out with an input in which placeholders are filled: by other, if it knows the name, or
// with the account's own. The answer is JSON.
func (w *tenantWorld) call(ctx context.Context, service, op, input string, other func(name string) string) (string, error) {
	var in any
	if err := json.Unmarshal([]byte(input), &in); err != nil {
		return "", err
	}
	var unknown []string
	in = filled(in, func(name string) string {
		value := ""
		if other != nil {
			value = other(name)
		}
		value = cmp.Or(value, w.has[name], w.shared[name])
		if value == "" {
			unknown = append(unknown, name)
		}
		return value
	})
	if unknown != nil {
		return "", fmt.Errorf("%s has no %v", w.who, unknown)
	}
	return callSDK(ctx, w.clients[service], op, in)
}

// filled is decoded JSON with its placeholders replaced.
func filled(v any, value func(name string) string) any {
	switch v := v.(type) {
	case string:
		return placeholder.ReplaceAllStringFunc(v, func(s string) string { return value(s[1:]) })
	case map[string]any:
		for name := range v {
			v[name] = filled(v[name], value)
		}
	case []any:
		for i := range v {
			v[i] = filled(v[i], value)
		}
	}
	return v
}
