package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hive/fsm"
	"hive/internal/admin"
)

// protoConnect is the ALPN of connections to instances' ports between nodes: the one that wants it sends a line
// with the instance and the port, the one that runs the instance answers "ok" or why not in a line, and from then on
// bytes are carried.
const protoConnect = "hive-connect"

// connectTimeout is how long the other node may take to open the way.
const connectTimeout = 20 * time.Second

// maxConnectLine is the longest line of the exchange.
const maxConnectLine = 1 << 10

// instances are all instances as the operator sees them.
func (n *Node) instances() (any, error) {
	out := []admin.Instance{}
	err := n.control.View(func(v *fsm.View) error {
		for _, i := range fsm.Instances.Scan(v, "") {
			row := admin.Instance{
				ID: i.ID, Account: i.Account, Type: i.Type, State: i.State, Node: i.Node, Zone: i.Zone, Address: i.Address, Accel: i.Accel,
			}
			tags := fsm.TagsOf(v, string(i.ID))
			if at := slices.IndexFunc(tags, func(t fsm.Tag) bool { return t.Key == "Name" }); at >= 0 {
				row.Name = tags[at].Value
			}
			out = append(out, row)
		}
		return nil
	})
	return out, err
}

// serveConnect upgrades a request on the admin socket to a connection to an instance's port.
func (n *Node) serveConnect(w http.ResponseWriter, r *http.Request) {
	port, err := strconv.Atoi(r.URL.Query().Get("port"))
	if err != nil || port < 1 || port > 65535 || r.Header.Get("Upgrade") != admin.ConnectProto {
		n.answer(w, nil, fmt.Errorf("give a port from 1 to 65535, and upgrade to %s", admin.ConnectProto))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectTimeout)
	conn, err := n.connect(ctx, fsm.InstanceID(r.PathValue("id")), port)
	cancel()
	if err != nil {
		n.answer(w, nil, err)
		return
	}
	defer conn.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		n.answer(w, nil, err)
		return
	}
	defer client.Close()
	if _, err := fmt.Fprintf(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", admin.ConnectProto); err != nil {
		return // the client has gone
	}
	carry(client, buffered.Reader, conn, conn)
}

// connect opens a connection to an instance's port, on the node that runs it.
func (n *Node) connect(ctx context.Context, id fsm.InstanceID, port int) (net.Conn, error) {
	var i fsm.Instance
	err := n.control.View(func(v *fsm.View) (err error) {
		var ok bool
		if i, ok = fsm.Instances.Get(v, id); !ok {
			err = fmt.Errorf("there is no instance %q: see `hive instance list`", id)
		} else if i.State != fsm.InstanceRunning {
			err = fmt.Errorf("instance %s is %s", id, i.State)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if i.Node == n.cfg.Node {
		return n.guests.dial(ctx, id, port)
	}
	conn, err := n.port.Dial(ctx, i.Node, protoConnect)
	if err != nil {
		return nil, fmt.Errorf("node %s, which runs %s: %w", i.Node, id, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := fmt.Fprintf(conn, "%s %d\n", id, port); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	// Byte by byte: what comes after the line is not ours.
	line, err := readLine(conn)
	if err == nil && line != "ok" {
		err = errors.New(line)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func readLine(r io.Reader) (string, error) {
	var line []byte
	for len(line) < maxConnectLine {
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", fmt.Errorf("connection to the instance's node: %w", err)
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", errors.New("connection to the instance's node: its answer is too long")
}

// runConnect answers other nodes that want a port of an instance here.
func (n *Node) runConnect(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	stop := context.AfterFunc(ctx, func() { n.guests.connects.Close() })
	defer stop()
	for {
		conn, err := n.guests.connects.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("connections to instances: %w", err)
		}
		work.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			n.answerConnect(ctx, conn)
		})
	}
}

func (n *Node) answerConnect(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := readLine(conn)
	if err != nil {
		return
	}
	var id fsm.InstanceID
	var port int
	if _, err := fmt.Sscanf(line, "%s %d", &id, &port); err != nil {
		return
	}
	guest, err := n.guests.dial(ctx, id, port)
	if err != nil {
		fmt.Fprintf(conn, "%s\n", strings.ReplaceAll(err.Error(), "\n", "; ")) // a peer that is gone needs no answer
		return
	}
	defer guest.Close()
	if _, err := io.WriteString(conn, "ok\n"); err != nil || !stop() {
		return
	}
	carry(conn, bufio.NewReaderSize(conn, 32<<10), guest, guest)
}

// carry copies both ways until both have ended.
func carry(a net.Conn, fromA io.Reader, b net.Conn, fromB io.Reader) {
	var work sync.WaitGroup
	one := func(to net.Conn, from io.Reader) {
		work.Go(func() {
			_, err := io.Copy(to, from)
			half, ok := to.(interface{ CloseWrite() error })
			if err != nil || !ok || half.CloseWrite() != nil {
				a.Close()
				b.Close()
			}
		})
	}
	one(b, fromA)
	one(a, fromB)
	work.Wait()
}
