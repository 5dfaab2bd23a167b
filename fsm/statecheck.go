package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"hive/internal/boltfile"
)

// ErrStateInUse is a state file that another process has open.
var ErrStateInUse = errors.New("state file is open in another process")

// checkState reads the whole state file and returns its header. A file that is not whole is
// ErrStateCorrupt; a file that is not there is os.ErrNotExist.
func checkState(path string) (header, error) {
	f, err := os.Open(path)
	if err != nil {
		return header{}, fmt.Errorf("check state file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return header{}, fmt.Errorf("check state file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return header{}, fmt.Errorf("%s is not a file", path)
	}
	// The lock that bbolt takes: whoever holds it is writing.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return header{}, fmt.Errorf("%w: %s: %w", ErrStateInUse, path, err)
	}
	return checkPages(f, info.Size())
}

// checkPages reads the file page by page, before bbolt is given it, and compares each record with its
// checksum and all of them with the header.
func checkPages(f io.ReaderAt, size int64) (header, error) {
	var head header
	var records, sum uint64
	err := boltfile.Check(f, size, func(name, k, v []byte) (err error) {
		if bytes.Equal(name, metaBucket) {
			head, err = decodeHeader(v)
			return err
		}
		if _, err := openValue(string(name), k, v); err != nil {
			return err
		}
		records++
		sum += uint64(valueCRC(v))
		return nil
	})
	switch {
	case errors.Is(err, boltfile.ErrTruncated), errors.Is(err, boltfile.ErrCorrupt):
		return header{}, fmt.Errorf("%w: %w", ErrStateCorrupt, err)
	case err != nil:
		return header{}, err
	case head.class == 0 || head.records != records || head.sum != sum:
		return header{}, corruptf("%d records, %d expected", records, head.records)
	}
	return head, nil
}

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrStateCorrupt, fmt.Sprintf(format, args...))
}
