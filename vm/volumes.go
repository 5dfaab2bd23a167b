package vm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"hive/fsm"
	"hive/vm/qemu"
	"hive/vm/qmp"
)

// unplug is how far the removal of a volume from a running guest has come.
type unplug struct {
	first time.Time // the guest was asked; zero: not yet
	last  time.Time // it was asked again
}

const (
	unplugAgain = 5 * time.Second // a guest that was still booting may not have heard
	forceAfter  = 5 * time.Second // what a guest has to let go of a volume that is detached by force
)

// plugVolumes gives the guest the volumes that it is to have, and takes the others.
func (g *guest) plugVolumes(ctx context.Context, r record) (time.Duration, error) {
	wanted := map[fsm.VolumeID]fsm.Volume{}
	settled := true
	for _, x := range r.disks {
		wanted[x.ID] = x
		settled = settled && x.Attachment.State == fsm.Attached && g.st.Volumes[x.ID] == x.Generation
	}
	if settled && len(wanted) == len(g.st.Volumes) {
		g.set("")
		return 0, nil
	}
	devices, err := g.devices(ctx)
	if err != nil {
		return 0, err
	}
	var wait time.Duration
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(g.st.Volumes)) {
		if x, ok := wanted[id]; !ok || x.Generation != g.st.Volumes[id] || x.Attachment.State == fsm.Detaching {
			again, err := g.takeVolume(ctx, id, devices, !ok || x.Generation != g.st.Volumes[id] || x.Attachment.Force)
			wait, errs = sooner(wait, again), append(errs, err)
		}
	}
	for _, x := range r.disks {
		var err error
		switch _, open := g.st.Volumes[x.ID]; {
		case x.Attachment.State == fsm.Detaching && !open:
			err = g.propose(ctx, &fsm.SetVolumeDetached{ID: x.ID, Generation: x.Generation})
		case x.Attachment.State == fsm.Detaching || g.unplugs[x.ID] != nil: // above
		default:
			err = g.giveVolume(ctx, x, devices)
		}
		errs = append(errs, err)
	}
	return sooner(wait, retry), errors.Join(errs...)
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// propose treats a refusal because the record has changed as none: it is looked at again, in a state that has the change.
func (g *guest) propose(ctx context.Context, cmd fsm.Command) error {
	err := g.a.cfg.Control.Propose(ctx, cmd)
	if stale(err) {
		return g.a.cfg.Control.ReadIndex(ctx)
	}
	return err
}

// devices are the volumes that are plugged into the guest.
type devices struct {
	ports map[string]int // of each, by its id
	free  []int          // ports that have none
}

// devices asks QEMU, which is the only one to know after a restart. query-pci would not do: it tells of a bus only when
// the guest's firmware has numbered it.
func (g *guest) devices(ctx context.Context) (devices, error) {
	const place = "/machine/peripheral"
	var names []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := g.execute(ctx, "qom-list", map[string]any{"path": place}, &names); err != nil {
		return devices{}, err
	}
	out, used := devices{ports: map[string]int{}}, map[int]bool{}
	for _, d := range names {
		if d.Type != "child<virtio-blk-pci>" {
			continue
		}
		var bus string
		where := map[string]any{"path": place + "/" + d.Name, "property": "parent_bus"}
		if err := g.execute(ctx, "qom-get", where, &bus); err != nil {
			return devices{}, err
		}
		n, ok := qemu.PortNumber(path.Base(bus))
		if !ok {
			return devices{}, fmt.Errorf("%s is plugged into %s, no port", d.Name, bus)
		}
		out.ports[d.Name], used[n] = n, true
	}
	for n := range qemu.MaxDisks {
		if !used[n] {
			out.free = append(out.free, n)
		}
	}
	return out, nil
}

// giveVolume opens a volume, plugs it into the guest and says so. Each part may be done already.
func (g *guest) giveVolume(ctx context.Context, x fsm.Volume, has devices) error {
	if g.st.Volumes[x.ID] != x.Generation {
		g.set("is being given volume " + string(x.ID))
		g.st.Volumes[x.ID] = x.Generation
		if err := g.save(); err != nil {
			return err
		}
	}
	if _, plugged := has.ports[deviceOf(x.ID, x.Generation)]; !plugged {
		if err := g.plug(ctx, x, &has); err != nil {
			return fmt.Errorf("volume %s: %w", x.ID, err)
		}
		g.log.Info("volume plugged in", "volume", x.ID)
	}
	if x.Attachment.State != fsm.Attaching {
		return nil
	}
	return g.propose(ctx, &fsm.SetVolumeAttached{ID: x.ID, Generation: x.Generation})
}

