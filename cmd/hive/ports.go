package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"hive/internal/node"
)

// checkPorts refuses an address on which one of a node's ports is taken, and names the process.
func checkPorts(ip string) error {
	for _, port := range []string{node.ClusterPort, node.GossipPort, node.APIPort, "9001", "9002"} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err == nil {
			err = l.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("port %s of %s is in use%s: end that first", port, ip, portOwner(ip, port))
		}
		if err != nil {
			return fmt.Errorf("port %s of %s cannot be opened: %w", port, ip, err)
		}
	}
	return nil
}

// portOwner tells who listens on a TCP port, as far as this user may see it: " by process …".
func portOwner(ip, port string) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeners(table, ip, port, inodes)
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err != nil {
			continue
		}
		return fmt.Sprintf(" by process %s (%s)", pid, strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " ")))
	}
	return " by a process that this user may not see"
}

// listeners adds the inodes of the sockets that listen on ip and port, or on all addresses, to
// into. The format is that of proc_net_tcp(5): addresses are little-endian 32-bit words in hex.
func listeners(table, ip, port string, into map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return // no such family on this machine
	}
	defer f.Close()
	number, err := strconv.Atoi(port)
	if err != nil {
		return
	}
	const listening = "0A"
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 10 || fields[3] != listening {
			continue
		}
		addr, hexPort, _ := strings.Cut(fields[1], ":")
		if p, err := strconv.ParseUint(hexPort, 16, 16); err != nil || int(p) != number {
			continue
		}
		if addr == procAddr(ip) || strings.Trim(addr, "0") == "" {
			into[fields[9]] = true
		}
	}
}

// procAddr is an IPv4 address as /proc/net/tcp writes it on a little-endian machine.
func procAddr(ip string) string {
	b := net.ParseIP(ip).To4()
	if b == nil {
		return ""
	}
	return fmt.Sprintf("%02X%02X%02X%02X", b[3], b[2], b[1], b[0])
}
