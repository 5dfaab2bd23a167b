package node

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Limits are what a node gives to guests, in node.json. Zero values are found from the machine.
type Limits struct {
	VCPUs     int   `json:"vcpus,omitempty"`      // that instances may be promised
	MemoryMiB int64 `json:"memory_mib,omitempty"` // that instances may be promised
	VXLANPort int   `json:"vxlan_port,omitempty"` // UDP port of the networks between nodes
}

const (
	// vcpusPerCore is how many virtual processors a core is promised to: most guests idle.
	vcpusPerCore = 4
	// vxlanPort is IANA's for VXLAN (RFC 7348).
	vxlanPort = 4789
)

// fill completes the limits from the machine: each core is promised four times; a fifth of the memory, but at
// least 1 GiB, stays for the machine itself and the cache of volumes (an eighth at most). Memory is promised once.
func (l Limits) fill() (Limits, error) {
	if l.VCPUs == 0 {
		l.VCPUs = vcpusPerCore * runtime.NumCPU()
	}
	if l.VXLANPort == 0 {
		l.VXLANPort = vxlanPort
	}
	if l.MemoryMiB == 0 {
		total, err := machineMemory()
		if err != nil {
			return l, err
		}
		l.MemoryMiB = max(0, total-max(1<<10, total/5))
	}
	return l, nil
}

// MachineLimits are what this machine can give to guests.
func MachineLimits() (Limits, error) { return Limits{}.fill() }

func (l Limits) check() error {
	if l.VCPUs < 0 || l.MemoryMiB < 0 || l.VXLANPort < 0 || l.VXLANPort > 65535 {
		return fmt.Errorf("limits of a node must not be negative: %+v", l)
	}
	return nil
}

// machineMemory is the machine's memory in MiB (proc_meminfo(5)).
func machineMemory() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib >> 10, err
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("/proc/meminfo has no MemTotal"))
}
