package shard

import (
	"errors"
	"fmt"
	"io"
)

// source is the body of a write: it notices bodies that are shorter or longer than they said, and
// the error with which a body that verifies itself ends instead of io.EOF.
type source struct {
	r     io.Reader
	taken int64
	ahead [1]byte
	has   bool // ahead holds a byte
	ended bool
}

// errLength is a body of another length than it said.
var errLength = errors.New("body has another length than it said")

// full reads into b until it is full or the body ends; fewer bytes and no error mean the end.
func (s *source) full(b []byte) (n int, err error) {
	if s.ended {
		return 0, nil
	}
	if s.has && len(b) > 0 {
		b[0], s.has, n = s.ahead[0], false, 1
	}
	m, err := io.ReadFull(s.r, b[n:])
	n += m
	s.taken += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.ended, err = true, nil
	}
	return n, err
}

// exactly reads len(b) bytes.
func (s *source) exactly(b []byte) error {
	n, err := s.full(b)
	if err == nil && n < len(b) {
		err = fmt.Errorf("%w: it ended after %d bytes: %w", errLength, s.taken, io.ErrUnexpectedEOF)
	}
	return err
}

// more tells whether there is another byte.
func (s *source) more() (bool, error) {
	if s.has || s.ended {
		return s.has, nil
	}
	_, err := io.ReadFull(s.r, s.ahead[:])
	if errors.Is(err, io.EOF) {
		s.ended = true
		return false, nil
	}
	s.has = err == nil
	return s.has, err
}

// end makes sure that nothing follows.
func (s *source) end() error {
	more, err := s.more()
	if more {
		return fmt.Errorf("%w: it goes on after %d bytes", errLength, s.taken)
	}
	return err
}
