# Gateway Cron. `make` alone lists what there is.
# Everything works without make too: go build ./... && go test ./...

BINARY   := bin/gateway-cron
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s

# The race detector needs cgo, which Go turns off where there is no C compiler; the
# tests then run without it.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# A fixed version from a module of its own, so that a hundred linters' modules
# stay out of go.mod.
LINT := go tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help run build test check fmt fmt-check vet lint model fuzz chaos check-long bench scripts recipes compose-test redis clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## run it: with your ai-server if there is one, else the demo
	@scripts/run.sh $(BINARY)

build: ## build bin/gateway-cron, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BINARY) ./cmd/gateway-cron

# The binary first: one test runs `make run`, whose patience is not for compilers.
# Never from the cache: it does not see the binaries that the tests build and run.
test: redis build ## all tests, with the race detector and real Redis servers
ifeq ($(RACE),)
	@echo "no C compiler, or CGO_ENABLED=0: running without the race detector"
endif
	go test -count=1 $(RACE) -timeout 25m ./...

check: ## exactly what CI runs: gofmt, vet, lint, models, tests, recipes, fuzzing
	@.ci/run

fmt: ## format every file
	$(LINT) fmt ./...

fmt-check:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not gofmt-clean (make fmt mends it):"; echo "$$out"; exit 1; fi

vet: ## go vet
	go vet ./...

lint: ## golangci-lint, its version pinned in tools/go.mod
	$(LINT) run ./...

model: ## the models of the protocol, with spin: no promise broken, and each rule needed
	@scripts/model.sh

# By itself, because it builds the product again, which keeps two cores busy.
recipes: redis ## the recipes of CONTRIBUTING.md, carried out on a copy of the tree
	GATEWAY_CRON_RECIPES=1 go test -count=1 -timeout 20m ./internal/recipes

fuzz: ## every fuzz target, or those that match FUZZ, FUZZTIME each (30s)
	@FUZZTIME=$(FUZZTIME) FUZZ='$(FUZZ)' scripts/fuzz.sh

# The same test as in make test, with other numbers. CHAOS_SEED replays a plan;
# CHAOS_DIR, which must be empty, gets the journals, the logs and the verdict.
chaos: redis ## kill, freeze and cut it off for 25 minutes: CHAOS_SLOTS (10000), CHAOS_KILLS (300)
	go test -count=1 -tags faults ./internal/fault
	CHAOS_SLOTS="$${CHAOS_SLOTS:-10000}" CHAOS_KILLS="$${CHAOS_KILLS:-300}" CHAOS_DIR="$${CHAOS_DIR:-$$(mktemp -d)}" \
		go test -count=1 -v -timeout 60m -run '^TestChaos$$' ./internal/chaos

# The thresholds that a deployment has, of minutes, and many jobs.
check-long: redis build ## what is tested with seconds elsewhere, with the minutes of a deployment; then make chaos
	GATEWAY_CRON_LONG=1 go test -count=1 -v -timeout 30m -run '^TestLong' ./internal/e2e
	@$(MAKE) --no-print-directory chaos

# BENCH takes its flags: BENCH='-quick', BENCH='-workloads due,idle -repeat 1 -profile prof'.
bench: redis ## measure it beside plain asynq, on this machine: about 45 minutes; BENCH='-quick'
	go run ./internal/bench -out bench.json $(BENCH)

# SCRIPTS names some of them: SCRIPTS='claim commit'.
scripts: ## print what Redis runs for the steps of the protocol
	@go run ./internal/scripts $(SCRIPTS)

compose-test: ## docker-compose.yml with a Docker engine of its own: several workers, a kill, a restart
	@scripts/compose-test.sh

redis:
	@scripts/install-redis.sh

clean: ## remove what was built
	rm -rf bin
