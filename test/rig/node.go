package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"hive/internal/admin"
)

// Node is one process of a cluster, and what it is started again from.
type Node struct {
	Name, IP, Dir, LogFile string
	Bin                    string
	Zone                   string
	vxlan                  int      // UDP port; 0 is the program's own
	Wrap                   []string // the command that it runs below
	Env                    []string
	proc                   *process
}

// process is a running daemon, our own child.
type process struct {
	cmd   *exec.Cmd
	ended atomic.Bool
	done  chan struct{} // closed after err is set
	err   error
}

// launchWithin is how long init and join may take before they print their answer.
const launchWithin = 90 * time.Second

// place is the start of an init's or join's command line.
func (n *Node) place(command string) []string {
	args := []string{command, "--region", Region, "--az", n.Zone, "--node", n.Name, "--hive-dir", n.Dir, "--bind", n.IP}
	if n.vxlan > 0 {
		args = append(args, "--vxlan-port", strconv.Itoa(n.vxlan))
	}
	return args
}

// Join makes the node a member through the one at host, and starts it.
func (n *Node) Join(host, token string) error {
	_, err := n.launch(append(n.place("join"), "--host", host+":8443", "--token", token, "--foreground", "--output", "json"))
	return err
}

// Start runs the node that init or join has made; args are more arguments of `hive run`.
func (n *Node) Start(args ...string) error {
	return n.run(append([]string{"run", "--hive-dir", n.Dir}, args...), nil)
}

// launch starts a command that answers on its standard output and then is the daemon.
func (n *Node) launch(args []string) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := errors.Join(n.run(args, w), w.Close()); err != nil {
		return nil, err
	}
	if err := r.SetReadDeadline(time.Now().Add(launchWithin)); err != nil {
		return nil, err
	}
	out, err := readAnswer(r)
	if err != nil {
		return out, fmt.Errorf("%s %s: %w\n%s", n.Name, args[0], err, tail(n.LogFile, 10))
	}
	return out, nil
}

// readAnswer reads one JSON object, which the program prints indented or on one line.
func readAnswer(r io.Reader) ([]byte, error) {
	var out []byte
	buf := make([]byte, 4096)
	for {
		k, err := r.Read(buf)
		out = append(out, buf[:k]...)
		if s := strings.TrimSpace(string(out)); strings.HasSuffix(s, "}") && strings.Count(s, "{") == strings.Count(s, "}") {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("no answer: %w", err)
		}
	}
}

func (n *Node) run(args []string, stdout *os.File) error {
	if n.Runs() {
		return fmt.Errorf("%s runs already", n.Name)
	}
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := append(append(slices.Clone(n.Wrap), n.Bin), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), n.Env...)
	cmd.Stderr = log
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	n.proc = p
	go func() {
		p.err = cmd.Wait()
		p.ended.Store(true)
		close(p.done)
	}()
	return nil
}

// Runs tells whether the node's process is there.
func (n *Node) Runs() bool { return n.proc != nil && !n.proc.ended.Load() }

// PID of the node's process.
func (n *Node) PID() int { return n.proc.cmd.Process.Pid }

// Signal sends sig to the process.
func (n *Node) Signal(sig syscall.Signal) error { return n.proc.cmd.Process.Signal(sig) }

// Kill ends the process with SIGKILL, if it runs, and waits for its end.
func (n *Node) Kill() error {
	if !n.Runs() {
		return nil
	}
	if err := n.proc.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-n.proc.done
	return nil
}

// Stop ends the process with SIGTERM and tells how that went; after ctx it kills.
func (n *Node) Stop(ctx context.Context) error {
	if !n.Runs() {
		return nil
	}
	if err := n.proc.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.proc.done:
		if n.proc.err != nil {
			return fmt.Errorf("%s ended with %w\n%s", n.Name, n.proc.err, tail(n.LogFile, 10))
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end after SIGTERM", n.Name), n.Kill())
	}
}

// Exited waits until the process has ended by itself and answers how.
func (n *Node) Exited(ctx context.Context) error {
	select {
	case <-n.proc.done:
		return n.proc.err
	case <-ctx.Done():
		return fmt.Errorf("%s runs still: %w", n.Name, ctx.Err())
	}
}

// Admin asks the node over its socket.
func (n *Node) Admin() *admin.Client { return admin.NewClient(n.Dir) }

// Status is what the node says of the cluster.
func (n *Node) Status(ctx context.Context) (admin.Status, error) {
	var s admin.Status
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := n.Admin().Do(ctx, "GET", "/v1/status", nil, &s)
	return s, err
}

// Serves waits until the node has formed, serves its API, and knows the leader of every group.
func (n *Node) Serves(ctx context.Context) error {
	return Await(ctx, n.Name+" to serve", func(ctx context.Context) error {
		if !n.Runs() {
			return fmt.Errorf("%w: %v\n%s", ErrEnded, n.proc.err, tail(n.LogFile, 10))
		}
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if !s.Formed || !slices.Contains(s.Serving, "s3") {
			return fmt.Errorf("formed %t, serving %v", s.Formed, s.Serving)
		}
		for _, g := range s.Groups {
			if g.Leader == "" {
				return fmt.Errorf("group %s has no leader", g.Group)
			}
		}
		return nil
	})
}

// Endpoint of the AWS API, plain.
func (n *Node) Endpoint() string { return "http://" + n.IP + ":9999" }

// Proc is the id of a process whose use of the machine counts.
type Proc int

// Proc is the node's process.
func (n *Node) Proc() Proc { return Proc(n.PID()) }

// Memory is a field of the process's /proc/PID/status: see Proc.
func (n *Node) Memory(field string) (int64, error) { return n.Proc().Memory(field) }

// ResetPeak of the process: see Proc.
func (n *Node) ResetPeak() error { return n.Proc().ResetPeak() }

// CPU is the processor time that the process has used.
func (p Proc) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime: proc(5)
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += v
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// Memory is a field of /proc/PID/status in bytes: VmRSS, or VmHWM since the last ResetPeak.
func (p Proc) Memory(field string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if name, rest, _ := strings.Cut(line, ":"); name == field {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of process %d", field, p)
}

// ResetPeak lets VmHWM begin again at what the process uses now.
func (p Proc) ResetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p), []byte("5"), 0)
}

func tail(file string, lines int) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
