package ebs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// child is a process that serves a volume.
type child struct {
	cmd *exec.Cmd
	Export
}

func startChild(t *testing.T, dir, run string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EBS_TEST_SERVE="+dir, "EBS_TEST_RUN="+run, "EBS_TEST_GIB=1", "EBS_TEST_CHECKPOINT=1048576")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c.Socket, c.Name = strings.TrimSpace(line), "vol-0123456789abcdef0"
	return c
}

// kill is kill -9.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill() // it may have ended by itself
		_ = c.cmd.Wait()         // it was killed: that is no error
	}
}

// stamp is a block that tells its number and which write of it it is.
func stamp(block int64, write uint64) []byte {
	b := bytes.Repeat([]byte{byte(write)}, 4096)
	binary.LittleEndian.PutUint64(b, uint64(block))
	binary.LittleEndian.PutUint64(b[8:], write)
	return b
}

// A process that is killed at any moment loses no block that was flushed; of those that were not, each is an earlier or a
// later write of that block, whole.
func TestKilledProcessLosesNothingThatWasFlushed(t *testing.T) {
	dir := t.TempDir()
	run, err := os.MkdirTemp("", "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	const blocks = 2000
	random := rand.New(rand.NewPCG(1, 2))
	flushed, written := [blocks]uint64{}, [blocks]uint64{}
	var count uint64
	for range 4 {
		served := startChild(t, dir, run)
		c := connect(t, served.Export)
		for block := range int64(blocks) {
			got := c.read(block<<12, 4096)
			n := binary.LittleEndian.Uint64(got[8:])
			if n < flushed[block] || n > written[block] || n > 0 && !bytes.Equal(got, stamp(block, n)) {
				t.Fatalf("block %d is write %d; flushed was %d, the last %d", block, n, flushed[block], written[block])
			}
			flushed[block], written[block] = n, n
		}
		stop := 1500 + random.IntN(1500)
		for i := range stop {
			block := random.Int64N(blocks)
			count++
			c.write(block<<12, stamp(block, count))
			written[block] = count
			if i%50 == 49 {
				c.flush()
				flushed = written
			}
		}
		served.kill()
	}
}
