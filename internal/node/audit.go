package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"hive/fsm"
	"hive/iam/trail"
)

// serveAudit writes audit events, one JSON object a line, from an index of the log on; with ?follow=true also those to come,
// until the client goes.
func (n *Node) serveAudit(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var from uint64
	if text := q.Get("from"); text != "" {
		var err error
		if from, err = strconv.ParseUint(text, 10, 64); err != nil {
			n.answer(w, nil, fmt.Errorf("--from %q: give an index of the log", text))
			return
		}
	}
	var only fsm.AccountID
	if text := q.Get("account"); text != "" {
		a, err := n.account(r.Context(), text)
		if err != nil {
			n.answer(w, nil, err)
			return
		}
		only = a.ID
	} else if err := n.readIndex(r.Context()); err != nil {
		n.answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if err := n.writeAudit(r.Context(), w, from, only, q.Get("follow") == "true"); err != nil && r.Context().Err() == nil {
		n.log.Debug("audit tail", "err", err)
	}
}

// auditPage is about how many events of an account are held at once.
const auditPage = 500

func (n *Node) writeAudit(ctx context.Context, w http.ResponseWriter, from uint64, only fsm.AccountID, follow bool) error {
	flush := http.NewResponseController(w)
	for after := max(from, 1) - 1; ; {
		changed := n.control.Changed()
		var events []fsm.AuditEvent
		more := false
		err := n.control.View(func(v *fsm.View) error {
			events, after = fsm.AuditSince(v, after, auditPage)
			more = after < v.Index()
			return nil
		})
		if err != nil {
			return err
		}
		for _, e := range events {
			if only != "" && e.Account != only {
				continue
			}
			if _, err := w.Write(append(trail.JSON(&e, n.cfg.Region), '\n')); err != nil {
				return err
			}
		}
		if err := flush.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if more {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
