#!/usr/bin/env bash
# Makes sure that a Go which can build this module is at hand. A Go from 1.21 on fetches the right one by
# itself (GOTOOLCHAIN=auto). An older one, as Debian 12's 1.19, can still download that toolchain as the
# Go module that it is: unpacked into .tools/go/, which the Makefile puts first in PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PWD/.tools/go/bin:$PATH"

go list -m >/dev/null 2>&1 && exit 0

want=$(sed -n 's/^toolchain go//p' go.mod)
[ -n "$want" ] || want=$(sed -n 's/^go //p' go.mod)
module="golang.org/toolchain@v0.0.1-go$want.$(go env GOOS)-$(go env GOARCH)"
echo "$(go version) cannot build this module, which needs Go $want: downloading $module into .tools/go/"

cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
( # outside of the module, whose go.mod an old Go does not understand
  cd "$cache"
  GOMODCACHE=$cache GOFLAGS=-modcacherw go mod download "$module"
)
rm -rf .tools/go
mkdir -p .tools
cp -r "$cache/$module" .tools/go
chmod -R u+w .tools/go
# A module's files carry no execute bits, and go.mod files below its root are stored under another name.
chmod 755 .tools/go/bin/* && find .tools/go/pkg/tool -type f -exec chmod 755 {} +
find .tools/go -name _go.mod -execdir mv _go.mod go.mod \;
go list -m >/dev/null
go version
