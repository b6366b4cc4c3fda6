# Every target needs Go and git only, unless its help says otherwise.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
FUZZTIME ?= 60s

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

.PHONY: build
build: ## Build bin/gatewarden
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/gatewarden ./cmd/gatewarden

.PHONY: run
run: build ## Build and start the demo: an API, a client, a policy and rules
	./bin/gatewarden serve all --demo

.PHONY: test
test: ## Run all tests; with the race detector where a C compiler is installed
	./scripts/test.sh

.PHONY: check
check: ## Run what CI runs: formatting, vet, linters, tests, fuzz targets
	./scripts/lint.sh
	./scripts/test.sh
	./scripts/fuzz.sh $(FUZZTIME)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (60s) each
	./scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: build ## Run Go benchmarks, then the load script (needs wrk; perf when there is one)
	./bench/run.sh
