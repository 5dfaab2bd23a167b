package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hive/test/guest"
)

// alone runs a shell script in a network namespace of its own, where the addresses of `hive dev` are free.
func alone(t *testing.T, env []string, script string) (string, error) {
	t.Helper()
	argv := []string{"unshare", "--net"}
	if os.Geteuid() != 0 {
		argv = []string{"unshare", "--user", "--map-root-user", "--net"}
		if out, err := exec.Command(argv[0], append(argv[1:], "true")...).CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: neither root nor user namespaces: %s", out)
		}
	}
	return command(t, env, append(argv, "bash", "-euo", "pipefail", "-c", "ip link set lo up\n"+script)...)
}

// TestTheDemo runs what `make demo` runs after it has built the program, twice, as it may be run again; guests once, and
// where they cannot be it says so.
func TestTheDemo(t *testing.T) {
	dir := shortDir(t)
	env := []string{"HIVE=" + program(t), "HIVE_DEV_DIR=" + dir + "/dev", "HOME=" + dir}
	wanted := []string{"the same bytes", "killed node3", "shards still owed: 0", "arn:aws:iam::", "=== again", "Done. The cluster keeps running.", "removed " + dir}
	if os.Geteuid() == 0 {
		env = append(env, "HIVE_GUEST_IMAGE="+guest.Tiny(t))
		wanted = append(wanted, "user-data was here", " 0 failures", "hello, volume", "processes of guests: 0")
	} else {
		wanted = append(wanted, "NOT SHOWN: instances")
	}
	out, err := alone(t, env, `trap '"$HIVE" dev stop --delete' EXIT
		./demo.sh
		echo === again
		HIVE_DEMO_GUESTS=no ./demo.sh`)
	must(t, err)
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
}

// TestADevelopmentCluster is ready within ten seconds, takes keys, and hands out an environment that is all a client needs.
func TestADevelopmentCluster(t *testing.T) {
	dir := shortDir(t)
	env := []string{"HIVE=" + program(t), "HIVE_DEV_DIR=" + dir + "/dev", "HOME=" + dir, "OUT=" + dir}
	out, err := alone(t, env, `trap '"$HIVE" dev stop --delete' EXIT
		"$HIVE" dev start --nodes 3 --access-key AKIAIOSFODNN7EXAMPLE --secret-key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY --account 123456789012 --output json >"$OUT/start.json"
		"$HIVE" dev status --output json >"$OUT/status.json"
		eval "$("$HIVE" dev env --node node2)"
		test "$AWS_ENDPOINT_URL" = http://127.0.1.2:9999
		aws --endpoint-url "$AWS_ENDPOINT_URL" sts get-caller-identity --output text >"$OUT/who"
		"$HIVE" aws s3 mb s3://dev
		echo hello | "$HIVE" aws --node node1 s3 cp - s3://dev/hello
		"$HIVE" dev kill node1
		"$HIVE" aws --node node3 s3 cp s3://dev/hello -
		"$HIVE" dev start-node node1
		"$HIVE" dev stop
		"$HIVE" dev start
		"$HIVE" aws --node node1 s3 cp s3://dev/hello - >"$OUT/hello"
		"$HIVE" dev logs node1 >"$OUT/log"`)
	must(t, err)
	var started struct{ Seconds float64 }
	readJSON(t, dir+"/start.json", &started)
	within(t, "a development cluster of three", 10*time.Second, time.Duration(started.Seconds*float64(time.Second)))
	who, err := os.ReadFile(dir + "/who")
	must(t, err)
	if !strings.Contains(string(who), "arn:aws:iam::123456789012:root") {
		t.Errorf("the given key is %s", who)
	}
	if hello, err := os.ReadFile(dir + "/hello"); err != nil || string(hello) != "hello\n" {
		t.Errorf("after stop and start: %q, %v\n%s", hello, err, out)
	}
	if log, err := os.ReadFile(dir + "/log"); err != nil || len(log) == 0 {
		t.Errorf("no log: %v", err)
	}
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	must(t, err)
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, raw)
	}
}

// TestTheProgramIsSmallAndStatic: under 60 MB, and it needs nothing of the machine that it runs on.
func TestTheProgramIsSmallAndStatic(t *testing.T) {
	if raceDetector {
		return // another program than the one that is shipped
	}
	info, err := os.Stat(program(t))
	must(t, err)
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	if info.Size() >= 60e6 {
		t.Errorf("the program has %d bytes", info.Size())
	}
	out, err := exec.Command("ldd", program(t)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not a dynamic executable") {
		t.Errorf("ldd: %s", out)
	}

	version, err := command(t, nil, "env", "-i", program(t), "version")
	must(t, err)
	if strings.TrimSpace(version) == "" {
		t.Errorf("no version: %q", version)
	}
}
