package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// HostArch is this machine's architecture, as EC2 names it.
func HostArch() string {
	if runtime.GOARCH == "arm64" {
		return ARM
	}
	return X86
}

// SandboxWorks tells whether the emulator accepts the sandbox that guests are to run in: it may be built without.
func SandboxWorks(ctx context.Context, binary string) bool {
	cmd := exec.CommandContext(ctx, binary, "-no-user-config", "-nodefaults", "-machine", "none", "-display", "none",
		"-sandbox", sandbox, "-monitor", "stdio")
	cmd.Stdin = strings.NewReader("quit\n")
	return cmd.Run() == nil
}

// probeTime is what the probe's guest has; a processor with working virtualisation needs a tenth of a second.
const probeTime = 5 * time.Second

// probeExit is the status that QEMU ends with when the guest has done its work: its code 0x10, doubled, plus one.
// Source: hw/misc/debugexit.c of QEMU.
const probeExit = 0x10<<1 | 1

// bootSector is the probe's guest, loaded by SeaBIOS as any guest's first sector is.
//
//	7c00  ljmp $0, $0x7c05
//	7c05  cli
//	7c06  mov $20000, %esi
//	7c0c  mov $1, %eax; cpuid        an exit to the hypervisor
//	7c14  mov $0x1b, %ecx; rdmsr     another: the address of the local APIC
//	7c1c  dec %esi; jnz 7c0c
//	7c20  mov $0x10, %al; out %al, $0xf4
//	7c24  hlt; jmp 7c24
func bootSector() []byte {
	sector := make([]byte, 512)
	copy(sector, "\xea\x05\x7c\x00\x00"+"\xfa"+"\x66\xbe\x20\x4e\x00\x00"+
		"\x66\xb8\x01\x00\x00\x00\x0f\xa2"+"\x66\xb9\x1b\x00\x00\x00\x0f\x32"+"\x66\x4e\x75\xec"+
		"\xb0\x10\xe6\xf4"+"\xf4\xeb\xfd")
	copy(sector[510:], "\x55\xaa")
	return sector
}

// Probe finds out whether a guest really runs under KVM on this machine: it starts a small one as the agent starts any,
// and gives it 5 s. why is a line for people.
func Probe(ctx context.Context, binary string) (accel, why string) {
	if HostArch() != X86 {
		return TCG, "KVM is probed on x86_64 only"
	}
	if kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return TCG, "KVM cannot be used: " + err.Error()
	} else if err := kvm.Close(); err != nil {
		return TCG, "KVM cannot be used: " + err.Error()
	}
	took, err := probeGuest(ctx, binary, KVM, "host")
	if err != nil {
		return TCG, "KVM opens but runs no guest: " + err.Error()
	}
	return KVM, fmt.Sprintf("a guest ran under it in %d ms", took.Milliseconds())
}

// probeGuest runs the boot sector to its end.
func probeGuest(ctx context.Context, binary, accel, cpu string) (took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "hive-probe")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	disk := filepath.Join(dir, "disk")
	image := make([]byte, 1<<20) // SeaBIOS boots from no smaller disk
	copy(image, bootSector())
	if err := os.WriteFile(disk, image, 0o600); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "-no-user-config", "-nodefaults", "-display", "none",
		"-machine", "q35,smm=off,graphics=off", "-accel", accel, "-cpu", cpu, "-m", "64",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-blockdev", object(map[string]any{"driver": "raw", "node-name": "disk", "read-only": true,
			"file": map[string]any{"driver": "file", "filename": disk}}),
		"-device", "virtio-blk-pci,drive=disk,bootindex=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	begin := time.Now()
	err = cmd.Run()
	took = time.Since(begin)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == probeExit:
		return took, nil
	case ctx.Err() != nil:
		return took, fmt.Errorf("it did not come to its end within %s", probeTime)
	case err == nil:
		err = errors.New("ended too early")
	}
	words, _, _ := strings.Cut(strings.TrimSpace(output.String()), "\n")
	return took, fmt.Errorf("%w: %s", err, strings.TrimPrefix(words, filepath.Base(binary)+": "))
}
