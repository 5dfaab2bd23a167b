package fsm

import (
	"errors"
	"fmt"
)

// Causes that a caller can act on. Their codes cross the leader hop and never change.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrConflict = errors.New("changed since it was read")
	ErrInUse    = errors.New("in use")
	ErrLimit    = errors.New("limit reached")
	ErrInvalid  = errors.New("invalid")
	ErrDenied   = errors.New("denied")
)

// codes are append-only: they are sent between nodes of different versions.
var codes = map[uint8]error{
	1: ErrNotFound, 2: ErrExists, 3: ErrConflict, 4: ErrInUse, 5: ErrLimit, 6: ErrInvalid, 7: ErrDenied,
}

// Error is a command's refusal: a cause and the resource that it is about.
type Error struct {
	Code     uint8  `cbor:"1,keyasint"`
	Resource string `cbor:"2,keyasint"`
}

// Errorf makes the refusal for one of this package's causes, about resource.
func Errorf(cause error, resource string, args ...any) error {
	if len(args) > 0 {
		resource = fmt.Sprintf(resource, args...)
	}
	for code, err := range codes {
		if err == cause { //nolint:errorlint // the sentinels themselves are the table's values
			return &Error{Code: code, Resource: resource}
		}
	}
	return fmt.Errorf("%s: %w", resource, cause)
}

// Error is the resource and the cause.
func (e *Error) Error() string { return e.Resource + ": " + e.Unwrap().Error() }

// Unwrap is the cause, for errors.Is.
func (e *Error) Unwrap() error {
	if err, ok := codes[e.Code]; ok {
		return err
	}
	return fmt.Errorf("refused with code %d of a newer version", e.Code)
}
