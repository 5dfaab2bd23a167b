package shard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"hive/fsm"
)

// HTTPPeers reaches other nodes' stores at https://<node id>/shard/.
type HTTPPeers struct{ client *http.Client }

// NewHTTPPeers uses a client that resolves node ids to addresses and authenticates the nodes.
func NewHTTPPeers(client *http.Client) HTTPPeers { return HTTPPeers{client} }

// do sends a request, a POST if it has a body. The answer has status 200 or 204; its body is the caller's to close.
func (c HTTPPeers) do(ctx context.Context, node fsm.NodeID, path string, body requestBody) (*http.Response, error) {
	req := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: string(node), Path: path}, Host: string(node),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"User-Agent": nil},
	}
	if body != nil {
		req.Method = http.MethodPost
		req.Body, req.ContentLength = body.open(), body.length()
		req.GetBody = func() (io.ReadCloser, error) { return body.open(), nil }
	}
	resp, err := c.client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return resp, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	return nil, errors.Join(statusError(node, resp, strings.TrimSpace(string(text))), err, resp.Body.Close())
}

// requestBody is a body that can be sent again when an idle connection turns out to be closed.
type requestBody interface {
	open() io.ReadCloser
	length() int64
}

type bytesBody []byte

func (b bytesBody) open() io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }
func (b bytesBody) length() int64       { return int64(len(b)) }

// statusError is the error that a peer answered.
func statusError(node fsm.NodeID, resp *http.Response, text string) error {
	number, err := strconv.Atoi(resp.Header.Get(errorHeader))
	for _, e := range wireErrors() {
		if err == nil && e.number == number {
			return fmt.Errorf("node %s: %w (%s)", node, e.cause, text)
		}
	}
	return fmt.Errorf("node %s: status %d: %s", node, resp.StatusCode, text)
}

// ask sends a message and reads the whole answer.
func (c HTTPPeers) ask(ctx context.Context, node fsm.NodeID, path string, body requestBody) ([]byte, error) {
	resp, err := c.do(ctx, node, path, body)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64*maxMessage))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return b, nil
}

// putBody is a record in a request. The transport may read it after its request has ended, until
// it closes it: so long it retains the buffer.
type putBody struct {
	head []byte
	p    *Put
}

func (b putBody) length() int64 { return int64(len(b.head)) + int64(b.p.length) }

func (b putBody) open() io.ReadCloser {
	b.p.buf.retain()
	return &putReader{head: b.head, payload: b.p.payload(), buf: b.p.buf}
}

type putReader struct {
	mu      sync.Mutex // guards what is below: Close may come while Read runs
	head    []byte
	payload []byte
	buf     *buffer
}

// Read reads the header, then the payload.
func (r *putReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf == nil {
		return 0, io.ErrClosedPipe
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	m := copy(p[n:], r.payload)
	r.payload = r.payload[m:]
	if n+m == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n + m, nil
}

// Close lets the buffer go.
func (r *putReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf != nil {
		r.buf.release()
		r.buf, r.payload = nil, nil
	}
	return nil
}

// Put stores a record on node.
func (c HTTPPeers) Put(ctx context.Context, node fsm.NodeID, p *Put) error {
	_, err := c.ask(ctx, node, "/shard/put", putBody{putHead(p), p})
	return err
}

// Get reads from node.
func (c HTTPPeers) Get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error) {
	path := "/shard/get/" + g.Blob.String() + "/" + strconv.Itoa(int(g.Shard)) + "/" +
		strconv.FormatInt(g.From, 10) + "/" + strconv.FormatInt(g.To, 10)
	resp, err := c.do(ctx, node, path, nil)
	if err != nil {
		return nil, err
	}
	return &remotePieces{body: resp.Body, node: node, pos: g.From, end: g.To}, nil
}

// remotePieces reads a shard from another node's answer.
type remotePieces struct {
	body     io.ReadCloser
	node     fsm.NodeID
	pos, end int64
}

// Next reads and verifies the following piece.
func (r *remotePieces) Next(buf []byte) ([]byte, error) {
	if r.pos >= r.end {
		return nil, io.EOF
	}
	n := int(min(r.end, (r.pos/blockSize+1)*blockSize) - r.pos)
	if len(buf) < recordRoom+n {
		return nil, io.ErrShortBuffer
	}
	b := buf[recordRoom-pieceHead : recordRoom+n]
	got, err := io.ReadFull(r.body, b)
	if got >= pieceHead {
		if length := binary.LittleEndian.Uint32(b); length&pieceFailed != 0 {
			return nil, r.failure(int(length &^ pieceFailed))
		} else if int(length) != n {
			return nil, fmt.Errorf("node %s: piece of %d bytes instead of %d: %w", r.node, length, n, errFrame)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", r.node, unexpectedEnd(err))
	}
	if piece := b[pieceHead:]; checksum(piece) == binary.LittleEndian.Uint32(b[4:]) {
		r.pos += int64(n)
		return piece, nil
	}
	return nil, fmt.Errorf("node %s: piece does not match its checksum: %w", r.node, errFrame)
}

func (r *remotePieces) failure(number int) error {
	for _, e := range wireErrors() {
		if e.number == number {
			return fmt.Errorf("node %s: %w", r.node, e.cause)
		}
	}
	return fmt.Errorf("node %s broke off: %w", r.node, io.ErrUnexpectedEOF)
}

// Close gives the connection back if everything was read.
func (r *remotePieces) Close() error { return r.body.Close() }

// Delete deletes on node.
func (c HTTPPeers) Delete(ctx context.Context, node fsm.NodeID, dels []Deletion) error {
	for len(dels) > 0 {
		n := min(len(dels), maxMessage/blobEntry-1)
		if _, err := c.ask(ctx, node, "/shard/delete", bytesBody(encodeDeletions(dels[:n]))); err != nil {
			return err
		}
		dels = dels[n:]
	}
	return nil
}

// Mend asks node to look after its shards.
func (c HTTPPeers) Mend(ctx context.Context, node fsm.NodeID, blobs []Ref) error {
	dels := make([]Deletion, len(blobs))
	for i, ref := range blobs {
		dels[i] = Deletion{Ref: ref, Shard: wholeBlob}
	}
	_, err := c.ask(ctx, node, "/shard/mend", bytesBody(encodeDeletions(dels)))
	return err
}

// Held asks node what it has.
func (c HTTPPeers) Held(ctx context.Context, node fsm.NodeID, blobs []ID) ([][]Held, error) {
	b, err := c.ask(ctx, node, "/shard/held", bytesBody(encodeIDs(blobs)))
	if err != nil {
		return nil, err
	}
	held, err := decodeHeld(b)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return held, nil
}

// Ping asks node whether it answers.
func (c HTTPPeers) Ping(ctx context.Context, node fsm.NodeID) error {
	_, err := c.ask(ctx, node, "/shard/ping", nil)
	return err
}
