package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
	"hive/internal/fsmtest"
	"hive/shard"
)

const (
	testRegion  = "ap-southeast-2"
	testAccount = "123456789012"
)

var alice = &principal.Caller{Account: testAccount, ARN: "arn:aws:iam::123456789012:user/alice"}

// memBlobs is a blob store in memory.
type memBlobs struct {
	mu    sync.Mutex // guards blobs
	blobs map[fsm.BlobID][]byte
}

func newMemBlobs() *memBlobs { return &memBlobs{blobs: map[fsm.BlobID][]byte{}} }

func (m *memBlobs) Write(ctx context.Context, _ string, r io.Reader, size int64) (fsm.BlobRef, []fsm.Owed, error) {
	var buf bytes.Buffer
	buf.Grow(int(max(size, 0)))
	n, err := io.Copy(&buf, r)
	if err == nil && size >= 0 && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return fsm.BlobRef{}, nil, err
	}
	ref := fsm.BlobRef{K: 1, Size: n}
	rand.Read(ref.ID[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[ref.ID] = buf.Bytes()
	return ref, nil, nil
}

func (m *memBlobs) Read(ctx context.Context, ref fsm.BlobRef, off, n int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[ref.ID]
	if !ok {
		return nil, shard.ErrNotFound
	}
	if off < 0 || n < 0 || off+n > int64(len(b)) {
		return nil, fmt.Errorf("range %d+%d of %d", off, n, len(b))
	}
	return io.NopCloser(bytes.NewReader(b[off : off+n])), ctx.Err()
}

func (m *memBlobs) Delete(_ context.Context, ref fsm.BlobRef) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, ref.ID)
	return true, nil
}

// ids are the blobs that are stored.
func (m *memBlobs) ids() map[fsm.BlobID]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[fsm.BlobID]bool{}
	for id := range m.blobs {
		out[id] = true
	}
	return out
}

// rig is a service over groups without Raft.
type rig struct {
	*Service
	t       testing.TB
	control *fsmtest.Group
	index   []*fsmtest.Group
	blobs   *memBlobs
	clock   *clock
}

type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func newRig(t testing.TB, groups int) *rig {
	r := &rig{
		t: t, control: fsmtest.New(t, fsm.Control), blobs: newMemBlobs(),
		clock: &clock{now: time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)},
	}
	cfg := Config{
		Region: testRegion, Control: r.control, Blobs: r.blobs, Clock: r.clock.read, Rand: rand.Reader,
		Log: slog.New(slog.DiscardHandler),
	}
	for range groups {
		g := fsmtest.New(t, fsm.Index)
		r.index = append(r.index, g)
		cfg.Index = append(cfg.Index, g)
	}
	r.Service = New(cfg)
	t.Cleanup(r.check)
	return r
}

// check is run at the end of every test: each blob is referred to by a record or is garbage, none is
// both, and each that a record refers to is there.
func (r *rig) check() {
	live := map[fsm.BlobID]bool{}
	err := r.Live(context.Background(), func(ref fsm.BlobRef) bool {
		if live[ref.ID] {
			r.t.Errorf("blob %v is referred to twice", ref.ID)
		}
		live[ref.ID] = true
		return true
	})
	if err != nil {
		r.t.Error(err)
	}
	stored := r.blobs.ids()
	for id := range live {
		if !stored[id] {
			r.t.Errorf("blob %v of a record is not stored", id)
		}
	}
	garbage := r.garbage()
	for id := range garbage {
		if live[id] {
			r.t.Errorf("blob %v is garbage and referred to", id)
		}
	}
	maps.Copy(live, garbage)
	for id := range stored {
		if !live[id] {
			r.t.Errorf("blob %v is neither referred to nor garbage", id)
		}
	}
}

func (r *rig) garbage() map[fsm.BlobID]bool {
	out := map[fsm.BlobID]bool{}
	for _, g := range r.index {
		err := g.View(func(v *fsm.View) error {
			fsm.GarbageFrom(v, fsm.BlobID{}, func(row fsm.Garbage) bool {
				out[row.Ref.ID] = true
				if row.Since == 0 {
					r.t.Errorf("garbage %v has no time", row.Ref.ID)
				}
				return true
			})
			return nil
		})
		if err != nil {
			r.t.Error(err)
		}
	}
	return out
}

func eachRig(t *testing.T, fn func(t *testing.T, r *rig)) {
	for _, groups := range []int{1, 3} {
		t.Run(fmt.Sprintf("groups=%d", groups), func(t *testing.T) { fn(t, newRig(t, groups)) })
	}
}

func (r *rig) bucket(name string) {
	r.t.Helper()
	_, err := r.CreateBucket(context.Background(), alice, &sdk.CreateBucketInput{
		Bucket:                    &name,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) put(bucket, key, body string) string {
	r.t.Helper()
	out, err := r.PutObject(context.Background(), alice, &sdk.PutObjectInput{Bucket: &bucket, Key: &key, Body: textBody(body)})
	if err != nil {
		r.t.Fatalf("put %s: %v", key, err)
	}
	return *out.ETag
}

func (r *rig) get(bucket, key string) string {
	r.t.Helper()
	out, err := r.GetObject(context.Background(), alice, &sdk.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		r.t.Fatalf("get %s: %v", key, err)
	}
	return readAll(r.t, out.Body)
}

func readAll(t testing.TB, body io.ReadCloser) string {
	t.Helper()
	b, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// body is a request's payload.
type body struct {
	io.Reader
	size int64
	sums map[string]string
}

func (b *body) Size() int64                  { return b.size }
func (b *body) Checksums() map[string]string { return b.sums }

func textBody(s string) io.Reader {
	return &body{Reader: bytes.NewReader([]byte(s)), size: int64(len(s))}
}

// wantCode fails unless err is the answer with this code, or nil for "".
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if got := codeOf(err); got != code || code == "" && err != nil {
		t.Errorf("answered %v, want code %q", err, code)
	}
}

func fieldOf(err error, name string) string {
	var answer *protocol.Error
	if errors.As(err, &answer) {
		for _, f := range answer.Fields {
			if f.Name == name {
				return f.Value
			}
		}
	}
	return ""
}

var str = aws.String
