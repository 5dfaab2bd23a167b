#!/bin/sh
# What udhcpc calls with the answer in its environment: address, MTU, routes (classless static routes alone, when they are
# there: RFC 3442), DNS, hostname.
case $1 in bound | renew) ;; *) exit 0 ;; esac
ip link set "$interface" mtu "${mtu:-1500}"
if ! ip -4 -o addr show dev "$interface" | grep -q " $ip/$mask "; then
  ip addr flush dev "$interface"
  ip addr add "$ip/$mask" dev "$interface"
fi
via() { # via DESTINATION ROUTER
  if [ "$2" = 0.0.0.0 ]; then
    ip route replace "$1" dev "$interface"
  else
    ip route get "$2" 2>/dev/null | grep -q "^$2 dev $interface" || ip route replace "$2/32" dev "$interface"
    ip route replace "$1" via "$2" dev "$interface"
  fi
}
if [ -n "$staticroutes" ]; then
  set -- $staticroutes
  while [ $# -gt 1 ]; do
    via "$1" "$2"
    shift 2
  done
else
  for r in $router; do
    via default "$r"
    break
  done
fi
# Without a router the metadata service is a neighbour.
ip route get 169.254.169.254 >/dev/null 2>&1 || ip route replace 169.254.169.254/32 dev "$interface"
{
  [ -n "$domain" ] && echo "search $domain"
  for d in $dns; do echo "nameserver $d"; done
} >/etc/resolv.conf
[ -n "$hostname" ] && hostname "$hostname"
exit 0
