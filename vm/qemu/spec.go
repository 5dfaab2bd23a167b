// Package qemu knows QEMU on this machine: its command line for a guest, its firmware, its processes, and whether a
// guest really runs under KVM. It knows no instance's state and never decides when a guest is to run.
package qemu

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Accelerators.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// Architectures, as EC2 names them.
const (
	X86 = "x86_64"
	ARM = "arm64"
)

// MaxDisks is how many disks a guest can have: as many as it has hot-plug ports.
const MaxDisks = 24

// Descriptors that a guest's process is given beside the standard ones.
const (
	qmpFD = 3 // the listening QMP socket
	tapFD = 4
)

// SerialRing is the id of the ring that the guest's serial console is kept in, for ringbuf-read; RingSize its bytes, a
// power of two.
const (
	SerialRing = "serial0"
	RingSize   = 1 << 20
)

// reconnectDelay is for how long a guest's I/O waits for a daemon that is away, in seconds; after it the guest sees
// errors, and makes its file systems read-only. EC2's guests wait for a volume practically for ever; so do ours: a day.
const reconnectDelay = 24 * 60 * 60

// ErrSpec means that a guest cannot be described so.
var ErrSpec = errors.New("no such guest can be built")

// Spec is a guest: all that its command line says.
type Spec struct {
	Binary   string // qemu-system-…
	Name     string // the instance's id
	Product  string // the instance's type, as SMBIOS tells it
	Arch     string // X86, ARM
	Accel    string // KVM, TCG
	VCPUs    int
	Memory   int64    // MiB
	Firmware Firmware // none: SeaBIOS
	Disks    []Disk   // the first is booted from
	NIC      *NIC     // its tap is descriptor 4
	PIDFile  string
	Sandbox  bool
}

// Disk is a volume that an NBD server on this machine serves.
type Disk struct {
	Name   string // of the device and its node, at most 31 characters
	Serial string // at most 20 bytes
	Socket string
	Export string
}

// NIC is a network interface.
type NIC struct {
	MAC string
	MTU int
}

// UUID is the machine's: made from its name, with the prefix by which guests see that they are on EC2.
func (s Spec) UUID() string {
	h := sha256.Sum256([]byte(s.Name))
	x := fmt.Sprintf("ec2%x", h[:16])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:32]
}

