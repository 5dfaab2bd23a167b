package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"hive/vm/qemu"
)

// KillAll ends the guests that an agent with this Dir has left running, and waits until their processes are gone. The
// agent must not run: it would start them again.
func KillAll(ctx context.Context, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*", stateFile))
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var st state
		if err == nil {
			err = json.Unmarshal(raw, &st)
		}
		if err == nil {
			err = kill(ctx, st.Process, filepath.Join(filepath.Dir(file), pidFile))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

// kill ends the process of the mark, or, where the daemon was killed before it wrote that down, of the pid file.
func kill(ctx context.Context, mark *qemu.Mark, pidFile string) error {
	var p *qemu.Process
	var err error
	if mark != nil {
		p, err = qemu.Open(*mark)
	} else {
		p, err = qemu.FindByPIDFile(pidFile)
	}
	if errors.Is(err, qemu.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		return errors.Join(err, p.Close())
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, p.Close())
}
