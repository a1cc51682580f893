# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.DEFAULT_GOAL := build
export CGO_ENABLED := 0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
KERNEL_LANE := ./internal/lab:4 ./internal/agent ./internal/kernel/... ./internal/announce ./internal/guest ./internal/wire ./internal/api ./hack/churn

.PHONY: help build deb test-deb demo test attack slow test-libvirt unit kernel boot test-ganeti lint fuzz bench faults churn man clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

build: ## build bin/weft, one static binary
	go build -trimpath -o bin/weft ./cmd/weft

deb: ## bin/weft_VERSION_ARCH.deb: binary, systemd unit, man pages, completions (needs no root)
	@sh packaging/build.sh

test-deb: deb ## the package in a Debian with systemd: installed, restarted, upgraded, removed, purged, with a guest's ping through it (root; installs what is missing)
	@sh hack/install.sh deb
	@CGO_ENABLED=0 go run ./hack/deb

demo: ## the main job: the talk's live demo on a virtual datacenter (installs what is missing)
	@sh hack/install.sh demo
	@$(MAKE) --no-print-directory build
	@bin/weft lab demo

test: ## every test, on a real kernel too (installs what is missing)
	@sh hack/install.sh test
	@$(MAKE) --no-print-directory build
	WEFT_TEST_REQUIRE=qemu go run ./hack/vm -timeout 40m -unit ./... -kernel "$(KERNEL_LANE)"

attack: ## real attacks of a hostile guest in every mode, with port security on and off, and a table of what arrived (installs what is missing)
	@sh hack/install.sh attack
	@$(MAKE) --no-print-directory build
	@bin/weft lab attack

unit: ## the tests that need neither root nor a kernel of their own, in under a minute
	go test ./...

kernel: ## only the tests on a real kernel
	@sh hack/install.sh test
	go run ./hack/vm -timeout 40m -kernel "$(KERNEL_LANE)"

slow: ## scenarios that count lost packets: twenty migrations; on a quiet machine
	@sh hack/install.sh test
	@$(MAKE) --no-print-directory build
	@bin/weft lab run -v lab/slow

churn: ## 20,000 NICs come and go, 200 at once; 200 kills of the agent; 1,000 NICs at rest: what is left, lost and used (root; CHURN='-cycles 2000 …')
	@sh hack/install.sh test
	@$(MAKE) --no-print-directory build
	go run ./hack/churn $(CHURN)

test-libvirt: ## weft with a real libvirtd and QEMU, in namespaces: guests start, restart, migrate, end (root; installs what is missing)
	@sh hack/install.sh libvirt
	@$(MAKE) --no-print-directory build
	@[ -n "$$(ls -d "$${XDG_CACHE_HOME:-$$HOME/.cache}"/weft/kernel/debian-*/*/vmlinux 2>/dev/null)" ] || go run ./hack/vm -exec -- true
	@sh hack/libvirt/test.sh bin/weft

boot: ## the tests of the VM itself, each of which boots one
	@sh hack/install.sh test
	go run ./hack/vm -vm ./internal/vm

test-ganeti: ## weft under Debian's Ganeti, real instances in VMs: half an hour; as root the first time
	@sh hack/install.sh ganeti
	@$(MAKE) --no-print-directory build
	CGO_ENABLED=0 go run ./hack/ganeti

lint: ## gofmt, vet, staticcheck, shellcheck and the rules of the house
	@sh hack/install.sh lint
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not gofmt-ed: $$bad"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	shellcheck $$(git ls-files '*.sh') .ci/run
	go test -run . -count 1 .

fuzz: ## each fuzz test for FUZZTIME (default 30s)
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),30s) $$p || exit 1; done; done

bench: ## plan on a node of 1,000 VLANs and NICs beside ip alone; instructions a frame on a bridge with 1 to 1,000 NICs beside a bare one
	@sh hack/install.sh test
	go run ./hack/vm -kernel ./internal/agent -bench Plan
	go run ./hack/vm -icount -kernel ./internal/agent -bench Forward

faults: ## whatever is weft's taken away, altered and flushed on a node with 100 NICs: how long until it is repaired, and what guests lost (hours)
	@sh hack/install.sh test
	go run ./hack/vm -timeout 12h -icount -kernel ./internal/agent -bench 'Drift$$'

man: build ## write the man pages into bin/man
	bin/weft man bin/man

clean: ## remove what make built
	rm -rf bin
