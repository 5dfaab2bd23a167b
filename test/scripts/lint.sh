#!/usr/bin/env bash
# What `make lint` checks, cheapest first. Every check runs, and the end says which failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
failed=()

check() { # check NAME COMMAND...
  local name=$1
  shift
  printf -- '--- %s\n' "$name"
  "$@" || failed+=("$name")
}

formatted() {
  local files
  files=$(git ls-files -z '*.go' | xargs -0 -r gofmt -l) || return 1
  [ -z "$files" ] || { printf 'gofmt would change:\n%s\n' "$files"; return 1; }
}

shell_parses() {
  local file
  for file in .ci/run test/*.sh test/scripts/*.sh; do bash -n "$file" || return 1; done
}

# The database of vulnerabilities is on the network: where that cannot be had, this says so and fails nothing.
vulnerabilities() {
  local out
  if out=$(timeout 120 go tool -modfile=.ci/tools.mod govulncheck ./cmd/hive 2>&1); then
    printf '%s\n' "$out"
  elif grep -qE 'fetching vulnerabilities|no such host|dial tcp|context deadline' <<<"$out"; then
    printf '!!! govulncheck did NOT run: its database cannot be reached from here. Known vulnerabilities are unchecked.\n'
  else
    printf '%s\n' "$out"
    return 1
  fi
}

check gofmt formatted
check 'shell scripts parse' shell_parses
check 'import rules' go test -count=1 .
check 'generated code is up to date' go run ./awsd/gen -check
check 'docs/api.md is up to date' go run ./test/apidoc -check
check 'go vet' go vet ./...
check staticcheck go tool -modfile=.ci/tools.mod staticcheck ./...
check govulncheck vulnerabilities

if ((${#failed[@]})); then
  printf 'lint failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo 'lint: all checks passed'
