#!/bin/busybox sh
# What the kernel of the tiny guest starts first: it loads drivers, mounts the root file system and hands over to it.
b() { /bin/busybox "$@"; }
b mount -t proc proc /proc
b mount -t sysfs sys /sys
b mount -t devtmpfs dev /dev
say() {
  read -r up _ </proc/uptime
  echo "tiny: $up $*" >/dev/console
}
say kernel
for m in /mod/*.ko; do b insmod "$m" || say "module $m does not load"; done
root=
for try in $(b seq 200); do
  root=$(b findfs LABEL=cloudroot 2>/dev/null) && break
  b usleep 50000
done
say "root ${root:-not found}"
b mount -t ext4 -o rw "$root" /newroot || exec b sh
for d in proc sys dev; do b mount --move /$d /newroot/$d; done
exec /bin/busybox switch_root /newroot /sbin/init
