package qlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Between an owner and a copy go frames over one connection. Integers are little endian.
//
//	frame
//	  0  4  length of what follows the header, bytes
//	  4  1  type
//	  5  3  zeroes
//	  8  4  CRC32C of bytes 0..8 and of the payload; of a frame with records, of its first 8 bytes
//	 12  payload
//
//	owner -> copy                                        copy -> owner
//	  hello     "hiveqlog1", volume                      -
//	  install   generation, incarnation                  report | refused generation, incarnation
//	  truncate  last sequence kept                       done
//	  reset     first sequence                           done
//	  fill      0, records                               done
//	  fetch     first, last                              fetched: the sequence it stopped at or 0, records; repeated
//	                                                     until the last or such a stop
//	  admit     -                                        admitted
//	  ping      -                                        pong
//	  append    sequence wanted synced or 0, records     synced sequence, when a sync that began later has ended
//	  cut       first sequence wanted                    -
//	                                                     failure text; then the connection ends
const (
	frameHeader = 12
	maxControl  = 1 << 20
	maxFrame    = maxSpan + chunkSize + 8
	chunkSize   = 256 << 10 // of records in one frame, about
	helloText   = "hiveqlog1"
)

type frameType uint8

const (
	fHello frameType = iota + 1
	fInstall
	fReport
	fRefused
	fTruncate
	fReset
	fFill
	fDone
	fFetch
	fFetched
	fAdmit
	fAdmitted
	fPing
	fPong
	fAppend
	fSynced
	fCut
	fFailure
)

// hasRecords tells the frames whose records carry their own checksums.
func (t frameType) hasRecords() bool { return t == fFill || t == fFetched || t == fAppend }

// covered is the part of a payload that the frame's checksum covers.
func (t frameType) covered(payload []byte) []byte {
	if t.hasRecords() {
		return payload[:min(8, len(payload))]
	}
	return payload
}

// seal completes a frame in b, which begins with room for the header.
func seal(b []byte, t frameType) []byte {
	le := binary.LittleEndian
	le.PutUint32(b, uint32(len(b)-frameHeader))
	le.PutUint32(b[4:], uint32(t))
	crc := append(slices.Clone(b[:8]), t.covered(b[frameHeader:])...)
	le.PutUint32(b[8:], sum(crc))
	return b
}

// words is a frame of integers.
func words(t frameType, values ...uint64) []byte {
	b := make([]byte, frameHeader, frameHeader+8*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return seal(b, t)
}

// text is a frame of a string.
func text(t frameType, s string) []byte {
	return seal(append(make([]byte, frameHeader, frameHeader+len(s)), s[:min(len(s), 4096)]...), t)
}

// recordFrame begins a frame with records behind word.
func recordFrame(b []byte, word uint64) []byte {
	b = append(b[:0], make([]byte, frameHeader)...)
	return binary.LittleEndian.AppendUint64(b, word)
}

// wire is one end of a connection. One goroutine reads; any may write.
type wire struct {
	conn net.Conn
	head [frameHeader]byte
	buf  []byte // of the frame that was read last

	mu sync.Mutex // one frame at a time
}

// patience is how long one write may take, and how long an end waits for the other's next word.
const patience = 10 * time.Second

func (w *wire) send(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := w.conn.Write(frame)
	return err
}

// receive reads the next frame. The payload is valid until the next call. It grows with what arrives, not with what a
// header claims.
func (w *wire) receive() (frameType, []byte, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(w.conn, w.head[:]); err != nil {
		return 0, nil, err
	}
	le := binary.LittleEndian
	size, t := le.Uint32(w.head[:]), frameType(w.head[4])
	limit := uint32(maxControl)
	if t.hasRecords() {
		limit = maxFrame
	}
	if t == 0 || t > fFailure || size > limit || w.head[5]|w.head[6]|w.head[7] != 0 {
		return 0, nil, fmt.Errorf("%w: type %d, %d bytes", errWire, t, size)
	}
	if err := w.body(int(size)); err != nil {
		return 0, nil, err
	}
	if sum(append(w.head[:8:8], t.covered(w.buf)...)) != le.Uint32(w.head[8:]) {
		return 0, nil, fmt.Errorf("%w: type %d, checksum", errWire, t)
	}
	return t, w.buf, nil
}

func (w *wire) body(size int) error {
	if cap(w.buf) > 8*chunkSize && size < chunkSize {
		w.buf = nil // a large record went through
	}
	w.buf = w.buf[:0]
	for len(w.buf) < size {
		step := min(size-len(w.buf), 1<<20)
		w.buf = slices.Grow(w.buf, step)
		n, err := io.ReadFull(w.conn, w.buf[len(w.buf):len(w.buf)+step])
		w.buf = w.buf[:len(w.buf)+n]
		if err != nil {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	return nil
}

// reader takes integers from a payload.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) word() uint64 {
	if len(r.b) < 8 {
		r.b, r.short = nil, true
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// numbers is a payload of exactly n integers.
func numbers(payload []byte, n int) ([]uint64, error) {
	if len(payload) != 8*n {
		return nil, fmt.Errorf("%w: %d bytes for %d numbers", errWire, len(payload), n)
	}
	r := reader{b: payload}
	out := make([]uint64, n)
	for i := range out {
		out[i] = r.word()
	}
	return out, nil
}

// frame is the report as it goes to the owner.
func (r *report) frame() []byte {
	var flags uint64
	if r.member {
		flags |= 1
	}
	if r.used {
		flags |= 2
	}
	v := []uint64{r.base, r.next, flags, r.flushed, r.mark, uint64(len(r.runs)), uint64(len(r.holes))}
	for _, run := range r.runs {
		v = append(v, run.term.gen, run.term.inc, run.first)
	}
	for _, h := range r.holes {
		v = append(v, h.first, h.last)
	}
	return words(fReport, v...)
}

// maxParts is how many runs and holes a report may have.
const maxParts = 16 << 10

func parseReport(payload []byte) (report, error) {
	in := reader{b: payload}
	out := report{base: in.word(), next: in.word()}
	flags := in.word()
	out.member, out.used = flags&1 != 0, flags&2 != 0
	out.flushed, out.mark = in.word(), in.word()
	runs, holes := in.word(), in.word()
	if in.short || runs > maxParts || holes > maxParts || uint64(len(in.b)) != 24*runs+16*holes {
		return report{}, fmt.Errorf("%w: report of %d bytes", errWire, len(payload))
	}
	for range runs {
		out.runs = append(out.runs, run{term{in.word(), in.word()}, in.word()})
	}
	for range holes {
		out.holes = append(out.holes, span{in.word(), in.word()})
	}
	return out, out.sane()
}

// sane refuses a report that no copy would make.
func (r *report) sane() error {
	ok := r.base > 0 && r.next >= r.base && r.next < 1<<63
	for i, run := range r.runs {
		ok = ok && run.first < r.next && (i == 0 || run.first > r.runs[i-1].first && run.term.compare(r.runs[i-1].term) > 0)
	}
	for i, h := range r.holes {
		ok = ok && h.first <= h.last && h.last < r.next && (i == 0 || h.first > r.holes[i-1].last)
	}
	if !ok {
		return fmt.Errorf("%w: a report that contradicts itself", errWire)
	}
	return nil
}
