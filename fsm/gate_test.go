package fsm_test

import (
	"context"
	"errors"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

func wantRefusal(t *testing.T, g *fsmtest.Group, cmd fsm.Command, cause error) {
	t.Helper()
	if err := g.Propose(context.Background(), cmd); !errors.Is(err, cause) {
		t.Errorf("%T: %v, want %v", cmd, err, cause)
	}
}

func TestASealedGateRefusesWhatWouldFillItsBucket(t *testing.T) {
	g := fsmtest.New(t, fsm.Index)
	fill := []fsm.Command{
		&fsm.PutObject{Bucket: "b", Born: 5, Key: "k"},
		&fsm.CreateUpload{Bucket: "b", Born: 5, Key: "k", ID: "upload"},
	}
	seal := &fsm.SealGate{Name: "b", Born: 5, Seq: 6}
	for _, cmd := range fill {
		wantRefusal(t, g, cmd, fsm.ErrConflict) // no gate yet
	}
	wantRefusal(t, g, &fsm.OpenGate{Name: "b", Born: 5, Seq: 5}, nil)
	wantRefusal(t, g, fill[1], nil)
	wantRefusal(t, g, seal, fsm.ErrInUse)
	wantRefusal(t, g, &fsm.AbortUpload{Bucket: "b", Key: "k", ID: "upload"}, nil)
	wantRefusal(t, g, fill[0], nil)
	wantRefusal(t, g, seal, fsm.ErrInUse)
	wantRefusal(t, g, &fsm.DeleteObjects{Bucket: "b", Born: 5, Keys: []string{"k"}}, nil)
	wantRefusal(t, g, &fsm.RemoveGate{Name: "b", Seq: 6}, fsm.ErrConflict) // not sealed
	wantRefusal(t, g, seal, nil)
	wantRefusal(t, g, seal, nil) // again
	for _, cmd := range fill {
		wantRefusal(t, g, cmd, fsm.ErrConflict)
	}
	wantRefusal(t, g, &fsm.RemoveGate{Name: "b", Seq: 6}, nil)
	wantRefusal(t, g, &fsm.RemoveGate{Name: "b", Seq: 6}, nil) // again
	wantRefusal(t, g, &fsm.OpenGate{Name: "b", Born: 5, Seq: 6}, fsm.ErrConflict)
	wantRefusal(t, g, seal, fsm.ErrConflict)
	wantRefusal(t, g, &fsm.OpenGate{Name: "b", Born: 7, Seq: 7}, nil)
	wantRefusal(t, g, fill[0], fsm.ErrConflict) // of the bucket that was
}

func TestABlobRecordedTwiceIsNotItsOwnGarbage(t *testing.T) {
	g := fsmtest.New(t, fsm.Index)
	wantRefusal(t, g, &fsm.OpenGate{Name: "b", Born: 5, Seq: 5}, nil)
	wantRefusal(t, g, &fsm.CreateUpload{Bucket: "b", Born: 5, Key: "k", ID: "upload"}, nil)
	blob := func(n byte) *fsm.BlobRef { return &fsm.BlobRef{ID: fsm.BlobID{n}, K: 1, Size: 1} }
	put := func(n byte) fsm.Command {
		return &fsm.PutObject{Bucket: "b", Born: 5, Key: "k", Object: fsm.Object{Blob: blob(n)}}
	}
	part := func(n byte) fsm.Command {
		return &fsm.PutPart{Bucket: "b", Key: "k", ID: "upload", Number: 1, Part: fsm.Part{Blob: blob(n)}}
	}
	for _, cmd := range []fsm.Command{put(1), put(1), part(2), part(2)} {
		wantRefusal(t, g, cmd, nil)
	}
	if n := garbage(t, g); n != 0 {
		t.Errorf("%d blobs are garbage", n)
	}
	wantRefusal(t, g, put(3), nil)
	wantRefusal(t, g, part(4), nil)
	wantRefusal(t, g, put(1), fsm.ErrDenied) // given up since
	wantRefusal(t, g, part(2), fsm.ErrDenied)
	if n := garbage(t, g); n != 2 {
		t.Errorf("%d blobs are garbage", n)
	}
}

func garbage(t *testing.T, g *fsmtest.Group) (n int) {
	t.Helper()
	err := g.View(func(v *fsm.View) error {
		fsm.GarbageFrom(v, fsm.BlobID{}, func(fsm.Garbage) bool { n++; return true })
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}
