package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hive/fsm"
	"hive/vm/qemu"
)

// launch starts the guest, or gives up on it when it cannot be started or was tried for long enough.
func (g *guest) launch(ctx context.Context, r record) error {
	g.set("is being launched")
	select {
	case g.a.launches <- struct{}{}:
		defer func() { <-g.a.launches }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-g.a.probed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r, err := g.confirm(ctx, r)
	if err != nil || !r.mine {
		return err
	}
	since := g.a.now()
	if g.st != nil && g.st.Since != 0 {
		since = g.st.Since
	}
	r.disks = slices.DeleteFunc(r.disks, func(x fsm.Volume) bool { return x.Attachment.State == fsm.Detaching })
	g.st = stateOf(r)
	g.st.Since = since
	if err := g.save(); err != nil {
		return err
	}
	err = g.start(ctx, r)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !hopeless(err) && g.a.now()-since < g.a.cfg.LaunchTimeout.Milliseconds() {
		return err
	}
	g.log.Error("instance cannot be launched", "err", err)
	g.st.Failure = err.Error()
	return g.save()
}

// confirm looks again at a state that is as new as the cluster's: a guest is not started on an older one. The answer is
// not mine when there is nothing to start any more.
func (g *guest) confirm(ctx context.Context, r record) (record, error) {
	if err := g.a.cfg.Control.ReadIndex(ctx); err != nil {
		return r, err
	}
	now, err := g.look()
	now.mine = now.mine && now.State == fsm.InstancePending && now.Boot == r.Boot
	return now, err
}

// errStart is a QEMU that did not come up.
var errStart = errors.New("QEMU did not start")

// hopeless are errors that another try would meet again.
func hopeless(err error) bool {
	return errors.Is(err, qemu.ErrSpec) || errors.Is(err, qemu.ErrNoEmulator) || errors.Is(err, qemu.ErrNoFirmware) ||
		errors.Is(err, errStart)
}

// start opens the volumes, plugs the interface and starts QEMU.
func (g *guest) start(ctx context.Context, r record) error {
	spec, err := g.spec(r)
	if err != nil {
		return err
	}
	for _, x := range r.disks {
		socket, export, err := g.a.cfg.Volumes.Attach(ctx, x.ID, x.Generation)
		if err != nil {
			return fmt.Errorf("open volume %s: %w", x.ID, err)
		}
		spec.Disks = append(spec.Disks, diskOf(x, socket, export))
	}
	command := qemu.Command{Wrap: g.a.cfg.Wrap, Binary: spec.Binary, Socket: g.socket(), Log: g.file(logFile)}
	if r.Interface != "" {
		if r.nic.MAC == "" {
			return fmt.Errorf("%w: there is no interface %s", qemu.ErrSpec, r.Interface)
		}
		tap, mtu, err := g.a.cfg.Network.Plug(ctx, r.Interface)
		if err != nil {
			return fmt.Errorf("plug interface %s: %w", r.Interface, err)
		}
		defer tap.Close() //nolint:errcheck // QEMU has its own descriptor
		spec.NIC, command.Tap = &qemu.NIC{MAC: r.nic.MAC, MTU: mtu}, tap
	}
	if command.Args, err = spec.Args(); err != nil {
		return err
	}
	proc, err := qemu.Start(command)
	if err != nil {
		return fmt.Errorf("%w: %w", errStart, err)
	}
	mark := proc.Mark()
	g.proc, g.st.Process, g.st.Accel = proc, &mark, spec.Accel
	if err := g.save(); err != nil {
		return err
	}
	return g.comeUp(ctx)
}

// comeUp waits until the new QEMU answers.
func (g *guest) comeUp(ctx context.Context) error {
	err := g.connectIn(ctx, startTime)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err := g.kill(ctx); err != nil {
		return err
	}
	err = fmt.Errorf("%w: %s: %s", errStart, g.proc.Status(), g.lastWords())
	g.st.Process = nil
	return errors.Join(err, g.proc.Close(), g.forgetProcess())
}

func (g *guest) forgetProcess() error {
	g.proc = nil
	return g.save()
}

// diskOf is how QEMU knows a volume: under its generation, so that what is left of an attachment that was cut off is not
// taken for the next one.
func diskOf(x fsm.Volume, socket, export string) qemu.Disk {
	return qemu.Disk{Name: deviceOf(x.ID, x.Generation), Serial: strings.Replace(string(x.ID), "-", "", 1), Socket: socket, Export: export}
}

func deviceOf(id fsm.VolumeID, generation uint64) string {
	return string(id) + "-" + strconv.FormatUint(generation, 36)
}

// lastWords are the last line that QEMU printed.
func (g *guest) lastWords() string {
	raw, err := os.ReadFile(g.file(logFile))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}

// spec is the guest as its record has it, without volumes and interface.
func (g *guest) spec(r record) (qemu.Spec, error) {
	g.a.mu.Lock()
	h := g.a.host
	g.a.mu.Unlock()
	binary, err := qemu.FindEmulator(r.Arch)
	if err != nil {
		return qemu.Spec{}, err
	}
	s := qemu.Spec{
		Binary: binary, Name: string(g.id), Product: r.Type, Arch: r.Arch, Accel: h.accel, VCPUs: r.VCPUs, Memory: r.Memory,
		PIDFile: g.file(pidFile), Sandbox: h.sandbox,
	}
	if r.Arch != qemu.HostArch() {
		s.Accel = qemu.TCG
	}
	if r.BootMode == "uefi" || r.Arch == qemu.ARM {
		s.Firmware, err = g.firmware(r.Arch)
	}
	return s, err
}

// firmware gives the guest its own variables, once.
func (g *guest) firmware(arch string) (qemu.Firmware, error) {
	f, err := qemu.FindFirmware(arch)
	if err != nil {
		return f, err
	}
	vars := g.file(varsFile)
	if _, err := os.Stat(vars); err == nil {
		return qemu.Firmware{Code: f.Code, Vars: vars}, nil
	}
	if err := copyFile(vars, f.Vars); err != nil {
		return f, fmt.Errorf("firmware's variables: %w", err)
	}
	return qemu.Firmware{Code: f.Code, Vars: vars}, nil
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read
	dst, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// settle tells the cluster how a guest without a process ended, once what it had is closed.
func (g *guest) settle(ctx context.Context, r record) error {
	if g.st.End == nil {
		g.st.End = g.verdict(r)
		if err := g.save(); err != nil {
			return err
		}
	}
	if err := g.close(ctx); err != nil {
		return err
	}
	end := g.st.End
	if err := g.propose(ctx, end); err != nil {
		return err
	}
	g.log.Info("instance has ended", "state", end.State, "reason", end.Reason)
	return g.drop()
}

// verdict is what the end of the process means.
func (g *guest) verdict(r record) *fsm.ObserveInstance {
	o := &fsm.ObserveInstance{ID: g.id, Boot: r.Boot, State: fsm.InstanceStopped, Now: g.a.now()}
	internal := func(message string) *fsm.Reason {
		return &fsm.Reason{Code: "Server.InternalError", Message: "Server.InternalError: " + message}
	}
	switch {
	case r.State == fsm.InstanceStopping: // as asked
	case r.State == fsm.InstanceShuttingDown:
		o.State = fsm.InstanceTerminated
	case g.st.Failure != "":
		// A first launch leaves nothing behind; what was stopped before keeps its disks.
		if r.Boot == 1 {
			o.State = fsm.InstanceTerminated
		}
		o.Reason = internal("Internal error on launch: " + g.st.Failure)
	case g.st.Off:
		if r.OnShutdown == "terminate" {
			o.State = fsm.InstanceTerminated
		}
		o.Reason = &fsm.Reason{
			Code: "Client.InstanceInitiatedShutdown", Message: "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
		}
	case g.proc != nil && g.proc.Status() != "":
		o.Reason = internal("QEMU " + g.proc.Status() + ": " + g.lastWords())
	default:
		o.Reason = internal("the guest was gone when its node's daemon came back")
	}
	return o
}

// since is how long ago t was.
func (g *guest) since(t time.Time) time.Duration { return g.a.cfg.Clock().Sub(t) }
