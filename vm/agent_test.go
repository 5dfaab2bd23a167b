package vm

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hive/fsm"
	"hive/vm/qemu"
)

// untilConsole waits until the guest has printed something.
func (w *world) untilConsole(want string) {
	w.t.Helper()
	var text []byte
	defer func() {
		if w.t.Failed() {
			w.t.Logf("console: %q", text)
		}
	}()
	w.untilTrue("the console to say "+want, func() bool {
		var err error
		if text, _, err = w.agent.Console(w.t.Context(), instance); err != nil {
			w.t.Fatal(err)
		}
		// The firmware begins a new line when it has not printed for a while.
		return bytes.Contains(bytes.ReplaceAll(text, []byte("\r\n"), nil), []byte(want))
	})
}

// booted waits for the guest's operating system.
func (w *world) booted() fsm.Instance {
	w.t.Helper()
	i := w.untilState(fsm.InstanceRunning)
	w.untilConsole("+")
	return i
}

func (w *world) nothingLeft() {
	w.t.Helper()
	if w.pid() != 0 {
		w.t.Error("the process is left")
	}
	if w.disks.isOpen(root) || w.disks.isOpen(extra) {
		w.t.Error("a volume is open")
	}
	if w.taps.has(eni) {
		w.t.Error("the interface is plugged")
	}
}

func stop(force bool) fsm.Command {
	return &fsm.StopInstance{ID: instance, Account: account, Force: force, Reason: fsm.Reason{Code: "Client.UserInitiatedShutdown"}}
}

func (w *world) startAgain() {
	w.t.Helper()
	var i fsm.Instance
	w.until("the record", func(v *fsm.View) bool { i, _ = fsm.Instances.Get(v, instance); return true })
	w.propose(&fsm.StartInstance{ID: instance, Account: account, Rev: i.Rev, Node: node,
		Capacity: []fsm.NodeCapacity{{Node: node, VCPUs: 8, Memory: 1 << 40}}})
}

func TestStopIsByThePowerButtonAndStartBringsTheGuestBack(t *testing.T) {
	w := newWorld(t)
	w.cfg.StopTimeout = patience
	w.launch(nil)
	w.start()
	if i := w.booted(); i.Accel != qemu.TCG {
		t.Errorf("accel is %q", i.Accel)
	}
	w.until("the root volume is attached", func(v *fsm.View) bool {
		x, _ := fsm.Volumes.Get(v, root)
		return x.Attachment.State == fsm.Attached
	})
	w.propose(stop(false))
	if i := w.untilState(fsm.InstanceStopped); i.Reason.Code != "Client.UserInitiatedShutdown" {
		t.Errorf("reason is %+v", i.Reason)
	}
	w.nothingLeft()
	w.untilConsole("+.") // the guest itself ended
	if got := w.disks.closed; len(got) != 1 || got[0] != string(root)+"/1" {
		t.Errorf("closed: %v", got)
	}
	w.startAgain()
	w.untilState(fsm.InstanceRunning)
	w.propose(&fsm.TerminateInstance{ID: instance, Account: account})
	w.untilState(fsm.InstanceTerminated)
	w.nothingLeft()
	if got := w.disks.closed; len(got) != 2 || got[1] != string(root)+"/2" {
		t.Errorf("closed: %v", got)
	}
	w.until("the volume is gone", func(v *fsm.View) bool { return !fsm.Volumes.Has(v, root) })
}

func TestGuestThatDoesNotHearIsUnplugged(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning) // still in its firmware
	w.propose(stop(false))
	w.untilState(fsm.InstanceStopped)
	w.nothingLeft()
}

func TestForcedStopWaitsForNoGuest(t *testing.T) {
	w := newWorld(t)
	w.cfg.StopTimeout = time.Hour
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.propose(stop(false))
	w.untilTrue("the stop is under way", func() bool { return strings.Contains(strings.Join(w.agent.Busy(), ""), "is stopping") })
	w.propose(stop(true))
	w.untilState(fsm.InstanceStopped)
	w.nothingLeft()
	if busy := w.agent.Busy(); len(busy) != 0 {
		t.Errorf("busy: %v", busy)
	}
}

func TestDaemonAdoptsTheGuestOfTheOneBefore(t *testing.T) {
	w := newWorld(t)
	w.cfg.StopTimeout = patience
	w.launch(nil)
	w.start()
	w.booted()
	pid := w.pid()
	w.shutdown()
	if w.pid() != pid {
		t.Fatal("the guest did not outlive the agent")
	}
	w.start()
	w.untilTrue("adoption", func() bool { _, why := w.agent.Accel(); return why != "" })
	w.propose(stop(false))
	w.untilState(fsm.InstanceStopped)
	w.untilConsole("+.")
	w.nothingLeft()
}

