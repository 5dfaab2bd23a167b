package qemu

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func specs() map[string]Spec {
	disk := func(digit string) Disk {
		id := "vol-0123456789abcde" + digit
		return Disk{Name: id + "-1", Serial: strings.Replace(id, "-", "", 1), Socket: "/run/hive/ebs/" + id + ".sock", Export: id}
	}
	bios := Spec{
		Binary: "qemu-system-x86_64", Name: "i-0123456789abcdef0", Product: "t3.micro", Arch: X86, Accel: TCG, VCPUs: 2, Memory: 1024,
		Disks: []Disk{disk("f0"), disk("f1")}, NIC: &NIC{MAC: "02:00:00:00:00:01", MTU: 1450},
		PIDFile: "/var/lib/hive/vm/i-0123456789abcdef0/pid", Sandbox: true,
	}
	uefi := bios
	uefi.Accel, uefi.Sandbox = KVM, false
	uefi.Firmware = Firmware{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/var/lib/hive/vm/i-0123456789abcdef0/vars,1.fd"}
	bare := Spec{
		Binary: "qemu-system-x86_64", Name: "i-1", Product: "t3.nano, odd", Arch: X86, Accel: TCG, VCPUs: 1, Memory: 512, PIDFile: "/p",
	}
	arm := uefi
	arm.Arch, arm.Accel, arm.Product = ARM, TCG, "t4g.micro"
	arm.Firmware = Firmware{Code: "/usr/share/AAVMF/AAVMF_CODE.fd", Vars: "/v.fd"}
	return map[string]Spec{"bios-tcg": bios, "uefi-kvm": uefi, "bare": bare, "arm64-tcg": arm}
}

func TestCommandLinesAreAsAgreed(t *testing.T) {
	for name, spec := range specs() {
		args, err := spec.Args()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(args, "\n") + "\n"
		file := filepath.Join("testdata", name+".args")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func TestGuestsThatCannotBeAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"architecture":      func(s *Spec) { s.Arch = "i386" },
		"arm by BIOS":       func(s *Spec) { s.Arch = ARM },
		"no processor":      func(s *Spec) { s.VCPUs = 0 },
		"no memory":         func(s *Spec) { s.Memory = 0 },
		"more than it fits": func(s *Spec) { s.Disks = make([]Disk, MaxDisks+1) },
	} {
		spec := specs()["bios-tcg"]
		change(&spec)
		if _, err := spec.Args(); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPortsAreKnownByTheirNumbers(t *testing.T) {
	device := specs()["bios-tcg"].Disks[0].Device(3)
	if n, ok := PortNumber(device["bus"].(string)); n != 3 || !ok { //nolint:forcetypeassert // it panics: so it should
		t.Errorf("bus is %v", device["bus"])
	}
	if _, ok := PortNumber("pcie.0"); ok {
		t.Error("pcie.0 is a port")
	}
}

func TestMachinesAreKnownAsEC2sByTheirUUID(t *testing.T) {
	a, b := Spec{Name: "i-1"}.UUID(), Spec{Name: "i-2"}.UUID()
	if a == b || len(a) != 36 || !strings.HasPrefix(a, "ec2") {
		t.Errorf("%s, %s", a, b)
	}
}

func TestMissingPartsAreNamedWithTheirPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := FindEmulator(ARM); !errors.Is(err, ErrNoEmulator) || !strings.Contains(err.Error(), "qemu-system-arm") {
		t.Errorf("emulator: %v", err)
	}
	if _, err := FindEmulator("vax"); !errors.Is(err, ErrSpec) {
		t.Errorf("architecture: %v", err)
	}
	if _, err := FindFirmware("vax"); !errors.Is(err, ErrNoFirmware) {
		t.Errorf("firmware: %v", err)
	}
	if f, err := FindFirmware(X86); err != nil || f.Code == f.Vars {
		t.Errorf("%+v, %v", f, err)
	}
}
