package nbd

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

const (
	// smallMax is how much payload goes through the input buffer and the batch, without a buffer of its own.
	smallMax = 64 << 10
	// quickMax is how much payload the reader copies itself; more would make the requests behind it wait.
	quickMax = 1 << 20
	// drainMax is how much payload of a WRITE that is refused is received to keep the connection.
	drainMax = 256 << 20
)

var (
	errMagic  = errors.New("nbd: no request where one must be")
	errAbsurd = errors.New("nbd: a write of an absurd length")
)

// refusal is a request's fault.
type refusal struct {
	code syscall.Errno
	text string
}

func refuse(code syscall.Errno, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// transmit receives requests until the client disconnects (nil) or something else ends the connection.
func (c *conn) transmit() error {
	for {
		if err := c.in.fill(requestSize); err != nil {
			return err
		}
		r := parseRequest(c.in.peek(requestSize))
		c.in.skip(requestSize)
		if r.RequestMagic != protocol.TRANSMISSION_MAGIC_REQUEST {
			return errMagic
		}
		if r.Type == protocol.TRANSMISSION_TYPE_REQUEST_DISC {
			return nil
		}
		if err := c.ctx.Err(); err != nil { // the connection broke, and what it sent before counts no more
			return err
		}
		if err := c.request(r); err != nil {
			return err
		}
	}
}

// request answers r or hands it to a worker. An error ends the connection.
func (c *conn) request(r request) error {
	if bad := c.check(r); bad != nil {
		return c.refused(r, bad)
	}
	switch r.Type {
	case protocol.TRANSMISSION_TYPE_REQUEST_READ:
		c.read(r)
	case protocol.TRANSMISSION_TYPE_REQUEST_WRITE:
		return c.write(r)
	case cmdFlush:
		if c.quickFlush != nil && c.quickFlush.TryFlush() {
			putSimple(c.extend(simpleSize), r.Handle, 0)
			return nil
		}
		c.hand(r, nil)
	case cmdCache:
		c.hand(r, c.get(min(int(r.Length), quickMax)))
	default:
		c.hand(r, nil)
	}
	return nil
}

// check finds what is wrong with a request, in the order of the specification's errors.
func (c *conn) check(r request) *refusal {
	flags, known := c.allowed(r.Type)
	switch {
	case !known:
		return refuse(syscall.EINVAL, "unknown command %d", r.Type)
	case r.CommandFlags&^flags != 0:
		return refuse(syscall.EINVAL, "flags %#x are not for command %d", r.CommandFlags&^flags, r.Type)
	case r.Type == cmdFlush:
		if r.Offset != 0 || r.Length != 0 {
			return refuse(syscall.EINVAL, "a flush has neither offset nor length")
		}
		return nil
	case c.export.ReadOnly && writes(r.Type):
		return refuse(syscall.EPERM, "the export is read-only")
	case r.Type == cmdBlockStatus && !c.allocation:
		return refuse(syscall.EINVAL, "no metadata context was chosen")
	}
	return c.checkRange(r)
}

func (c *conn) checkRange(r request) *refusal {
	size, mask := uint64(size(c.export)), uint64(c.export.MinBlock-1)
	carries := r.Type == protocol.TRANSMISSION_TYPE_REQUEST_READ || r.Type == protocol.TRANSMISSION_TYPE_REQUEST_WRITE
	switch {
	case r.Length == 0:
		return refuse(syscall.EINVAL, "a length of zero")
	case carries && r.Length > c.export.MaxPayload:
		return refuse(syscall.EINVAL, "%d bytes are more than %d, the most for one request", r.Length, c.export.MaxPayload)
	case r.Offset > size || uint64(r.Length) > size-r.Offset:
		code := syscall.EINVAL
		if r.Type == protocol.TRANSMISSION_TYPE_REQUEST_WRITE || r.Type == cmdWriteZeroes {
			code = syscall.ENOSPC
		}
		return refuse(code, "%d bytes from %d reach beyond the end at %d", r.Length, r.Offset, size)
	case (r.Offset|uint64(r.Length))&mask != 0:
		return refuse(syscall.EINVAL, "offset %d or length %d is no multiple of %d", r.Offset, r.Length, c.export.MinBlock)
	}
	return nil
}

// allowed are the flags that a command may have. FUA may be on any, because it is offered.
func (c *conn) allowed(command uint16) (flags uint16, known bool) {
	switch command {
	case protocol.TRANSMISSION_TYPE_REQUEST_READ:
		if c.structured {
			return cmdFlagFUA | cmdFlagDF, true
		}
		return cmdFlagFUA, true
	case protocol.TRANSMISSION_TYPE_REQUEST_WRITE, cmdFlush, cmdTrim, cmdCache:
		return cmdFlagFUA, true
	case cmdWriteZeroes:
		return cmdFlagFUA | cmdFlagNoHole | cmdFlagFastZero, true
	case cmdBlockStatus:
		return cmdFlagFUA | cmdFlagReqOne, true
	}
	return 0, false
}

func writes(command uint16) bool {
	return command == protocol.TRANSMISSION_TYPE_REQUEST_WRITE || command == cmdTrim || command == cmdWriteZeroes
}

// refused answers a request that is at fault. Its payload is received, so that the connection lives; if that is
// absurdly long the connection ends.
func (c *conn) refused(r request, bad *refusal) error {
	write := r.Type == protocol.TRANSMISSION_TYPE_REQUEST_WRITE
	if write && r.Length <= drainMax {
		if err := c.in.discard(r.n()); err != nil {
			return err
		}
	}
	answer := c.errorReply(r, bad.code, bad.text)
	c.room(len(answer))
	c.batch = append(c.batch, answer...)
	if write && r.Length > drainMax {
		return errAbsurd
	}
	return nil
}

func (c *conn) errorReply(r request, code syscall.Errno, text string) []byte {
	if c.structured {
		return appendError(nil, r.Handle, code, text)
	}
	p := make([]byte, simpleSize)
	putSimple(p, r.Handle, uint32(code))
	return p
}

// room makes sure that the batch can take n more bytes.
func (c *conn) room(n int) {
	if len(c.batch)+n > cap(c.batch) {
		c.flush()
	}
}

// extend lengthens the batch by n bytes and is these.
func (c *conn) extend(n int) []byte {
	c.room(n)
	at := len(c.batch)
	c.batch = c.batch[:at+n]
	return c.batch[at:]
}

func (c *conn) headSize() int {
	if c.structured {
		return dataHeadSize
	}
	return simpleSize
}

// putRead writes what goes before the data of a read that has succeeded.
func (c *conn) putRead(p []byte, r request) {
	if c.structured {
		putData(p, replyFlagDone, r.Handle, r.off(), int(r.Length))
	} else {
		putSimple(p, r.Handle, 0)
	}
}

func (c *conn) read(r request) {
	n, head := int(r.Length), c.headSize()
	if c.quick != nil && n <= smallMax {
		p := c.extend(head + n)
		if c.quick.TryRead(p[head:], r.off()) {
			c.putRead(p, r)
			return
		}
		c.batch = c.batch[:len(c.batch)-len(p)]
	}
	b := c.get(n)
	if c.quick != nil && n > smallMax && n <= quickMax && c.quick.TryRead(b.p, r.off()) {
		c.putRead(c.extend(head), r)
		c.send(reply{parts: [][]byte{b.p}, buf: b})
		return
	}
	c.hand(r, b)
}

// write receives the payload and writes it, or lets a worker. What must be durable is for a worker.
func (c *conn) write(r request) error {
	n := int(r.Length)
	try := c.quick != nil && !r.fua()
	if try && n <= smallMax {
		if err := c.in.fill(n); err != nil {
			return midway(err, true)
		}
		if c.quick.TryWrite(c.in.peek(n), r.off()) {
			c.in.skip(n)
			putSimple(c.extend(simpleSize), r.Handle, 0)
			return nil
		}
	}
	b := c.get(n)
	if err := c.in.full(b.p); err != nil {
		c.put(b)
		return err
	}
	if try && n > smallMax && n <= quickMax && c.quick.TryWrite(b.p, r.off()) {
		c.put(b)
		putSimple(c.extend(simpleSize), r.Handle, 0)
		return nil
	}
	c.hand(r, b)
	return nil
}

// hand gives a request to a worker, waiting while all are busy.
func (c *conn) hand(r request, b *buffer) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.flush()
		c.slots <- struct{}{}
	}
	c.work.Go(func() {
		answer := c.perform(r, b)
		<-c.slots // before sending: a slow client must not take workers from the device
		c.out.send(answer)
	})
}
