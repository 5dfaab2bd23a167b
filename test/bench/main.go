// Command bench measures the built program as clusters of one and of three real processes on this machine, beside
// what the machine itself can do, and prints the tables of docs/benchmarks.md. It never judges a time: it fails only
// when a request does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// plan is how much of everything is measured.
type plan struct {
	cell     time.Duration // of requests that are counted, for each row
	objects  int           // that a listing has
	fill     time.Duration // at most, to write them
	failures int           // leaders killed

	blockCell time.Duration // of requests to a block server, for each row and run
	blockRuns int           // of which the median counts

	users int           // that one account has
	crowd time.Duration // at most, to make them

	boots  int           // of instances by each firmware; fewer, but one, when that takes longer than boot
	boot   time.Duration // after which no more instances are begun
	settle time.Duration // between two looks at the daemons' memory
}

var (
	full = plan{cell: 2500 * time.Millisecond, objects: 10_000, fill: 25 * time.Second, failures: 5,
		blockCell: 800 * time.Millisecond, blockRuns: 3, users: 100_000, crowd: 4 * time.Minute, boots: 3, boot: 2 * time.Minute, settle: 500 * time.Millisecond}
	quick = plan{cell: 400 * time.Millisecond, objects: 2_000, fill: 6 * time.Second, failures: 1,
		blockCell: 300 * time.Millisecond, blockRuns: 1, users: 5_000, crowd: 20 * time.Second, boots: 1, settle: 200 * time.Millisecond}
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		exit(serveBare(os.Stdout))
	}
	if len(os.Args) > 1 && os.Args[1] == nbdCommand {
		exit(serveNBD(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == volumeCommand {
		exit(serveVolume(os.Args[2:], os.Stdout))
	}
	bin := flag.String("bin", "bin/hive", "the program")
	short := flag.Bool("quick", false, "less of everything, under a minute")
	nodes := flag.String("nodes", "1,3", "sizes of the clusters")
	tables := flag.String("tables", "cluster,iam,nbd,guests", "what to measure: cluster (with the machine's limits), iam, nbd, guests")
	servers := flag.String("servers", "", "the block servers whose names contain this")
	dir := flag.String("dir", "", "directory on the disk to measure (short: sockets lie in it); a temporary one otherwise")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := bench{plan: full, bin: *bin, dir: *dir, out: os.Stdout, only: strings.Split(*tables, ","), servers: *servers}
	if *short {
		b.plan = quick
	}
	for _, s := range strings.Split(*nodes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			exit(fmt.Errorf("-nodes %q is not a list of sizes", *nodes))
		}
		b.sizes = append(b.sizes, n)
	}
	exit(b.run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one run.
type bench struct {
	plan
	bin, dir string
	sizes    []int
	only     []string // the tables to make
	servers  string   // part of the names of the block servers
	out      io.Writer
}

func (b *bench) run(ctx context.Context) error {
	dir, err := os.MkdirTemp(b.dir, "hb")
	if err != nil {
		return err
	}
	if b.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	begin := time.Now()
	err = b.tables(ctx)
	fmt.Fprintf(b.out, "\nThe run took %.0f s.\n", time.Since(begin).Seconds())
	if e := os.RemoveAll(dir); err == nil {
		err = e
	}
	return err
}

func (b *bench) tables(ctx context.Context) error {
	title, err := machine()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s\n", title)
	if slices.Contains(b.only, "nbd") {
		if err := b.blocks(ctx); err != nil {
			return fmt.Errorf("block servers: %w", err)
		}
	}
	if slices.Contains(b.only, "guests") {
		if err := b.guests(ctx); err != nil {
			return fmt.Errorf("instances: %w", err)
		}
	}
	if slices.Contains(b.only, "iam") {
		for _, n := range b.sizes {
			if err := b.identities(ctx, n); err != nil {
				return fmt.Errorf("IAM on a cluster of %d: %w", n, err)
			}
		}
	}
	if !slices.Contains(b.only, "cluster") {
		return nil
	}
	bare, err := b.limits(ctx)
	if err != nil {
		return fmt.Errorf("the machine's limits: %w", err)
	}
	for _, n := range b.sizes {
		if err := b.cluster(ctx, n, bare); err != nil {
			return fmt.Errorf("cluster of %d: %w", n, err)
		}
	}
	return nil
}
