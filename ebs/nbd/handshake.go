package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// maxOption is the most bytes of an option that are looked at: a name and some queries.
const maxOption = 16 << 10

// errNoExport ends a handshake without an export, in order.
var errNoExport = errors.New("nbd: the client chose no export")

// option is what a client asks in the handshake.
type option struct {
	id   uint32
	data []byte
}

// haggling is the state of a handshake.
type haggling struct {
	*conn
	noZeroes  bool
	fixed     bool
	ctx       context.Context
	contextOf string // export for which base:allocation was chosen
}

// handshake ends when the client has chosen an export, in the time that the configuration gives it.
func (c *conn) handshake(ctx context.Context) error {
	if err := c.nc.SetDeadline(time.Now().Add(c.srv.cfg.Handshake)); err != nil {
		return err
	}
	if ctx.Err() != nil { // drain's deadlines may have been overwritten
		return ctx.Err()
	}
	h := haggling{conn: c, ctx: ctx}
	if err := h.greet(); err != nil {
		return err
	}
	for chosen := false; !chosen; {
		o, err := h.next()
		if err != nil {
			return err
		}
		if chosen, err = h.answer(o); err != nil {
			return err
		}
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return ctx.Err()
}

func (h *haggling) greet() error {
	err := binary.Write(h.nc, be, protocol.NegotiationNewstyleHeader{
		OldstyleMagic:  protocol.NEGOTIATION_MAGIC_OLDSTYLE,
		OptionMagic:    protocol.NEGOTIATION_MAGIC_OPTION,
		HandshakeFlags: protocol.NEGOTIATION_HANDSHAKE_FLAG_FIXED_NEWSTYLE | handshakeNoZeroes,
	})
	if err != nil {
		return err
	}
	var raw [4]byte
	if err := h.in.full(raw[:]); err != nil {
		return err
	}
	flags := be.Uint32(raw[:])
	if flags&^(clientFixedNewstyle|clientNoZeroes) != 0 {
		return fmt.Errorf("nbd: unknown client flags %#x", flags)
	}
	h.fixed, h.noZeroes = flags&clientFixedNewstyle != 0, flags&clientNoZeroes != 0
	return nil
}

// next receives an option. One that is too long is answered here, and has no data; so are its successors until one is not.
func (h *haggling) next() (option, error) {
	for {
		var raw [16]byte
		if err := h.in.full(raw[:]); err != nil {
			return option{}, err
		}
		if be.Uint64(raw[:]) != protocol.NEGOTIATION_MAGIC_OPTION {
			return option{}, errors.New("nbd: no option where one must be")
		}
		o, n := option{id: be.Uint32(raw[8:])}, be.Uint32(raw[12:])
		if !h.fixed && o.id != optExportName {
			return option{}, errors.New("nbd: an option that a client without fixed newstyle may not send")
		}
		if n <= maxOption {
			o.data = make([]byte, n)
			return o, h.in.full(o.data)
		}
		if o.id == optExportName { // it cannot be answered with an error
			return option{}, errors.New("nbd: the name of the export is too long")
		}
		if err := h.in.discard(int64(n)); err != nil {
			return option{}, err
		}
		if err := h.reply(o, repErrTooBig, []byte("the option is too long")); err != nil {
			return option{}, err
		}
	}
}

// answer replies to an option, and says whether the transmission phase follows.
func (h *haggling) answer(o option) (chosen bool, err error) {
	switch o.id {
	case optExportName:
		return true, h.exportName(o)
	case protocol.NEGOTIATION_ID_OPTION_GO, protocol.NEGOTIATION_ID_OPTION_INFO:
		return h.info(o)
	case protocol.NEGOTIATION_ID_OPTION_ABORT:
		if err := h.ack(o); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		return false, errNoExport
	case protocol.NEGOTIATION_ID_OPTION_LIST:
		return false, h.list(o)
	case optStructuredReply:
		if len(o.data) > 0 {
			return false, h.invalid(o, "structured replies take no data")
		}
		h.structured = true
		return false, h.ack(o)
	case optListMetaContext, optSetMetaContext:
		return false, h.metaContext(o)
	case optStartTLS:
		return false, h.reply(o, repErrPolicy, []byte("this server speaks no TLS"))
	}
	return false, h.reply(o, protocol.NEGOTIATION_TYPE_REPLY_ERR_UNSUPPORTED, []byte("unknown option"))
}

// reply sends one reply to o.
func (h *haggling) reply(o option, kind uint32, data []byte) error {
	p, err := binary.Append(nil, be, protocol.NegotiationReplyHeader{
		ReplyMagic: protocol.NEGOTIATION_MAGIC_REPLY, ID: o.id, Type: kind, Length: uint32(len(data)),
	})
	if err != nil {
		return err
	}
	_, err = h.nc.Write(append(p, data...))
	return err
}

func (h *haggling) ack(o option) error { return h.reply(o, protocol.NEGOTIATION_TYPE_REPLY_ACK, nil) }

func (h *haggling) invalid(o option, text string) error {
	return h.reply(o, repErrInvalid, []byte(text))
}

func (h *haggling) unknown(o option) error {
	return h.reply(o, protocol.NEGOTIATION_TYPE_REPLY_ERR_UNKNOWN, []byte("no such export"))
}

// exportName is the old way to choose: without an answer when there is no such export.
func (h *haggling) exportName(o option) error {
	if !h.choose(string(o.data)) {
		return fmt.Errorf("nbd: no export %q", o.data)
	}
	if err := h.srv.afterPredecessors(h.ctx, h.conn); err != nil {
		return err
	}
	p := be.AppendUint64(nil, uint64(size(h.export)))
	p = be.AppendUint16(p, h.flags())
	if !h.noZeroes {
		p = append(p, make([]byte, 124)...)
	}
	_, err := h.nc.Write(p)
	return err
}

// choose makes the named export the connection's.
func (h *haggling) choose(name string) bool {
	e, ok := h.srv.export(name)
	if !ok {
		return false
	}
	h.export = e
	h.allocation = h.allocation && h.contextOf == name
	return true
}

// size is the export's in bytes; a device that is no multiple of the smallest block ends at the last whole one.
func size(e Export) int64 { return e.Device.Size() &^ int64(e.MinBlock-1) }

// flags are the transmission flags of the chosen export.
func (h *haggling) flags() uint16 {
	f := protocol.NEGOTIATION_REPLY_FLAGS_HAS_FLAGS | flagSendFlush | flagSendFUA | flagSendCache
	if h.export.ReadOnly {
		f |= flagReadOnly
	} else {
		f |= flagSendTrim | flagSendWriteZeroes | flagSendFastZero
	}
	if h.structured {
		f |= flagSendDF
	}
	if h.srv.cfg.MultiConn {
		f |= protocol.NEGOTIATION_REPLY_FLAGS_CAN_MULTI_CONN
	}
	return f
}

// info answers INFO and GO: name length 4 | name | count 2 | kinds of information 2 each.
func (h *haggling) info(o option) (chosen bool, err error) {
	name, rest, ok := cutString(o.data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(be.Uint16(rest)) {
		return false, h.invalid(o, "its lengths do not fit")
	}
	was, had := h.export, h.allocation
	if !h.choose(name) {
		return false, h.unknown(o)
	}
	enters := o.id == protocol.NEGOTIATION_ID_OPTION_GO
	if enters {
		if err := h.srv.afterPredecessors(h.ctx, h.conn); err != nil {
			return false, err
		}
	}
	for _, data := range h.infos(rest[2:]) {
		if err := h.reply(o, protocol.NEGOTIATION_TYPE_REPLY_INFO, data); err != nil {
			return false, err
		}
	}
	if !enters { // it only asked
		h.export, h.allocation = was, had
	}
	return enters, h.ack(o)
}

// infos are the answers to the kinds of information asked for; export and block sizes are told to all.
func (h *haggling) infos(kinds []byte) [][]byte {
	e := h.export
	all := [][]byte{
		be.AppendUint16(be.AppendUint64(be.AppendUint16(nil, protocol.NEGOTIATION_TYPE_INFO_EXPORT), uint64(size(e))), h.flags()),
		be.AppendUint32(be.AppendUint32(be.AppendUint32(be.AppendUint16(nil, protocol.NEGOTIATION_TYPE_INFO_BLOCKSIZE),
			e.MinBlock), e.PreferredBlock), e.MaxPayload),
	}
	var name, description bool
	for ; len(kinds) > 0; kinds = kinds[2:] {
		switch be.Uint16(kinds) {
		case protocol.NEGOTIATION_TYPE_INFO_NAME:
			name = true
		case protocol.NEGOTIATION_TYPE_INFO_DESCRIPTION:
			description = e.Description != ""
		}
	}
	if name {
		all = append(all, append(be.AppendUint16(nil, protocol.NEGOTIATION_TYPE_INFO_NAME), e.Name...))
	}
	if description {
		all = append(all, append(be.AppendUint16(nil, protocol.NEGOTIATION_TYPE_INFO_DESCRIPTION), e.Description...))
	}
	return all
}

func (h *haggling) list(o option) error {
	if len(o.data) > 0 {
		return h.invalid(o, "a list takes no data")
	}
	for _, e := range h.srv.exports() {
		data := append(be.AppendUint32(nil, uint32(len(e.Name))), e.Name...)
		if err := h.reply(o, protocol.NEGOTIATION_TYPE_REPLY_SERVER, append(data, e.Description...)); err != nil {
			return err
		}
	}
	return h.ack(o)
}

// metaContext answers LIST and SET_META_CONTEXT: name length 4 | name | count 4 | (query length 4 | query) each.
func (h *haggling) metaContext(o option) error {
	set := o.id == optSetMetaContext
	if set {
		h.allocation = false
	}
	if !h.structured {
		return h.invalid(o, "structured replies come first")
	}
	name, queries, ok := parseQueries(o.data)
	if !ok {
		return h.invalid(o, "its lengths do not fit")
	}
	if _, ok := h.srv.export(name); !ok {
		return h.unknown(o)
	}
	found := !set && len(queries) == 0
	for _, q := range queries {
		found = found || q == allocation || !set && q == "base:"
	}
	if !found {
		return h.ack(o)
	}
	id := uint32(0)
	if set {
		id, h.allocation, h.contextOf = allocationID, true, name
	}
	if err := h.reply(o, repMetaContext, append(be.AppendUint32(nil, id), allocation...)); err != nil {
		return err
	}
	return h.ack(o)
}

func parseQueries(data []byte) (name string, queries []string, ok bool) {
	name, data, ok = cutString(data)
	if !ok || len(data) < 4 {
		return "", nil, false
	}
	count := be.Uint32(data)
	data = data[4:]
	for range count {
		var q string
		if q, data, ok = cutString(data); !ok {
			return "", nil, false
		}
		queries = append(queries, q)
	}
	return name, queries, len(data) == 0
}

// cutString takes a string with its length before it, as the specification wants strings.
func cutString(data []byte) (s string, rest []byte, ok bool) {
	if len(data) < 4 {
		return "", nil, false
	}
	n := be.Uint32(data)
	data = data[4:]
	if n > maxString || int(n) > len(data) {
		return "", nil, false
	}
	s = string(data[:n])
	return s, data[n:], utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
