package qemu

import (
	"bytes"
	"context"
	"encoding/hex"
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

// probeTime is what the probe's guest has: with what starts and ends it, the probe takes less than 5 s.
const probeTime = 4 * time.Second

// probeExit is the status that QEMU ends with when the guest has done its work: its code 0x10, doubled, plus one.
// Source: hw/misc/debugexit.c of QEMU.
const probeExit = 0x10<<1 | 1

// probeCode is the probe's guest, loaded by SeaBIOS as any guest's first sector is. That it starts proves little: there
// are machines where KVM carries out a BIOS and is a hundred times too slow as soon as page tables change, or refuses the
// model specific registers of the host's own processor. So it does what a kernel does: it enters long mode with page
// tables of its own and then, 100 times, writes to each of 12,032 pages, reloads the tables and asks for the processor's
// features. That takes 0.1 s with nested paging, 0.4 s by TCG, and 6 s on such a machine. In GNU assembler:
//
//	.code16
//	    ljmp $0,$1f
//	1:  cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7c00,%sp
//	    mov $0x9000,%di; mov %ax,%es; cld; mov $0x1800,%cx; rep stosw   # three tables: PML4, PDPT, PD
//	    movl $0xa003,0x9000; movl $0xb003,0xa000
//	    mov $0xb000,%di; mov $0x83,%eax; mov $32,%cx                    # 32 pages of 2 MiB, as they lie
//	2:  mov %eax,(%di); add $0x200000,%eax; add $8,%di; loop 2b
//	    mov %cr4,%eax; or $0x20,%eax; mov %eax,%cr4; mov $0x9000,%eax; mov %eax,%cr3
//	    mov $0xc0000080,%ecx; rdmsr; or $0x100,%eax; wrmsr; lgdt gdtr
//	    mov %cr0,%eax; or $0x80000001,%eax; mov %eax,%cr0; ljmp $8,$long
//	.code64
//	long: mov $16,%ax; mov %ax,%ds; mov %ax,%ss; mov $100,%ebp
//	3:  mov $0x100000,%edi
//	4:  incl (%rdi); add $4096,%edi; cmp $0x3000000,%edi; jb 4b
//	    mov %cr3,%rax; mov %rax,%cr3; mov $1,%eax; cpuid; dec %ebp; jnz 3b
//	    mov $0x10,%al; out %al,$0xf4
//	5:  hlt; jmp 5b
//	.balign 8
//	gdt:  .quad 0, 0x00209a0000000000, 0x0000920000000000
//	gdtr: .word 23; .long gdt
const probeCode = "ea057c0000fa31c08ed88ed0bc007cbf00908ec0fcb90018f3ab66c706009003" +
	"a0000066c70600a003b00000bf00b066b883000000b920006689056605000020" +
	"0083c708e2f20f20e06683c8200f22e066b8009000000f22d866b9800000c00f" +
	"32660d000100000f300f0116d87c0f20c0660d010000800f22c0ea7f7c080066" +
	"b810008ed88ed0bd64000000bf00001000ff0781c70010000081ff0000000372" +
	"f00f20d80f22d8b8010000000fa2ffcd75dab010e6f4f4ebfd8db42600000000" +
	"000000000000000000000000009a200000000000009200001700c07c00000000"

// probeDisk is a disk with the guest; SeaBIOS boots from no smaller one.
func probeDisk() ([]byte, error) {
	code, err := hex.DecodeString(probeCode)
	disk := make([]byte, 1<<20)
	copy(disk, code)
	disk[510], disk[511] = 0x55, 0xaa
	return disk, err
}

// Probe finds out whether a guest really runs under KVM on this machine: it starts a small one as the agent starts any,
// and gives it 4 s. why is a line for people.
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

// probeGuest runs the probe's guest to its end.
func probeGuest(ctx context.Context, binary, accel, cpu string) (took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "hive-probe")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	disk := filepath.Join(dir, "disk")
	image, err := probeDisk()
	if err == nil {
		err = os.WriteFile(disk, image, 0o600)
	}
	if err != nil {
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
	cmd.WaitDelay, cmd.Dir = time.Second, dir // it may abort and leave its memory there
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
