package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// Kind is the number of a command in the log. Kinds are append-only.
type Kind uint16

// Command is a decision to be recorded. It carries ids, times, nodes and addresses chosen by its
// proposer, so that replaying it in a newer version means the same.
type Command interface {
	Kind() Kind
	// Check refuses a decision that the state does not allow. It cannot write.
	Check(v *View) error
	// Record writes the decision. It runs after Check returned nil and cannot fail.
	Record(w *Writer)
}

// KindEntry is a row of the table of commands.
type KindEntry struct {
	Kind  Kind
	Class Class
	New   func() Command
}

// ErrUnknownKind is a log entry of a newer version. The node must stop: to skip it would be to
// diverge.
var ErrUnknownKind = errors.New("log entry of a kind that this version does not know: upgrade this node")

// A log entry is: 1 byte format, 2 bytes kind (big endian), the command in CBOR (RFC 8949,
// core deterministic encoding, integer keys).
const (
	commandFormat = 1
	commandHeader = 3
)

var (
	encoder = must(cbor.CoreDetEncOptions().EncMode())
	// An unknown field is refused: a node that dropped what a newer version wrote would diverge from it.
	decoder = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxArrayElements:  1 << 20, MaxMapPairs: 1 << 20,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants: a test would not get past package initialisation
	}
	return v
}

// EncodeCommand is the log entry of cmd. It answers an error for one that would not decode again, for
// example with a string that is not UTF-8: in the log it would stop every node for good.
func EncodeCommand(cmd Command) ([]byte, error) {
	row, ok := kinds[cmd.Kind()]
	if !ok {
		return nil, fmt.Errorf("encode command %d: %w", cmd.Kind(), ErrUnknownKind)
	}
	body, err := encoder.Marshal(cmd)
	if err == nil {
		err = decoder.Unmarshal(body, row.New())
	}
	if err != nil {
		return nil, fmt.Errorf("encode command %d: %w", cmd.Kind(), err)
	}
	out := make([]byte, commandHeader, commandHeader+len(body))
	out[0] = commandFormat
	binary.BigEndian.PutUint16(out[1:], uint16(cmd.Kind()))
	return append(out, body...), nil
}

// DecodeCommand reads a log entry for a group of the given class.
// It answers ErrUnknownKind for a kind of a newer version.
func DecodeCommand(class Class, entry []byte) (Command, error) {
	if len(entry) < commandHeader {
		return nil, fmt.Errorf("log entry of %d bytes: too short", len(entry))
	}
	if entry[0] != commandFormat {
		return nil, fmt.Errorf("format %d: %w", entry[0], ErrUnknownKind)
	}
	kind := Kind(binary.BigEndian.Uint16(entry[1:]))
	row, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("kind %d: %w", kind, ErrUnknownKind)
	}
	if row.Class != class {
		return nil, fmt.Errorf("kind %d belongs to class %v, not %v", kind, row.Class, class)
	}
	cmd := row.New()
	err := decoder.Unmarshal(entry[commandHeader:], cmd)
	if unknown := (*cbor.UnknownFieldError)(nil); errors.As(err, &unknown) {
		return nil, fmt.Errorf("kind %d, %w: %w", kind, err, ErrUnknownKind)
	}
	if err != nil {
		return nil, fmt.Errorf("decode command %d: %w", kind, err)
	}
	return cmd, nil
}

// KnownKinds are the kinds that this version understands, in ascending order, for gossip: the count
// suffices because kinds are append-only within their ranges.
func KnownKinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }
