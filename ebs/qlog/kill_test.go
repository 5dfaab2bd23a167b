package qlog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"hive/fsm"
)

// childDir tells a child process of the test where to write.
const childDir = "QLOG_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		work := writeForEver
		if os.Getenv("QLOG_TEST_GENERATION") == "" {
			work = serveForEver
		}
		if err := work(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeForEver owns a log in dir and says of each record when it is synced.
func writeForEver(dir string) error {
	store, err := OpenStore(StoreConfig{Dir: dir, SegmentSize: 256 << 10})
	if err != nil {
		return err
	}
	ctx := context.Background()
	seen := 0
	generation, err := strconv.ParseUint(os.Getenv("QLOG_TEST_GENERATION"), 10, 64)
	if err != nil {
		return err
	}
	l, err := Open(ctx, childConfig(store, generation), func(Record) error { seen++; return nil })
	if err != nil {
		return err
	}
	for i := seen; ; i++ {
		if _, err := l.Append(Write, int64(i)*4096, 3000, content(i, 3000)); err != nil {
			return err
		}
		if i%3 > 0 {
			continue // some are never waited for
		}
		if err := l.Sync(ctx); err != nil {
			return err
		}
		fmt.Println("synced", i+1)
	}
}

// serveForEver keeps copies in dir for owners in other processes.
func serveForEver(dir string) error {
	store, err := OpenStore(StoreConfig{Dir: dir})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return store.Serve(context.Background(), l)
}

func childConfig(store *Store, generation uint64) Config {
	return Config{
		Volume: testVolume, Generation: generation, Self: "n-a", Replicas: []fsm.NodeID{"n-a"}, Store: store,
		Dial: func(context.Context, fsm.NodeID) (net.Conn, error) { return nil, net.ErrClosed },
	}
}

func TestAKilledProcessLosesNothingThatItSynced(t *testing.T) {
	dir := t.TempDir()
	synced := 0
	for generation := uint64(1); generation <= 6; generation++ {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("QLOG_TEST_GENERATION=%d", generation))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		goal := synced + 100
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, ok := strings.CutPrefix(lines.Text(), "synced ")
			if !ok {
				t.Fatal(lines.Text())
			}
			if synced, err = strconv.Atoi(n); err != nil {
				t.Fatal(err)
			}
			if synced >= goal {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				goal = 1 << 60 // what it said before it died counts too
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	store, err := OpenStore(StoreConfig{Dir: dir, SegmentSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	l, err := Open(t.Context(), childConfig(store, 100), func(r Record) error {
		if r.Offset != int64(n)*4096 || !bytes.Equal(r.Data, content(n, 3000)) {
			return fmt.Errorf("record %d is not what was appended", n)
		}
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < synced {
		t.Fatalf("%d records were synced, %d are there", synced, n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
