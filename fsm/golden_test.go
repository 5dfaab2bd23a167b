package fsm

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files that do not exist yet")

// goldenExamples are one example of every command; each room's stand in its own *_golden_test.go.
var goldenExamples = slices.Concat(
	clusterGolden,
	blobGolden,
	partitionGolden,
	iamGolden,
	entityGolden,
	recordsGolden,
	sessionGolden,
	bucketGolden,
	objectGolden,
	ec2Golden,
	accountGolden,
	eventGolden,
)

func goldenPath(k Kind) string { return filepath.Join("testdata", "golden", fmt.Sprintf("%d.hex", k)) }

// The bytes of a command never change: logs of older versions hold them. A wrong command that no
// release has written may have its file removed by hand; -update only adds files.
func TestGoldenBytesOfEveryCommandStay(t *testing.T) {
	for _, cmd := range goldenExamples {
		t.Run(fmt.Sprint(cmd.Kind()), func(t *testing.T) {
			entry, err := EncodeCommand(cmd)
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeCommand(kinds[cmd.Kind()].Class, entry)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, cmd) {
				t.Fatalf("decoded %+v, encoded %+v", back, cmd)
			}
			checkGolden(t, goldenPath(cmd.Kind()), hex.EncodeToString(entry))
		})
	}
}

func checkGolden(t *testing.T, path, got string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		want, err = []byte(got+"\n"), os.WriteFile(path, []byte(got+"\n"), 0o644)
	}
	if err != nil {
		t.Fatalf("%v (go test ./fsm -run Golden -update writes the files of new kinds)", err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Errorf("bytes changed:\n got %s\nwant %s", got, strings.TrimSpace(string(want)))
	}
}

func TestGoldenExampleForEveryKindExactlyOnceAndComplete(t *testing.T) {
	seen := map[Kind]bool{}
	for _, cmd := range goldenExamples {
		if seen[cmd.Kind()] {
			t.Errorf("kind %d has two examples", cmd.Kind())
		}
		seen[cmd.Kind()] = true
		if field := zeroField(reflect.ValueOf(cmd).Elem()); field != "" {
			t.Errorf("kind %d: the example does not fill %s, so its bytes would not show a change of it", cmd.Kind(), field)
		}
	}
	for _, k := range KnownKinds() {
		if !seen[k] {
			t.Errorf("kind %d has no example: add one to its room's *_golden_test.go", k)
		}
	}
}

// A kind is append-only: once its bytes are kept it stays in the table.
func TestGoldenFileOfEveryKindHasItsCommand(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.hex"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		known := slices.ContainsFunc(KnownKinds(), func(k Kind) bool { return goldenPath(k) == f })
		if !known {
			t.Errorf("%s: no command of that kind", f)
		}
	}
}

var metaType = reflect.TypeFor[Meta]()

// zeroField is the path of the first field that is not filled. Meta is what the machine fills.
func zeroField(v reflect.Value) string {
	switch {
	case v.Type() == metaType:
		return ""
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return zeroField(v.Elem())
	case v.Kind() == reflect.Slice && v.Len() > 0:
		return zeroField(v.Index(0))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("cbor") == "-" {
				continue
			}
			if inner := zeroField(v.Field(i)); inner != "" {
				return v.Type().Field(i).Name + "." + inner
			}
		}
		return ""
	case v.IsZero():
		return v.Type().String()
	}
	return ""
}
