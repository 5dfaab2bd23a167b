package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// client speaks HTTP over one connection that it keeps, and signs what it sends: as cheap a client as can be, because
// it shares the processors with the servers. It is for one goroutine.
type client struct {
	addr, region      string
	accessKey, secret string // "" sends unsigned requests
	token             string // of a session; "" for keys without
	conn              net.Conn
	in                *bufio.Reader
	buf               []byte
	keys              map[string][]byte // signing keys by date and service
}

// ask is one request.
type ask struct {
	method, path, query string // as they are on the wire, and so in the canonical request
	service             string // "s3" when empty
	body                []byte
	form                bool
	want                []byte // the body that the answer must have; nil takes any
	expect              int    // status; 200 when zero
}

// requestTime is when a request counts as failed.
const requestTime = 60 * time.Second

// do sends one request and reads its answer to the end.
func (c *client) do(a ask) ([]byte, error) {
	body, err := c.try(a)
	if err != nil {
		err = errors.Join(fmt.Errorf("%s %s at %s: %w", a.method, a.path, c.addr, err), c.close())
	}
	return body, err
}

func (c *client) close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

func (c *client) try(a ask) ([]byte, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return nil, err
	}
	parts := net.Buffers{c.head(a)}
	if len(a.body) > 0 {
		parts = append(parts, a.body)
	}
	if _, err := parts.WriteTo(c.conn); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: a.method})
	if err != nil {
		return nil, err
	}
	body, err := c.answer(resp, a)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.Close {
		return body, c.close()
	}
	return body, nil
}

func (c *client) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.addr, 2*time.Second)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 64<<10)
	if c.buf == nil {
		c.buf = make([]byte, 256<<10)
		c.keys = map[string][]byte{}
	}
	return nil
}

// answer reads the body; one that must be a certain one is compared and not kept.
func (c *client) answer(resp *http.Response, a ask) ([]byte, error) {
	if a.expect == 0 {
		a.expect = http.StatusOK
	}
	if resp.StatusCode != a.expect {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 2048))
		return nil, errors.Join(fmt.Errorf("status %s: %s", resp.Status, text), err)
	}
	if a.want == nil {
		return io.ReadAll(resp.Body)
	}
	rest := a.want
	for {
		n, err := resp.Body.Read(c.buf)
		if n > len(rest) || !bytes.Equal(c.buf[:n], rest[:n]) {
			return nil, fmt.Errorf("the answer differs from the object, somewhere from byte %d", len(a.want)-len(rest))
		}
		rest = rest[n:]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("the answer lacks %d bytes", len(rest))
	}
	return nil, nil
}

// head is the request's first line and headers, signed as Signature Version 4 says.
func (c *client) head(a ask) []byte {
	var b bytes.Buffer
	target := a.path
	if a.query != "" {
		target += "?" + a.query
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", a.method, target, c.addr, len(a.body))
	if a.form {
		b.WriteString("Content-Type: application/x-www-form-urlencoded\r\n")
	}
	if c.accessKey != "" {
		c.sign(&b, a)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func (c *client) sign(b *bytes.Buffer, a ask) {
	if a.service == "" {
		a.service = "s3"
	}
	stamp := time.Now().UTC().Format("20060102T150405Z")
	payload := "UNSIGNED-PAYLOAD"
	if a.service != "s3" {
		sum := sha256.Sum256(a.body)
		payload = hex.EncodeToString(sum[:])
	}
	signed := "host;x-amz-content-sha256;x-amz-date"
	headers := []string{"host:" + c.addr, "x-amz-content-sha256:" + payload, "x-amz-date:" + stamp}
	if c.token != "" {
		signed += ";x-amz-security-token"
		headers = append(headers, "x-amz-security-token:"+c.token)
		fmt.Fprintf(b, "X-Amz-Security-Token: %s\r\n", c.token)
	}
	canonical := strings.Join([]string{a.method, a.path, a.query, strings.Join(headers, "\n"), "", signed, payload}, "\n")
	scope := stamp[:8] + "/" + c.region + "/" + a.service + "/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	signature := hex.EncodeToString(mac(c.signingKey(stamp[:8], a.service), text))
	fmt.Fprintf(b, "X-Amz-Date: %s\r\nX-Amz-Content-Sha256: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s\r\n",
		stamp, payload, c.accessKey, scope, signed, signature)
}

func (c *client) signingKey(date, service string) []byte {
	key, ok := c.keys[date+service+c.secret]
	if !ok {
		key = mac(mac(mac(mac([]byte("AWS4"+c.secret), date), c.region), service), "aws4_request")
		c.keys[date+service+c.secret] = key
	}
	return key
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
