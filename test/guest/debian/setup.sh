#!/bin/sh
# What mmdebstrap runs when the packages are in place; $1 is the new system's root.
set -eu
root=$1
chroot "$root" update-initramfs -u -k all
echo localhost >"$root/etc/hostname"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* # cloud-init makes those of the instance
chroot "$root" systemctl enable serial-getty@ttyS0.service ssh.service
chroot "$root" systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
