package nbd

import (
	"net"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

const (
	// holesFrom is the length from which on a read looks for holes, to send them as such.
	holesFrom = 128 << 10
	// holeMin is the shortest hole that is sent as one.
	holeMin = 32 << 10
	// maxExtents bounds the answer to a BLOCK_STATUS: 32 KiB.
	maxExtents = 4096
)

// perform carries out a request in the device and makes its reply, which takes over b.
func (c *conn) perform(r request, b *buffer) reply {
	var err error
	dev := c.export.Device
	switch r.Type {
	case protocol.TRANSMISSION_TYPE_REQUEST_READ:
		var parts net.Buffers
		if parts, err = c.load(r, b.p); err == nil {
			return reply{parts: parts, buf: b}
		}
	case protocol.TRANSMISSION_TYPE_REQUEST_WRITE:
		err = dev.WriteAt(c.ctx, b.p, r.off(), r.fua())
	case cmdFlush:
		err = dev.Flush(c.ctx)
	case cmdTrim:
		err = dev.Trim(c.ctx, r.off(), r.n(), r.fua())
	case cmdWriteZeroes:
		err = dev.Zero(c.ctx, r.off(), r.n(), r.fua(), r.CommandFlags&cmdFlagNoHole == 0)
	case cmdCache:
		err = c.warm(r, b.p)
	case cmdBlockStatus:
		var answer []byte
		if answer, err = c.status(r); err == nil {
			return reply{parts: net.Buffers{answer}}
		}
	}
	if err != nil {
		c.tell(r, err)
		return reply{parts: net.Buffers{c.errorReply(r, errno(err), err.Error())}, buf: b}
	}
	p := make([]byte, simpleSize)
	putSimple(p, r.Handle, 0)
	return reply{parts: net.Buffers{p}, buf: b}
}

// warm reads what the client will soon want.
func (c *conn) warm(r request, p []byte) error {
	for off, end := r.off(), r.off()+r.n(); off < end; {
		some := min(end-off, int64(len(p)))
		if err := c.export.Device.ReadAt(c.ctx, p[:some], off); err != nil {
			return err
		}
		off += some
	}
	return nil
}

// run is a part of a read.
type run struct {
	at, n int // from the read's offset
	hole  bool
}

// load reads into p and makes the reply's parts.
func (c *conn) load(r request, p []byte) (net.Buffers, error) {
	runs := []run{{0, len(p), false}}
	if c.structured && r.CommandFlags&cmdFlagDF == 0 && len(p) >= holesFrom {
		var err error
		if runs, err = c.runs(r); err != nil {
			return nil, err
		}
	}
	var parts net.Buffers
	for i, run := range runs {
		flags := uint16(0)
		if i == len(runs)-1 {
			flags = replyFlagDone // nothing can fail any more: all is read before any is sent
		}
		off, data := r.off()+int64(run.at), p[run.at:run.at+run.n]
		switch {
		case run.hole:
			head := make([]byte, holeSize)
			putHole(head, flags, r.Handle, off, run.n)
			parts = append(parts, head)
			continue
		case len(runs) == 1:
			head := make([]byte, c.headSize())
			c.putRead(head, r)
			parts = append(parts, head, data)
		default:
			head := make([]byte, dataHeadSize)
			putData(head, flags, r.Handle, off, run.n)
			parts = append(parts, head, data)
		}
		if err := c.export.Device.ReadAt(c.ctx, data, off); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// runs divides a read into data and holes that are worth a chunk of their own.
func (c *conn) runs(r request) ([]run, error) {
	var runs []run
	at, n := 0, int(r.Length)
	add := func(length int, hole bool) {
		if last := len(runs) - 1; last >= 0 && runs[last].hole == hole {
			runs[last].n += length
		} else {
			runs = append(runs, run{at, length, hole})
		}
		at += length
	}
	err := c.export.Device.Extents(c.ctx, r.off(), r.n(), func(length int64, _, zero bool) bool {
		some := int(min(length, int64(n-at)))
		if some > 0 {
			add(some, zero && some >= holeMin)
		}
		return at < n
	})
	if at < n { // what the device does not tell of is data
		add(n-at, false)
	}
	return runs, err
}

// extent is a descriptor of a BLOCK_STATUS.
type extent struct{ length, state uint32 }

// status makes the reply to a BLOCK_STATUS: context 4 | (length 4 | state 4) each.
func (c *conn) status(r request) ([]byte, error) {
	var all []extent
	limit := maxExtents
	if r.CommandFlags&cmdFlagReqOne != 0 {
		limit = 1
	}
	left := r.n()
	err := c.export.Device.Extents(c.ctx, r.off(), r.n(), func(length int64, hole, zero bool) bool {
		length = min(length, left)
		if length <= 0 {
			return left > 0
		}
		state := uint32(0)
		if hole {
			state |= stateHole
		}
		if zero {
			state |= stateZero
		}
		last := len(all) - 1
		switch {
		case last >= 0 && all[last].state == state:
			all[last].length += uint32(length)
		case len(all) == limit:
			return false
		default:
			all = append(all, extent{uint32(length), state})
		}
		left -= length
		return left > 0
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 { // nothing known: allocated, any content
		all = []extent{{r.Length, 0}}
	}
	p := make([]byte, chunkSize, chunkSize+4+8*len(all))
	putChunk(p, replyFlagDone, replyBlockStatus, r.Handle, uint32(4+8*len(all)))
	p = be.AppendUint32(p, allocationID)
	for _, e := range all {
		p = be.AppendUint32(be.AppendUint32(p, e.length), e.state)
	}
	return p, nil
}
