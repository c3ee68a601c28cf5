# Sluice. `make` alone prints what there is.
# build, test, race and demo need Go, git and make; lint and generate also build the tools of tools/ once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN      := $(CURDIR)/bin
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
MODULES  := $(shell sed -n 's|^[[:space:]]*\./\([^[:space:]]*\).*|\1|p' go.work)
GO_FLAGS := -trimpath
LDFLAGS  := -s -w -X main.version=$(VERSION)

# Packages tested at once. Each may start servers of its own: more than two starve each other on a small machine.
TEST_JOBS    ?= 2
TEST_TIMEOUT ?= 10m
RACE_TIMEOUT ?= 20m
TEST_FLAGS   ?=
FUZZTIME     ?= 10s
# Of `make bench`, such as -sections waiting -flows 20000 -out '' or -help.
BENCH_FLAGS  ?=

.PHONY: help
help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##### Build and run

.PHONY: build
build: ## build bin/sluice, static
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build $(GO_FLAGS) -ldflags '$(LDFLAGS)' -o $(BIN)/sluice ./services/cmd/sluice

.PHONY: demo
demo: build ## run an order flow through everything in one process, then end
	$(BIN)/sluice demo

.PHONY: dev
dev: build ## run everything in one process on 127.0.0.1:8080, state in data/
	$(BIN)/sluice dev --listen 127.0.0.1:8080 --data data/dev

.PHONY: up
up: ## run everything in containers: docker compose up, built anew
	@scripts/compose.sh up -d --build

.PHONY: down
down: ## end what `make up` started; the data stays in its volume
	@scripts/compose.sh down --remove-orphans

##### Test

.PHONY: test
test: ## run all tests
	go test -shuffle=on -p $(TEST_JOBS) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) work

.PHONY: race
race: ## run all tests with the race detector
	CGO_ENABLED=1 go test -race -shuffle=on -p $(TEST_JOBS) -timeout $(RACE_TIMEOUT) $(TEST_FLAGS) work

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench-once
bench-once: ## run each Go benchmark once, so that none rots
	go test -run '^$$' -bench . -benchtime 1x -p $(TEST_JOBS) -timeout $(TEST_TIMEOUT) work

# Rows of the fault suite at once: they measure pauses, so more than one needs more processors.
FAULTS_JOBS ?= 1
FAULTS_ROWS ?= .

.PHONY: faults-short
faults-short: ## break everything a few times under load (about 8 minutes)
	FAULTS=short go test -count 1 -v -parallel $(FAULTS_JOBS) -timeout 15m -run 'TestRow.*$(FAULTS_ROWS)' ./services/faults

.PHONY: faults
faults: ## break everything again and again under load; writes the table of docs/reliability.md
	FAULTS=long FAULTS_REPORT=$(CURDIR)/docs/reliability.md \
	  go test -count 1 -v -parallel $(FAULTS_JOBS) -timeout 3h -run 'TestRow.*$(FAULTS_ROWS)' ./services/faults

# Written once for each version that is released, and never changed: later ones must replay them.
HISTORIES ?= services/console/internal/view/testdata/histories/$(VERSION)

.PHONY: histories
histories: ## write flows as this version stores them, for later versions to replay
	FAULTS_HISTORIES=$(CURDIR)/$(HISTORIES) go test -count 1 -v -timeout 5m -run 'TestWriteHistories' ./services/faults

.PHONY: bench
bench: build ## measure speed beside the bare I/O, two engines, flows that wait; writes docs/benchmarks.md (12 minutes)
	go run ./bench -sluice $(BIN)/sluice $(BENCH_FLAGS)

.PHONY: seed
seed: build ## play the scenario of the README by curl, against `sluice dev`
	scripts/seed-dev.sh

.PHONY: compose-test
compose-test: ## play the same scenario against docker compose in each mode of durability, killing NATS servers
	scripts/compose-test.sh

##### Check and generate

.PHONY: lint
lint: lint-go lint-proto lint-generated lint-modules lint-dead lint-scripts lint-docs ## run all checks of the source

.PHONY: lint-go
lint-go: $(BIN)/golangci-lint
	@for m in $(MODULES); do \
	  pkgs=$$(go -C $$m list ./...); [ -n "$$pkgs" ] || continue; \
	  echo "golangci-lint $$m"; (cd $$m && $(BIN)/golangci-lint run ./...); \
	done

.PHONY: lint-proto
lint-proto: $(BIN)/buf
	@echo "buf lint"; cd proto && $(BIN)/buf lint && $(BIN)/buf format --diff --exit-code
	@if [ -f proto/released.binpb ]; then \
	  echo "buf breaking"; cd proto && $(BIN)/buf breaking --against released.binpb; \
	else echo "buf breaking: nothing is released yet (make proto-release)"; fi

.PHONY: lint-generated
lint-generated: $(BIN)/buf $(BIN)/protoc-gen-go
	@echo "generated code"; scripts/generated-current.sh

.PHONY: lint-modules
lint-modules:
	@for m in $(MODULES); do \
	  pkgs=$$(go -C $$m list ./...); [ -n "$$pkgs" ] || continue; \
	  echo "go.mod, build and vet $$m"; \
	  $(if $(wildcard services/cmd/sluice/*.go),GOWORK=off go -C $$m mod tidy -diff;) \
	  GOWORK=off go -C $$m build ./...; \
	  GOWORK=off go -C $$m vet ./...; \
	done

.PHONY: lint-dead
lint-dead: $(BIN)/deadcode
	@echo "deadcode"; scripts/deadcode.sh $(MODULES)

.PHONY: lint-scripts
lint-scripts:
	@echo "bash -n"; for s in .ci/run scripts/*.sh deployments/*/*.sh; do bash -n "$$s"; done
	@if command -v shellcheck >/dev/null; then echo "shellcheck"; shellcheck .ci/run scripts/*.sh deployments/*/*.sh; fi

.PHONY: lint-docs
lint-docs:
	@echo "docs"; scripts/docs.sh

.PHONY: fmt
fmt: $(BIN)/golangci-lint $(BIN)/buf ## format Go and proto
	@for m in $(MODULES); do (cd $$m && $(BIN)/golangci-lint fmt ./...); done
	@cd proto && $(BIN)/buf format -w

.PHONY: generate
generate: $(BIN)/buf $(BIN)/protoc-gen-go ## generate Go from proto/
	cd proto && $(BIN)/buf generate

.PHONY: proto-release
proto-release: $(BIN)/buf ## keep the messages as they are now as what later ones must not break
	cd proto && $(BIN)/buf build -o released.binpb

##### Tools

.PHONY: tools
tools: $(BIN)/golangci-lint $(BIN)/buf ## build the tools of tools/ into bin/ (some minutes, once)

$(BIN)/golangci-lint $(BIN)/deadcode $(BIN)/protoc-gen-go &: tools/go.mod tools/go.sum
	GOWORK=off GOBIN=$(BIN) go -C tools install tool
	@touch $(BIN)/golangci-lint $(BIN)/deadcode $(BIN)/protoc-gen-go

# buf asks for another protobuf than the one that the generated code is made with, so it is a module of its own.
$(BIN)/buf: tools/buf/go.mod tools/buf/go.sum
	GOWORK=off GOBIN=$(BIN) go -C tools/buf install tool
	@touch $@

.PHONY: clean
clean: ## remove bin/ and the data of `make dev`
	rm -rf $(BIN) data
