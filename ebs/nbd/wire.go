package nbd

import (
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// What the protocol package does not have. Names and values are those of the NBD specification (doc/proto.md of
// NetworkBlockDevice/nbd).
const (
	handshakeNoZeroes    = uint16(1 << 1)
	clientFixedNewstyle  = uint32(1 << 0)
	clientNoZeroes       = uint32(1 << 1)
	optExportName        = uint32(1)
	optStartTLS          = uint32(5)
	optStructuredReply   = uint32(8)
	optListMetaContext   = uint32(9)
	optSetMetaContext    = uint32(10)
	repMetaContext       = uint32(4)
	repErrPolicy         = uint32(1<<31 | 2)
	repErrInvalid        = uint32(1<<31 | 3)
	repErrTooBig         = uint32(1<<31 | 9)
	flagReadOnly         = uint16(1 << 1)
	flagSendFlush        = uint16(1 << 2)
	flagSendFUA          = uint16(1 << 3)
	flagSendTrim         = uint16(1 << 5)
	flagSendWriteZeroes  = uint16(1 << 6)
	flagSendDF           = uint16(1 << 7)
	flagSendCache        = uint16(1 << 10)
	flagSendFastZero     = uint16(1 << 11)
	cmdFlush             = uint16(3)
	cmdTrim              = uint16(4)
	cmdCache             = uint16(5)
	cmdWriteZeroes       = uint16(6)
	cmdBlockStatus       = uint16(7)
	cmdFlagFUA           = uint16(1 << 0)
	cmdFlagNoHole        = uint16(1 << 1)
	cmdFlagDF            = uint16(1 << 2)
	cmdFlagReqOne        = uint16(1 << 3)
	cmdFlagFastZero      = uint16(1 << 4)
	structuredMagic      = uint32(0x668e33ef)
	replyFlagDone        = uint16(1 << 0)
	replyOffsetData      = uint16(1)
	replyOffsetHole      = uint16(2)
	replyBlockStatus     = uint16(5)
	replyError           = uint16(1<<15 | 1)
	stateHole, stateZero = uint32(1 << 0), uint32(1 << 1)
)

const (
	sector        = 512
	maxString     = 4096 // bytes of a name, by the specification
	requestSize   = 28
	simpleSize    = 16
	chunkSize     = 20            // head of a structured reply's chunk
	dataHeadSize  = chunkSize + 8 // of a chunk with data: the offset follows
	holeSize      = chunkSize + 12
	allocation    = "base:allocation"
	allocationID  = uint32(1)
	maxErrMessage = 512
)

var be = binary.BigEndian

// request is one request of the transmission phase.
type request protocol.TransmissionRequestHeader

func (r request) fua() bool  { return r.CommandFlags&cmdFlagFUA != 0 }
func (r request) off() int64 { return int64(r.Offset) }
func (r request) n() int64   { return int64(r.Length) }

// parseRequest reads the 28 bytes of a request's head:
//
//	magic 4 | flags 2 | type 2 | handle 8 | offset 8 | length 4
func parseRequest(p []byte) request {
	return request{
		RequestMagic: be.Uint32(p), CommandFlags: be.Uint16(p[4:]), Type: be.Uint16(p[6:]),
		Handle: be.Uint64(p[8:]), Offset: be.Uint64(p[16:]), Length: be.Uint32(p[24:]),
	}
}

// putSimple writes the 16 bytes of a simple reply: magic 4 | error 4 | handle 8.
func putSimple(p []byte, handle uint64, code uint32) {
	be.PutUint32(p, protocol.TRANSMISSION_MAGIC_REPLY)
	be.PutUint32(p[4:], code)
	be.PutUint64(p[8:], handle)
}

// putChunk writes the 20 bytes of a chunk's head: magic 4 | flags 2 | type 2 | handle 8 | length 4.
func putChunk(p []byte, flags, kind uint16, handle uint64, length uint32) {
	be.PutUint32(p, structuredMagic)
	be.PutUint16(p[4:], flags)
	be.PutUint16(p[6:], kind)
	be.PutUint64(p[8:], handle)
	be.PutUint32(p[16:], length)
}

// putData writes the 28 bytes before the data of a chunk.
func putData(p []byte, flags uint16, handle uint64, off int64, n int) {
	putChunk(p, flags, replyOffsetData, handle, uint32(n+8))
	be.PutUint64(p[chunkSize:], uint64(off))
}

// putHole writes the 32 bytes of a chunk that stands for n zero bytes.
func putHole(p []byte, flags uint16, handle uint64, off int64, n int) {
	putChunk(p, flags, replyOffsetHole, handle, 12)
	be.PutUint64(p[chunkSize:], uint64(off))
	be.PutUint32(p[chunkSize+8:], uint32(n))
}

// appendError appends a chunk that ends a request with an error and a text for people.
func appendError(p []byte, handle uint64, code syscall.Errno, text string) []byte {
	text = text[:min(len(text), maxErrMessage)]
	var head [chunkSize + 6]byte
	putChunk(head[:], replyFlagDone, replyError, handle, uint32(6+len(text)))
	be.PutUint32(head[chunkSize:], uint32(code))
	be.PutUint16(head[chunkSize+4:], uint16(len(text)))
	return append(append(p, head[:]...), text...)
}

// errno is the NBD error of a device's error. The protocol's numbers are those of Linux.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return syscall.EIO
	}
	switch e {
	case syscall.EIO, syscall.ENOSPC, syscall.EPERM, syscall.EINVAL, syscall.ESHUTDOWN:
		return e
	case syscall.EDQUOT, syscall.EFBIG: // the specification wants these so
		return syscall.ENOSPC
	}
	return syscall.EIO
}
