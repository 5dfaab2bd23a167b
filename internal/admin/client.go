package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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

// ConnectProto is what a connection to an instance's port is upgraded to.
const ConnectProto = "hive-connect"

// Connect opens a TCP connection to a port of an instance, from any node: the daemon of the node that runs it dials
// from within the instance's network. The daemon answers 101 and carries bytes from then on.
func Connect(ctx context.Context, dir, instance string, port int) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(dir, Socket))
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	path := fmt.Sprintf("http://node/v1/instances/%s/connect?port=%d", url.PathEscape(instance), port)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, http.NoBody)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", ConnectProto)
	if err := req.Write(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the daemon gave no answer: %w", err), conn.Close())
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		var e Error
		err := json.NewDecoder(resp.Body).Decode(&e)
		if err != nil || e.Message == "" {
			e.Message = resp.Status
		}
		return nil, errors.Join(errors.New(e.Message), conn.Close())
	}
	return &upgraded{conn, r}, nil
}

// upgraded is a connection of which some bytes were read ahead.
type upgraded struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what was read ahead first.
func (u *upgraded) Read(p []byte) (int, error) { return u.r.Read(p) }

// CloseWrite tells the other end that nothing more comes.
func (u *upgraded) CloseWrite() error { return u.Conn.(*net.UnixConn).CloseWrite() }

// Change carries out ch and hands each step to progress.
func (c *Client) Change(ctx context.Context, ch Change, progress func(Progress)) error {
	return c.Stream(ctx, http.MethodPost, "/v1/change", ch, progress)
}

// Lines sends a request and hands each line of the answer to line, until the answer or ctx ends or line answers an error.
func (c *Client) Lines(ctx context.Context, path string, line func([]byte) error) error {
	body, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := line(lines.Bytes()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

// maxLine is the longest line of an answer, in bytes.
const maxLine = 1 << 20

// Stream asks for something that takes its time and hands each step to progress.
func (c *Client) Stream(ctx context.Context, method, path string, in any, progress func(Progress)) error {
	body, err := c.send(ctx, method, path, in)
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