func (g *guest) plug(ctx context.Context, x fsm.Volume, has *devices) error {
	if len(has.free) == 0 {
		return fmt.Errorf("%w: all %d ports are in use", qemu.ErrSpec, qemu.MaxDisks)
	}
	socket, export, err := g.a.cfg.Volumes.Attach(ctx, x.ID, x.Generation)
	if err != nil {
		return err
	}
	disk := diskOf(x, socket, export)
	there, err := g.hasNode(ctx, disk.Name)
	if err != nil {
		return err
	}
	if !there {
		if err := g.execute(ctx, "blockdev-add", disk.Node(), nil); err != nil {
			return err
		}
	}
	return g.execute(ctx, "device_add", disk.Device(has.free[0]), nil)
}

// hasNode tells whether QEMU has a block node of that name.
func (g *guest) hasNode(ctx context.Context, name string) (bool, error) {
	var nodes []struct {
		Name string `json:"node-name"`
	}
	err := g.execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes)
	for _, n := range nodes {
		if n.Name == name {
			return true, err
		}
	}
	return false, err
}

// takeVolume asks the guest to let go of a volume, again and again; when it has, the volume is closed. By force, its
// connection is cut when the guest had its time: the guest then sees errors. wait is when to ask again.
func (g *guest) takeVolume(ctx context.Context, id fsm.VolumeID, has devices, force bool) (wait time.Duration, err error) {
	name := deviceOf(id, g.st.Volumes[id])
	if _, plugged := has.ports[name]; !plugged {
		if err := g.dropNode(ctx, name); err != nil { // removing it flushes it
			return 0, err
		}
		return 0, g.detach(ctx, id)
	}
	g.set("") // the guest may take as long as it likes, and a daemon that is started again goes on with it
	u, now := g.unplugs[id], g.a.cfg.Clock()
	if u == nil {
		g.log.Info("the guest is asked to let go of a volume", "volume", id)
		u = &unplug{first: now}
		if g.unplugs == nil {
			g.unplugs = map[fsm.VolumeID]*unplug{}
		}
		g.unplugs[id] = u
	}
	if force && now.Sub(u.first) >= forceAfter {
		g.log.Warn("the guest did not let go of a volume in time: cut off", "volume", id)
		yank := map[string]any{"instances": []any{map[string]any{"type": "block-node", "node-name": name}}}
		if err := g.execute(ctx, "yank", yank, nil); err != nil {
			return 0, err
		}
		return 0, g.detach(ctx, id)
	}
	if left := unplugAgain - now.Sub(u.last); left > 0 {
		return left, nil
	}
	u.last = now
	return unplugAgain, g.ask(ctx, name)
}

// ask asks the guest to let go of a device. That it was asked already, or just has, is no error.
func (g *guest) ask(ctx context.Context, device string) error {
	err := g.execute(ctx, "device_del", map[string]any{"id": device}, nil)
	var refused *qmp.Error
	if errors.As(err, &refused) && (refused.Class == "DeviceNotFound" || strings.Contains(refused.Desc, "in the process of unplug")) {
		return nil
	}
	return err
}

// dropNode removes a disk's block node, if there is one.
func (g *guest) dropNode(ctx context.Context, name string) error {
	there, err := g.hasNode(ctx, name)
	if err != nil || !there {
		return err
	}
	return g.execute(ctx, "blockdev-del", map[string]any{"node-name": name}, nil)
}

// dropLeftOver removes the node of a disk that was cut off, now that the guest has let go of the device.
func (g *guest) dropLeftOver(ctx context.Context, device string) {
	for id, generation := range g.st.Volumes {
		if deviceOf(id, generation) == device {
			return // it is waited for
		}
	}
	if err := g.dropNode(ctx, device); err != nil {
		g.log.Warn("what a cut off volume has left in QEMU", "device", device, "err", err)
	}
}

// detach closes a volume that QEMU has no connection to, and forgets it.
func (g *guest) detach(ctx context.Context, id fsm.VolumeID) error {
	g.set("waits for volume " + string(id) + " to be closed")
	if err := g.a.cfg.Volumes.Detach(ctx, id, g.st.Volumes[id]); err != nil {
		return err
	}
	g.log.Info("volume unplugged", "volume", id)
	delete(g.st.Volumes, id)
	delete(g.unplugs, id)
	return g.save()
}
