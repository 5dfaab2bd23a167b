package fsm

import (
	"reflect"
	"testing"
)

func TestAListingReadsTheHeadOfAnObjectWithEveryField(t *testing.T) {
	raw, err := encoder.Marshal(goldenObject)
	if err != nil {
		t.Fatal(err)
	}
	if field := zeroField(reflect.ValueOf(goldenObject)); field != "" {
		t.Fatalf("the example does not fill %s", field)
	}
	var line ObjectLine
	if err := decoder.Unmarshal(raw, &line); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(line.ObjectHead, goldenObject.ObjectHead) {
		t.Errorf("read %+v, want %+v", line.ObjectHead, goldenObject.ObjectHead)
	}
}

func TestUploadsOfOneKeySortBetweenKeys(t *testing.T) {
	a, b := NewUploadKey("bucket", "a", "2"), NewUploadKey("bucket", "a!", "1")
	if a >= b {
		t.Errorf("%q sorts behind %q", a, b)
	}
	if bucket, key, id := a.Split(); bucket != "bucket" || key != "a" || id != "2" {
		t.Errorf("split into %q, %q, %q", bucket, key, id)
	}
}
