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
	"strings"
	"syscall"
	"time"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
	"hive/test/rig"
)

// blockServer is a row of the block servers' table: something that serves an empty device of volumeSize bytes or more
// over NBD on a unix socket.
type blockServer struct {
	name  string
	needs []string // programs; without them the row is left out, and the table says so
	start func(ctx context.Context, b *bench, dir string) (*blockProcess, error)
}

// notHere is why something cannot be measured on this machine. It is told, and is no failure.
type notHere string

func (n notHere) Error() string { return string(n) }

// blockProcess is a block server that runs.
type blockProcess struct {
	socket, export string
	procs          []rig.Proc // whose processor time and memory count
	stop           func() error
}

// volumeSize is how much of the devices is used, in bytes.
const volumeSize = 256 << 20

// blockServers are the rows; the ratios are to the references.
var (
	blockServers = []blockServer{
		{"Hive nbd, memory", nil, startHiveMemory},
		{"Hive volume, 1 copy", nil, startVolume},
		{"Hive volume, 3 copies", []string{"qemu-system-x86_64", "qemu-img", "ssh"}, startReplicated},
		{"nbdkit memory", []string{"nbdkit"}, startNbdkitMemory},
		{"nbdkit file", []string{"nbdkit"}, startNbdkitFile},
		{"qemu-nbd raw", []string{"qemu-nbd"}, startQemuNBD},
	}
	blockReferences = []string{"nbdkit memory", "nbdkit file"}
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

// startBlock runs a command in the foreground and waits until it listens.
func startBlock(ctx context.Context, socket, name string, args ...string) (*blockProcess, error) {
	c, err := startChild(ctx, nil, name, args...)
	if err != nil {
		return nil, err
	}
	p := &blockProcess{socket: socket, procs: c.procs(), stop: c.end}
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = rig.Await(within, name+" to listen", func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		return nil, c.failed(err)
	}
	return p, nil
}

// child is a process that ends with this one.
type child struct {
	cmd  *exec.Cmd
	said bytes.Buffer // also of probing connections: worth showing only when it does not start
}

// startChild runs a command. The caller's goroutine stays locked to its thread: the child ends with it.
func startChild(ctx context.Context, stdout *os.File, name string, args ...string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, name, args...)}
	c.cmd.Stderr = &c.said
	if stdout != nil {
		c.cmd.Stdout = stdout
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c, c.cmd.Start()
}

func (c *child) procs() []rig.Proc { return []rig.Proc{rig.Proc(c.cmd.Process.Pid)} }

// failed ends a child that did not come up, and adds to the cause what it said.
func (c *child) failed(err error) error {
	err = errors.Join(err, c.end()) // after which nobody writes to said
	return fmt.Errorf("%w\n%s", err, c.said.Bytes())
}

// end kills a child and waits for it.
func (c *child) end() error {
	err := c.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	var exit *exec.ExitError
	if e := c.cmd.Wait(); e != nil && !errors.As(e, &exit) && !errors.Is(e, context.Canceled) {
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
		if !strings.Contains(s.name, b.servers) {
			continue
		}
		if program := missing(s.needs); program != "" {
			fmt.Fprintf(b.out, "- %s: not measured, there is no %s here\n", s.name, program)
			continue
		}
		p, err := s.start(ctx, b, b.dir)
		if reason := notHere(""); errors.As(err, &reason) {
			fmt.Fprintf(b.out, "- %s: not measured: %s\n", s.name, reason)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.servers = append(t.servers, blockRunning{s.name, p})
	}
	if len(t.servers) == 0 {
		return nil
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
