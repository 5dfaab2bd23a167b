package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hive/fsm"
	"hive/vm/qmp"
)

const (
	startTime   = 30 * time.Second // for a new QEMU's greeting: on a loaded machine it sets up its memory first
	connectTime = 5 * time.Second  // for the greeting of one that runs
	commandTime = 10 * time.Second // for an answer
)

// monitor is the connection to QEMU; nil: none.
func (g *guest) monitor() *qmp.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mon
}

// connect makes sure of a connection.
func (g *guest) connect(ctx context.Context) error { return g.connectIn(ctx, connectTime) }

func (g *guest) connectIn(ctx context.Context, limit time.Duration) error {
	if mon := g.monitor(); mon != nil {
		if mon.Err() == nil {
			return nil
		}
		g.hangUp()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	mon, err := qmp.Dial(ctx, g.socket())
	if err != nil {
		return fmt.Errorf("QMP: %w", err)
	}
	g.mu.Lock()
	g.mon = mon
	g.mu.Unlock()
	return nil
}

// hangUp ends the connection, if there is one.
func (g *guest) hangUp() {
	g.mu.Lock()
	mon := g.mon
	g.mon = nil
	g.mu.Unlock()
	if mon != nil {
		_ = mon.Close() // it is given up in any case
	}
}

// execute has QEMU do something, within bounds of time.
func (g *guest) execute(ctx context.Context, command string, args, result any) error {
	mon := g.monitor()
	if mon == nil {
		return fmt.Errorf("%s: %w", command, qmp.ErrClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	return mon.Execute(ctx, command, args, result)
}

// poweredOff tells whether the guest has shut itself down and QEMU waits, and remembers it.
func (g *guest) poweredOff(ctx context.Context) (bool, error) {
	var status struct {
		Status string `json:"status"`
	}
	if err := g.execute(ctx, "query-status", nil, &status); err != nil {
		return false, err
	}
	off := status.Status == "shutdown"
	if off == g.st.Off {
		return off, nil
	}
	g.st.Off = off
	return off, g.save()
}

// heard records what QEMU tells of the guest. All else that it tells is a reason to look at the guest, no more.
func (g *guest) heard(ctx context.Context, e qmp.Event) {
	var data struct {
		Device    string `json:"device"`
		Node      string `json:"node-name"`
		Operation string `json:"operation"`
		Reason    string `json:"reason"`
	}
	if len(e.Data) > 0 {
		if err := json.Unmarshal(e.Data, &data); err != nil {
			g.log.Warn("event cannot be read", "event", e.Name, "err", err)
			return
		}
	}
	switch e.Name {
	case "DEVICE_DELETED":
		g.dropLeftOver(ctx, data.Device)
	case "GUEST_PANICKED":
		g.record(ctx, e, "the guest's kernel has panicked")
	case "BLOCK_IO_ERROR":
		volume := data.Node
		if i := strings.LastIndexByte(volume, '-'); i > len("vol-") {
			volume = volume[:i] // without its generation
		}
		g.record(ctx, e, fmt.Sprintf("%s of %s failed: %s", data.Operation, volume, data.Reason))
	}
}

// record has the cluster remember an event.
func (g *guest) record(ctx context.Context, e qmp.Event, message string) {
	if !g.fresh(e.Name + message) {
		return
	}
	g.log.Warn("guest event", "event", e.Name, "message", message)
	err := g.propose(ctx, &fsm.RecordGuestEvent{ID: g.id, Event: fsm.GuestEvent{
		Code: e.Name, Message: message, Time: e.Time.UnixMilli(), Boot: g.st.Boot,
	}})
	if err != nil {
		g.log.Warn("guest event was not recorded", "event", e.Name, "err", err)
	}
}

// eventEvery is how often the same event is recorded: a bad disk can tell of thousands a second.
const eventEvery = time.Minute

func (g *guest) fresh(event string) bool {
	now := g.a.cfg.Clock()
	if last, ok := g.seen[event]; ok && now.Sub(last) < eventEvery {
		return false
	}
	if g.seen == nil || len(g.seen) > 100 {
		g.seen = map[string]time.Time{}
	}
	g.seen[event] = now
	return true
}
