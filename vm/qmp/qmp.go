// Package qmp speaks QEMU's machine protocol over a unix socket: commands, their answers, events. It knows messages
// and no machine: it never starts a QEMU and never decides what one is to do.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Causes that a caller can act on.
var (
	ErrProtocol = errors.New("not a QMP peer")       // what came is no QMP
	ErrClosed   = errors.New("QMP connection ended") // dial again, or QEMU is gone
)

// Error is a command that QEMU refused.
type Error struct {
	Command string // that was sent
	Class   string // GenericError, CommandNotFound, DeviceNotFound, …
	Desc    string // for people
}

// Error says what was refused and why.
func (e *Error) Error() string { return e.Command + ": " + e.Desc + " (" + e.Class + ")" }

// Event is what QEMU told unasked.
type Event struct {
	Name string          // "SHUTDOWN"
	Data json.RawMessage // an object, or nil
	Time time.Time       // by QEMU's clock
}

// maxMessage bounds one line of the peer's; QEMU's longest answers here are some 100 KiB.
const maxMessage = 8 << 20

// maxEvents is how many events wait for a reader; further ones are counted as lost.
const maxEvents = 256

// writeTimeout bounds one command's way into the socket: a QEMU that does not read for so long is stuck.
const writeTimeout = 10 * time.Second

// message is any line of the protocol. Source: docs/interop/qmp-spec.rst of QEMU.
type message struct {
	QMP       json.RawMessage `json:"QMP"`
	Return    json.RawMessage `json:"return"`
	Error     *wireError      `json:"error"`
	ID        *uint64         `json:"id"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}

type wireError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// Conn is one connection to a QEMU, ready for commands. Any number of goroutines may use it.
type Conn struct {
	conn   net.Conn
	events chan Event
	lost   atomic.Uint64
	done   chan struct{} // closed when the reader has ended; err is set then
	err    error

	write sync.Mutex // orders commands on the wire

	mu      sync.Mutex // guards next and waiting
	next    uint64
	waiting map[uint64]chan message
}

// Dial connects to a QMP socket, and has QEMU accept commands. A QEMU serves one connection at a time: another one
// waits for its greeting until ctx ends.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		conn: conn, events: make(chan Event, maxEvents), done: make(chan struct{}), waiting: map[uint64]chan message{},
	}
	if err := c.greet(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// greet reads the greeting, starts the reader and leaves the negotiation mode.
func (c *Conn) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) }) // a closed one needs none
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(make([]byte, 0, 4096), maxMessage)
	var hello message
	if !lines.Scan() {
		stop()
		return greetingError(ctx, lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &hello); err != nil || hello.QMP == nil {
		stop()
		return fmt.Errorf("greeting: %w", ErrProtocol)
	}
	if !stop() {
		return context.Cause(ctx)
	}
	go c.read(lines)
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = c.conn.Close() // ends the reader; err is what counts
		<-c.done
		return err
	}
	return nil
}

func greetingError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		err = io.EOF
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

// read hands out what comes until the connection ends.
func (c *Conn) read(lines *bufio.Scanner) {
	err := c.readAll(lines)
	c.mu.Lock()
	c.err = err
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, answer := range waiting {
		close(answer)
	}
	close(c.events)
	close(c.done)
}

func (c *Conn) readAll(lines *bufio.Scanner) error {
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			_ = c.conn.Close() // nothing after it can be understood
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		switch {
		case m.Event != "":
			c.tell(m)
		case m.ID != nil:
			c.answer(*m.ID, m)
		}
	}
	if err := lines.Err(); err != nil {
		_ = c.conn.Close() // a line that is too long ends it too
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return ErrClosed
}

func (c *Conn) tell(m message) {
	e := Event{Name: m.Event, Data: m.Data, Time: time.Unix(m.Timestamp.Seconds, m.Timestamp.Microseconds*1000)}
	select {
	case c.events <- e:
	default:
		c.lost.Add(1)
	}
}

func (c *Conn) answer(id uint64, m message) {
	c.mu.Lock()
	answer, ok := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if ok { // else its caller has gone
		answer <- m
	}
}

// Execute sends a command and waits for its answer, which it decodes into result unless that is nil. args is an
// object or nil. A refusal is an *Error; when the connection ends, ErrClosed: whether the command was carried out is
// not known then, nor when ctx ends first.
func (c *Conn) Execute(ctx context.Context, command string, args, result any) error {
	answer, err := c.send(ctx, command, args)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", command, context.Cause(ctx))
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", command, c.Err())
		case m.Error != nil:
			return &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
		case result == nil:
			return nil
		}
		if err := json.Unmarshal(m.Return, result); err != nil {
			return fmt.Errorf("%s: %w: %w", command, ErrProtocol, err)
		}
		return nil
	}
}

func (c *Conn) send(ctx context.Context, command string, args any) (<-chan message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", command, c.Err())
	}
	c.next++
	id, answer := c.next, make(chan message, 1)
	c.waiting[id] = answer
	c.mu.Unlock()

	line, err := json.Marshal(request{Execute: command, Arguments: args, ID: id})
	if err != nil {
		c.forget(id)
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	c.write.Lock()
	defer c.write.Unlock()
	if err = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
		_, err = c.conn.Write(append(line, '\n'))
	}
	if err != nil {
		_ = c.conn.Close() // half a command may be on the wire: nothing after it would be understood
		c.forget(id)
		return nil, fmt.Errorf("%s: %w: %w", command, ErrClosed, err)
	}
	return answer, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// Events are what QEMU tells unasked; closed when the connection ends. A reader that falls behind by more than 256
// loses the newest: see Lost.
func (c *Conn) Events() <-chan Event { return c.events }

// Lost is how many events nobody read in time.
func (c *Conn) Lost() uint64 { return c.lost.Load() }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. QEMU goes on and takes another one.
func (c *Conn) Close() error {
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
