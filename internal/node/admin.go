package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"hive/events"
	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/cluster"
)

// serveAdmin answers the operator on the node's unix socket.
func (n *Node) serveAdmin(ctx context.Context) error {
	path := n.dir.path(admin.Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // the directory's lock says that no other daemon uses it
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: n.adminHandler(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	return errors.Join(server.Close(), ignoreClosed(<-done))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out, err := answer(r)
			n.answer(w, out, err)
		})
	}
	handle("GET /v1/status", func(*http.Request) (any, error) { return n.status() })
	handle("GET /v1/raft/peers", func(r *http.Request) (any, error) { return n.peers(r.Context()) })
	handle("GET /v1/digests", func(r *http.Request) (any, error) { return n.digests(r.Context()) })
	handle("POST /v1/scrub", func(r *http.Request) (any, error) { return n.scrub(r.Context()) })
	handle("GET /v1/tokens", func(r *http.Request) (any, error) { return n.tokens(r.Context()) })
	handle("POST /v1/tokens", n.createToken)
	handle("DELETE /v1/tokens/{id}", func(r *http.Request) (any, error) {
		return struct{}{}, n.revokeToken(r.Context(), r.PathValue("id"))
	})
	handle("POST /v1/stop", func(*http.Request) (any, error) { n.stop(); return struct{}{}, nil })
	handle("GET /v1/instances", func(*http.Request) (any, error) { return n.instances() })
	handle("GET /v1/waits", func(*http.Request) (any, error) { return n.guests.waits(), nil })
	mux.HandleFunc("POST /v1/instances/{id}/connect", n.serveConnect)
	handle("GET /v1/settings", func(r *http.Request) (any, error) { return n.settings(r.Context()) })
	handle("PATCH /v1/settings", n.changeSettings)
	n.handleAccounts(mux, handle)
	mux.HandleFunc("GET /v1/audit", n.serveAudit)
	mux.HandleFunc("GET /v1/events", n.events.serve((*events.Bridge).ServeTail))
	mux.HandleFunc("POST /v1/events/credentials", n.events.serve((*events.Bridge).ServeCredentials))
	mux.HandleFunc("POST /v1/change", n.serveChange)
	mux.Handle("/aws/{service}/", &n.awsAsRoot)
	return mux
}

func (n *Node) answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		out = admin.Error{Message: err.Error()}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		n.log.Debug("admin answer", "err", err)
	}
}

const (
	defaultTokenLife = 24 * time.Hour
	defaultTokenUses = 1
)

func (n *Node) createToken(r *http.Request) (any, error) {
	var req admin.TokenRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	if req.Expiry == 0 {
		req.Expiry = defaultTokenLife
	}
	if req.Uses == 0 {
		req.Uses = defaultTokenUses
	}
	ca, err := cluster.ParseCert(n.ca)
	if err != nil {
		return nil, err
	}
	token, err := cluster.NewJoinToken(n.cfg.ClusterID, ca.Raw, rand.Reader)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposePatience)
	defer cancel()
	record, err := n.registry.NewToken(ctx, token, req.Expiry, req.Uses, req.Caps)
	if err != nil {
		return nil, err
	}
	text := token.String()
	return admin.NewToken{Token: text, JoinCommand: joinCommand(n.cfg, text), Info: n.tokenRow(record)}, nil
}

func (n *Node) tokenRow(t fsm.Token) admin.Token {
	return admin.Token{
		ID: t.ID, Created: time.Unix(t.Created, 0).UTC(), Expires: time.Unix(t.Expires, 0).UTC(),
		UsesLeft: t.UsesLeft, Caps: t.Caps, State: t.State(time.Now().Unix()),
	}
}

func (n *Node) tokens(ctx context.Context) ([]admin.Token, error) {
	if err := n.control.ReadIndex(ctx); err != nil {
		return nil, err
	}
	out := []admin.Token{}
	return out, n.control.View(func(v *fsm.View) error {
		for _, t := range fsm.Tokens.Scan(v, "") {
			out = append(out, n.tokenRow(t))
		}
		return nil
	})
}

func (n *Node) revokeToken(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, proposePatience)
	defer cancel()
	err := n.control.Propose(ctx, &fsm.RevokeToken{ID: id})
	if errors.Is(err, fsm.ErrNotFound) {
		return fmt.Errorf("there is no token %q: see `hive token list`", id)
	}
	return err
}
