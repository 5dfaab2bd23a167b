package vm

import (
	"context"
	"time"

	"hive/fsm"
)

// ending is how far the end of a guest has come.
type ending struct {
	button time.Time // first press of the power button; zero: not pressed
	press  time.Time // last press
	quit   time.Time // QEMU was told to end; zero: not yet
}

const (
	pressAgain = 5 * time.Second  // a guest that was still booting may have missed the button
	quitTime   = 10 * time.Second // for QEMU's last flush, before it is killed
)

// stop presses the power button, and pulls the plug when the guest has had its time.
func (g *guest) stop(ctx context.Context, r record) (time.Duration, error) {
	limit := g.a.cfg.StopTimeout
	if r.State == fsm.InstanceShuttingDown {
		limit = g.a.cfg.TerminateTimeout
	}
	if r.Force || !g.ending.quit.IsZero() {
		return g.pull(ctx)
	}
	if err := g.connect(ctx); err != nil {
		g.log.Warn("QEMU does not answer: the guest is ended by the plug", "err", err)
		return g.pull(ctx)
	}
	off, err := g.poweredOff(ctx)
	if err != nil {
		g.log.Warn("QEMU does not answer: the guest is ended by the plug", "err", err)
		return g.pull(ctx)
	}
	if off {
		return g.pull(ctx)
	}
	if !g.ending.button.IsZero() && g.since(g.ending.button) >= limit {
		g.log.Info("the guest did not power off in time: the plug is pulled", "limit", limit)
		return g.pull(ctx)
	}
	g.set("is stopping: the guest has until " + g.deadline(limit).Format(time.TimeOnly) + " to power off")
	if err := g.pressButton(ctx); err != nil {
		return 0, err
	}
	return g.untilPress(limit), nil
}

// untilPress is when to look again after a press of the button.
func (g *guest) untilPress(limit time.Duration) time.Duration {
	return min(limit-g.since(g.ending.button), pressAgain-g.since(g.ending.press)) + time.Millisecond
}

func (g *guest) deadline(limit time.Duration) time.Time {
	if g.ending.button.IsZero() {
		return g.a.cfg.Clock().Add(limit)
	}
	return g.ending.button.Add(limit)
}

// pressButton presses the power button, again every few seconds.
func (g *guest) pressButton(ctx context.Context) error {
	now := g.a.cfg.Clock()
	if !g.ending.press.IsZero() && now.Sub(g.ending.press) < pressAgain {
		return nil
	}
	if err := g.execute(ctx, "system_powerdown", nil, nil); err != nil {
		return err
	}
	g.ending.press = now
	if g.ending.button.IsZero() {
		g.ending.button = now
	}
	return nil
}

// pull ends QEMU: it is told to end, which flushes what it holds, and killed when that takes too long.
func (g *guest) pull(ctx context.Context) (time.Duration, error) {
	now := g.a.cfg.Clock()
	if g.ending.quit.IsZero() {
		g.ending.quit = now
		g.set("is stopping: waits for QEMU to end")
		g.keepConsole(ctx)
		if err := g.connect(ctx); err != nil {
			return soon, g.kill(ctx)
		}
		if err := g.execute(ctx, "quit", nil, nil); err != nil && !g.proc.Gone() {
			g.log.Debug("quit had no answer", "err", err) // usual: it ends at once
		}
		return quitTime, nil
	}
	if now.Sub(g.ending.quit) >= quitTime {
		g.log.Warn("QEMU did not end in time: killed")
		return soon, g.kill(ctx)
	}
	return quitTime - now.Sub(g.ending.quit) + time.Millisecond, nil
}

// reboot lets the guest shut down and starts it again, without a new process; a guest that does not shut down in time is
// reset.
func (g *guest) reboot(ctx context.Context, r record, off bool) (time.Duration, error) {
	late := !g.ending.button.IsZero() && g.since(g.ending.button) >= g.a.cfg.StopTimeout
	if !off && !late {
		g.set("is rebooting: the guest has until " + g.deadline(g.a.cfg.StopTimeout).Format(time.TimeOnly) + " to shut down")
		if err := g.pressButton(ctx); err != nil {
			return 0, err
		}
		return g.untilPress(g.a.cfg.StopTimeout), nil
	}
	if err := g.execute(ctx, "system_reset", nil, nil); err != nil {
		return 0, err
	}
	if off {
		if err := g.execute(ctx, "cont", nil, nil); err != nil {
			return 0, err
		}
	}
	g.log.Info("instance rebooted", "gracefully", off)
	g.st.Reboots, g.st.Off, g.ending = r.Reboots, false, ending{}
	g.set("")
	return soon, g.save()
}
