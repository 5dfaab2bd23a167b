package ec2

import (
	"context"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"hive/fsm"
)

// until waits for the state to be as wanted.
func (r *rig) until(what string, wanted func(*fsm.View) bool) {
	r.t.Helper()
	deadline := time.After(time.Minute)
	for {
		changed, ok := r.group.Changed(), false
		r.view(func(v *fsm.View) { ok = wanted(v) })
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("not in a minute: %s", what)
		}
	}
}

// start runs the controller until the test ends.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.service.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) state(v *fsm.View, id string) string {
	i, _ := fsm.Instances.Get(v, fsm.InstanceID(id))
	return i.State
}

func TestTheControllerMakesDefaultNetworks(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("two default VPCs with two subnets each", func(v *fsm.View) bool {
		vpc, a := fsm.DefaultVPC(v, aliceID)
		_, b := fsm.DefaultVPC(v, bobID)
		return a && b && len(defaultSubnets(v, vpc.ID)) == 2
	})
	r.must(&fsm.AdmitMember{
		Member: fsm.Member{ID: "n-node4", Zone: "us-test-1c"}, TokenID: "t", Now: 1, Settings: fsm.Settings{Epoch: 3, Bundle: []byte("x")},
	})
	r.until("a third subnet", func(v *fsm.View) bool {
		vpc, _ := fsm.DefaultVPC(v, bobID)
		return len(defaultSubnets(v, vpc.ID)) == 3
	})
}

func TestWhatALostNodeWasToEndIsEndedWithoutIt(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	ids := r.run(r.image(), "t3.nano", 5)
	for _, id := range ids[:4] {
		r.observe(id, fsm.InstanceRunning)
	}
	if _, err := r.client.StopInstances(ctx, &sdk.StopInstancesInput{InstanceIds: ids[:2]}); err != nil {
		t.Fatal(err)
	}
	r.observe(ids[1], fsm.InstanceStopped)
	if _, err := r.client.StartInstances(ctx, &sdk.StartInstancesInput{InstanceIds: ids[1:2]}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: ids[2:3]}); err != nil {
		t.Fatal(err)
	}
	for i := range r.nodes {
		r.kill(i)
	}
	lost := map[fsm.NodeID]time.Time{}
	if err := r.service.control(ctx, lost); err != nil {
		t.Fatal(err)
	}
	r.view(func(v *fsm.View) {
		if s := r.state(v, ids[0]); s != fsm.InstanceStopping {
			t.Errorf("a node that has just died: %s", s)
		}
	})
	r.pass(2 * time.Minute)
	if err := r.service.control(ctx, lost); err != nil {
		t.Fatal(err)
	}
	r.view(func(v *fsm.View) {
		for n, want := range []string{fsm.InstanceStopped, fsm.InstanceStopped, fsm.InstanceTerminated, fsm.InstanceRunning, fsm.InstanceTerminated} {
			if s := r.state(v, ids[n]); s != want {
				t.Errorf("instance %d is %s, want %s", n, s, want)
			}
		}
	})
	if i := describe(t, r, ids[4])[0]; *i.StateReason.Code != "Server.InternalError" {
		t.Errorf("never started: %+v", i.StateReason)
	}
}

func TestANodeThatGossipDoesNotKnowIsLost(t *testing.T) {
	r := newRig(t)
	id := r.run(r.image(), "t3.nano", 1)[0]
	r.observe(id, fsm.InstanceRunning)
	if _, err := r.client.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.nodes = nil // all of the cluster began again, and the node is not back
	r.mu.Unlock()
	lost := map[fsm.NodeID]time.Time{}
	for range 2 {
		if err := r.service.control(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		r.pass(2 * time.Minute)
	}
	r.view(func(v *fsm.View) {
		if s := r.state(v, id); s != fsm.InstanceTerminated {
			t.Errorf("still %s", s)
		}
	})
}

func TestADetachmentOnALostNodeIsDone(t *testing.T) {
	r := newRig(t)
	id := r.run(r.image(), "t3.nano", 1)[0]
	r.observe(id, fsm.InstanceRunning)
	var x fsm.Volume
	read := func() { r.view(func(v *fsm.View) { x, _ = fsm.Volumes.Get(v, x.ID) }) }
	r.view(func(v *fsm.View) { x = fsm.VolumesOf(v, fsm.InstanceID(id))[0] })
	r.must(&fsm.SetVolumeAttached{ID: x.ID, Generation: x.Generation})
	read()
	r.must(&fsm.DetachVolume{ID: x.ID, Account: aliceID, Rev: x.Rev})
	for i := range r.nodes {
		r.kill(i)
	}
	lost := map[fsm.NodeID]time.Time{}
	for range 2 {
		if err := r.service.control(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		r.pass(2 * time.Minute)
	}
	if read(); x.Attachment != nil {
		t.Errorf("still attached: %+v", x.Attachment)
	}
}

func TestWhatIsOverIsForgotten(t *testing.T) {
	r := newRig(t)
	ctx, ami := t.Context(), r.image()
	in := launchOf(ami, "t3.nano", 1, 1)
	in.ClientToken = str("once")
	out, err := r.client.RunInstances(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	r.observe(id, fsm.InstanceTerminated)
	tokens := func() (n int) {
		r.view(func(v *fsm.View) {
			for range fsm.ClientTokens(v) {
				n++
			}
		})
		return n
	}
	for _, x := range []struct {
		after             time.Duration
		instances, tokens int
	}{{30 * time.Minute, 1, 1}, {31 * time.Minute, 0, 1}, {24 * time.Hour, 0, 0}} {
		r.pass(x.after)
		if err := r.service.control(ctx, map[fsm.NodeID]time.Time{}); err != nil {
			t.Fatal(err)
		}
		if n := len(describe(t, r)); n != x.instances {
			t.Errorf("%d instances are told of", n)
		}
		if n := tokens(); n != x.tokens {
			t.Errorf("%d tokens are kept", n)
		}
	}
}