// Args is the command line without the binary. It is a pure function of the Spec.
func (s Spec) Args() ([]string, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var a args
	s.machine(&a)
	s.smbios(&a)
	s.ports(&a)
	for i, d := range s.Disks {
		a.add("-blockdev", d.node())
		device := d.device(port(i))
		if i == 0 {
			device["bootindex"] = 1
		}
		a.add("-device", object(device))
	}
	if s.NIC != nil {
		a.add("-netdev", fmt.Sprintf("tap,id=net0,fd=%d,vhost=off", tapFD))
		a.add("-device", fmt.Sprintf("virtio-net-pci,id=nic0,netdev=net0,mac=%s,host_mtu=%d,romfile=,bus=pcie.0,addr=0x3",
			s.NIC.MAC, s.NIC.MTU))
	}
	a.add("-object", "rng-random,id=rng0,filename=/dev/urandom")
	a.add("-device", "virtio-rng-pci,rng=rng0,bus=pcie.0,addr=0x4")
	if s.Arch == X86 {
		a.add("-device", "pvpanic")
	} else {
		a.add("-device", "pvpanic-pci,bus=pcie.0,addr=0x5")
	}
	a.add("-chardev", fmt.Sprintf("ringbuf,id=%s,size=%d", SerialRing, RingSize))
	a.add("-serial", "chardev:"+SerialRing)
	a.add("-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD))
	a.add("-mon", "chardev=qmp,mode=control")
	return a, nil
}

func (s Spec) check() error {
	switch {
	case s.Arch != X86 && s.Arch != ARM:
		return fmt.Errorf("%w: architecture %q", ErrSpec, s.Arch)
	case s.Arch == ARM && s.Firmware.Code == "":
		return fmt.Errorf("%w: arm64 boots by UEFI only", ErrSpec)
	case s.VCPUs < 1 || s.Memory < 1:
		return fmt.Errorf("%w: %d vCPUs, %d MiB", ErrSpec, s.VCPUs, s.Memory)
	case len(s.Disks) > MaxDisks:
		return fmt.Errorf("%w: %d volumes, at most %d can be attached", ErrSpec, len(s.Disks), MaxDisks)
	}
	return nil
}

func (s Spec) machine(a *args) {
	a.add("-name", "guest="+comma(s.Name))
	a.add("-no-user-config", "-nodefaults")
	a.add("-display", "none")
	machine := "q35,smm=off,graphics=off,dump-guest-core=off"
	if s.Arch == ARM {
		machine = "virt,gic-version=max,dump-guest-core=off"
	}
	if s.Firmware.Code != "" {
		a.add("-blockdev", firmwareNode("firmware", s.Firmware.Code, true))
		a.add("-blockdev", firmwareNode("variables", s.Firmware.Vars, false))
		machine += ",pflash0=firmware,pflash1=variables"
	}
	a.add("-machine", machine)
	if s.Accel == KVM {
		a.add("-accel", "kvm", "-cpu", "host")
	} else {
		cpu := "max"
		if s.Arch == X86 {
			cpu += ",la57=off" // with five levels of page tables QEMU 7.2 translates Linux 6.12 into an oops when it loads modules
		}
		// The translator's cache would grow to a gigabyte in each guest.
		a.add("-accel", "tcg,thread=multi,tb-size=256", "-cpu", cpu)
	}
	a.add("-smp", fmt.Sprintf("%d,sockets=1,cores=%d,threads=1", s.VCPUs, s.VCPUs))
	a.add("-m", "size="+strconv.FormatInt(s.Memory, 10)+"M")
	if s.Arch == X86 {
		a.add("-rtc", "base=utc,driftfix=slew")
		a.add("-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1")
	}
	a.add("-boot", "strict=on")
	// A guest that powers off stays, paused, until the agent has seen it: also when the daemon was away. A guest that
	// panics goes on, as EC2's do, and does what its kernel's panic= says.
	a.add("-action", "reboot=reset,shutdown=pause,panic=none")
	a.add("-pidfile", s.PIDFile)
	a.add("-msg", "timestamp=on")
	if s.Sandbox {
		a.add("-sandbox", sandbox)
	}
}

// sandbox is the set of system calls that a guest's process may not make.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

func firmwareNode(name, file string, readOnly bool) string {
	return object(map[string]any{
		"node-name": name, "driver": "raw", "read-only": readOnly,
		"file": map[string]any{"driver": "file", "filename": file},
	})
}

// smbios tells the guest that it is on EC2, in the fields that cloud-init and its like read.
func (s Spec) smbios(a *args) {
	uuid := s.UUID()
	a.add("-smbios", fmt.Sprintf("type=1,manufacturer=Amazon EC2,product=%s,serial=%s,uuid=%s", comma(s.Product), uuid, uuid))
	a.add("-smbios", "type=2,manufacturer=Amazon EC2,asset="+comma(s.Name))
	a.add("-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2")
}

// ports are the PCI Express slots that volumes are plugged into, eight to a device of bus 0. They have no I/O space:
// with it, 16 would use up what a PC has, and virtio needs none.
func (s Spec) ports(a *args) {
	for i := range MaxDisks {
		a.add("-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,port=%d,bus=pcie.0,addr=0x%x.%d,multifunction=on,io-reserve=0",
			port(i), i+1, i, 0x10+i/8, i%8))
	}
}

// port is the id of the nth hot-plug port.
func port(n int) string { return "port" + strconv.Itoa(n) }

// Node is the arguments of blockdev-add for the disk.
func (d Disk) Node() map[string]any {
	return map[string]any{
		"node-name": d.Name, "driver": "nbd", "discard": "unmap", "reconnect-delay": reconnectDelay,
		"server": map[string]any{"type": "unix", "path": d.Socket}, "export": d.Export,
	}
}

func (d Disk) node() string { return object(d.Node()) }

// Device is the arguments of device_add for the disk, on the nth port.
func (d Disk) Device(n int) map[string]any { return d.device(port(n)) }

func (d Disk) device(bus string) map[string]any {
	return map[string]any{
		"driver": "virtio-blk-pci", "id": d.Name, "bus": bus, "drive": d.Name, "serial": d.Serial,
		"rerror": "report", "werror": "report", "disable-legacy": "on",
	}
}

// args is a command line that grows.
type args []string

func (a *args) add(words ...string) { *a = append(*a, words...) }

// comma doubles commas, which is how QEMU's option lists quote them.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// object is v as JSON, with sorted keys.
func object(v map[string]any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("maps of strings and numbers are always JSON: " + err.Error())
	}
	return string(raw)
}

// PortNumber is the number of the hot-plug port with the id, and whether it is one.
func PortNumber(id string) (int, bool) {
	digits, ok := strings.CutPrefix(id, "port")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil
}
