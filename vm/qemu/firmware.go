package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Causes of a guest that this machine cannot run.
var (
	ErrNoEmulator = errors.New("QEMU for this architecture is not installed")
	ErrNoFirmware = errors.New("UEFI firmware is not installed")
)

// Firmware is a UEFI in two parts: code, and the variables, of which each guest has its own copy.
type Firmware struct{ Code, Vars string }

// firmwares are where distributions put UEFI, the wanted ones first. Those without secure boot only: it needs SMM.
var firmwares = map[string][]Firmware{ //nolint:gochecknoglobals // a table, never written
	X86: {
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}, // Debian 12, Ubuntu 22.04 and later
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},       // Debian 11, Ubuntu 20.04
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	},
	ARM: {
		{"/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
	},
}

// FindFirmware is the machine's UEFI for an architecture; ErrNoFirmware names the package that has it.
func FindFirmware(arch string) (Firmware, error) {
	for _, f := range firmwares[arch] {
		if exists(f.Code) && exists(f.Vars) {
			return f, nil
		}
	}
	pkg := map[string]string{X86: "ovmf", ARM: "qemu-efi-aarch64"}[arch]
	return Firmware{}, fmt.Errorf("%w: install the package %s", ErrNoFirmware, pkg)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// FindEmulator is the path of the machine's QEMU for an architecture; ErrNoEmulator names the package that has it.
func FindEmulator(arch string) (string, error) {
	name := map[string]string{X86: "qemu-system-x86_64", ARM: "qemu-system-aarch64"}[arch]
	pkg := map[string]string{X86: "qemu-system-x86", ARM: "qemu-system-arm"}[arch]
	if name == "" {
		return "", fmt.Errorf("%w: architecture %q", ErrSpec, arch)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s (package %s)", ErrNoEmulator, name, pkg)
	}
	return path, nil
}
