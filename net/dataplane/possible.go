package dataplane

import (
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hive/net/vpc"
)

// Possible is nil when this process may make what VPCs need: it has tried, in a namespace that is gone when it returns.
// Otherwise it says what is missing.
func Possible() error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and the namespace with it
		done <- probe()
	}()
	return <-done
}

func probe() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network namespace cannot be made (root or CAP_SYS_ADMIN is needed): %w", err)
	}
	ns, err := netns.Get()
	if err != nil {
		return fmt.Errorf("a network namespace cannot be opened: %w", err)
	}
	defer ns.Close()
	if err := unix.Access(runParent, unix.W_OK); err != nil {
		return fmt.Errorf("namespaces cannot be named below %s: %w", runParent, err)
	}
	if err := setSysctls(sysctls); err != nil {
		return fmt.Errorf("a network namespace cannot be set up (is /proc/sys writable?): %w", err)
	}
	if err := makeTap("tap0"); err != nil {
		return fmt.Errorf("taps cannot be made (the tun module and /dev/net/tun are needed): %w", err)
	}
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer nl.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vpc.TunnelName()
	err = nl.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, SrcAddr: net.IPv4(127, 0, 0, 1), Port: 4789})
	if err != nil {
		return fmt.Errorf("tunnels cannot be made (the vxlan module is needed): %w", err)
	}
	fw, err := openFirewall(ns)
	if err == nil {
		err = fw.apply(vpc.EmptyRules())
	}
	if err != nil {
		return fmt.Errorf("rules cannot be made (nftables with the families inet and arp and connection tracking are needed): %w", err)
	}
	var drop []error
	for _, name := range []string{"tap0", vpc.TunnelName()} {
		l, err := nl.LinkByName(name)
		if err == nil {
			err = nl.LinkDel(l)
		}
		drop = append(drop, err)
	}
	return errors.Join(drop...)
}

const runParent = "/run"
