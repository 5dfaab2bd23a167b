package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/cluster"
)

// serveChange forecasts a change of membership, or carries it out with a line for each step.
func (n *Node) serveChange(w http.ResponseWriter, r *http.Request) {
	var ch admin.Change
	if err := json.NewDecoder(r.Body).Decode(&ch); err != nil {
		n.answer(w, nil, err)
		return
	}
	effect, err := n.forecast(r.Context(), &ch)
	if err == nil && !ch.DryRun && effect.Refused != "" {
		err = errors.New(effect.Refused)
	}
	if err != nil || ch.DryRun {
		n.answer(w, effect, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	say := func(p admin.Progress) {
		if err := errors.Join(json.NewEncoder(w).Encode(p), flush.Flush()); err != nil {
			n.log.Debug("admin progress", "err", err)
		}
	}
	if err := n.carryOut(r.Context(), ch, func(step string) { say(admin.Progress{Step: step}) }); err != nil {
		say(admin.Progress{Error: err.Error()})
		return
	}
	say(admin.Progress{Step: "done", Percent: 100, Done: true})
}

// forecast says what a change would do to quorum. It completes a transfer that names no node.
func (n *Node) forecast(ctx context.Context, ch *admin.Change) (admin.Effect, error) {
	if err := n.readIndex(ctx); err != nil {
		return admin.Effect{}, fmt.Errorf("the control group has no leader, so nothing can be changed: %w", err)
	}
	ch.Node = nodeOf(string(ch.Node))
	var member fsm.Member
	var known bool
	err := n.control.View(func(v *fsm.View) error {
		member, known = fsm.Members.Get(v, ch.Node)
		return nil
	})
	switch {
	case err != nil:
		return admin.Effect{}, err
	case ch.Action == admin.TransferLeadership:
		return n.forecastTransfer(*ch)
	case !known:
		return admin.Effect{}, fmt.Errorf("%s is not a member: see `hive node list`", ch.Node)
	}
	var effect admin.Effect
	for _, g := range n.groups {
		servers, err := g.Servers()
		if err != nil {
			return effect, err
		}
		line, refused := cluster.Forecast(g.id, servers, n.alive, ch.Node, ch.Action == admin.Promote)
		effect.Lines = append(effect.Lines, line)
		if refused != "" && effect.Refused == "" {
			effect.Refused = refused
		}
	}
	switch ch.Action {
	case admin.Demote, admin.RemovePeer:
	case admin.Promote:
		if !n.alive(ch.Node) {
			effect.Refused = fmt.Sprintf("%s does not answer: a voter that is not there only costs quorum; start it first", ch.Node)
		}
	case admin.RemoveNode:
		err = n.forecastRemoval(&effect, member, ch.Force)
	default:
		err = fmt.Errorf("unknown change %q", ch.Action)
	}
	return effect, err
}

// readIndex makes this node's state recent, or gives up: an operator waits for the answer.
func (n *Node) readIndex(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proposePatience)
	defer cancel()
	return n.control.ReadIndex(ctx)
}

// nodeOf lets an operator name a node by its name or its id.
func nodeOf(text string) fsm.NodeID {
	if text == "" || strings.HasPrefix(text, "n-") {
		return fsm.NodeID(text)
	}
	return fsm.NodeID("n-" + text)
}

func (n *Node) forecastTransfer(ch admin.Change) (admin.Effect, error) {
	var effect admin.Effect
	groups, err := n.chosen(ch.Group)
	if err != nil {
		return effect, err
	}
	for _, g := range groups {
		leader, _ := g.Leader()
		if leader != "" && leader == ch.Node {
			effect.Lines = append(effect.Lines, fmt.Sprintf("%s: %s leads already", g.id, leader))
			continue
		}
		to := "the most up-to-date follower"
		if ch.Node != "" {
			to = string(ch.Node)
			if !n.alive(ch.Node) {
				effect.Refused = fmt.Sprintf("%s does not answer", ch.Node)
			}
		}
		effect.Lines = append(effect.Lines, fmt.Sprintf("%s: leadership goes from %s to %s; the voters stay as they are", g.id, leader, to))
	}
	return effect, nil
}

func (n *Node) chosen(id fsm.GroupID) ([]*group, error) {
	if id == "" {
		return n.groups, nil
	}
	i := slices.IndexFunc(n.groups, func(g *group) bool { return g.id == id })
	if i < 0 {
		return nil, fmt.Errorf("there is no group %q: see `hive raft list-peers`", id)
	}
	return n.groups[i : i+1], nil
}

// forecastRemoval refuses to remove a node on which shards rely, unless forced.
func (n *Node) forecastRemoval(effect *admin.Effect, m fsm.Member, force bool) error {
	held, total, err := n.partitionsOn(m.ID)
	if err != nil || held == 0 {
		return err
	}
	effect.Lines = append(effect.Lines, fmt.Sprintf("blobs: %s has a place in %d of %d partitions; without it their blobs have one shard less", m.ID, held, total))
	if !force && effect.Refused == "" {
		effect.Refused = fmt.Sprintf("%s keeps shards of %d partitions: bring it back, or repeat with --force to do without its shards", m.ID, held)
	}
	return nil
}

// changeTimeout bounds a change that is carried out.
const changeTimeout = 2 * time.Minute

func (n *Node) carryOut(ctx context.Context, ch admin.Change, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	switch ch.Action {
	case admin.Promote:
		return n.setSuffrage(ctx, ch.Node, fsm.SuffrageVoter, "Voter", say)
	case admin.Demote:
		return n.setSuffrage(ctx, ch.Node, fsm.SuffrageNonvoter, "Nonvoter", say)
	case admin.RemovePeer:
		return n.setSuffrage(ctx, ch.Node, fsm.SuffrageNone, "", say)
	case admin.TransferLeadership:
		return n.transfer(ctx, ch, say)
	default: // RemoveNode: forecast has refused what is unknown
		if err := n.setSuffrage(ctx, ch.Node, fsm.SuffrageNone, "", say); err != nil {
			return err
		}
		if err := n.registry.Remove(ctx, ch.Node); err != nil {
			return err
		}
		say(string(ch.Node) + " is not a member any more")
		return nil
	}
}

// setSuffrage records what is wanted and waits until every group's leader has made it so.
func (n *Node) setSuffrage(ctx context.Context, node fsm.NodeID, suffrage, want string, say func(string)) error {
	err := n.registry.Update(ctx, node, func(m *fsm.Member) bool {
		changed := m.Suffrage != suffrage
		m.Suffrage = suffrage
		return changed
	})
	if err != nil {
		return err
	}
	say("recorded under a new epoch of the settings")
	for _, g := range n.groups {
		if err := n.waitSuffrage(ctx, g, node, want); err != nil {
			return err
		}
		if want == "" {
			say(fmt.Sprintf("%s: %s is out of the group", g.id, node))
		} else {
			say(fmt.Sprintf("%s: %s is a %s", g.id, node, strings.ToLower(want)))
		}
	}
	return nil
}

func (n *Node) waitSuffrage(ctx context.Context, g *group, node fsm.NodeID, want string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		servers, err := g.Servers()
		if err != nil {
			return err
		}
		have := ""
		if i := slices.IndexFunc(servers, func(s cluster.Server) bool { return s.Node == node }); i >= 0 {
			have = suffrageName(servers[i].Voter)
		}
		if have == want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %s is not a %s yet; the cluster goes on trying: see `hive raft list-peers`", g.id, node, strings.ToLower(want))
		}
	}
}

func (n *Node) transfer(ctx context.Context, ch admin.Change, say func(string)) error {
	groups, err := n.chosen(ch.Group)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if leader, _ := g.Leader(); ch.Node != "" && leader == ch.Node {
			say(fmt.Sprintf("%s: %s leads already", g.id, leader))
			continue
		}
		if err := g.TransferLeadership(ctx, ch.Node); err != nil {
			return fmt.Errorf("%s: %w", g.id, err)
		}
		leader, err := waitLeader(ctx, g, ch.Node)
		if err != nil {
			return err
		}
		say(fmt.Sprintf("%s: %s leads", g.id, leader))
	}
	return nil
}

// waitLeader waits until this node sees a leader, the wanted one if there is one.
func waitLeader(ctx context.Context, g *group, want fsm.NodeID) (fsm.NodeID, error) {
	for {
		changed := g.LeaderChanged()
		if leader, ok := g.Leader(); ok && (want == "" || leader == want) {
			return leader, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("%s: the new leader is not seen yet: see `hive raft list-peers`", g.id)
		}
	}
}
