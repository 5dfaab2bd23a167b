// Command run runs every test of the project, the quick ones first, and ends with one line that counts them. It
// never retries a test and never hides a skip; what tests leave behind it removes, and counts as a failure.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// withoutRace are packages whose tests stay out of the race detector unless -race asks for all, each with its reason.
var withoutRace = map[string]string{
	"hive":               "starts the go command, nothing of its own runs at once",
	"hive/awsd/gen":      "a generator: one goroutine",
	"hive/awsd/ec2api":   "tables only, and 2 GiB to compile with it",
	"hive/awsd/iamapi":   "tables only",
	"hive/awsd/s3api":    "tables only",
	"hive/awsd/stsapi":   "tables only",
	"hive/awsd/protocol": "its tests walk all of service/ec2, which takes minutes to compile with it",
	"hive/cmd/hive":      "links service/ec2 as well",
}

// A stage is one run of the go command.
type stage struct {
	name  string
	limit time.Duration
	args  []string
}

func main() {
	race := flag.Bool("race", false, "run all packages' tests under the race detector")
	fuzzRuns := flag.Int("fuzzruns", 4000, "how many inputs each fuzz target is given")
	only := flag.String("only", "", "run only the stages whose name contains this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, *race, *fuzzRuns, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run carries out the stages in order; a failed one does not keep the others from running.
func run(ctx context.Context, race bool, fuzzRuns int, only string) (bool, error) {
	room, err := newRoom()
	if err != nil {
		return false, err
	}
	defer room.close()
	stages, err := plan(ctx, race, fuzzRuns)
	if err != nil {
		return false, err
	}
	var total tally
	for _, s := range stages {
		if ctx.Err() != nil || !strings.Contains(s.name, only) {
			continue
		}
		start := time.Now()
		fmt.Printf("=== %s\n", s.name)
		if err := execute(ctx, s, room, &total); err != nil {
			return false, fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("    %s took %s\n", s.name, time.Since(start).Round(time.Second))
	}
	for _, left := range room.sweep() {
		total.fail("left behind: "+left, nil)
	}
	if ctx.Err() != nil {
		total.fail("interrupted", nil)
	}
	total.summary(os.Stdout)
	return len(total.failed) == 0, nil
}

// plan lists the stages, the quickest to fail first.
func plan(ctx context.Context, race bool, fuzzRuns int) ([]stage, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-e", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var plain, raced []string
	for _, p := range strings.Fields(string(out)) {
		if p == "hive" || strings.HasPrefix(p, "hive/test") {
			continue
		}
		if _, slow := withoutRace[p]; slow && !race {
			plain = append(plain, p)
		} else {
			raced = append(raced, p)
		}
	}
	system := []string{"-count=1", "-timeout=30m", "./test/..."}
	if race {
		system = append([]string{"-race"}, system...)
	}
	stages := []stage{{"rules", 5 * time.Minute, []string{"-timeout=4m", "."}}}
	if len(raced) > 0 {
		stages = append(stages, stage{"units, race detector", 25 * time.Minute, append([]string{"-race", "-timeout=15m"}, raced...)})
	}
	if len(plain) > 0 {
		stages = append(stages, stage{"units", 15 * time.Minute, append([]string{"-timeout=10m"}, plain...)})
	}
	fuzz, err := fuzzStages(ctx, append(plain, raced...), fuzzRuns)
	if err != nil {
		return nil, err
	}
	stages = append(stages, fuzz...)
	return append(stages, stage{"whole system", 32 * time.Minute, system}), nil
}

// fuzzStages makes one stage of each fuzz target: the go command takes one at a time. Its end is a count and not a
// time: at the end of a time Go before 1.27 may fail a target that found nothing (golang/go#75804).
func fuzzStages(ctx context.Context, packages []string, fuzzRuns int) ([]stage, error) {
	var stages []stage
	for _, p := range packages {
		dir, err := exec.CommandContext(ctx, "go", "list", "-e", "-f", "{{.Dir}}", p).Output()
		if err != nil {
			return nil, fmt.Errorf("go list %s: %w", p, err)
		}
		targets, err := fuzzTargets(strings.TrimSpace(string(dir)))
		if err != nil {
			return nil, err
		}
		for _, target := range targets {
			stages = append(stages, stage{"fuzz " + strings.TrimPrefix(p, "hive/") + " " + target, 5 * time.Minute,
				[]string{"-run=^$", "-fuzz=^" + target + "$", fmt.Sprintf("-fuzztime=%dx", fuzzRuns), "-fuzzminimizetime=10x", "-timeout=4m", p}})
		}
	}
	return stages, nil
}
