package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"hive/test/rig"
)

// guests measures importing an image, the life of instances that boot by UEFI and by BIOS, and what a volume takes of a
// daemon's memory.
func (b *bench) guests(ctx context.Context) (err error) {
	fmt.Fprintf(b.out, "\n### Instances\n\n")
	l, err := b.lab(ctx, filepath.Join(b.dir, "g"))
	if reason := notHere(""); errors.As(err, &reason) {
		fmt.Fprintf(b.out, "Not measured: %s.\n", reason)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, errors.New(l.Logs(20)))
		}
		err = errors.Join(err, l.end(ctx))
	}()
	g := guestBench{bench: b, lab: l, images: map[string]string{}, times: map[lapKey][]time.Duration{}}
	for _, step := range []func(context.Context) error{g.weigh, g.imports, g.weigh, g.rounds, g.weigh, g.memory} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	g.print()
	return nil
}

// guestBench is the measuring of guests.
type guestBench struct {
	*bench
	*lab
	images map[string]string // by boot mode
	times  map[lapKey][]time.Duration
	notes  []string
	weight []weights // of the daemons: at first, after the imports, after the rounds
}

// weights are daemons' memory in bytes.
type weights map[*rig.Node]int64

// lapKey is a step of an instance's life.
type lapKey struct{ step, mode string }

// The steps, in their order.
const (
	stepCall    = "RunInstances answers"
	stepRunning = "from the call until it is running"
	stepLogin   = "from the call until an SSH command is done"
	stepStop    = "StopInstances, until it is stopped"
	stepStart   = "StartInstances, until it is running"
	stepAgain   = "StartInstances, until an SSH command is done"
	stepEnd     = "TerminateInstances, until it is terminated"
)

var (
	steps     = []string{stepCall, stepRunning, stepLogin, stepStop, stepStart, stepAgain, stepEnd}
	bootModes = []string{uefi, bios}
)

func (g *guestBench) lap(step, mode string, begin time.Time) {
	k := lapKey{step, mode}
	g.times[k] = append(g.times[k], time.Since(begin))
}

func (g *guestBench) note(format string, args ...any) {
	g.notes = append(g.notes, fmt.Sprintf(format, args...))
}

// imports imports the tiny image several times over.
func (g *guestBench) imports(ctx context.Context) error {
	var took []time.Duration
	var sent int64
	for i := range max(g.boots, len(bootModes)) {
		mode := bootModes[i%len(bootModes)]
		made, err := g.importImage(ctx, fmt.Sprint("bench", i), mode)
		if err != nil {
			return err
		}
		g.images[mode], sent = made.ID, made.Sent
		took = append(took, made.Took)
	}
	slices.Sort(took)
	m := median(took)
	g.note("`hive image import` of the tiny image, qcow2, of which %s MiB are not zero: median %.2f s (%.0f MiB/s), longest %.2f s of %d",
		digits(float64(sent)/(1<<20)), m.Seconds(), float64(sent)/(1<<20)/m.Seconds(), took[len(took)-1].Seconds(), len(took))
	return nil
}

