package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"hive/test/rig"
)

// ssh runs a script in a guest through a node, as `ssh` with Hive's way into instances does.
func (l *lab) ssh(t *testing.T, n *rig.Node, id, user, keyFile, script string) (string, error) {
	t.Helper()
	cmd := l.sshCommand(t.Context(), n, id, user, keyFile, script)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("in %s through %s: %s: %w\n%s%s", id, n.Name, script, err, out.String(), errs.String())
	}
	return out.String(), err
}

func (l *lab) sshCommand(ctx context.Context, n *rig.Node, id, user, keyFile, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-i", keyFile, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15",
		"-o", fmt.Sprintf("ProxyCommand=%s instance connect %%h --port 22 --hive-dir %s", n.Bin, n.Dir), user+"@"+id, script)
	cmd.Env = cleanEnv()
	cmd.WaitDelay = time.Second // the proxy may hold the pipes
	return cmd
}

// sh is ssh that must succeed.
func (l *lab) sh(t *testing.T, n *rig.Node, id, script, user, keyFile string) string {
	t.Helper()
	out, err := l.ssh(t, n, id, user, keyFile, script)
	must(t, err)
	return out
}

// keyOf is the file of the key that an instance was launched with.
func (l *lab) keyOf(id string) string {
	if l.b != nil && id == l.b.id {
		return filepath.Join(l.dir, "rsa")
	}
	return l.keyFile
}

func (l *lab) shVia(t *testing.T, n *rig.Node, id, script string) string {
	t.Helper()
	return l.sh(t, n, id, script, "root", l.keyOf(id))
}

// on runs a script as root in a guest.
func (l *lab) on(t *testing.T, id, script string) string {
	t.Helper()
	_, n := l.alive()
	return l.shVia(t, n, id, script)
}

// waitSh waits until a script succeeds in a guest.
func (l *lab) waitSh(t *testing.T, id, what, script string) {
	t.Helper()
	must(t, l.await(t, id, "root", what, script))
}

func (l *lab) await(t *testing.T, id, user, what, script string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootPatience)
	defer cancel()
	return rig.Await(ctx, what+" in "+id, func(context.Context) error {
		_, n := l.alive()
		if err := l.answers(ctx, n, id); err != nil {
			return err
		}
		_, err := l.ssh(t, n, id, user, l.keyOf(id), script)
		return err
	})
}

// answers asks a guest for its SSH server's greeting. One that is booting leaves the question unanswered, and TCP would
// repeat it later and later: so it is asked anew instead.
func (l *lab) answers(ctx context.Context, n *rig.Node, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.Bin, "instance", "connect", id, "--hive-dir", n.Dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe() // stays open: its end would end the connection
	if err != nil {
		return err
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	greeting := make([]byte, 4)
	_, err = io.ReadFull(stdout, greeting)
	if err == nil && string(greeting) != "SSH-" {
		err = fmt.Errorf("the greeting is %q", greeting)
	}
	cancel()
	ended := cmd.Wait() // by cancel, if by nothing else
	if err != nil {
		return fmt.Errorf("%s does not answer: %w, %v: %s", id, err, ended, errs.String())
	}
	return nil
}

// booted waits until a guest lets us in.
func (l *lab) booted(t *testing.T, id string) {
	t.Helper()
	l.waitSh(t, id, "a login", "true")
}
