package guest

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tinyModules must be in the kernel or beside it: disk, network, root file system, and what makes the power button heard.
// Hot plug of PCI is built in everywhere.
var tinyModules = []string{"virtio_pci", "virtio_blk", "virtio_net", "ext4", "evdev", "button"}

// tinyExtras are taken where the kernel has them: entropy, and the device by which a panic reaches the host.
var tinyExtras = []string{"virtio_rng", "pvpanic_mmio", "pvpanic_pci"}

// The name of the kernel's serial console comes last: it is where /dev/console goes.
const tinyCmdline = "console=tty0 console=ttyS0,115200 panic=5 quiet tsc=reliable no_timer_check"

// tinyPackages: dropbear is linked to libraries, busybox is not.
func tinyPackages(ctx context.Context) ([]string, error) {
	names, err := kernel(ctx)
	if err != nil {
		return nil, err
	}
	dropbear, err := depends(ctx, "dropbear-bin")
	if err != nil {
		return nil, err
	}
	return slices.Concat(names, dropbear, bootPackages(), []string{"busybox-static"}), nil
}

func buildTiny(ctx context.Context, w *workshop, out string) error {
	names, err := tinyPackages(ctx)
	if err != nil {
		return err
	}
	if err := w.unpack(ctx, names); err != nil {
		return err
	}
	busybox, err := w.unpacked("bin/busybox", "usr/bin/busybox")
	if err != nil {
		return err
	}
	vmlinuz, err := w.unpacked("boot/vmlinuz-*")
	if err != nil {
		return err
	}
	if err := tinyInitrd(ctx, w, busybox); err != nil {
		return err
	}
	if err := tinyRoot(ctx, w, busybox); err != nil {
		return err
	}
	size, err := sizeOf(vmlinuz, w.path("initrd"))
	if err != nil {
		return err
	}
	d := disk{kernel: vmlinuz, initrd: w.path("initrd"), cmdline: tinyCmdline, root: w.path("root"), espMiB: mibFor(size, 8) + 2, rootMiB: 32}
	return d.write(ctx, w, out)
}

// tinyInitrd makes the file initrd: busybox, the modules, and the script that loads them.
func tinyInitrd(ctx context.Context, w *workshop, busybox string) error {
	for _, dir := range []string{"bin", "proc", "sys", "dev", "newroot", "mod"} {
		if err := os.MkdirAll(w.path("initramfs", dir), 0o755); err != nil {
			return err
		}
	}
	if err := w.place("initramfs/init", "tiny/initramfs.sh", 0o755); err != nil {
		return err
	}
	if err := w.run(ctx, "cp", busybox, w.path("initramfs/bin/busybox")); err != nil {
		return err
	}
	dir, err := w.unpacked("lib/modules/*", "usr/lib/modules/*")
	if err != nil {
		return err
	}
	known, err := readModules(dir)
	if err != nil {
		return err
	}
	l := &loader{modules: known, w: w, into: w.path("initramfs/mod"), done: map[string]bool{}}
	for _, name := range tinyModules {
		if err := l.add(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range tinyExtras {
		if _, ok := known.files[name]; !ok {
			continue
		}
		if err := l.add(ctx, name); err != nil {
			return err
		}
	}
	return w.sh(ctx, `cd initramfs && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -n -9 >../initrd`)
}

// tinyRoot makes the directory root: busybox under all of its names, dropbear with its libraries, and our scripts.
func tinyRoot(ctx context.Context, w *workshop, busybox string) error {
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "etc/dropbear", "etc/acpi/PWRF", "root/.ssh", "home/ec2-user/.ssh",
		"proc", "sys", "dev", "run", "tmp", "mnt", "var/lib", "var/log"} {
		if err := os.MkdirAll(w.path("root", dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"root", "root/.ssh", "home/ec2-user", "home/ec2-user/.ssh"} {
		if err := os.Chmod(w.path("root", dir), 0o700); err != nil {
			return err
		}
	}
	for path, from := range map[string]string{"sbin/init": "init.sh", "etc/udhcpc.sh": "udhcpc.sh", "etc/acpi/PWRF/00000080": "power.sh"} {
		if err := w.place("root/"+path, "tiny/"+from, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"passwd", "group", "shadow"} {
		if err := w.place("root/etc/"+name, "tiny/"+name, 0o644); err != nil {
			return err
		}
	}
	err := w.sh(ctx, `echo /bin/sh >root/etc/shells; echo tiny >root/etc/hostname; chmod 600 root/etc/shadow
		cp "$1" root/bin/busybox
		for name in $("$1" --list); do [ "$name" = busybox ] || ln -s busybox "root/bin/$name"; done`, busybox)
	if err != nil {
		return err
	}
	for _, path := range []string{"usr/sbin/dropbear", "usr/bin/dropbearkey"} {
		if err := w.install(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// install copies a program out of the packages into root, with the libraries and the loader that it needs.
func (w *workshop) install(ctx context.Context, path string) error {
	if err := w.run(ctx, "cp", w.path("x", path), w.path("root", path)); err != nil {
		return err
	}
	return w.libraries(ctx, w.path("x", path))
}

func (w *workshop) libraries(ctx context.Context, file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	names, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	const loader = "/lib64/ld-linux-x86-64.so.2" // the name in every program (System V ABI, AMD64 supplement)
	for _, name := range append(names, filepath.Base(loader)) {
		to := "root/lib/x86_64-linux-gnu/" + name
		if name == filepath.Base(loader) {
			to = "root" + loader
		}
		if _, err := os.Stat(w.path(to)); err == nil {
			continue
		}
		from, err := w.unpacked("lib/x86_64-linux-gnu/"+name, "usr/lib/x86_64-linux-gnu/"+name, "lib64/"+name)
		if err != nil {
			return fmt.Errorf("%s needs it: %w", strings.TrimPrefix(file, w.path("x")), err)
		}
		if err := w.sh(ctx, `mkdir -p "$(dirname "$2")" && cp -L "$1" "$2"`, from, w.path(to)); err != nil {
			return err
		}
		if err := w.libraries(ctx, from); err != nil {
			return err
		}
	}
	return nil
}