// median of what is sorted; between the two in the middle of an even number.
func median(sorted []time.Duration) time.Duration {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// rounds takes instances of both boot modes in turn through their lives, one at a time, as often as the plan and the time
// allow; at least once.
func (g *guestBench) rounds(ctx context.Context) error {
	begin := time.Now()
	for i := range g.boots {
		if i > 0 && time.Since(begin) > g.boot {
			return nil
		}
		for _, mode := range bootModes {
			if err := g.life(ctx, mode); err != nil {
				return fmt.Errorf("instance, %s: %w", mode, err)
			}
		}
	}
	return nil
}

// life is that of one instance.
func (g *guestBench) life(ctx context.Context, mode string) error {
	begin := time.Now()
	m, err := g.begin(g.images[mode])
	if err != nil {
		return err
	}
	g.lap(stepCall, mode, begin)
	if err := g.booted(ctx, m.ID, mode, begin, stepRunning, stepLogin); err != nil {
		return err
	}
	if err := g.asked(ctx, "StopInstances", m.ID, "stopped", mode, stepStop); err != nil {
		return err
	}
	begin = time.Now()
	if err := g.ec2("StartInstances", new(struct{}), "InstanceId.1", m.ID); err != nil {
		return err
	}
	if err := g.booted(ctx, m.ID, mode, begin, stepStart, stepAgain); err != nil {
		return err
	}
	return g.asked(ctx, "TerminateInstances", m.ID, "terminated", mode, stepEnd)
}

// booted waits until the instance runs and lets us in.
func (g *guestBench) booted(ctx context.Context, id, mode string, begin time.Time, running, login string) error {
	if err := g.until(ctx, id, "running"); err != nil {
		return err
	}
	g.lap(running, mode, begin)
	if err := g.login(ctx, id); err != nil {
		return err
	}
	g.lap(login, mode, begin)
	return nil
}

func (g *guestBench) asked(ctx context.Context, action, id, state, mode, step string) error {
	begin := time.Now()
	if err := g.ec2(action, new(struct{}), "InstanceId.1", id); err != nil {
		return err
	}
	if err := g.until(ctx, id, state); err != nil {
		return err
	}
	g.lap(step, mode, begin)
	return nil
}

// idleVolumes are how many volumes of 1 GiB are attached, and left alone, when the memory is weighed.
var idleVolumes = []int{1, 5}

// memory weighs the daemons without an instance, with one, and with idle volumes attached to it.
func (g *guestBench) memory(ctx context.Context) error {
	m, err := g.launch(ctx, g.images[bios])
	if err != nil {
		return err
	}
	if err := g.login(ctx, m.ID); err != nil {
		return err
	}
	if m, err = g.describe(ctx, m.ID); err != nil {
		return err
	}
	owner, err := g.nodeOf(ctx, m.ID)
	if err != nil {
		return err
	}
	with, err := g.weights(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("memory (RSS) in MiB of the daemon that serves an instance's volumes, and of all three: %s in a new cluster; %s after the imports; %s after all instances; %s with one and its root volume",
		g.weight[0].of(owner), g.weight[1].of(owner), g.weight[2].of(owner), with.of(owner))
	var attached []time.Duration
	for _, n := range idleVolumes {
		for len(attached) < n {
			d, err := g.attach(ctx, m, fmt.Sprintf("/dev/sd%c", 'f'+len(attached)))
			if err != nil {
				return err
			}
			attached = append(attached, d)
		}
		now, err := g.weights(ctx)
		if err != nil {
			return err
		}
		text += fmt.Sprintf("; %s with %d more of 1 GiB, idle", now.of(owner), n)
	}
	g.notes = append(g.notes, text)
	slices.Sort(attached)
	g.note("AttachVolume to the running instance, until it is attached: median %.2f s, longest %.2f s of %d",
		median(attached).Seconds(), attached[len(attached)-1].Seconds(), len(attached))
	return nil
}

// of prints the memory of one daemon and of all in MiB.
func (w weights) of(n *rig.Node) string {
	var all int64
	for _, v := range w {
		all += v
	}
	return fmt.Sprintf("%d, %d", w[n]>>20, all>>20)
}

func (g *guestBench) weigh(ctx context.Context) error {
	w, err := g.weights(ctx)
	g.weight = append(g.weight, w)
	return err
}

// weights are the daemons' memory: the median of several looks.
func (g *guestBench) weights(ctx context.Context) (weights, error) {
	const looks = 5
	seen := map[*rig.Node][]int64{}
	for range looks {
		select {
		case <-time.After(g.settle):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		for _, n := range g.Nodes {
			rss, err := n.Memory("VmRSS")
			if err != nil {
				return nil, err
			}
			seen[n] = append(seen[n], rss)
		}
	}
	out := weights{}
	for n, all := range seen {
		slices.Sort(all)
		out[n] = all[looks/2]
	}
	return out, nil
}

// attach makes a volume and attaches it while the instance runs.
func (g *guestBench) attach(ctx context.Context, m instance, device string) (time.Duration, error) {
	var made struct {
		ID string `xml:"volumeId"`
	}
	if err := g.ec2("CreateVolume", &made, "Size", "1", "AvailabilityZone", m.Zone); err != nil {
		return 0, err
	}
	if err := g.volumeIs(ctx, made.ID, "available"); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := g.ec2("AttachVolume", new(struct{}), "VolumeId", made.ID, "InstanceId", m.ID, "Device", device); err != nil {
		return 0, err
	}
	err := g.volumeIs(ctx, made.ID, "attached")
	return time.Since(begin), err
}

// volumeIs waits until a volume, or its attachment, is in a state.
func (g *guestBench) volumeIs(ctx context.Context, id, state string) error {
	ctx, cancel := context.WithTimeout(ctx, guestTime)
	defer cancel()
	return rig.Await(ctx, id+" to be "+state, func(context.Context) error {
		var out struct {
			State      string `xml:"volumeSet>item>status"`
			Attachment string `xml:"volumeSet>item>attachmentSet>item>status"`
		}
		err := g.ec2("DescribeVolumes", &out, "VolumeId.1", id)
		if err == nil && out.State != state && out.Attachment != state {
			err = fmt.Errorf("it is %s %s", out.State, out.Attachment)
		}
		return err
	})
}

func (g *guestBench) print() {
	fmt.Fprintf(g.out, "| step | boot | median s | shortest s | longest s | of |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, step := range steps {
		for _, mode := range bootModes {
			all := g.times[lapKey{step, mode}]
			slices.Sort(all)
			if len(all) > 0 {
				fmt.Fprintf(g.out, "| %s | %s | %.3f | %.3f | %.3f | %d |\n", step, mode, median(all).Seconds(), all[0].Seconds(), all[len(all)-1].Seconds(), len(all))
			}
		}
	}
	fmt.Fprintln(g.out)
	for _, n := range g.notes {
		fmt.Fprintf(g.out, "- %s\n", n)
	}
}
