package shard

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"hive/fsm"
)

// Handler answers other nodes' requests for this node's shards, with or without the prefix
// /shard/. Who may ask is for the server to decide: it must let in nodes of the cluster only.
func (s *Store) Handler() http.Handler { return &handler{s} }

type handler struct{ s *Store }

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"), "shard/")
	var err error
	switch op, rest, _ := strings.Cut(path, "/"); op {
	case "put":
		err = h.put(w, r)
	case "get":
		err = h.get(w, rest)
	case "delete":
		err = h.delete(w, r)
	case "held":
		err = h.held(w, r)
	case "mend":
		err = h.mend(w, r)
	case "ping":
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
	if err != nil {
		h.refuse(w, err)
	}
}

// refuse sends an error as its status and, if it is one that peers know, its number.
func (h *handler) refuse(w http.ResponseWriter, err error) {
	for _, e := range wireErrors() {
		if errors.Is(err, e.cause) {
			w.Header().Set(errorHeader, strconv.Itoa(e.number))
			http.Error(w, err.Error(), e.status)
			return
		}
	}
	h.s.log.Warn("peer's request failed", "cause", err)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// errorHeader has the number of a wireError: a status alone may come from anything on the way.
const errorHeader = "Shard-Error"

func (h *handler) put(w http.ResponseWriter, r *http.Request) error {
	p, err := readPut(r.Body, h.s.pools)
	if err != nil {
		return err
	}
	err = h.s.local.put(p)
	p.buf.release()
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// parseGet reads <blob>/<shard>/<from>/<to>.
func parseGet(path string) (g Get, err error) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 || len(parts[0]) != 2*len(g.Blob) {
		return g, fsm.Errorf(fsm.ErrInvalid, "request for a shard")
	}
	_, err = hex.Decode(g.Blob[:], []byte(parts[0]))
	shard, err1 := strconv.ParseUint(parts[1], 10, 8)
	from, err2 := strconv.ParseInt(parts[2], 10, 64)
	to, err3 := strconv.ParseInt(parts[3], 10, 64)
	if err := errors.Join(err, err1, err2, err3); err != nil {
		return g, fsm.Errorf(fsm.ErrInvalid, "request for a shard")
	}
	g.Shard, g.From, g.To = uint8(shard), from, to
	return g, nil
}

func (h *handler) get(w http.ResponseWriter, path string) (err error) {
	g, err := parseGet(path)
	if err != nil {
		return err
	}
	p, err := h.s.local.get(g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	buf := h.s.pools.get(blockSize)
	defer buf.release()
	piece, err := p.Next(buf.b)
	if err != nil {
		return err // nothing has been sent: the status tells
	}
	w.Header()["Content-Length"] = []string{strconv.FormatInt(g.To-g.From+piecesIn(g.From, g.To)*pieceHead, 10)}
	w.Header()["Content-Type"] = nil
	for {
		if err := sendPiece(w, buf, piece); err != nil {
			return nil // the other side has gone: it knows
		}
		piece, err = p.Next(buf.b)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			h.breakOff(w, err)
		}
	}
}

// sendPiece writes a piece with its head, which fits in front of it in its buffer.
func sendPiece(w io.Writer, buf *buffer, piece []byte) error {
	start := cap(buf.b) - cap(piece) - pieceHead
	b := buf.b[start : start+pieceHead+len(piece)]
	binary.LittleEndian.PutUint32(b, uint32(len(piece)))
	binary.LittleEndian.PutUint32(b[4:], checksum(piece))
	_, err := w.Write(b)
	return err
}

// breakOff tells the cause of an error in the middle of an answer, and ends the connection.
func (h *handler) breakOff(w http.ResponseWriter, err error) {
	number := uint32(0)
	for _, e := range wireErrors() {
		if errors.Is(err, e.cause) {
			number = uint32(e.number)
		}
	}
	var b [pieceHead]byte
	binary.LittleEndian.PutUint32(b[:], pieceFailed|number)
	if _, err := w.Write(b[:]); err == nil {
		_ = http.NewResponseController(w).Flush() // the connection is given up either way
	}
	panic(http.ErrAbortHandler)
}

// message reads a request that is small enough to be read whole.
func message(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxMessage+1))
	if err != nil || len(b) > maxMessage {
		return nil, errFrame
	}
	return b, nil
}

func (h *handler) deletions(r *http.Request) ([]Deletion, error) {
	b, err := message(r)
	if err != nil {
		return nil, err
	}
	return decodeDeletions(b)
}

func (h *handler) delete(w http.ResponseWriter, r *http.Request) error {
	dels, err := h.deletions(r)
	if err == nil {
		err = h.s.local.delete(dels)
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (h *handler) mend(w http.ResponseWriter, r *http.Request) error {
	refs, err := h.deletions(r)
	if err != nil {
		return err
	}
	for _, d := range refs {
		h.s.local.mend(d.Ref)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *handler) held(w http.ResponseWriter, r *http.Request) error {
	b, err := message(r)
	if err != nil {
		return err
	}
	ids, err := decodeIDs(b)
	if err != nil {
		return err
	}
	if _, err := w.Write(encodeHeld(h.s.local.held(ids))); err != nil {
		h.s.log.Debug("peer has gone", "cause", err)
	}
	return nil
}
