package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const debianCmdline = "root=LABEL=cloudroot rw console=tty0 console=ttyS0,115200 panic=5 quiet tsc=reliable no_timer_check"

// ErrRoot is a build that needs root: the files of a whole system have many owners.
var ErrRoot = errors.New("the debian image can be built by root only")

// debianPackages are in the image; what they depend on comes with them.
func debianPackages(ctx context.Context) ([]string, error) {
	kernel, err := kernelMeta(ctx)
	return []string{kernel, "initramfs-tools", "systemd-sysv", "udev", "dbus", "kmod", "procps", "sudo", "curl", "ca-certificates",
		"cloud-init", "cloud-guest-utils", "fdisk", "e2fsprogs", "openssh-server",
		"iproute2", "iputils-ping", "ifupdown", "isc-dhcp-client", "netbase"}, err
}

// suite is the distribution of this machine: its code name, and the components that hold our packages.
func suite() (name, components string, err error) {
	raw, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", "", err
	}
	field := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		field[key] = strings.Trim(value, `"`)
	}
	switch {
	case field["VERSION_CODENAME"] == "":
		return "", "", errors.New("/etc/os-release has no VERSION_CODENAME")
	case field["ID"] == "ubuntu":
		return field["VERSION_CODENAME"], "main,universe", nil
	}
	return field["VERSION_CODENAME"], "main", nil
}

func buildDebian(ctx context.Context, w *workshop, out string) error {
	if os.Geteuid() != 0 {
		return ErrRoot
	}
	if err := w.bootstrap(ctx); err != nil {
		return err
	}
	if err := w.unpack(ctx, bootPackages()); err != nil {
		return err
	}
	kernels, err := filepath.Glob(w.path("root/boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("want one kernel in /boot: %v, %w", kernels, err)
	}
	initrd := strings.Replace(kernels[0], "/vmlinuz-", "/initrd.img-", 1)
	size, err := sizeOf(kernels[0], initrd)
	if err != nil {
		return err
	}
	used, err := sizeBelow(w.path("root"))
	if err != nil {
		return err
	}
	d := disk{kernel: kernels[0], initrd: initrd, cmdline: debianCmdline, root: w.path("root"), espMiB: mibFor(size, 8) + 2, rootMiB: mibFor(used, 2)}
	return d.write(ctx, w, out)
}

// bootstrap installs the system into the directory root.
func (w *workshop) bootstrap(ctx context.Context) error {
	names, err := debianPackages(ctx)
	if err != nil {
		return err
	}
	codename, components, err := suite()
	if err != nil {
		return err
	}
	for _, name := range []string{"90-hive.cfg", "initramfs.conf", "initramfs.modules", "fstab", "setup.sh"} {
		if err := w.place(name, "debian/"+name, 0o755); err != nil {
			return err
		}
	}
	return w.run(ctx, "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", "--components="+components,
		"--include="+strings.Join(names, ","), `--aptopt=Apt::Install-Recommends "false"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--essential-hook=mkdir -p $1/etc/initramfs-tools/conf.d $1/etc/cloud/cloud.cfg.d",
		"--essential-hook=upload "+w.path("initramfs.conf")+" /etc/initramfs-tools/conf.d/hive",
		"--customize-hook=upload "+w.path("initramfs.modules")+" /etc/initramfs-tools/modules",
		"--customize-hook=upload "+w.path("90-hive.cfg")+" /etc/cloud/cloud.cfg.d/90-hive.cfg",
		"--customize-hook=upload "+w.path("fstab")+" /etc/fstab",
		"--customize-hook=sh "+w.path("setup.sh")+` "$1"`,
		codename, w.path("root"))
}

// sizeBelow is how many bytes the regular files below dir have, each rounded up to a block.
func sizeBelow(dir string) (sum int64, err error) {
	const block = 4096
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += (info.Size() + block - 1) / block * block
		}
		return err
	})
	return sum, err
}
