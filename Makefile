# Hive. `make demo` shows it, `make test` proves it; every other target is for whoever works on it.
SHELL := /bin/bash
export PATH := $(CURDIR)/.tools/go/bin:$(CURDIR)/.tools/aws/bin:$(PATH)

.PHONY: help build demo test race lint generate bench guest guest-debian nightly clean

help:
	@echo "make demo      install what is needed, build bin/hive, form a cluster of three and use it"
	@echo "make test      install what is needed and run every test"
	@echo "make build     write bin/hive"
	@echo "make race      every Go test under the race detector"
	@echo "make lint      formatting, vet, staticcheck, import rules, generated code, known vulnerabilities"
	@echo "make generate  write the generated code and pages again"
	@echo "make bench     the tables of docs/benchmarks.md, measured here; some of them need root"
	@echo "make guest     the tiny image that tests and the demo boot; prints its path (kept in .tools/guest)"
	@echo "make guest-debian  the same with systemd, cloud-init and sshd; takes minutes, and root"
	@echo "make nightly   a whole system with cloud-init as a guest, which takes minutes"
	@echo "make clean     remove what building made"

build:
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '-s -w' -o bin/hive ./cmd/hive

demo:
	@test/scripts/install.sh demo
	@$(MAKE) --no-print-directory build
	@test/demo.sh

test:
	@test/scripts/install.sh test
	@go run -buildvcs=false ./test/run

race:
	@test/scripts/install.sh test
	@go run -buildvcs=false ./test/run -race

lint:
	@test/scripts/install.sh lint
	@test/scripts/lint.sh

generate:
	go run -buildvcs=false ./awsd/gen
	go run -buildvcs=false ./test/apidoc

bench:
	@test/scripts/install.sh bench
	@$(MAKE) --no-print-directory build
	go run -buildvcs=false ./test/bench

guest:
	@test/scripts/install.sh guest
	@go run -buildvcs=false ./test/guest/mkguest tiny

guest-debian:
	@test/scripts/install.sh guest-debian
	@go run -buildvcs=false ./test/guest/mkguest debian

nightly:
	@test/scripts/install.sh test
	@test/scripts/install.sh guest-debian
	go test -count=1 -tags=nightly -timeout=40m -run='^TestACloudInitGuest$$' -v ./test

clean:
	rm -rf bin
