package main

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// Ways to start a guest, as EC2 names them.
const (
	bootUEFI = "uefi"
	bootBIOS = "legacy-bios"
)

// espType is the type of an EFI system partition as its bytes stand on the disk.
// Source: UEFI Specification 2.10, 5.3.3 (C12A7328-F81F-11D2-BA4B-00A0C93EC93B).
const espType = "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"

// guessBoot tells how a raw disk boots, and why it seems so.
func guessBoot(f *os.File, arch string) (mode, why string, err error) {
	if arch == "arm64" {
		return bootUEFI, "arm64 machines do", nil
	}
	for _, sector := range []int64{512, 4096} {
		found, err := hasESP(f, sector)
		if err != nil {
			return "", "", err
		}
		if found {
			return bootUEFI, "the disk has an EFI system partition", nil
		}
	}
	return bootBIOS, "the disk has no EFI system partition", nil
}

// GPT's limits here: partitions of more entries or of longer ones are no disk's that boots.
const (
	maxGPTEntries   = 1024
	maxGPTEntrySize = 4096
)

// hasESP looks for an EFI system partition in a GPT on a disk of that sector size. Source: UEFI Specification 2.10, 5.3.2.
func hasESP(f *os.File, sector int64) (bool, error) {
	var header [92]byte
	if ok, err := readAt(f, header[:], sector); !ok || string(header[:8]) != "EFI PART" {
		return false, err
	}
	at, count, size := binary.LittleEndian.Uint64(header[72:]), binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if at > 1<<40 || count > maxGPTEntries || size < 128 || size > maxGPTEntrySize {
		return false, nil
	}
	entry := make([]byte, 16)
	for i := range int64(count) {
		ok, err := readAt(f, entry, int64(at)*sector+i*int64(size))
		if !ok || err != nil {
			return false, err
		}
		if string(entry) == espType {
			return true, nil
		}
	}
	return false, nil
}

// readAt tells whether the file is long enough.
func readAt(f *os.File, p []byte, off int64) (bool, error) {
	_, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}
