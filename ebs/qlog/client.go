package qlog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"hive/fsm"
)

// client is an owner's end of a connection to a copy on another node, while questions are asked one by one.
type client struct {
	node fsm.NodeID
	wire *wire
}

// errCopy is what a copy answered instead of what was asked of it.
var errCopy = errors.New("the copy answered an error")

// connect reaches the copy of volume on a node.
func connect(ctx context.Context, dial func(context.Context, fsm.NodeID) (net.Conn, error), node fsm.NodeID, volume fsm.VolumeID) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	conn, err := dial(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("reach the log copy on %s: %w", node, err)
	}
	c := &client{node, &wire{conn: conn}}
	if err := c.wire.send(text(fHello, helloText+string(volume))); err != nil {
		return nil, errors.Join(fmt.Errorf("reach the log copy on %s: %w", node, err), conn.Close())
	}
	return c, nil
}

// guard closes the connection when ctx ends, until release is called.
func (c *client) guard(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.wire.conn.Close() }) // whoever uses it sees the error
}

// ask sends a frame and waits for one of the wanted types.
func (c *client) ask(frame []byte, want ...frameType) (frameType, []byte, error) {
	if err := c.wire.send(frame); err != nil {
		return 0, nil, fmt.Errorf("log copy on %s: %w", c.node, err)
	}
	return c.expect(want...)
}

func (c *client) expect(want ...frameType) (frameType, []byte, error) {
	t, payload, err := c.wire.receive()
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("log copy on %s: %w", c.node, err)
	case t == fFailure:
		return 0, nil, fmt.Errorf("%w: node %s: %s", errCopy, c.node, payload)
	case !slices.Contains(want, t):
		return 0, nil, fmt.Errorf("%w: type %d from node %s", errWire, t, c.node)
	}
	return t, payload, nil
}

// install installs a term, or answers the one that the copy has promised already.
func (c *client) install(t term) (rep report, refusedBy term, err error) {
	kind, payload, err := c.ask(words(fInstall, t.gen, t.inc), fReport, fRefused)
	if err != nil {
		return report{}, term{}, err
	}
	if kind == fReport {
		rep, err = parseReport(payload)
		return rep, term{}, err
	}
	n, err := numbers(payload, 2)
	if err != nil {
		return report{}, term{}, err
	}
	return report{}, term{n[0], n[1]}, nil
}

func (c *client) truncate(keep uint64) error {
	_, _, err := c.ask(words(fTruncate, keep), fDone)
	return err
}

func (c *client) reset(base uint64) error {
	_, _, err := c.ask(words(fReset, base), fDone)
	return err
}

// fetch gives the records from first to last, as they go between nodes, to take. It stops where the copy has one that is
// not whole; next is the first that was not given.
func (c *client) fetch(first, last uint64, take func([]byte) error) (next uint64, err error) {
	if err := c.wire.send(words(fFetch, first, last)); err != nil {
		return first, fmt.Errorf("log copy on %s: %w", c.node, err)
	}
	for next = first; next <= last; {
		_, payload, err := c.expect(fFetched)
		if err != nil {
			return next, err
		}
		if len(payload) <= 8 {
			return next, nil
		}
		headers, err := parseAll(payload[8:])
		if err != nil {
			return next, err
		}
		if headers[0].seq != next || next+uint64(len(headers)) > last+1 {
			return next, fmt.Errorf("%w: node %s gave record %d for %d", errWire, c.node, headers[0].seq, next)
		}
		if err := take(payload[8:]); err != nil {
			return next, err
		}
		next += uint64(len(headers))
	}
	return next, nil
}

func (c *client) close() { _ = c.wire.conn.Close() } // it was read or written to its end, or is given up
