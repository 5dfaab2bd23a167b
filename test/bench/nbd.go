package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
	"hive/test/rig"
)

// blockServer is a row of the block servers' table: something that serves one empty device of volumeSize bytes as
// the NBD export "" on a unix socket.
type blockServer struct {
	name  string
	needs []string // programs; without them the row is left out, and the table says so
	start func(ctx context.Context, b *bench, dir string) (*blockProcess, error)
}

// blockProcess is a block server that runs.
type blockProcess struct {
	socket string
	procs  []rig.Proc // whose processor time and memory count
	stop   func() error
}

// volumeSize of the devices, in bytes.
const volumeSize = 256 << 20

// blockServers are the rows; the ratios are to the reference.
var (
	blockServers = []blockServer{
		{"Hive nbd, memory", nil, startHiveMemory},
		{"nbdkit memory", []string{"nbdkit"}, startNbdkitMemory},
		{"nbdkit file", []string{"nbdkit"}, startNbdkitFile},
		{"qemu-nbd raw", []string{"qemu-nbd"}, startQemuNBD},
	}
	blockReference = "nbdkit memory"
)

// nbdCommand lets this program be Hive's NBD server over memory: bench serve-nbd SOCKET BYTES.
const nbdCommand = "serve-nbd"

func serveNBD(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: %s SOCKET BYTES", nbdCommand)
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	all := []nbd.Export{{Device: nbdtest.NewMemory(size)}}
	return nbd.New(nbd.Config{Exports: func() []nbd.Export { return all }, MultiConn: true}).Run(context.Background(), l)
}

func startHiveMemory(ctx context.Context, _ *bench, dir string) (*blockProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "hive.sock")
	return startBlock(ctx, socket, self, nbdCommand, socket, strconv.Itoa(volumeSize))
}

func startNbdkitMemory(ctx context.Context, _ *bench, dir string) (*blockProcess, error) {
	socket := filepath.Join(dir, "nbdkit.sock")
	return startBlock(ctx, socket, "nbdkit", "--foreground", "--unix", socket, "memory", strconv.Itoa(volumeSize))
}

func startNbdkitFile(ctx context.Context, _ *bench, dir string) (*blockProcess, error) {
	file, err := rawFile(dir, "nbdkit.raw")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "nbdkit-file.sock")
	return startBlock(ctx, socket, "nbdkit", "--foreground", "--unix", socket, "file", file)
}

func startQemuNBD(ctx context.Context, _ *bench, dir string) (*blockProcess, error) {
	file, err := rawFile(dir, "qemu.raw")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "qemu-nbd.sock")
	return startBlock(ctx, socket, "qemu-nbd", "--socket="+socket, "--format=raw", "--persistent", "--shared=0", "--discard=unmap", file)
}

// rawFile makes a sparse file of the volumes' size.
func rawFile(dir, name string) (string, error) {
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return "", err
	}
	return file, os.Truncate(file, volumeSize)
}

// startBlock runs a command in the foreground and waits until it listens. The caller's goroutine stays locked to its
// thread: the child ends with it.
func startBlock(ctx context.Context, socket, name string, args ...string) (*blockProcess, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer // also of probing connections: worth showing only when it does not start
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &blockProcess{socket: socket, procs: []rig.Proc{rig.Proc(cmd.Process.Pid)}, stop: func() error { return end(cmd) }}
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := rig.Await(within, name+" to listen", func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		err = errors.Join(err, p.stop()) // after which nobody writes to said
		return nil, fmt.Errorf("%w\n%s", err, said.Bytes())
	}
	return p, nil
}

// end kills a child and waits for it.
func end(cmd *exec.Cmd) error {
	err := cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	var exit *exec.ExitError
	if e := cmd.Wait(); e != nil && !errors.As(e, &exit) && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, e)
	}
	return err
}

// blocks measures the block servers and prints their table.
func (b *bench) blocks(ctx context.Context) (err error) {
	runtime.LockOSThread() // children live as long as the thread that made them
	defer runtime.UnlockOSThread()
	fmt.Fprintf(b.out, "\n### Block servers\n\n")
	if _, err := exec.LookPath("fio"); err != nil {
		fmt.Fprintln(b.out, "Not measured: there is no fio here.")
		return nil
	}
	var t blockTable
	defer func() {
		for _, s := range t.servers {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, s := range blockServers {
		if program := missing(s.needs); program != "" {
			fmt.Fprintf(b.out, "- %s: not measured, there is no %s here\n", s.name, program)
			continue
		}
		p, err := s.start(ctx, b, b.dir)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.servers = append(t.servers, blockRunning{s.name, p})
	}
	if err := t.measure(ctx, b); err != nil {
		return err
	}
	t.print(b.out)
	return nil
}

func missing(programs []string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}
