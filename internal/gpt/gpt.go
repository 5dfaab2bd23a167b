// Package gpt looks at the partition table of a disk: whether it has what UEFI firmware boots from. It changes nothing
// and trusts nothing that it reads.
package gpt

import (
	"encoding/binary"
	"errors"
	"io"
)

// espType is the type of an EFI system partition as its bytes stand on the disk.
// Source: UEFI Specification 2.10, 5.3.3 (C12A7328-F81F-11D2-BA4B-00A0C93EC93B).
const espType = "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"

// Limits here: a table of more entries or of longer ones is no disk's that boots.
const (
	maxEntries   = 1024
	maxEntrySize = 4096
)

// HasESP tells whether a disk has an EFI system partition in a GUID partition table. A disk that is too short for what
// its table says has none.
func HasESP(disk io.ReaderAt) (bool, error) {
	for _, sector := range []int64{512, 4096} {
		if found, err := hasESP(disk, sector); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// HasBootRecord tells whether a disk begins with what any partition table and any boot sector has at the end of its first
// sector. Source: UEFI Specification 2.10, 5.2.1 and 5.2.3 (signature 0xAA55 of legacy and protective MBR).
func HasBootRecord(disk io.ReaderAt) (bool, error) {
	var signature [2]byte
	ok, err := readAt(disk, signature[:], 510)
	return ok && signature == [2]byte{0x55, 0xaa}, err
}

// hasESP looks on a disk of that sector size. Source: UEFI Specification 2.10, 5.3.2.
func hasESP(disk io.ReaderAt, sector int64) (bool, error) {
	var header [92]byte
	if ok, err := readAt(disk, header[:], sector); !ok || string(header[:8]) != "EFI PART" {
		return false, err
	}
	at, count, size := binary.LittleEndian.Uint64(header[72:]), binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if at > 1<<40 || count > maxEntries || size < 128 || size > maxEntrySize {
		return false, nil
	}
	entry := make([]byte, len(espType))
	for i := range int64(count) {
		ok, err := readAt(disk, entry, int64(at)*sector+i*int64(size))
		if !ok || err != nil {
			return false, err
		}
		if string(entry) == espType {
			return true, nil
		}
	}
	return false, nil
}

// readAt tells whether the disk is long enough.
func readAt(disk io.ReaderAt, p []byte, off int64) (bool, error) {
	_, err := disk.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}
