package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
)

// ErrNotRunning is a node whose daemon does not answer on its socket.
var ErrNotRunning = errors.New("the node's daemon is not running: start it with `hive run`")

// Client asks the node whose directory it was made for.
type Client struct{ http *http.Client }

// NewClient speaks to the daemon of the node in dir.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, Socket))
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Do sends in (nil for none) and reads the answer into out (nil for none).
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// Change carries out ch and hands each step to progress.
func (c *Client) Change(ctx context.Context, ch Change, progress func(Progress)) error {
	body, err := c.send(ctx, http.MethodPost, "/v1/change", ch)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var p Progress
		if err := dec.Decode(&p); err != nil {
			return fmt.Errorf("the daemon ended before the change was done: %w", err)
		}
		if p.Error != "" {
			return errors.New(p.Error)
		}
		progress(p)
		if p.Done {
			return nil
		}
	}
}

func (c *Client) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e Error
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Message == "" {
		return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return nil, errors.New(e.Message)
}
