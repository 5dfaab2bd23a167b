package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone means that a process has ended, or that its number is another's by now.
var ErrGone = errors.New("process is gone")

// Mark names a process for good: numbers are used again, but not with the same start, and not across a reboot.
type Mark struct {
	PID     int    `json:"pid"`
	Start   uint64 `json:"start"`   // clock ticks since the machine's start
	Machine string `json:"machine"` // boot id of the machine
}

// Process is a running guest, child of this process or of one before it.
type Process struct {
	mark   Mark
	fd     *os.File // a pidfd: stays with this process even if its number is used again
	done   chan struct{}
	dead   bool   // it had ended when it was taken hold of
	status string // how it ended, if it was a child; set before done is closed
}

// Command is how a guest is started.
type Command struct {
	Wrap   []string // words before the binary
	Binary string
	Args   []string
	Socket string   // that QEMU listens on for QMP
	Tap    *os.File // nil: no interface; stays the caller's
	Log    string   // file that takes what QEMU prints
}

// Start starts a guest in a session of its own, so that it outlives this process. The QMP socket listens already when
// it returns. A guest that ends at once is no error here: its Status tells.
func Start(c Command) (*Process, error) {
	socket, err := listen(c.Socket)
	if err != nil {
		return nil, err
	}
	defer socket.Close() //nolint:errcheck // QEMU has its own descriptor
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // as above

	words := append(append([]string{}, c.Wrap...), c.Binary)
	words = append(words, c.Args...)
	cmd := exec.Command(words[0], words[1:]...) //nolint:gosec // the agent's own words
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH")} // the daemon's may hold what a guest must not see
	cmd.ExtraFiles = []*os.File{socket}
	if c.Tap != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, c.Tap)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p, err := hold(cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return p, cmd.Process.Release()
}

// listen makes a socket that listens at a path, and stays there when the file is closed.
func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer listener.Close() //nolint:errcheck // the file is another descriptor of it
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return listener.File()
}

// Open takes hold of the process that has the mark, or answers ErrGone.
func Open(m Mark) (*Process, error) {
	id, err := bootID()
	if err != nil {
		return nil, err
	}
	if m.PID <= 0 || id != m.Machine {
		return nil, ErrGone
	}
	p, err := open(m.PID)
	if err != nil {
		return nil, err
	}
	if p.mark != m {
		return nil, errors.Join(ErrGone, p.Close())
	}
	return p, nil
}

// open takes hold of the process that has the number and lives.
func open(pid int) (*Process, error) {
	p, err := hold(pid)
	if err == nil && p.dead {
		return nil, errors.Join(ErrGone, p.Close())
	}
	return p, err
}

// hold takes hold of whatever has the number, also of a child that has ended and was not waited for.
func hold(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd: %w", err)
	}
	p := &Process{fd: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	p.mark, p.dead, err = markOf(pid)
	if err != nil {
		return nil, errors.Join(err, p.fd.Close())
	}
	go p.watch()
	return p, nil
}

// markOf reads a process's mark, and whether it has ended.
func markOf(pid int) (m Mark, dead bool, err error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Mark{}, false, ErrGone
	}
	if err != nil {
		return Mark{}, false, err
	}
	// The name, in parentheses, may hold anything; field 3 is the first after it, 22 the start. Source: proc(5).
	rest := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(rest) < 20 {
		return Mark{}, false, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(rest))
	}
	start, err := strconv.ParseUint(rest[19], 10, 64)
	if err != nil {
		return Mark{}, false, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	id, err := bootID()
	return Mark{PID: pid, Start: start, Machine: id}, rest[0] == "Z" || rest[0] == "X", err
}

func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw)), err
}

// watch waits for the process's end, and takes its status if it was a child of this process.
func (p *Process) watch() {
	defer close(p.done)
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	ended := false
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		ended = n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		return ended
	})
	if err != nil || !ended {
		return // closed: the process goes on
	}
	var status unix.WaitStatus
	pid, err := unix.Wait4(p.mark.PID, &status, unix.WNOHANG, nil)
	switch {
	case err != nil || pid != p.mark.PID:
		p.status = "ended while nobody waited for its status"
	case status.Signaled():
		p.status = "ended by signal: " + status.Signal().String()
	default:
		p.status = "ended with status " + strconv.Itoa(status.ExitStatus())
	}
}

// Mark is the process's mark.
func (p *Process) Mark() Mark { return p.mark }

// Done is closed when the process has ended, or after Close.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status says how the process ended, after Done.
func (p *Process) Status() string { return p.status }

// Gone tells whether the process has ended.
func (p *Process) Gone() bool {
	select {
	case <-p.done:
		return p.status != ""
	default:
		return false
	}
}

// Kill ends the process at once. One that has ended is none to complain about.
func (p *Process) Kill() error {
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	return sent
}

// Close lets go of the process, which goes on.
func (p *Process) Close() error {
	err := p.fd.Close()
	<-p.done
	return err
}

// FindByPIDFile looks among the machine's processes for one that was started with the pid file: the way to a guest whose
// mark was never written down. ErrGone if there is none.
func FindByPIDFile(file string) (*Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	want := []byte("\x00-pidfile\x00" + file + "\x00")
	matches := func(pid string) bool {
		line, err := os.ReadFile("/proc/" + pid + "/cmdline")
		return err == nil && bytes.Contains(line, want) // one that cannot be read has ended
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // no process
		}
		if !matches(e.Name()) {
			continue
		}
		p, err := open(pid)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil || matches(e.Name()): // still: it is the one that is held
			return p, err
		default:
			if err := p.Close(); err != nil {
				return nil, err
			}
		}
	}
	return nil, ErrGone
}
