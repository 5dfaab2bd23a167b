package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"hive/internal/awscall"
	"hive/vm/image"
)

type importOptions struct {
	imageTarget
	name, description, boot, arch, scratch string
}

func imageImportCommand() *cli.Command {
	var o importOptions
	return &cli.Command{
		Name: "import", Usage: "make an image of a disk file", ArgsUsage: "FILE",
		Description: `FILE is a raw, qcow2, vmdk, vhd, vhdx or vdi disk; what is not raw needs qemu-img and room in --scratch.
Only what is not zero is sent. The boot mode is looked up on the disk unless it is given: uefi where
there is an EFI system partition, else legacy-bios.
` + imageTargetHelp + `
Examples:
  hive image import debian-12-generic-amd64.qcow2 --name debian-12
  hive image import disk.raw --name mine --boot-mode legacy-bios --output json`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the image", Destination: &o.name},
			&cli.StringFlag{Name: "description", Usage: "`TEXT` of the image", Destination: &o.description},
			&cli.StringFlag{Name: "boot-mode", Usage: "uefi or legacy-bios `MODE` (default: as the disk is made)", Destination: &o.boot},
			&cli.StringFlag{Name: "arch", Value: "x86_64", Usage: "x86_64 or arm64 `ARCHITECTURE`", Destination: &o.arch},
			&cli.StringFlag{Name: "scratch", Usage: "`DIR` for the disk while it is converted (default: the system's for temporary files)", Destination: &o.scratch},
		}, o.imageTarget.flags()...),
		Action: func(c *cli.Context) error { return runImageImport(c, o) },
	}
}

// importedImage is the answer of `hive image import`.
type importedImage struct {
	ID       string `json:"image_id"`
	Name     string `json:"name"`
	Snapshot string `json:"snapshot_id"`
	Size     int64  `json:"size_gib"`
	BootMode string `json:"boot_mode"`
	Arch     string `json:"architecture"`
	Sent     int64  `json:"sent_bytes"`
}

func runImageImport(c *cli.Context, o importOptions) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	switch {
	case o.name == "":
		return usagef("an image needs a name: give one with --name")
	case o.arch != "x86_64" && o.arch != "arm64":
		return usagef("--arch %q: give x86_64 or arm64", o.arch)
	case o.boot != "" && o.boot != bootUEFI && o.boot != bootBIOS:
		return usagef("--boot-mode %q: give %s or %s", o.boot, bootUEFI, bootBIOS)
	case o.boot == bootBIOS && o.arch == "arm64":
		return usagef("--boot-mode %s: machines of arm64 boot by %s", bootBIOS, bootUEFI)
	}
	client, err := o.client(c)
	if err != nil {
		return err
	}
	out := outputOf(c)
	if err := client.nameIsFree(c.Context, o.name); err != nil {
		return err
	}
	d, err := openDisk(c.Context, out, c.Args().First(), o.scratch)
	if err != nil {
		return err
	}
	done, err := importDisk(c.Context, client, out, d, o)
	if err := errors.Join(err, d.close()); err != nil {
		return err
	}
	return out.answer(done, func(w io.Writer) { fmt.Fprintln(w, done.ID) })
}

// nameIsFree refuses a name before anything is sent: the registration would refuse it at the end.
func (i imageClient) nameIsFree(ctx context.Context, name string) error {
	have, err := i.images(ctx, url.Values{"Owner.1": {"self"}, "Filter.1.Name": {"name"}, "Filter.1.Value.1": {literal(name)}})
	if err == nil && len(have) > 0 {
		return fmt.Errorf("the image %s has the name %q already: give another name, or deregister that one", have[0].ID, name)
	}
	return err
}

// literal is a filter's value that stands for itself.
func literal(s string) string { return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(s) }

func importDisk(ctx context.Context, client imageClient, out output, d *disk, o importOptions) (importedImage, error) {
	boot, why := o.boot, "as told"
	if boot == "" {
		var err error
		if boot, why, err = guessBoot(d.file, o.arch); err != nil {
			return importedImage{}, err
		}
	}
	done := importedImage{Name: o.name, Size: d.gib(), BootMode: boot, Arch: o.arch}
	out.say("%s: %d bytes of %s, an image of %d GiB that boots by %s: %s", d.name, d.size, d.format, done.Size, boot, why)
	var err error
	if done.Snapshot, err = client.startSnapshot(ctx, d, o.name); err != nil {
		return done, err
	}
	if done.Sent, err = client.upload(ctx, out, d, done.Snapshot); err == nil {
		done.ID, err = client.register(ctx, done, o.description)
	}
	if err != nil {
		return done, errors.Join(err, client.abandon(ctx, done.Snapshot))
	}
	return done, nil
}

