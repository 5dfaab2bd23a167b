package main

import (
	"errors"
	"os"

	"hive/internal/gpt"
)

// Ways to start a guest, as EC2 names them.
const (
	bootUEFI = "uefi"
	bootBIOS = "legacy-bios"
)

// guessBoot tells how a raw disk boots, and why it seems so.
func guessBoot(f *os.File, arch string) (mode, why string, err error) {
	if arch == "arm64" {
		return bootUEFI, "arm64 machines do", nil
	}
	found, err := gpt.HasESP(f)
	if found {
		return bootUEFI, "the disk has an EFI system partition", err
	}
	return bootBIOS, "the disk has no EFI system partition", err
}

var errNoDisk = errors.New("this is no disk that a machine can boot: it is in none of the formats, and its first sector is no boot record")

// checkDisk refuses a raw disk that nothing boots from: any file passes for one.
func checkDisk(f *os.File) error {
	found, err := gpt.HasBootRecord(f)
	if err == nil && !found {
		return errNoDisk
	}
	return err
}
