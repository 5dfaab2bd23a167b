package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hive/test/rig"
)

// randomBytes sends noise to every port, plain and inside TLS, and halves of requests. What is asked for is that the
// node serves on and that nothing is answered but a refusal.
func randomBytes(t *testing.T, c *rig.Cluster) {
	n := c.Nodes[2]
	before, err := n.Status(soon(t))
	must(t, err)
	for _, port := range []string{"8443", "7946", "9999", "9001", "9002"} {
		for i := range 20 {
			data := noise(fmt.Sprint(port, i), 1<<(i%17))
			if i%5 == 1 {
				data = append([]byte("GET /"), data...)
			}
			if i%5 == 2 {
				data = append([]byte{0x16, 0x03, 0x01, 0xff, 0xff}, data...)
			}
			poke(t, "tcp", n.IP+":"+port, data)
		}
	}
	for i := range 20 {
		poke(t, "udp", n.IP+":7946", noise(fmt.Sprint("udp", i), 1<<(i%11)))
	}
	for i, alpn := range []string{"", "http/1.1", "h2", "hive-raft/control", "hive-raft/index-0", "hive-raft/none"} {
		pokeTLS(t, n.IP+":8443", alpn, noise(fmt.Sprint("tls", i), 5000))
	}
	after, err := n.Status(soon(t))
	must(t, err)
	if len(after.Members) != len(before.Members) || after.Epoch != before.Epoch {
		t.Errorf("noise has changed the cluster: %+v", after)
	}
	must(t, c.Ready(soon(t)))
	for _, m := range after.Members {
		if m.Health != "alive" {
			t.Errorf("after noise on one node %s is %s", m.Node, m.Health)
		}
	}
	put(t, s3Client(n, root(c)), mustBucket(t, c, "noise"), "k", []byte("still here"))
}

func mustBucket(t *testing.T, c *rig.Cluster, name string) string {
	t.Helper()
	bucket(t, s3Client(c.Nodes[0], root(c)), name)
	return name
}

// poke sends data and reads what comes back until the other end, or a moment, has ended it.
func poke(t *testing.T, network, addr string, data []byte) {
	t.Helper()
	conn, err := net.Dial(network, addr)
	must(t, err)
	defer conn.Close()
	speak(t, conn, addr, data)
}

func pokeTLS(t *testing.T, addr, alpn string, data []byte) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if alpn != "" {
		config.NextProtos = []string{alpn}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return // refused in the handshake
	}
	defer conn.Close()
	speak(t, conn, addr+" "+alpn, data)
}

func speak(t *testing.T, conn net.Conn, what string, data []byte) {
	t.Helper()
	must(t, conn.SetDeadline(time.Now().Add(200*time.Millisecond)))
	if _, err := conn.Write(data); err != nil {
		return // the other end has closed already
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<16))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && len(answer) == 0 {
		return
	}
	for _, ok := range []string{"HTTP/1.1 2", "HTTP/1.0 2"} {
		if strings.HasPrefix(string(answer), ok) {
			t.Errorf("%s answers %d bytes of noise with %q", what, len(data), answer[:min(len(answer), 100)])
		}
	}
}

// manyHeaders sends a hundred thousand headers: refused, with the memory for them bounded.
func manyHeaders(t *testing.T, c *rig.Cluster) {
	n := c.Nodes[0]
	must(t, n.ResetPeak())
	idle, err := n.Memory("VmRSS")
	must(t, err)
	for range 5 {
		conn, err := net.Dial("tcp", n.IP+":9999")
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		go func() {
			w := bufio.NewWriterSize(conn, 1<<16)
			fmt.Fprintf(w, "GET / HTTP/1.1\r\nHost: x\r\n")
			for i := range 100_000 {
				if _, err := fmt.Fprintf(w, "x-amz-meta-%d: value\r\n", i); err != nil {
					return // refused already
				}
			}
			fmt.Fprint(w, "\r\n")
			_ = w.Flush() // likewise
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			if resp.StatusCode < 400 || resp.StatusCode == 500 {
				t.Errorf("answered with %s", resp.Status)
			}
			must(t, resp.Body.Close())
		}
		must(t, conn.Close())
	}
	peak, err := n.Memory("VmHWM")
	must(t, err)
	if grown := (peak - idle) >> 20; grown > 64 {
		t.Errorf("the headers took %d MiB", grown)
	}
	awsCLI(t, n, root(c), "s3", "ls")
}

// shortBody promises more than it sends: no object comes of it.
func shortBody(t *testing.T, c *rig.Cluster) {
	k := root(c)
	client := s3Client(c.Nodes[0], k)
	bucket(t, client, "short")
	for _, sent := range []int{0, 1, 70_000, 3 << 20} {
		conn, err := net.Dial("tcp", c.Nodes[0].IP+":9999")
		must(t, err)
		name := fmt.Sprintf("half-%d", sent)
		req, err := http.NewRequest("PUT", c.Nodes[0].Endpoint()+"/short/"+name, nil)
		must(t, err)
		signHTTP(t, req, k)
		fmt.Fprintf(conn, "PUT /short/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", name, req.URL.Host, 4<<20)
		must(t, req.Header.Write(conn))
		fmt.Fprint(conn, "\r\n")
		_, err = conn.Write(noise(name, sent))
		must(t, err)
		must(t, conn.(*net.TCPConn).CloseWrite())
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			if resp.StatusCode < 400 {
				t.Errorf("%d bytes of %d: %s", sent, 4<<20, resp.Status)
			}
			must(t, resp.Body.Close())
		}
		must(t, conn.Close())
		absent(t, c, k, "short", name)
	}
}