func (i imageClient) startSnapshot(ctx context.Context, d *disk, name string) (string, error) {
	var token [16]byte
	if _, err := rand.Read(token[:]); err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{
		"VolumeSize": d.gib(), "Description": "Imported from " + d.name + " as " + name, "ClientToken": hex.EncodeToString(token[:]),
	})
	if err != nil {
		return "", err
	}
	var answer struct{ SnapshotId string }
	err = i.explain(i.JSON(ctx, awscall.Request{
		Service: "ebs", Method: http.MethodPost, Path: "/snapshots", Header: http.Header{"Content-Type": {"application/json"}}, Body: body,
	}, &answer))
	return answer.SnapshotId, err
}

func (i imageClient) register(ctx context.Context, x importedImage, description string) (string, error) {
	const root = "/dev/sda1"
	params := url.Values{
		"Name": {x.Name}, "Architecture": {x.Arch}, "BootMode": {x.BootMode}, "RootDeviceName": {root}, "VirtualizationType": {"hvm"},
		"EnaSupport": {"true"}, "BlockDeviceMapping.1.DeviceName": {root}, "BlockDeviceMapping.1.Ebs.SnapshotId": {x.Snapshot},
		"BlockDeviceMapping.1.Ebs.VolumeType": {"gp3"}, "BlockDeviceMapping.1.Ebs.DeleteOnTermination": {"true"},
	}
	if description != "" {
		params.Set("Description", description)
	}
	var answer struct {
		ID string `xml:"imageId"`
	}
	err := i.ec2(ctx, "RegisterImage", params, &answer)
	var refused *awscall.Error
	if errors.As(err, &refused) && refused.Code == "InvalidAMIName.Duplicate" {
		// The answer of an earlier try may have been lost: then the image of that name is ours.
		have, look := i.images(ctx, url.Values{"Owner.1": {"self"}, "Filter.1.Name": {"name"}, "Filter.1.Value.1": {literal(x.Name)}})
		if look == nil && len(have) == 1 && have[0].Snapshot == x.Snapshot {
			return have[0].ID, nil
		}
	}
	return answer.ID, err
}

// abandonWithin is how long what was begun may take to be removed once the operator does not want it.
const abandonWithin = 20 * time.Second

// abandon deletes the snapshot of an import that has failed.
func (i imageClient) abandon(ctx context.Context, snapshot string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
	defer cancel()
	if err := i.ec2(ctx, "DeleteSnapshot", url.Values{"SnapshotId": {snapshot}}, nil); err != nil {
		return fmt.Errorf("the snapshot %s that was begun is still there: delete it: %w", snapshot, err)
	}
	return nil
}

// disk is a raw disk to send.
type disk struct {
	name   string // of the operator's file
	format string
	file   *os.File
	size   int64  // bytes of the disk, which the file may be short of
	temp   string // directory to remove
}

// gib is the size of the volume that holds the disk.
func (d *disk) gib() int64 { return max(1, (d.size+1<<30-1)>>30) }

func (d *disk) close() error {
	err := d.file.Close()
	if d.temp != "" {
		err = errors.Join(err, os.RemoveAll(d.temp))
	}
	return err
}

// openDisk opens a disk file, converted to raw where it is not.
func openDisk(ctx context.Context, out output, name, scratch string) (*disk, error) {
	info, err := image.Probe(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := &disk{name: filepath.Base(name), format: info.Format, size: info.VirtualSize}
	raw := name
	if info.Format != image.Raw {
		if d.temp, err = os.MkdirTemp(scratch, "hive-import-"); err != nil {
			return nil, err
		}
		raw = filepath.Join(d.temp, "disk.raw")
		bar := out.progress(100)
		err = image.ToRaw(ctx, name, raw, func(done, total int64) { showPercent(bar, "converting "+d.name, done, total) })
		bar.close()
	}
	if err == nil {
		if d.file, err = os.Open(raw); err == nil {
			err = checkDisk(d.file)
		}
	}
	if err != nil {
		if d.file != nil {
			err = errors.Join(err, d.file.Close())
		}
		if d.temp != "" {
			err = errors.Join(err, os.RemoveAll(d.temp))
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// showPercent moves the bar by the percent and changes its words by tens of them, which are lines where there is no
// terminal.
func showPercent(bar *progress, what string, done, total int64) {
	percent := 100
	if total > 0 {
		percent = int(done * 100 / total)
	}
	if bar.bar != nil {
		bar.show(percent, "%s", what)
		return
	}
	bar.show(percent, "%s: %d %%", what, percent/10*10)
}
