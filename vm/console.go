package vm

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hive/fsm"
	"hive/vm/qemu"
)

// The serial console is a ring in QEMU's memory: bounded whatever the guest prints and however long no daemon is there.
// The agent moves what is in it to a file, bounded too, every few seconds and before it ends QEMU. What is lost when
// QEMU itself dies is what came after the last move. A file that QEMU appends to would not be bounded while no daemon
// lives, nor on every file system.
const (
	// ConsoleBytes is how much of a console is told: as much as EC2 keeps.
	ConsoleBytes = 64 << 10
	consoleMax   = 4 * ConsoleBytes // of the file, before its older part is dropped
	consoleEvery = 10 * time.Second
)

// Console is the last 64 KiB that an instance of this node printed on its serial console, also after it has ended, and
// when the last of it was read. ErrNotHere if the node has no such instance.
func (a *Agent) Console(ctx context.Context, id fsm.InstanceID) ([]byte, time.Time, error) {
	a.mu.Lock()
	g := a.guests[id]
	a.mu.Unlock()
	if g == nil {
		here := false
		err := a.cfg.Control.View(func(v *fsm.View) error {
			i, ok := fsm.Instances.Get(v, id)
			here = ok && i.Node == a.cfg.Node
			return nil
		})
		if err != nil {
			return nil, time.Time{}, err
		}
		if !here {
			return nil, time.Time{}, fmt.Errorf("%s: %w", id, ErrNotHere)
		}
		return readConsole(filepath.Join(a.cfg.Dir, string(id), consoleFile))
	}
	if g.monitor() != nil {
		if err := g.drainConsole(ctx); err != nil {
			g.log.Debug("console not read from QEMU", "err", err) // what the file has is told
		}
	}
	g.console.Lock()
	defer g.console.Unlock()
	return readConsole(g.file(consoleFile))
}

// readConsole reads the end of a console's file. None is an empty console.
func readConsole(file string) ([]byte, time.Time, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if _, err := f.Seek(max(0, info.Size()-ConsoleBytes), io.SeekStart); err != nil {
		return nil, time.Time{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, ConsoleBytes))
	return raw, info.ModTime(), err
}

// keepConsole moves what QEMU has of the console to its file, as well as it can.
func (g *guest) keepConsole(ctx context.Context) {
	g.drained = g.a.cfg.Clock()
	if g.monitor() == nil {
		return
	}
	if err := g.drainConsole(ctx); err != nil {
		g.log.Debug("console not read from QEMU", "err", err) // QEMU may be gone: the file has what was read before
	}
}

// drainConsole moves all that QEMU has of the console to its file.
func (g *guest) drainConsole(ctx context.Context) error {
	g.console.Lock()
	defer g.console.Unlock()
	args := map[string]any{"device": qemu.SerialRing, "size": qemu.RingSize, "format": "base64"}
	var encoded string
	if err := g.execute(ctx, "ringbuf-read", args, &encoded); err != nil || encoded == "" {
		return err
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return err
	}
	return appendConsole(g.file(consoleFile), text)
}

// appendConsole adds text to a console's file, and keeps the file short.
func appendConsole(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text[max(0, len(text)-ConsoleBytes):])
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil || info.Size() <= consoleMax {
		return err
	}
	last, _, err := readConsole(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", last, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// logMax is how long what QEMU prints may get; a guest may be able to make it complain without end.
const logMax = 1 << 20

// boundLog starts the log of QEMU's words anew when it is too long. QEMU appends.
func (g *guest) boundLog() {
	info, err := os.Stat(g.file(logFile))
	if err == nil && info.Size() > logMax {
		err = os.Truncate(g.file(logFile), 0)
	}
	if err != nil {
		g.log.Warn("QEMU's log", "err", err)
	}
}
