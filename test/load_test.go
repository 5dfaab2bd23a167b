package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"hive/test/rig"
)

// signHTTP signs a request without its payload.
func signHTTP(t *testing.T, req *http.Request, k key) {
	t.Helper()
	const unsigned = "UNSIGNED-PAYLOAD"
	req.Header.Set("X-Amz-Content-Sha256", unsigned)
	must(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: k.id, SecretAccessKey: k.secret}, req, unsigned, "s3", rig.Region, time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }))
}

// absent fails unless no node has the object.
func absent(t *testing.T, c *rig.Cluster, k key, bucket, name string) {
	t.Helper()
	for _, n := range c.Nodes {
		_, err := s3Client(n, k).HeadObject(soon(t), &s3.HeadObjectInput{Bucket: &bucket, Key: &name})
		if code(err) != "NotFound" {
			t.Errorf("%s of %s on %s: %v, want NotFound", name, bucket, n.Name, err)
		}
	}
}

// load writes objects through all nodes of a cluster at once, and knows which were acknowledged.
type load struct {
	bucket  string
	clients []*s3.Client

	mu     sync.Mutex // guards what follows
	acked  map[string]int64
	doubt  map[string]int64 // an error was answered: it may be there, whole, or not at all
	errs   map[string]int
	rounds int
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// sizes of the objects: below, at and above a segment's block and the stripes.
var sizes = []int64{0, 1, 4096, 65536, 65537, 300_000, 1 << 20, 5<<20 + 1}

// newLoad makes a bucket for objects that writers put through the nodes by turns.
func newLoad(t *testing.T, c *rig.Cluster, name string) *load {
	t.Helper()
	l := &load{bucket: name, acked: map[string]int64{}, doubt: map[string]int64{}, errs: map[string]int{}}
	for _, n := range c.Nodes {
		l.clients = append(l.clients, s3Client(n, root(c)))
	}
	bucket(t, l.clients[0], name)
	return l
}

// start lets writers write until stop.
func (l *load) start(t *testing.T, writers int) {
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel = cancel
	l.rounds++
	round := l.rounds
	for w := range writers {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.write(ctx, l.clients[(w+i)%len(l.clients)], fmt.Sprintf("%d-%d/%06d", round, w, i), sizes[rand.IntN(len(sizes))])
			}
		})
	}
	t.Cleanup(l.stop)
}

func (l *load) write(ctx context.Context, client *s3.Client, name string, size int64) {
	// Detached: an upload that is under way when the load stops is still answered.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &l.bucket, Key: &name, Body: bytes.NewReader(noise(name, int(size)))})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.acked[name] = size
		return
	}
	l.doubt[name] = size
	what := code(err)
	if what == "" {
		what = "connection"
	}
	l.errs[what]++
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// progress waits until n more objects are acknowledged.
func (l *load) progress(t *testing.T, n int) {
	t.Helper()
	want := l.count() + n
	waitFor(t, fmt.Sprintf("%d more acknowledged writes", n), func() error {
		if have := l.count(); have < want {
			return fmt.Errorf("%d of %d, errors %v", have, want, l.errs)
		}
		return nil
	})
}

// verify reads everything through all clients: what was acknowledged is there and right; what is in doubt is right if
// it is there.
func (l *load) verify(t *testing.T, clients ...*s3.Client) {
	t.Helper()
	if clients == nil {
		clients = l.clients
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d writes acknowledged, %d in doubt, errors %v", len(l.acked), len(l.doubt), l.errs)
	var g errgroup.Group
	g.SetLimit(8)
	i := 0
	for name, size := range l.acked {
		client := clients[i%len(clients)]
		i++
		g.Go(func() error { return l.check(t.Context(), client, name, size, true) })
	}
	for name, size := range l.doubt {
		client := clients[i%len(clients)]
		i++
		g.Go(func() error { return l.check(t.Context(), client, name, size, false) })
	}
	must(t, g.Wait())
}

func (l *load) check(ctx context.Context, client *s3.Client, name string, size int64, must bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &l.bucket, Key: &name})
	if !must && code(err) == "NoSuchKey" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s of %d bytes: %w", name, size, err)
	}
	body, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return fmt.Errorf("%s of %d bytes: %w", name, size, err)
	}
	if !bytes.Equal(body, noise(name, int(size))) {
		return fmt.Errorf("%s: %d bytes that are not the %d written", name, len(body), size)
	}
	return nil
}
