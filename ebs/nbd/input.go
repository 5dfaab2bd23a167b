package nbd

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// input is a connection's received bytes. It is used by the connection's reader only.
type input struct {
	src    io.Reader
	before func() // called before each read of src: it may have to wait
	buf    []byte
	r, w   int // received and not yet taken: buf[r:w]
}

// fill receives until at least n bytes are there to be taken; n is at most the buffer's size. io.EOF means that the
// client ended before any of them, io.ErrUnexpectedEOF that it ended between them.
func (in *input) fill(n int) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.r+n > len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for in.w-in.r < n {
		in.before()
		got, err := in.src.Read(in.buf[in.w:])
		in.w += got
		if err != nil && in.w-in.r < n {
			return midway(err, in.w > in.r)
		}
	}
	return nil
}

func midway(err error, some bool) error {
	if errors.Is(err, io.EOF) && some {
		return io.ErrUnexpectedEOF
	}
	return err
}

// peek is the next n bytes, which fill has received. They are valid until the next fill.
func (in *input) peek(n int) []byte { return in.buf[in.r : in.r+n] }

func (in *input) skip(n int) { in.r += n }

// full fills p, with what is there and then straight from the connection.
func (in *input) full(p []byte) error {
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	for n < len(p) {
		in.before()
		got, err := in.src.Read(p[n:])
		n += got
		if err != nil && n < len(p) {
			return midway(err, true)
		}
	}
	return nil
}

// discard takes n bytes that nobody wants.
func (in *input) discard(n int64) error {
	for n > 0 {
		if in.r == in.w {
			if err := in.fill(1); err != nil {
				return midway(err, true)
			}
		}
		some := min(n, int64(in.w-in.r))
		in.r += int(some)
		n -= some
	}
	return nil
}

// hungUp says whether the client has closed its end of nc, or at least will send nothing more than what has arrived.
func hungUp(nc net.Conn) bool { return poll(nc, unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) }

// closed says whether the client has closed its end of nc both ways. TCP cannot tell.
func closed(nc net.Conn) bool { return poll(nc, unix.POLLHUP|unix.POLLERR) }

func poll(nc net.Conn, events int16) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true // closed here
	}
	seen := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		for {
			_, err := unix.Poll(fds, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			seen = err == nil && fds[0].Revents&events != 0
			return
		}
	})
	return err != nil || seen
}
