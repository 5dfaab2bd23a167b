package main

import (
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
