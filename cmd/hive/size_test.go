package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestTheBinaryHoldsNoSDKClients: urfave/cli prints its help with text/template, which calls
// methods by name, so that the linker keeps every method of every type that a value may have. The
// SDK's clients must therefore not be reachable at all: they are 42 MB.
func TestTheBinaryHoldsNoSDKClients(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "hive")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-w", "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	client := regexp.MustCompile(`aws-sdk-go-v2/service/\w+\.\(\*Client\)\.\w+`)
	if found := client.Find(symbols); found != nil {
		t.Errorf("the binary holds %s", found)
	}
	if !bytes.Contains(symbols, []byte("main.newApp")) {
		t.Error("the symbols of the binary could not be read")
	}
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 60 << 20
	if info.Size() > limit {
		t.Errorf("the binary has %d bytes, the limit is %d", info.Size(), limit)
	}
	t.Logf("the binary has %d bytes with its symbols", info.Size())
}
