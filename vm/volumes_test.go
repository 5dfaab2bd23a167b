package vm

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"hive/fsm"
)

// another makes a second volume.
func (w *world) another() {
	w.t.Helper()
	w.propose(&fsm.CreateVolume{Volume: fsm.Volume{
		ID: extra, Account: account, Zone: "z1", Size: 1, Lineage: string(extra), Replicas: []fsm.NodeID{node},
	}})
}

func (w *world) attach() {
	w.t.Helper()
	w.propose(&fsm.AttachVolume{ID: extra, Account: account, Instance: instance, Device: "/dev/sdf"})
}

func (w *world) detach(force bool) {
	w.t.Helper()
	var rev uint64
	w.until("the record", func(v *fsm.View) bool {
		x, ok := fsm.Volumes.Get(v, extra)
		rev = x.Rev
		return ok
	})
	w.propose(&fsm.DetachVolume{ID: extra, Account: account, Force: force, Rev: rev})
}

func (w *world) untilAttached() {
	w.t.Helper()
	w.until("the volume is attached", func(v *fsm.View) bool {
		x, _ := fsm.Volumes.Get(v, extra)
		return x.Attachment != nil && x.Attachment.State == fsm.Attached
	})
}

// devices asks QEMU, between two agents.
func (w *world) devices() []string {
	w.t.Helper()
	w.shutdown()
	g := &guest{a: w.agent, id: instance, dir: w.cfg.Dir + "/" + string(instance), log: w.cfg.Log}
	if err := g.connect(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	defer g.hangUp()
	has, err := g.devices(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for name := range has.ports {
		names = append(names, name)
	}
	slices.Sort(names)
	w.start()
	return names
}

func TestVolumeIsPluggedIntoARunningGuest(t *testing.T) {
	w := newWorld(t)
	w.another()
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.attach()
	w.untilAttached()
	if !w.disks.isOpen(extra) {
		t.Error("it is not open")
	}
	if got := w.devices(); !slices.Equal(got, []string{string(root) + "-1", string(extra) + "-1"}) {
		t.Errorf("devices: %v", got)
	}
	w.propose(stop(true))
	w.untilState(fsm.InstanceStopped)
	w.nothingLeft()
	w.startAgain()
	w.untilState(fsm.InstanceRunning)
	if got := w.devices(); !slices.Equal(got, []string{string(root) + "-2", string(extra) + "-2"}) {
		t.Errorf("devices after the second start: %v", got)
	}
}

func TestVolumeThatAGuestDoesNotLetGoOfIsCutOffByForceOnly(t *testing.T) {
	w := newWorld(t)
	w.another()
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.attach()
	w.untilAttached()
	w.detach(false) // the guest knows of no hot plug
	w.devices()     // another agent goes on with it
	w.detach(true)
	w.until("the volume is free", func(v *fsm.View) bool {
		x, _ := fsm.Volumes.Get(v, extra)
		return x.Attachment == nil
	})
	if w.disks.isOpen(extra) {
		t.Error("it is open")
	}
	w.attach() // beside what is left of the first attachment
	w.untilAttached()
	if got := w.devices(); !slices.Equal(got, []string{string(root) + "-1", string(extra) + "-1", string(extra) + "-2"}) {
		t.Errorf("devices: %v", got)
	}
}

func TestVolumeThatNeverReachedTheGuestIsDetachedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.another()
	w.launch(nil)
	w.start()
	w.untilState(fsm.InstanceRunning)
	w.shutdown()
	w.attach()
	w.detach(false)
	w.start()
	w.until("the volume is free", func(v *fsm.View) bool {
		x, _ := fsm.Volumes.Get(v, extra)
		return x.Attachment == nil
	})
}

func TestInputOutputErrorsOfADiskAreRecordedOnce(t *testing.T) {
	w := newWorld(t)
	w.launch(nil)
	w.start()
	w.booted()
	w.agent.mu.Lock()
	g := w.agent.guests[instance]
	w.agent.mu.Unlock()
	cut := map[string]any{"instances": []any{map[string]any{"type": "block-node", "node-name": string(root) + "-1"}}}
	if err := g.execute(t.Context(), "yank", cut, nil); err != nil {
		t.Fatal(err)
	}
	w.until("the event", func(v *fsm.View) bool {
		i, _ := fsm.Instances.Get(v, instance)
		return len(i.Events) > 0
	})
	w.untilTrue("several errors in the guest", func() bool {
		text, _, err := w.agent.Console(t.Context(), instance)
		return err == nil && bytes.Contains(text, []byte("EEEEE"))
	})
	w.until("the record", func(v *fsm.View) bool {
		i, _ := fsm.Instances.Get(v, instance)
		e := i.Events[0]
		if len(i.Events) != 1 || e.Code != "BLOCK_IO_ERROR" || !strings.HasPrefix(e.Message, "read of "+string(root)+" failed") {
			t.Errorf("events: %+v", i.Events)
		}
		return true
	})
}
