package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/node"
)

func TestStatusSaysWhatIsWrong(t *testing.T) {
	member := func(n fsm.NodeID, epoch uint64) admin.Member {
		return admin.Member{Node: n, Addr: "10.0.0.1:8443", Suffrage: "Voter", Epoch: epoch, Health: "alive"}
	}
	led := []admin.Group{{Group: "control", State: "Leader", Leader: "n-1"}}
	cases := map[string]struct {
		status admin.Status
		want   []string
	}{
		"well": {admin.Status{Node: "n-1", Formed: true, TargetSize: 1, Epoch: 2, Groups: led, Members: []admin.Member{member("n-1", 2)}}, nil},
		"forming": {admin.Status{Node: "n-1", TargetSize: 3, Epoch: 1, Groups: led, Members: []admin.Member{member("n-1", 1)}},
			[]string{"1 of 3 nodes joined"}},
		"not acknowledged": {admin.Status{Node: "n-1", TargetSize: 1, Epoch: 2, Groups: led, Members: []admin.Member{member("n-1", 1)}},
			[]string{"All 1 node joined, and 0 acknowledged"}},
		"behind": {admin.Status{Node: "n-1", Formed: true, TargetSize: 2, Epoch: 3, Groups: led, Members: []admin.Member{member("n-1", 3), member("n-2", 2)}},
			[]string{"n-2 has acknowledged settings epoch 2, and 3 is in force"}},
		"removed": {admin.Status{Node: "n-3", Formed: true, TargetSize: 2, Epoch: 2, Groups: led, Members: []admin.Member{member("n-1", 2), member("n-2", 2)}},
			[]string{"not a member of the cluster any more"}},
		"electing": {admin.Status{Node: "n-1", Formed: true, TargetSize: 1, Epoch: 2, Groups: []admin.Group{{Group: "index-0"}}, Members: []admin.Member{member("n-1", 2)}},
			[]string{"No leader in index-0"}},
		"just started": {admin.Status{Node: "n-1", Formed: true, Groups: []admin.Group{{Group: "control"}}},
			[]string{"No leader in control"}},
		"rot": {admin.Status{Node: "n-1", Formed: true, TargetSize: 1, Epoch: 2, Groups: led, Members: []admin.Member{member("n-1", 2)}, Repair: admin.Repair{Rotten: 2, Unsafe: 1}},
			[]string{"2 shards with wrong bytes", "1 blob has fewer shards"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := diagnose(c.status)
			if len(got) != len(c.want) {
				t.Fatalf("problems %q, want %d", got, len(c.want))
			}
			for i, p := range got {
				if !strings.Contains(p.What, c.want[i]) || p.Do == "" {
					t.Errorf("problem %q, do %q; want %q", p.What, p.Do, c.want[i])
				}
			}
		})
	}
}

func TestFlagsMayFollowArguments(t *testing.T) {
	app := newApp()
	for in, want := range map[string]string{
		"hive raft promote node2 --yes":                  "hive raft promote --yes node2",
		"hive raft promote node2 --hive-dir d -o json":   "hive raft promote --hive-dir d -o json node2",
		"hive raft promote node2 --hive-dir=d":           "hive raft promote --hive-dir=d node2",
		"hive dev logs node1 -f":                         "hive dev logs -f node1",
		"hive dev logs node1 -- -f":                      "hive dev logs -- node1 -f",
		"hive dev logs node1 --generate-bash-completion": "hive dev logs node1 --generate-bash-completion",
		"hive aws s3 ls --yes":                           "hive aws s3 ls --yes",
		"hive raft nosuch --yes":                         "hive raft nosuch --yes",
		"hive status --hive-dir":                         "hive status --hive-dir",
	} {
		if got := strings.Join(flagsFirst(app.Commands, strings.Fields(in)), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestAPortInUseNamesItsProcess(t *testing.T) {
	const ip = "127.9.8.7"
	l, err := net.Listen("tcp", net.JoinHostPort(ip, node.APIPort))
	if err != nil {
		t.Fatal(err)
	}
	err = checkPorts(ip)
	if want := fmt.Sprintf("port 9999 of %s is in use by process %d (", ip, os.Getpid()); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s…", err, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := checkPorts(ip); err != nil {
		t.Errorf("free ports: %v", err)
	}
}

func TestAFollowedLogLosesNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := follower{path: path}
	var got []string
	step := func(write string) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(write); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.next(func(l string) { got = append(got, l) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.next(nil); err != nil {
		t.Fatalf("a log that is not there: %v", err)
	}
	step("a\nb\nc")
	step("1\n")
	step("")
	step("d\n")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	step("e\n")
	if want := []string{"a", "b", "c1", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	last, err := lastLines(path, 0, 1)
	if err != nil || !slices.Equal(last, []string{"e"}) {
		t.Errorf("last line %q, %v", last, err)
	}
}

func TestATailKeepsTheLastLines(t *testing.T) {
	for n := range 5 {
		tl := tail{n: n}
		var all []string
		for i := range 20 {
			l := fmt.Sprint(i)
			all = append(all, l)
			tl.add(l)
			want := all
			if n > 0 && len(all) > n {
				want = all[len(all)-n:]
			}
			if !slices.Equal(tl.last(), want) {
				t.Fatalf("tail of %d after %d lines: %q, want %q", n, i+1, tl.last(), want)
			}
		}
	}
}

func TestExportsSurviveAShell(t *testing.T) {
	e := awsEnv{endpoint: "http://127.0.1.1:9999", accessKey: "AKIA", secretKey: "a/b+c'd $x", region: "eu-west-1", ca: "/tmp/a b/ca.pem"}
	got := e.exports("")
	for _, want := range []string{
		"export AWS_ENDPOINT_URL=http://127.0.1.1:9999\n", `export AWS_SECRET_ACCESS_KEY='a/b+c'\''d $x'` + "\n", "export AWS_CA_BUNDLE='/tmp/a b/ca.pem'\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestErrorsAreJSONWhenAskedFor(t *testing.T) {
	var out, err bytes.Buffer
	if code := run(t.Context(), strings.Fields("hive nosuch --output json"), nil, &out, &err); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if got := err.String(); !strings.HasPrefix(got, `{"error":"there is no command`) || strings.Count(got, "\n") != 1 {
		t.Errorf("stderr %q", got)
	}
}
