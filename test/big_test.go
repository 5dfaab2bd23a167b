package test

import (
	"context"
	"crypto/md5"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"hive/test/rig"
)

// endless is a body of size bytes made as it is read: the same for the same seed.
type endless struct {
	state uint64
	left  int64
	sum   hash.Hash
}

func newEndless(size int64) *endless {
	return &endless{state: 88172645463325252, left: size, sum: md5.New()}
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), e.left)]
	for i := 0; i < len(p); i += 8 {
		e.state ^= e.state << 13
		e.state ^= e.state >> 7
		e.state ^= e.state << 17
		v := e.state
		for j := i; j < min(i+8, len(p)); j++ {
			p[j] = byte(v)
			v >>= 8
		}
	}
	e.left -= int64(len(p))
	e.sum.Write(p)
	return len(p), nil
}

// bigSize is what goes in and out of TestABigObjectTakesBoundedMemory: 5 GiB, or HIVE_TEST_BIG bytes.
func bigSize(t *testing.T) int64 {
	t.Helper()
	text := os.Getenv("HIVE_TEST_BIG")
	if text == "" {
		return 5 << 30
	}
	size, err := strconv.ParseInt(text, 10, 64)
	must(t, err)
	return size
}

func TestABigObjectTakesBoundedMemory(t *testing.T) {
	c := form(t, 3)
	k, size := root(c), bigSize(t)
	bucket(t, s3Client(c.Nodes[0], k), "big")
	idle := map[*rig.Node]int64{}
	for _, n := range c.Nodes {
		must(t, n.ResetPeak())
		rss, err := n.Memory("VmRSS")
		must(t, err)
		idle[n] = rss
	}
	body := newEndless(size)
	resp, err := upload(t, c.Nodes[0], k, "big", "object", body, size)
	must(t, err)
	must(t, resp.Body.Close())
	want := fmt.Sprintf(`"%x"`, body.sum.Sum(nil))
	if resp.StatusCode != 200 || resp.Header.Get("ETag") != want {
		t.Fatalf("PUT of %d bytes: %s, ETag %s, want %s", size, resp.Status, resp.Header.Get("ETag"), want)
	}
	if got := download(t, c.Nodes[1], k, "big", "object"); got != want {
		t.Errorf("GET: MD5 %s, want %s", got, want)
	}
	must(t, c.Nodes[2].Kill()) // half of the stripes are now computed
	must(t, c.Ready(soon(t)))
	if got := download(t, c.Nodes[1], k, "big", "object"); got != want {
		t.Errorf("GET without node3: MD5 %s, want %s", got, want)
	}
	for _, n := range c.Nodes[:2] {
		peak, err := n.Memory("VmHWM")
		must(t, err)
		grown := (peak - idle[n]) >> 20
		t.Logf("%s: idle %d MiB, at most %d MiB more", n.Name, idle[n]>>20, grown)
		if grown >= 256 {
			t.Errorf("%s took %d MiB more than idle, less than 256 is right", n.Name, grown)
		}
	}
	must(t, c.StartAll(soon(t)))
}

// download is the MD5 of an object, read without keeping it.
func download(t *testing.T, n *rig.Node, k key, bucket, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", n.Endpoint()+"/"+bucket+"/"+name, nil)
	must(t, err)
	signHTTP(t, req, k)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("GET: %s", resp.Status)
	}
	sum := md5.New()
	_, err = io.Copy(sum, resp.Body)
	must(t, err)
	return fmt.Sprintf(`"%x"`, sum.Sum(nil))
}