func TestGuestThatPoweredOffWhileNoDaemonWasThereIsSeenAfterwards(t *testing.T) {
	for onShutdown, state := range map[string]string{"stop": fsm.InstanceStopped, "terminate": fsm.InstanceTerminated} {
		t.Run(onShutdown, func(t *testing.T) {
			w := newWorld(t)
			w.launch(func(i *fsm.Instance) { i.OnShutdown = onShutdown })
			w.start()
			w.booted()
			w.shutdown()
			w.disks.tell('o')
			w.start()
			i := w.untilState(state)
			if i.Reason.Code != "Client.InstanceInitiatedShutdown" {
				t.Errorf("reason is %+v", i.Reason)
			}
			w.nothingLeft()
		})
	}
}

func TestRebootKeepsTheProcessAndTheRecordSaysSo(t *testing.T) {
	w := newWorld(t)
	w.cfg.StopTimeout = patience
	w.launch(nil)
	w.start()
	w.booted()
	pid := w.pid()
	w.propose(&fsm.RebootInstance{ID: instance, Account: account})
	w.untilConsole("+.") // by the power button
	w.untilTrue("the second boot", func() bool {
		text, _, err := w.agent.Console(t.Context(), instance)
		return err == nil && bytes.Count(text, []byte("+")) == 2
	})
	if w.pid() != pid {
		t.Error("another process")
	}
	w.until("running", func(v *fsm.View) bool {
		i, _ := fsm.Instances.Get(v, instance)
		return i.State == fsm.InstanceRunning
	})
}

func TestRebootOfAGuestThatDoesNotHearIsAReset(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning) // still in its firmware
	w.propose(&fsm.RebootInstance{ID: instance, Account: account})
	w.untilTrue("the end of the reboot", func() bool {
		g := &guest{dir: filepath.Join(w.cfg.Dir, string(instance)), log: w.cfg.Log}
		st, err := g.load()
		return err == nil && st.Reboots == 1
	})
	w.untilConsole("+")
}

func TestPanicIsRecordedAndTheGuestGoesOn(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.booted()
	w.disks.tell('p')
	w.until("the event", func(v *fsm.View) bool {
		i, _ := fsm.Instances.Get(v, instance)
		return len(i.Events) == 1 && i.Events[0].Code == "GUEST_PANICKED" && i.Events[0].Boot == 1 && i.State == fsm.InstanceRunning
	})
	w.disks.tell('o')
	w.untilState(fsm.InstanceStopped)
}

func TestQEMUThatDiesIsAnInternalErrorWithItsReason(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	if err := syscall.Kill(w.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	i := w.untilState(fsm.InstanceStopped)
	if i.Reason.Code != "Server.InternalError" || !strings.Contains(i.Reason.Message, "killed") {
		t.Errorf("reason is %+v", i.Reason)
	}
	w.nothingLeft()
}

func TestQEMUThatDiedWhileNoDaemonWasThereIsSeenAfterwards(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.shutdown()
	w.killAll()
	w.start()
	if i := w.untilState(fsm.InstanceStopped); i.Reason.Code != "Server.InternalError" {
		t.Errorf("reason is %+v", i.Reason)
	}
	w.nothingLeft()
}

func TestGuestThatIsNoLongerThisNodesIsKilledAtOnce(t *testing.T) {
	w := newWorld(t)
	w.cfg.StopTimeout = time.Hour
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.shutdown()
	// What the controller concludes of a node that is lost:
	w.propose(&fsm.ObserveInstance{ID: instance, Boot: 1, State: fsm.InstanceStopped})
	w.startAgain() // the same node, the next boot
	first := w.pid()
	w.start()
	w.untilState(fsm.InstanceRunning)
	if second := w.pid(); second == 0 || second == first {
		t.Errorf("process %d, then %d", first, second)
	}
	w.shutdown()
	w.propose(&fsm.ObserveInstance{ID: instance, Boot: 2, State: fsm.InstanceTerminated})
	w.start()
	w.untilTrue("the guest is gone", func() bool { return w.pid() == 0 && !w.disks.isOpen(root) })
}

func TestGuestWhoseMarkWasNeverWrittenIsFoundByItsPIDFile(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.shutdown()
	g := &guest{a: w.agent, id: instance, dir: w.cfg.Dir + "/" + string(instance), log: w.cfg.Log}
	st, err := g.load()
	if err != nil {
		t.Fatal(err)
	}
	st.Process = nil
	g.st = st
	if err := g.save(); err != nil {
		t.Fatal(err)
	}
	pid := w.pid()
	w.propose(stop(true))
	w.start()
	w.untilState(fsm.InstanceStopped)
	if w.pid() != 0 {
		t.Errorf("process %d is left", pid)
	}
	w.nothingLeft()
}

func TestLaunchThatFailsTerminatesAndAStartThatFailsStops(t *testing.T) {
	w := newWorld(t)
	w.launch(func(i *fsm.Instance) { i.Memory = 1 << 39 })
	w.start()
	i := w.untilState(fsm.InstanceTerminated)
	if i.Reason.Code != "Server.InternalError" || !strings.Contains(i.Reason.Message, "on launch") {
		t.Errorf("reason is %+v", i.Reason)
	}
	w.nothingLeft()

	w = newWorld(t)
	w.cfg.LaunchTimeout = time.Nanosecond
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.propose(stop(true))
	w.untilState(fsm.InstanceStopped)
	w.disks.mu.Lock()
	w.disks.refuse = errors.New("no replica answers")
	w.disks.mu.Unlock()
	w.startAgain()
	w.until("the verdict", func(v *fsm.View) bool {
		i, _ = fsm.Instances.Get(v, instance)
		return i.State == fsm.InstanceStopped && i.Boot == 2
	})
	if !strings.Contains(i.Reason.Message, "no replica answers") {
		t.Errorf("reason is %+v", i.Reason)
	}
	w.nothingLeft()
}

func TestLaunchIsTriedAgainWhileAVolumeCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	w.disks.refuse = errors.New("no replica answers")
	w.launch(nil)
	w.start()
	w.untilTrue("the first try", func() bool { return strings.Contains(strings.Join(w.agent.Busy(), ""), "launched") })
	w.disks.mu.Lock()
	w.disks.refuse = nil
	w.disks.mu.Unlock()
	w.untilState(fsm.InstanceRunning)
}

