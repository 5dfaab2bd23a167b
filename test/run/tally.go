package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// event is one line of `go test -json` (go doc cmd/test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// tally counts tests (and subtests) over all stages.
type tally struct {
	passed  int
	failed  []string
	skipped []string
}

func (t *tally) fail(name string, output []string) {
	t.failed = append(t.failed, name)
	fmt.Printf("FAIL %s\n", name)
	for _, line := range output {
		fmt.Print("     " + line)
	}
}

func (t *tally) summary(w io.Writer) {
	if len(t.skipped) > 0 {
		fmt.Fprintf(w, "\n!!! %d skipped, so what they prove is unproved here:\n  %s\n", len(t.skipped), strings.Join(t.skipped, "\n  "))
	}
	if len(t.failed) > 0 {
		fmt.Fprintf(w, "\n!!! failed:\n  %s\n", strings.Join(t.failed, "\n  "))
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", t.passed, len(t.failed), len(t.skipped))
}

// execute runs one stage in a process group of its own, so that its end is the end of all that it started.
func execute(ctx context.Context, s stage, room *room, total *tally) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, s.args...)...)
	cmd.Env = room.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	before := len(total.failed)
	r := reader{total: total, output: map[string][]string{}, counts: map[string]int{}}
	readErr := r.read(pipe)
	waitErr := cmd.Wait()
	if ctx.Err() == context.DeadlineExceeded {
		total.fail(fmt.Sprintf("%s: not done after %s", s.name, s.limit), nil)
	} else if waitErr != nil && len(total.failed) == before {
		total.fail(fmt.Sprintf("%s: %v", s.name, waitErr), r.loose)
	}
	return readErr
}

// reader turns the events of one stage into counts and prints what a person wants to see.
type reader struct {
	total  *tally
	output map[string][]string // by package and test
	counts map[string]int      // passed and failed, by package
	failed map[string]bool     // packages with a failed test
	loose  []string            // output that belongs to no test: a build's, the go command's own
}

func (r *reader) read(pipe io.Reader) error {
	lines := bufio.NewReaderSize(pipe, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				r.loose = append(r.loose, string(line))
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *reader) take(e event) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[id] = append(r.output[id], e.Output)
	case "build-output":
		r.loose = append(r.loose, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnd(e, id)
		} else {
			r.testEnd(e, id)
		}
		delete(r.output, id)
	}
}

func (r *reader) testEnd(e event, id string) {
	name := strings.TrimPrefix(e.Package, "hive/") + "." + e.Test
	r.counts[e.Package]++
	switch e.Action {
	case "pass":
		r.total.passed++
	case "skip":
		r.total.skipped = append(r.total.skipped, name+": "+reason(r.output[id]))
	case "fail":
		if r.failed == nil {
			r.failed = map[string]bool{}
		}
		r.failed[e.Package] = true
		r.total.fail(fmt.Sprintf("%s (%.1fs)", name, e.Elapsed), r.output[id])
	}
}

// packageEnd reports a package; one that failed without a failed test did not build, or died.
func (r *reader) packageEnd(e event, id string) {
	name := strings.TrimPrefix(e.Package, "hive/")
	switch {
	case e.Action == "fail" && !r.failed[e.Package]:
		r.total.fail(name, append(r.loose, r.output[id]...))
		r.loose = nil
	case e.Action == "fail":
		fmt.Printf("FAIL %s\n", name)
	case r.counts[e.Package] > 0:
		fmt.Printf("ok   %-28s %5d in %.1fs\n", name, r.counts[e.Package], e.Elapsed)
	}
}

// reason is what a skipped test said: its last line that is not the test framework's own.
func reason(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		line := strings.TrimSpace(output[i])
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return "no reason given"
}
