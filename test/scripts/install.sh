#!/usr/bin/env bash
# Usage: install.sh demo|test|bench|lint|guest|guest-debian. Installs what that make target needs and is missing,
# from Debian's or Ubuntu's packages; says what. With everything in place it needs neither network nor root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PWD/.tools/aws/bin:$PATH"
target=${1:?usage: install.sh demo|test|bench|lint|guest|guest-debian}

packages=()
need() { # need "CHECK" PACKAGE...: PACKAGEs are wanted unless CHECK succeeds
  local check=$1
  shift
  PATH="$PATH:/usr/sbin:/sbin" bash -c "$check" >/dev/null 2>&1 || packages+=("$@")
}

# guest_tools: what building the guests' images takes. Their packages are downloaded, not installed.
lists=
guest_tools() {
  need 'command -v qemu-img' qemu-utils
  need 'command -v mcopy' mtools
  need 'command -v mkfs.vfat' dosfstools
  need 'command -v sgdisk' gdisk
  need 'command -v mkfs.ext4 && command -v debugfs' e2fsprogs
  need 'command -v cpio' cpio
  need 'command -v xz' xz-utils
  need 'command -v zstd' zstd
  apt-cache show --no-all-versions dropbear-bin >/dev/null 2>&1 || lists=missing
}

# guests: what running them takes. That needs root (taps and network namespaces), so others do without.
guests() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "Not root: make $target goes without guests, and installs nothing for them."
    return
  fi
  guest_tools
  need 'command -v qemu-system-x86_64' qemu-system-x86
  need 'ls /usr/share/OVMF/OVMF_CODE*.fd' ovmf
  need 'ls /usr/share/seabios/bios-256k.bin' seabios
  need 'ls /usr/lib/ipxe/qemu/efi-virtio.rom' ipxe-qemu
  need 'command -v ip' iproute2
  need 'command -v nft' nftables
  need 'command -v pgrep' procps
  need 'command -v ssh && command -v ssh-keygen' openssh-client
}

need 'command -v go' golang-go
need 'test -s /etc/ssl/certs/ca-certificates.crt' ca-certificates
case $target in
  lint) ;;
  guest) guest_tools ;;
  guest-debian)
    guest_tools
    need 'command -v mmdebstrap' mmdebstrap
    ;;
  demo)
    need 'command -v aws' awscli
    guests
    ;;
  bench) # without root it leaves out what is not there, and says so
    guests
    if [ "$(id -u)" -eq 0 ]; then
      need 'command -v fio' fio
      need 'command -v nbdkit' nbdkit
      need 'command -v qemu-nbd' qemu-utils
    fi
    ;;
  test)
    need 'command -v aws' awscli
    need '/usr/bin/python3 -c "import boto3"' python3-boto3
    need 'command -v curl' curl
    need 'command -v gcc && test -e /usr/include/stdlib.h' gcc libc6-dev # the race detector needs cgo
    need 'command -v ip' iproute2
    need 'command -v nft' nftables
    need 'command -v sysctl' procps
    need 'command -v openssl' openssl # verifies identity documents as guests would
    need 'command -v unshare && command -v mount' util-linux mount
    guests
    need 'command -v nbdinfo && command -v nbdcopy' libnbd-bin # clients of the volumes' server that are not ours
    need '/usr/bin/python3 -c "import nbd"' python3-libnbd
    need 'command -v qemu-img && command -v qemu-io' qemu-utils
    need 'command -v fio' fio
    ;;
  *)
    echo "install.sh: no such target: $target" >&2
    exit 2
    ;;
esac

root=()
if ((${#packages[@]})) || [ -n "$lists" ]; then
  if ((${#packages[@]})); then
    echo "make $target needs what these packages have: ${packages[*]}"
  else
    echo "make $target needs the lists of packages."
  fi
  if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here: install them (or what your system calls them) and run make $target again." >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "Installing them with sudo apt-get."
    root=(sudo)
  fi
  "${root[@]}" apt-get -q update
fi

# Ubuntu from 24.04 on has no awscli package: there it comes from Python's package index, into .tools/aws.
venv=
if [[ " ${packages[*]} " == *" awscli "* ]] && ! apt-cache show awscli >/dev/null 2>&1; then
  venv=yes
  packages=("${packages[@]/#awscli/python3-venv}")
fi
if ((${#packages[@]})); then
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${packages[@]}"
fi
if [ -n "$venv" ]; then
  echo "There is no awscli package here: installing it from Python's package index into .tools/aws."
  python3 -m venv .tools/aws
  .tools/aws/bin/pip --quiet install awscli
fi
test/scripts/toolchain.sh
