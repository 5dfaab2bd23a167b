package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const mib = 1 << 20

// A disk is one image that boots by UEFI and by BIOS:
//
//	sector 0     protective MBR, its first 440 bytes syslinux's gptmbr.bin
//	1 MiB        EFI system partition, FAT16: kernel, initrd, systemd-boot for UEFI, syslinux for BIOS
//	1+esp MiB    root file system, ext4, label cloudroot
//	the last MiB the second copy of the partition table
type disk struct {
	kernel, initrd string // files
	cmdline        string
	root           string // directory
	espMiB         int
	rootMiB        int
}

// bootPackages hold both boot loaders, and the tool that installs the second.
func bootPackages() []string { return []string{"systemd-boot-efi", "syslinux", "syslinux-common"} }

// write makes the qcow2 file out. The boot packages must be unpacked.
func (d disk) write(ctx context.Context, w *workshop, out string) error {
	if err := d.writeESP(ctx, w); err != nil {
		return err
	}
	if err := d.writeRoot(ctx, w); err != nil {
		return err
	}
	mbr, err := w.unpacked("usr/lib/*/mbr/gptmbr.bin", "usr/lib/SYSLINUX/gptmbr.bin")
	if err != nil {
		return err
	}
	raw := w.path("disk.raw")
	if err := sized(raw, 1+d.espMiB+d.rootMiB+1); err != nil {
		return err
	}
	// 8304 is "Linux root, x86-64"; attribute 2 is "legacy BIOS bootable", what gptmbr.bin looks for.
	err = w.run(ctx, "sgdisk", "-og", "-n", fmt.Sprintf("1:2048:+%dM", d.espMiB), "-t", "1:ef00", "-A", "1:set:2",
		"-n", fmt.Sprintf("2:0:+%dM", d.rootMiB), "-t", "2:8304", raw)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		file string
		mib  int
	}{{"esp.img", 1}, {"root.img", 1 + d.espMiB}} {
		if err := w.run(ctx, "dd", "if="+w.path(part.file), "of="+raw, "bs=1M", fmt.Sprint("seek=", part.mib), "conv=notrunc,sparse"); err != nil {
			return err
		}
	}
	if err := w.run(ctx, "dd", "if="+mbr, "of="+raw, "bs=440", "count=1", "conv=notrunc"); err != nil {
		return err
	}
	return w.run(ctx, "qemu-img", "convert", "-O", "qcow2", "-c", raw, out)
}

// writeESP makes esp.img.
func (d disk) writeESP(ctx context.Context, w *workshop) error {
	boot, err := w.unpacked("usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	if err != nil {
		return err
	}
	files := map[string]string{"EFI/BOOT/BOOTX64.EFI": boot, "vmlinuz": d.kernel, "initrd": d.initrd}
	for path, content := range map[string]string{
		"loader/loader.conf":        "timeout 0\ndefault guest.conf\n",
		"loader/entries/guest.conf": "title guest\nlinux /vmlinuz\ninitrd /initrd\noptions " + d.cmdline + "\n",
		"syslinux.cfg":              "DEFAULT guest\nPROMPT 0\nLABEL guest\n LINUX /vmlinuz\n INITRD /initrd\n APPEND " + d.cmdline + "\n",
	} {
		if err := w.write("boot/"+path, []byte(content), 0o644); err != nil {
			return err
		}
		files[path] = w.path("boot", path)
	}
	img := w.path("esp.img")
	if err := sized(img, d.espMiB); err != nil {
		return err
	}
	if err := w.run(ctx, "mkfs.vfat", "-F", "16", "-h", "2048", "-n", "ESP", img); err != nil {
		return err
	}
	if err := w.run(ctx, "mmd", "-i", img, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"); err != nil {
		return err
	}
	for path, file := range files {
		if err := w.run(ctx, "mcopy", "-i", img, file, "::/"+path); err != nil {
			return err
		}
	}
	return w.run(ctx, w.path("x/usr/bin/syslinux"), "--install", img)
}

// writeRoot makes root.img.
func (d disk) writeRoot(ctx context.Context, w *workshop) error {
	img := w.path("root.img")
	if err := sized(img, d.rootMiB); err != nil {
		return err
	}
	if err := w.run(ctx, "mkfs.ext4", "-q", "-L", "cloudroot", "-m", "0", "-E", "root_owner=0:0", "-d", d.root, img); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return nil
	}
	// mkfs keeps the owner of each file, which here is whoever builds.
	var commands strings.Builder
	err := filepath.WalkDir(d.root, func(path string, _ os.DirEntry, err error) error {
		name := strings.TrimPrefix(path, d.root)
		if err == nil && name != "" {
			fmt.Fprintf(&commands, "set_inode_field %s uid 0\nset_inode_field %s gid 0\n", name, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := w.write("owners", []byte(commands.String()), 0o644); err != nil {
		return err
	}
	return w.run(ctx, "debugfs", "-w", "-f", w.path("owners"), img)
}

// sized makes a sparse file of so many MiB.
func sized(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(int64(n) * mib); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// mibFor is room for files of so many bytes together, and a part of that besides, in MiB.
func mibFor(bytes, part int64) int { return int((bytes + bytes/part + mib - 1) / mib) }

// sizeOf is how many bytes files have together.
func sizeOf(files ...string) (sum int64, err error) {
	for file := range slices.Values(files) {
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}
