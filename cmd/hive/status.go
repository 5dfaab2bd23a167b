package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"hive/fsm"
	"hive/internal/admin"
)

type statusOptions struct{ dir string }

func statusCommand() *cli.Command {
	var o statusOptions
	return &cli.Command{
		Name: "status", Category: categoryLook, Usage: "show the cluster as this node knows it",
		Description: `Answered from what this node has, also when the cluster has no leader. What is wrong, and
what to do about it, comes last.

Examples:
  hive status
  hive status --hive-dir /var/lib/hive --output json`,
		Flags:  []cli.Flag{dirFlag(&o.dir)},
		Action: func(c *cli.Context) error { return runStatus(c, o) },
	}
}

type statusAnswer struct {
	admin.Status
	Problems []problem `json:"problems"`
}

func runStatus(c *cli.Context, o statusOptions) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	var s admin.Status
	if err := ask(c, o.dir, "GET", "/v1/status", nil, &s); err != nil {
		return err
	}
	a := statusAnswer{s, diagnose(s)}
	return outputOf(c).answer(a, func(w io.Writer) { showStatus(w, a) })
}

func showStatus(w io.Writer, a statusAnswer) {
	fmt.Fprintf(w, "Cluster %s in %s, asked on %s (hive %s)\n", orDash(a.ClusterID), orDash(a.Region), orDash(a.Node), a.Version)
	f := formationOf(a.Status)
	formed := "formed"
	if !f.formed {
		formed = "forming"
	}
	fmt.Fprintf(w, "%s: %v; settings epoch %d\n", formed, f, a.Epoch)
	fmt.Fprintf(w, "Serving here: %s\n\n", listed(a.Serving))

	row(w, "NODE", "HEALTH", "ROLE", "EPOCH", "ADDRESS", "ZONE", "VERSION", "CAPABILITIES")
	for _, m := range a.Members {
		row(w, m.Node, orDash(m.Health), role(m), m.Epoch, orDash(m.Addr), orDash(m.Zone), orDash(m.Version), listed(m.Caps))
	}
	fmt.Fprintln(w)
	row(w, "GROUP", "STATE HERE", "LEADER", "TERM", "COMMITTED", "APPLIED")
	for _, g := range a.Groups {
		row(w, g.Group, g.State, orDash(g.Leader), g.Term, g.Commit, g.Applied)
	}
	r := a.Repair
	fmt.Fprintf(w, "\nRepair: %s owed, %s to rewrite, %s rotten, %s to delete\n",
		plural(r.Owed, "shard"), plural(r.Unsafe, "blob"), plural(r.Rotten, "shard"), plural(r.Garbage, "blob"))
	showGuests(w, a.Guests)
	if len(a.Problems) == 0 {
		fmt.Fprintln(w, "\nNothing is wrong.")
		return
	}
	fmt.Fprintln(w, "\nWhat is wrong, and what to do:")
	for _, p := range a.Problems {
		fmt.Fprintf(w, "- %s\n  %s\n", p.What, p.Do)
	}
}

// showGuests tells what this node gives to instances.
func showGuests(w io.Writer, g *admin.Guests) {
	switch {
	case g == nil:
	case g.Network != "":
		fmt.Fprintf(w, "Instances: none here, for %s\n", g.Network)
	default:
		fmt.Fprintf(w, "Instances: %d of %d vCPUs and %d of %d MiB promised; they run by %s\n",
			g.UsedVCPUs, g.VCPUs, g.UsedMiB, g.MemoryMiB, g.Accel)
	}
}

func role(m admin.Member) string {
	switch {
	case m.Leader:
		return "leader"
	case m.Suffrage == "":
		return "-"
	}
	return strings.ToLower(m.Suffrage)
}

// problem is something that an operator should know, and what to do about it.
type problem struct {
	What string `json:"what"`
	Do   string `json:"do"`
}

// diagnose reads a status for the operator.
func diagnose(s admin.Status) []problem {
	found := []problem{}
	add := func(what, do string) { found = append(found, problem{what, do}) }
	f := formationOf(s)
	switch {
	case !f.formed && f.joined < f.target:
		add(fmt.Sprintf("The cluster is forming: %d of %s joined.", f.joined, plural(f.target, "node")),
			"Run the join command on the others; `hive token create` here makes a new token when the first one has expired.")
	case !f.formed:
		add(fmt.Sprintf("All %s joined, and %d acknowledged the final settings.", plural(f.target, "node"), f.acknowledged),
			"It forms by itself once the others answer; a node that stays behind may not be running: `hive status` on it.")
	}
	found = append(found, diagnoseGroups(s)...)
	found = append(found, diagnoseMembers(s)...)
	r := s.Repair
	if r.Rotten > 0 {
		add(fmt.Sprintf("This node found %s with wrong bytes.", plural(r.Rotten, "shard")),
			"They are repaired from the others by themselves; if the number grows, the disk is failing: replace the node.")
	}
	if r.Unsafe > 0 {
		add(fmt.Sprintf("%s fewer shards than the profile wants.", verb(r.Unsafe, "blob", "has", "have")),
			"They are rewritten by themselves when enough nodes are alive; do not take another node away before.")
	}
	for _, w := range s.Warnings {
		add(w, "The log of this node's daemon tells more.")
	}
	return found
}

func diagnoseGroups(s admin.Status) (found []problem) {
	var lost []fsm.GroupID
	for _, g := range s.Groups {
		if g.Leader == "" {
			lost = append(lost, g.Group)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	voters, alive := 0, 0
	for _, m := range s.Members {
		if m.Suffrage == "Voter" {
			voters++
			if m.Health == "alive" {
				alive++
			}
		}
	}
	what := fmt.Sprintf("No leader in %s: writes and strong reads are refused here.", listed(lost))
	switch {
	case voters == 0:
		return []problem{{what, "This node knows no voters yet: it has just started, or cannot reach the others on port 8443."}}
	case alive <= voters/2:
		return []problem{{what, fmt.Sprintf("%d of %s are alive and %d are needed: start the others (`hive run` on them), or mend the network to them.",
			alive, plural(voters, "voter"), voters/2+1)}}
	}
	return []problem{{what, "Enough voters are alive: an election should end within seconds. If not, check port 8443 between the nodes and their clocks."}}
}

func diagnoseMembers(s admin.Status) (found []problem) {
	for _, m := range s.Members {
		if m.Health == "dead" || m.Health == "suspect" {
			found = append(found, problem{
				fmt.Sprintf("%s (%s) is %s.", m.Node, m.Addr, m.Health),
				fmt.Sprintf("Start it again with `hive run`; what it missed is handed over by itself. If it is gone for good: `hive node remove %s`.", m.Node),
			})
			continue
		}
		if s.Formed && m.Epoch < s.Epoch {
			found = append(found, problem{
				fmt.Sprintf("%s has acknowledged settings epoch %d, and %d is in force.", m.Node, m.Epoch, s.Epoch),
				"It gets them as soon as it reaches the others.",
			})
		}
	}
	if s.Formed && !slices.ContainsFunc(s.Members, func(m admin.Member) bool { return m.Node == s.Node }) && len(s.Members) > 0 {
		found = append(found, problem{
			"This node is not a member of the cluster any more.",
			"Stop it and take its directory away; to come back it joins again with a token.",
		})
	}
	return found
}

func verb(n int, noun, one, many string) string {
	if n == 1 {
		return plural(n, noun) + " " + one
	}
	return plural(n, noun) + " " + many
}
