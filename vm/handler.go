package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"hive/fsm"
)

// consoleTime is the header that has the time of a console's last reading, Unix ms; 0: nothing was printed yet.
const consoleTime = "Hive-Console-Time"

// Handler answers the other nodes: GET /instance/{id}/console is the instance's console, raw; 404 when it is not here.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /instance/{id}/console", func(w http.ResponseWriter, r *http.Request) {
		text, at, err := a.Console(r.Context(), fsm.InstanceID(r.PathValue("id")))
		if err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, ErrNotHere) {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		ms := int64(0)
		if !at.IsZero() {
			ms = at.UnixMilli()
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set(consoleTime, strconv.FormatInt(ms, 10))
		if _, err := w.Write(text); err != nil {
			a.cfg.Log.Debug("console not sent", "err", err) // the asker has gone
		}
	})
	return mux
}

// FetchConsole asks the agent behind base (scheme and host) for a console: Agent.Console, from another node.
func FetchConsole(ctx context.Context, client *http.Client, base string, id fsm.InstanceID) ([]byte, time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/instance/"+string(id)+"/console", nil)
	if err != nil {
		return nil, time.Time{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(resp.Body, ConsoleBytes))
	switch {
	case err != nil:
		return nil, time.Time{}, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, time.Time{}, fmt.Errorf("%s: %w", id, ErrNotHere)
	case resp.StatusCode != http.StatusOK:
		return nil, time.Time{}, fmt.Errorf("console of %s: %s: %s", id, resp.Status, text)
	}
	ms, err := strconv.ParseInt(resp.Header.Get(consoleTime), 10, 64)
	if err != nil || ms == 0 {
		return text, time.Time{}, err
	}
	return text, time.UnixMilli(ms), nil
}
