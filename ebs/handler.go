package ebs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"hive/fsm"
)

// Nodes ask a volume's owner by POST, the answer is 204 or an error's text with its number in errorHeader:
//
//	/volume/freeze/<snapshot>
//	/volume/write/<snapshot>/<offset>    the body is what is written
//	/volume/finish/<snapshot>
const errorHeader = "Volume-Error"

// maxWrite is the most bytes of one write to a builder.
const maxWrite = 32 << 20

// wireError is a cause that crosses between nodes. Numbers never change.
type wireError struct {
	number, status int
	cause          error
}

func wireErrors() []wireError {
	return []wireError{
		{1, http.StatusMisdirectedRequest, ErrNotOwner}, {2, http.StatusNotFound, ErrNotFound}, {3, http.StatusConflict, ErrState},
		{4, http.StatusBadRequest, ErrInvalid}, {5, http.StatusServiceUnavailable, ErrUnavailable},
		{6, http.StatusServiceUnavailable, ErrClosed},
	}
}

// Handler answers other nodes, with or without the prefix /volume/. Who may ask is for the server to decide: it must let in
// nodes of the cluster only.
func (m *Manager) Handler() http.Handler { return http.HandlerFunc(m.serveHTTP) }

func (m *Manager) serveHTTP(w http.ResponseWriter, r *http.Request) {
	op, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"), "volume/"), "/")
	snapshot, offset, _ := strings.Cut(rest, "/")
	if r.Method != http.MethodPost {
		http.Error(w, "only POST", http.StatusMethodNotAllowed)
		return
	}
	var err error
	switch op {
	case "freeze":
		err = m.here(r.Context(), snapshot, func(o *opened) error { return o.v.freeze(r.Context(), fsm.SnapshotID(snapshot)) })
	case "write":
		err = m.serveWrite(w, r, snapshot, offset)
	case "finish":
		err = m.here(r.Context(), snapshot, func(o *opened) error { return m.finish(r.Context(), o, fsm.SnapshotID(snapshot)) })
	default:
		http.NotFound(w, r)
		return
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	for _, e := range wireErrors() {
		if errors.Is(err, e.cause) {
			w.Header().Set(errorHeader, strconv.Itoa(e.number))
			http.Error(w, err.Error(), e.status)
			return
		}
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// here runs fn with the open volume of a snapshot if this node owns it, and asks nobody else.
func (m *Manager) here(ctx context.Context, snapshot string, fn func(*opened) error) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	s, err := m.subject(ctx, fsm.SnapshotID(snapshot))
	switch {
	case err != nil:
		return err
	case s.State != fsm.SnapshotPending || !s.there || s.volume.Owner == "":
		return fmt.Errorf("snapshot %s is %s: %w", s.ID, s.State, ErrState)
	case s.volume.Owner != m.cfg.Node:
		return fmt.Errorf("volume %s is node %s's: %w", s.volume.ID, s.volume.Owner, ErrNotOwner)
	}
	return m.whenOpen(ctx, s.volume, fn)
}

func (m *Manager) serveWrite(w http.ResponseWriter, r *http.Request, snapshot, offset string) error {
	off, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return fmt.Errorf("offset %q: %w", offset, ErrInvalid)
	}
	p, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWrite))
	if err != nil {
		return fmt.Errorf("receive the bytes: %w", err)
	}
	return m.here(r.Context(), snapshot, func(o *opened) error {
		if o.v.builder != fsm.SnapshotID(snapshot) {
			return fmt.Errorf("snapshot %s was not begun to be written: %w", snapshot, ErrState)
		}
		return o.v.write(r.Context(), p, off, true)
	})
}

func (m *Manager) askFreeze(ctx context.Context, node fsm.NodeID, id fsm.SnapshotID) error {
	return m.ask(ctx, node, "freeze/"+string(id), nil)
}

func (m *Manager) askFinish(ctx context.Context, node fsm.NodeID, id fsm.SnapshotID) error {
	return m.ask(ctx, node, "finish/"+string(id), nil)
}

func (m *Manager) askWrite(ctx context.Context, node fsm.NodeID, id fsm.SnapshotID, p []byte, off int64) error {
	if len(p) > maxWrite {
		return fmt.Errorf("%d bytes at once, %d at most: %w", len(p), maxWrite, ErrInvalid)
	}
	return m.ask(ctx, node, fmt.Sprintf("write/%s/%d", id, off), p)
}

// ask sends a request to a node. What it asks may be done twice.
func (m *Manager) ask(ctx context.Context, node fsm.NodeID, path string, body []byte) error {
	u := url.URL{Scheme: "https", Host: string(node), Path: "/volume/" + path}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := m.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: node %s: %w", ErrUnavailable, node, err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode == http.StatusNoContent {
		return err
	}
	number, bad := strconv.Atoi(resp.Header.Get(errorHeader))
	for _, e := range wireErrors() {
		if bad == nil && e.number == number {
			return fmt.Errorf("node %s: %w (%s)", node, e.cause, strings.TrimSpace(string(text)))
		}
	}
	return fmt.Errorf("node %s: status %d: %s", node, resp.StatusCode, strings.TrimSpace(string(text)))
}
