#!/bin/sh
# The first process of the tiny guest: an address by DHCP, the instance's metadata, SSH, user-data, and then the end of the
# machine when the power button says so. It says each stage on the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
say() {
  read -r up _ </proc/uptime
  echo "tiny: $up $*" >/dev/console
}
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
say userspace

# The end: TERM and INT (ctrl-alt-del) start the machine again, USR2 and the power button switch it off.
down() {
  say "going down: $1"
  kill -9 -1
  sync
  umount -a -r 2>/dev/null # what is busy stays, read-only
  "$1" -f
}
trap 'down reboot' TERM INT
trap 'down poweroff' USR2
echo 0 >/proc/sys/kernel/ctrl-alt-del
acpid -d -l /dev/null >/dev/null 2>&1 &

ip link set lo up
nic=
for try in $(seq 100); do
  nic=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
  [ -n "$nic" ] && break
  usleep 50000
done
ip link set "$nic" up
# It stays in the background to renew the lease.
until udhcpc -i "$nic" -n -t 10 -T 1 -A 1 -O mtu -O staticroutes -s /etc/udhcpc.sh >/run/udhcpc.log 2>&1; do say "no DHCP answer on $nic yet"; done
say "address $(ip -4 -o addr show dev "$nic" | awk '{print $4}')"

# imds METHOD PATH HEADER prints the answer's body, and fails unless the answer is 200. The request comes out of a FIFO that
# does not end: a client that closes its half of the connection looks to some servers like one that has gone.
mkfifo /run/request
imds() {
  exec 3<>/run/request
  printf '%s /latest/%s HTTP/1.0\r\nHost: 169.254.169.254\r\n%s\r\n\r\n' "$1" "$2" "$3" >&3
  : >/run/answer
  nc -w 5 169.254.169.254 80 <&3 >/run/answer 2>/dev/null
  exec 3>&-
  status=
  read -r _ status _ </run/answer
  [ "$status" = 200 ] && sed '1,/^\r*$/d' /run/answer
}
get() { imds GET "$1" "X-aws-ec2-metadata-token: $token"; }
token=
for try in $(seq 30); do
  token=$(imds PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 21600') && [ -n "$token" ] && break
  sleep 1
done
first=
if [ -n "$token" ]; then
  id=$(get meta-data/instance-id)
  say "instance $id"
  name=$(get meta-data/local-hostname) && hostname "$name"
  keys=$(get meta-data/public-keys/ | cut -d= -f1)
  for k in $keys; do
    get "meta-data/public-keys/$k/openssh-key"
    echo
  done >/root/.ssh/authorized_keys
  cp /root/.ssh/authorized_keys /home/ec2-user/.ssh/
  chown -R ec2-user:ec2-user /home/ec2-user
  if [ "$(cat /var/lib/instance-id 2>/dev/null)" != "$id" ]; then # the first boot of this instance
    rm -f /etc/dropbear/*_key
    get user-data >/var/lib/user-data && [ "$(head -c 2 /var/lib/user-data)" = '#!' ] && first=yes
    echo "$id" >/var/lib/instance-id
  fi
else
  say "no metadata"
fi

key=/etc/dropbear/ed25519_key
[ -s $key ] || dropbearkey -t ed25519 -f $key >/dev/null 2>&1
dropbear -s -r $key
say "SSHD-READY"
if [ -n "$first" ]; then
  say "user-data starts"
  chmod +x /var/lib/user-data
  /var/lib/user-data >/var/log/user-data.log 2>&1
  say "user-data ended with $?"
fi
sync
say "READY"
while :; do
  sleep 3600 &
  wait
done
