package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"hive/fsm"
)

const (
	contentType = "application/cbor"
	// maxMessage bounds a request or an answer between nodes: one entry of any size, or many small ones.
	maxMessage = maxEntry + maxRequestBytes + 64<<10
)

// wire decodes what other nodes send.
var wire = mustDecMode(cbor.DecOptions{
	DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
	MaxArrayElements: 4 * maxRequestItems, MaxMapPairs: 64, MaxNestedLevels: 8,
})

func mustDecMode(o cbor.DecOptions) cbor.DecMode {
	m, err := o.DecMode()
	if err != nil {
		panic(err) // options are constants: a test would not get past package initialisation
	}
	return m
}

// errNotSent is a request that its receiver has certainly not taken.
var errNotSent = errors.New("not sent")

func certainlyNot(err error) bool { return errors.Is(err, errNotSent) }

// call asks another node's Handler. It gives up when the node is not the leader of that term any more: a
// leader that hangs must not hold up what its successor can answer.
func (g *Group) call(ctx context.Context, to raftView, what string, req, resp any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*g.cfg.Timing.RPC)
	defer cancel()
	go g.cancelWhenReplaced(ctx, cancel, to)
	return g.post(ctx, to.leader, what, req, resp)
}

func (g *Group) cancelWhenReplaced(ctx context.Context, cancel context.CancelFunc, to raftView) {
	for {
		changed := g.leaders.wait()
		if now := look(g.live.raft); now.term > to.term {
			cancel()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Group) post(ctx context.Context, node fsm.NodeID, what string, req, resp any) error {
	body, err := cbor.Marshal(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	})
	url := "https://" + string(node) + "/raft/" + string(g.cfg.Group) + "/" + what
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	r.Header.Set("Content-Type", contentType)
	answer, err := g.cfg.HTTP.Do(r)
	if err != nil {
		if !connected {
			err = fmt.Errorf("%w: %w", errNotSent, err)
		}
		return fmt.Errorf("%s of group %s: %w", node, g.cfg.Group, err)
	}
	return readAnswer(answer, resp)
}

// readAnswer reads the whole answer, so that the connection can be used again. The Handler answers anything
// but 200 before it takes a request.
func readAnswer(answer *http.Response, resp any) (err error) {
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s: %s", errNotSent, answer.Status, strings.TrimSpace(string(body)))
	}
	if err := wire.Unmarshal(body, resp); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// Handler answers other nodes of the group, under /raft/<group>/, with or without that prefix. Whoever
// mounts it has authenticated them.
func (g *Group) Handler() http.Handler {
	ops := map[string]serveFunc{
		"propose": g.servePropose, "readindex": g.serveRead, "membership": g.serveMembership, "status": g.serveStatus,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op, ok := ops[strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/raft/"+string(g.cfg.Group)), "/")]
		if !ok || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		g.serve(w, r, op)
	})
}

type serveFunc func(*http.Request, *live, []byte) (any, error)

func (g *Group) serve(w http.ResponseWriter, r *http.Request, op serveFunc) {
	select {
	case <-g.started:
	default:
		http.Error(w, "the group has not started", http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	resp, err := op(r, g.live, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out, err := cbor.Marshal(resp)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	if _, err := w.Write(out); err != nil {
		g.cfg.Log.Debug("answer was not taken", "group", g.cfg.Group, "cause", err)
	}
}

func (g *Group) servePropose(r *http.Request, l *live, body []byte) (any, error) {
	var req proposeRequest
	if err := wire.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	items := make([]*outgoing, len(req.Items))
	for i, p := range req.Items {
		if len(p.Entry) > maxEntry {
			return nil, fmt.Errorf("entry of %d bytes", len(p.Entry))
		}
		items[i] = p.outgoing()
	}
	resp := proposeResponse{Verdicts: make([]wireVerdict, len(items))}
	for i, o := range l.inbox.accept(req.Term, items) {
		v := verdict{status: isUnknown}
		select {
		case <-o.done:
			v = o.verdict
		case <-r.Context().Done():
		case <-g.stopped:
		}
		resp.Verdicts[i] = v.wire()
	}
	return resp, nil
}

func (g *Group) serveRead(r *http.Request, l *live, _ []byte) (any, error) {
	// A leader only: a follower that asked another node for the asker could be asked by that one in turn.
	if _, leads := leadingTerm(l.raft); !leads {
		return readResponse{Refuse: errNotLeader.Error()}, nil
	}
	at, err := l.lead.join(r.Context())
	if err != nil {
		return readResponse{Refuse: err.Error()}, nil //nolint:nilerr // it is the answer
	}
	return readResponse{Index: at.index, Term: at.term}, nil
}
