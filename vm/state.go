package vm

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"hive/fsm"
	"hive/vm/qemu"
)

// state is what the node has of an instance: written before it is made, so that a daemon that was killed at any
// instruction finds all of it. It need not survive the loss of power, which ends all that it names.
type state struct {
	Boot      uint64                  `json:"boot"`
	Process   *qemu.Mark              `json:"process,omitempty"`
	Accel     string                  `json:"accel,omitempty"`
	Interface fsm.InterfaceID         `json:"interface,omitempty"`
	Volumes   map[fsm.VolumeID]uint64 `json:"volumes,omitempty"` // generations under which they may be open
	Reboots   uint64                  `json:"reboots,omitempty"` // carried out
	Since     int64                   `json:"since,omitempty"`   // Unix ms: first try of the launch
	Failure   string                  `json:"failure,omitempty"` // why it cannot be launched
	Off       bool                    `json:"off,omitempty"`     // the guest has powered itself off
	End       *fsm.ObserveInstance    `json:"end,omitempty"`     // how it ended, to be told when all is closed
}

const (
	stateFile   = "state.json"
	varsFile    = "vars.fd"
	pidFile     = "pid"
	logFile     = "qemu.log"
	consoleFile = "console"
)

// load reads the state; nil when there is none. What is no state, because power was lost while it was written, is that of
// no boot.
func (g *guest) load() (*state, error) {
	raw, err := os.ReadFile(filepath.Join(g.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no state is a state
	}
	if err != nil {
		return nil, err
	}
	st := &state{}
	if err := json.Unmarshal(raw, st); err != nil {
		g.log.Warn("state of the instance cannot be read: what is left of it is ended", "err", err)
		return &state{}, nil // no boot has number 0
	}
	return st, nil
}

// save writes the state.
func (g *guest) save() error {
	raw, err := json.Marshal(g.st)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(g.dir, stateFile)
	if err := os.WriteFile(file+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// drop removes the state: the node has nothing of the instance but its console and its firmware's variables.
func (g *guest) drop() error {
	for _, file := range []string{g.socket(), g.file(pidFile), g.file(stateFile)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	g.st = nil
	return nil
}

func (g *guest) file(name string) string { return filepath.Join(g.dir, name) }

// socket is where the guest's QMP listens.
func (g *guest) socket() string { return filepath.Join(g.a.cfg.RunDir, string(g.id)+".qmp") }
