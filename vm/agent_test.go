package vm

import (
	"testing"

	"hive/fsm"
)

func TestGuestRunsAndStopsByThePlug(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	i := w.untilState(fsm.InstanceRunning)
	if i.Accel != "tcg" {
		t.Errorf("accel is %q", i.Accel)
	}
	w.until("the root volume is attached", func(v *fsm.View) bool {
		x, _ := fsm.Volumes.Get(v, root)
		return x.Attachment.State == fsm.Attached
	})
	if w.pid() == 0 || !w.taps.has(eni) {
		t.Error("no process or no interface")
	}
	w.propose(&fsm.StopInstance{ID: instance, Account: account, Reason: fsm.Reason{Code: "Client.UserInitiatedShutdown"}})
	i = w.untilState(fsm.InstanceStopped)
	if i.Reason.Code != "Client.UserInitiatedShutdown" {
		t.Errorf("reason is %+v", i.Reason)
	}
	if w.pid() != 0 || w.disks.isOpen(root) || w.taps.has(eni) {
		t.Error("something is left")
	}
}

func TestDaemonAdoptsTheGuestOfTheOneBefore(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	pid := w.pid()
	w.shutdown()
	if w.pid() != pid {
		t.Fatal("the guest did not outlive the agent")
	}
	w.start()
	w.propose(&fsm.TerminateInstance{ID: instance, Account: account})
	w.untilState(fsm.InstanceTerminated)
	if w.pid() != 0 {
		t.Error("the guest is still there")
	}
}
