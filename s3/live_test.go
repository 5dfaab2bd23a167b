package s3

import (
	"context"
	"fmt"
	"testing"

	"hive/fsm"
)

// check, at the end, finds every blob that the pages have left out.
func TestLiveBlobsAreReadInPages(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.bucket("bucket")
		for i := range livePage + 50 {
			r.put("bucket", fmt.Sprint(i), "x")
		}
		n := 0
		err := r.Live(context.Background(), func(fsm.BlobRef) bool { n++; return n < 7 })
		if err != nil || n != 7 {
			t.Errorf("%d blobs before the end, %v", n, err)
		}
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := r.Live(ended, func(fsm.BlobRef) bool { return true }); err == nil {
			t.Error("went on after its context ended")
		}
	})
}
