package ebs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"hive/ebs/nbd"
)

// Export is where a volume is served over NBD.
type Export struct {
	Socket string // path of the unix socket
	Name   string // of the export: the volume's id
	Size   int64  // bytes
}

// export is a volume's NBD server.
type export struct {
	Export
	server *nbd.Server
	stop   context.CancelFunc
	done   chan struct{} // closed when it has ended
}

// drainTime is how long clients have to read their last answers.
const drainTime = 5 * time.Second

// newExport serves a volume at its socket until it is stopped or the volume fails.
func (m *Manager) newExport(v *volume) (*export, error) {
	path := filepath.Join(m.cfg.RunDir, string(v.id)+".nbd")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a daemon that was killed
		return nil, fmt.Errorf("export of %s: %w", v.id, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("export of %s: %w", v.id, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("export of %s: %w", v.id, err), l.Close())
	}
	ctx, stop := context.WithCancel(m.life)
	e := &export{Export: Export{Socket: path, Name: string(v.id), Size: v.size}, stop: stop, done: make(chan struct{})}
	e.server = nbd.New(nbd.Config{
		Exports: func() []nbd.Export {
			e := nbd.Export{Name: string(v.id), Description: "volume " + string(v.id), Device: device{v}}
			same := e
			same.Name = "" // what a client gets that names none
			return []nbd.Export{e, same}
		},
		Log: v.slog, MultiConn: true, Drain: drainTime,
	})
	m.work.Go(func() {
		defer stop()
		select {
		case <-v.dead: // what clients still ask is refused
		case <-ctx.Done():
		}
	})
	m.work.Go(func() {
		defer close(e.done)
		if err := e.server.Run(ctx, l); err != nil {
			v.slog.Error("export ended", "cause", err)
		}
	})
	return e, nil
}

// idle waits until there is no client.
func (e *export) idle(ctx context.Context) error { return e.server.Idle(ctx) }

// unexport ends the export, if there is one.
func (o *opened) unexport() {
	if o.export != nil {
		o.export.stop()
		<-o.export.done
		o.export = nil
	}
	o.served.Store(false)
}

func (o *opened) serves() bool { return o.served.Load() }
