#!/usr/bin/env bash
# Usage: install.sh demo|test|lint. Installs what that make target needs and is missing, from
# Debian's or Ubuntu's packages; says what. With everything in place it needs neither network nor root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PWD/.tools/aws/bin:$PATH"
target=${1:?usage: install.sh demo|test|lint}

packages=()
need() { # need "CHECK" PACKAGE...: PACKAGEs are wanted unless CHECK succeeds
  local check=$1
  shift
  bash -c "$check" >/dev/null 2>&1 || packages+=("$@")
}

need 'command -v go' golang-go
need 'test -s /etc/ssl/certs/ca-certificates.crt' ca-certificates
case $target in
  lint) ;;
  demo) need 'command -v aws' awscli ;;
  test)
    need 'command -v aws' awscli
    need '/usr/bin/python3 -c "import boto3"' python3-boto3
    need 'command -v curl' curl
    need 'command -v gcc && test -e /usr/include/stdlib.h' gcc libc6-dev # the race detector needs cgo
    need 'command -v ip' iproute2
    need 'command -v nft' nftables
    need 'command -v unshare && command -v mount' util-linux mount
    ;;
  *)
    echo "install.sh: no such target: $target" >&2
    exit 2
    ;;
esac

root=()
if ((${#packages[@]})); then
  echo "make $target needs what these packages have: ${packages[*]}"
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
