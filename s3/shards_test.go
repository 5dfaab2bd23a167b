package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/internal/vfs"
	"hive/shard"
)

// newShards is the blob store of a cluster of three, in memory, as its first node sees it.
func newShards(t testing.TB) *shard.Store {
	control := fsmtest.New(t, fsm.Control)
	var nodes []shard.Node
	for i := range 3 {
		nodes = append(nodes, shard.Node{ID: fsm.NodeID(fmt.Sprintf("n-%d", i))})
	}
	table, err := shard.PlanTable(nodes, shard.ProfileFor(3), 16)
	if err != nil {
		t.Fatal(err)
	}
	if err := control.Propose(context.Background(), table); err != nil {
		t.Fatal(err)
	}
	direct := shard.Direct{}
	for _, n := range nodes {
		store, err := shard.Open(context.Background(), shard.Config{
			Node: n.ID, FS: vfs.NewMem(1 << 40), Dir: "/shards", Control: control, Peers: direct,
			Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), SegmentSize: 64 << 20, Reserve: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		direct[n.ID] = store
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return direct["n-0"]
}

// What this package expects of a blob store, of each that it runs over.
func TestBlobStoresKeepTheirContract(t *testing.T) {
	for name, b := range map[string]Blobs{"memory": newMemBlobs(), "shards": newShards(t)} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			data := make([]byte, 3<<20+17)
			rand.Read(data)
			ref, _, err := b.Write(ctx, "bucket/key", bytes.NewReader(data), int64(len(data)))
			if err != nil || ref.Size != int64(len(data)) || ref.ID == (fsm.BlobID{}) {
				t.Fatalf("%+v, %v", ref, err)
			}
			for _, cut := range [][2]int64{{0, ref.Size}, {0, 1}, {ref.Size - 1, 1}, {1 << 20, 1<<20 + 3}} {
				r, err := b.Read(ctx, ref, cut[0], cut[1])
				if err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, r); got != string(data[cut[0]:cut[0]+cut[1]]) {
					t.Errorf("read %v: %d bytes", cut, len(got))
				}
			}
			other, _, err := b.Write(ctx, "bucket/key", bytes.NewReader(data[:5]), 5)
			if err != nil || other.ID == ref.ID {
				t.Errorf("a second blob under the key: %+v, %v", other, err)
			}
			if done, err := b.Delete(ctx, ref); err != nil || !done {
				t.Errorf("delete: %v, %v", done, err)
			}
			if _, err := b.Read(ctx, ref, 0, 1); !errors.Is(err, shard.ErrNotFound) {
				t.Errorf("read of a deleted blob: %v", err)
			}
			if done, err := b.Delete(ctx, ref); err != nil || !done {
				t.Errorf("delete again: %v, %v", done, err)
			}
			cause := errors.New("the client's fault")
			_, _, err = b.Write(ctx, "bucket/key", io.MultiReader(bytes.NewReader(data), errReader{cause}), int64(len(data))+9)
			if !errors.Is(err, cause) {
				t.Errorf("a body that failed: %v", err)
			}
			if _, _, err = b.Write(ctx, "bucket/key", bytes.NewReader(data), int64(len(data))+1); err == nil {
				t.Error("a body that is too short was stored")
			}
		})
	}
}