func TestArchitectureThatCannotBeIsNamedInTheReason(t *testing.T) {
	w := newWorld(t)
	w.launch(func(i *fsm.Instance) { i.Arch = "riscv" })
	w.start()
	if i := w.untilState(fsm.InstanceTerminated); !strings.Contains(i.Reason.Message, "riscv") {
		t.Errorf("reason is %+v", i.Reason)
	}
}

func TestUEFIGuestHasVariablesOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.launch(func(i *fsm.Instance) { i.BootMode, i.Memory = "uefi", 128 })
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.untilConsole("BdsDxe") // OVMF tried the disk, which has no UEFI program
	w.propose(stop(true))
	w.untilState(fsm.InstanceStopped)
}

func TestConsoleIsToldToOtherNodesAlsoAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.booted()
	server := httptest.NewServer(w.agent.Handler())
	defer server.Close()
	w.propose(&fsm.TerminateInstance{ID: instance, Account: account})
	w.untilState(fsm.InstanceTerminated)
	text, at, err := FetchConsole(t.Context(), server.Client(), server.URL, instance)
	if err != nil || !bytes.Contains(text, []byte("SeaBIOS")) || time.Since(at) > time.Hour {
		t.Errorf("%q, %v, %v", text, at, err)
	}
	if _, _, err := FetchConsole(t.Context(), server.Client(), server.URL, "i-none"); !errors.Is(err, ErrNotHere) {
		t.Errorf("an instance that is none: %v", err)
	}
	w.propose(&fsm.ForgetInstances{IDs: []fsm.InstanceID{instance}, Before: time.Now().Add(time.Hour).UnixMilli()})
	w.untilTrue("the console is gone", func() bool {
		_, _, err := w.agent.Console(t.Context(), instance)
		return errors.Is(err, ErrNotHere)
	})
}

func TestSlowVolumeDelaysNoOtherGuest(t *testing.T) {
	w := newWorld(t)
	w.disks.hold = make(chan struct{})
	w.launch(nil)
	w.start()
	<-w.disks.hold // the first one opens its volume, and does not come to the end of it
	w.propose(&fsm.LaunchInstances{
		Instances: []fsm.Instance{{ID: "i-2", Account: account, Image: "ami-1", Type: "t3.nano", VCPUs: 1, Memory: 64, Arch: qemu.X86,
			BootMode: "legacy-bios", RootDevice: "/dev/sda1", Zone: "z1", Node: node}},
		Capacity: []fsm.NodeCapacity{{Node: node, VCPUs: 8, Memory: 1 << 40}},
	})
	w.until("the second one runs", func(v *fsm.View) bool {
		i, _ := fsm.Instances.Get(v, "i-2")
		return i.State == fsm.InstanceRunning
	})
	if busy := w.agent.Busy(); len(busy) != 1 || !strings.Contains(busy[0], string(instance)+" is being launched") {
		t.Errorf("busy: %v", busy)
	}
	w.propose(&fsm.StopInstance{ID: "i-2", Account: account, Force: true})
	w.until("the second one stops", func(v *fsm.View) bool {
		i, _ := fsm.Instances.Get(v, "i-2")
		return i.State == fsm.InstanceStopped
	})
}

func TestGuestsThatADaemonHasLeftAreEndedByTheirDirectory(t *testing.T) {
	for name, unmarked := range map[string]bool{"marked": false, "not marked": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.launch(nil)
			w.start()
			w.untilState(fsm.InstanceRunning)
			w.shutdown()
			g := &guest{a: w.agent, id: instance, dir: filepath.Join(w.cfg.Dir, string(instance)), log: w.cfg.Log}
			st, err := g.load()
			if err != nil {
				t.Fatal(err)
			}
			if g.st = st; unmarked {
				st.Process = nil
			}
			if err := g.save(); err != nil {
				t.Fatal(err)
			}
			if err := KillAll(t.Context(), w.cfg.Dir); err != nil || w.pid() != 0 {
				t.Errorf("process %d is left: %v", w.pid(), err)
			}
		})
	}
}
