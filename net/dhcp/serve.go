package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"hive/net/vpc"
)

// Listen opens the server's port in the calling thread's network namespace.
func Listen() (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: dhcpv4.ServerPort})
	if err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) {
			set = errors.Join(
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
				// A tap leaves checksums to be filled in by hardware that is not there; clients that read raw frames then
				// see a wrong one. None at all is right in UDP over IPv4.
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1))
		})
		err = errors.Join(err, set)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dhcp: %w", err), conn.Close())
	}
	return conn, nil
}

// Serve answers on conn until ctx ends, and closes it. leaseOn is the lease of the guest behind a link.
func Serve(ctx context.Context, conn *net.UDPConn, leaseOn func(link int) (vpc.Lease, bool), log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the read below, which tells
	defer stop()
	buf, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDP(buf, oob)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("dhcp: %w", err), conn.Close())
		}
		link := arrivedOn(oob[:oobn])
		l, ok := leaseOn(link)
		req, err := dhcpv4.FromBytes(buf[:n])
		if !ok || err != nil {
			log.Debug("not a DHCP message of a guest", "from", from, "link", link, "error", err)
			continue
		}
		resp, err := Answer(req, l)
		if err == nil && resp != nil {
			err = send(conn, resp, l, link)
		}
		if err != nil {
			log.Warn("a DHCP message was not answered", "mac", req.ClientHWAddr, "error", err)
		}
	}
}

// arrivedOn is the index of the link that a datagram came by.
func arrivedOn(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}

// send sends by the link that the request came by, from the router. A guest that has no address yet is reached by the
// fixed neighbour entry of the address that it is to have, or, where it asks for that, by broadcast.
func send(conn *net.UDPConn, resp *dhcpv4.DHCPv4, l vpc.Lease, link int) error {
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
	if resp.MessageType() != dhcpv4.MessageTypeNak && !resp.IsBroadcast() {
		to.IP = l.Address.AsSlice()
	}
	oob := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(link), Spec_dst: l.Router.As4()})
	_, _, err := conn.WriteMsgUDP(resp.ToBytes(), oob, to)
	return err
}
