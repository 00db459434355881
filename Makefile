# Every target works on a fresh clone: it first creates .venv from the lock file with hashes. With another PYTHON, set
# another VENV.
PYTHON ?= python3
VENV ?= .venv
LOCK ?= requirements/dev.lock
BIN := $(VENV)/bin
UV ?= $(BIN)/uv
DISTRIBUTIONS := proto/python server training clients/python clients/loadtest clients/records clients/gateway
SOURCES := requirements/system.py proto/generate.py proto/generate_unicode.py proto/python/scorewire_contract server training clients deploy/grafana examples tests
MANIFESTS := $(DISTRIBUTIONS:%=%/pyproject.toml)

CARGO := $(shell command -v cargo)
# The crates that become wheels; server/native/spool is a part of the engine's.
CRATES := clients/loadtest/native server/native server/native/kernel
RUST := $(sort $(shell find $(CRATES) -name '*.rs' -not -path '*/target/*')) $(CRATES:%=%/Cargo.toml) server/native/spool/Cargo.toml \
    $(CRATES:%=%/pyproject.toml) $(CRATES:%=%/README.md) Cargo.toml Cargo.lock .cargo/config.toml
# Paths of this machine do not get into the wheels.
REMAP := --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=crates

WHEELS := target/wheels
# The tests that depend most on the releases of Python and of the libraries.
ON_LIBRARIES := tests/scorewire_contract tests/e2e/test_libraries.py \
    $(addprefix tests/scorewire_training/export/,trees saved_models test_families.py)

# Two workers of the suite share the cores, so threads of OpenMP must not spin while they wait.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help setup native triton go wheels environments licences docs demo notebooks test conformance libraries oldest check tools stack lint type proto deps rust sanitize dockerfile lock bench image clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/ready native ## create .venv and install everything in it

$(VENV)/ready: $(LOCK) $(MANIFESTS)
	@command -v $(PYTHON) >/dev/null \
	    || { echo "There is no $(PYTHON) here: run apt-get install python3 python3-venv, or set PYTHON=/path/to/python3.11"; exit 1; }
	@CARGO='$(CARGO)' $(PYTHON) requirements/system.py
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(DISTRIBUTIONS:%=--editable %)
	@touch $@

# The native engine needs Rust and a C compiler; without them, the server runs the reference engine.
native:
ifeq ($(CARGO),)
	@echo "No cargo here, so no native engine: install Rust (https://rustup.rs) and run make setup again."
else
native: $(VENV)/native

# One wheel for every Python from 3.11 on.
$(WHEELS)/ready: $(RUST) | $(VENV)/ready
	@CARGO='$(CARGO)' $(BIN)/python requirements/system.py
	rm -rf $(WHEELS)
	set -e; for crate in $(CRATES); do RUSTFLAGS="$(REMAP) $$RUSTFLAGS" $(BIN)/maturin build --quiet --locked --release \
	    --interpreter $(BIN)/python --manifest-path $$crate/Cargo.toml --out $(WHEELS); done
	@touch $@

$(VENV)/native: $(VENV)/ready $(WHEELS)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --force-reinstall $(WHEELS)/*.whl
	@touch $@
endif

.venv-triton/ready: requirements/triton.lock
	$(PYTHON) -m venv --clear .venv-triton
	.venv-triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/triton.lock
	@touch $@

triton: setup .venv-triton/ready ## unmodified tritonclient against both engines
	$(BIN)/python -m tests.triton

.venv-mlflow/ready: requirements/mlflow.lock
	$(PYTHON) -m venv --clear .venv-mlflow
	.venv-mlflow/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/mlflow.lock
	@touch $@

go: setup ## Go clients generated from a server's schema, and rolling restarts under their load
	$(BIN)/python -m tests.go

# Built again from the same sources, the wheels have the same bytes, so their files have a fixed date.
$(WHEELS)/ready wheels: export SOURCE_DATE_EPOCH ?= 1577836800
wheels: setup ## build the wheels of all distributions into dist
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation \
	    --wheel-dir dist $(DISTRIBUTIONS:%=./%)
	@if [ -d $(WHEELS) ]; then cp $(WHEELS)/*.whl dist; fi
	@ls dist

environments: wheels ## install the wheels in a clean environment of each Python here, and use them
	$(BIN)/python -m tests.wheels

demo: setup ## run the whole path: train, export, verify, serve, score
	$(BIN)/python -m tests.demo

notebooks: setup ## run the training notebooks
	$(BIN)/python -m pytest -q tests/notebooks

test: setup ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

conformance: setup ## what both engines do alike, seen by callers
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/conformance

libraries: setup ## the tests that depend on the libraries, for other Pythons
	$(BIN)/python -m pytest -n 2 $(WARNINGS) $(ON_LIBRARIES)

# Old releases have warnings about changes that have happened since.
oldest: ## the same with the oldest supported releases of the libraries; needs Python 3.11
	$(MAKE) libraries VENV=.venv-oldest LOCK=requirements/oldest.lock \
		WARNINGS="-W ignore::FutureWarning -W ignore::DeprecationWarning"

tools: setup .venv-mlflow/ready ## build what the tests of deploy/ run: helm, kubeconform, a collector, MLflow; needs Go
	$(BIN)/python -m tests.deploy.tools

check: lint type proto deps dockerfile rust test ## everything that continuous integration checks

lint: setup ## check the style of Python code
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

type: setup ## check the types of Python code
	$(BIN)/mypy

proto: setup ## lint the .proto files, and check that the committed stubs are up to date
	$(BIN)/python proto/generate.py --check

deps: setup ## check that every import is declared, and every installed package is locked
	$(BIN)/python -m tests.dependencies

rust: ## check the native crates: style, lint, tests
ifneq ($(CARGO),)
	cargo fmt --all --check
	cargo clippy --quiet --locked --workspace --all-targets --features scorewire_kernel/python -- --deny warnings
	cargo test --quiet --locked --workspace --lib --tests --no-default-features
else
	@echo "No cargo here, so the native crates are not checked."
endif

# The sanitizer is not a stable option of the compiler yet. It also covers the C code of nghttp2.
# The kernel is not optimized here: with the sanitizer, its vectors take the compiler many minutes.
sanitize: ## run the crates' tests under AddressSanitizer
ifneq ($(CARGO),)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CFLAGS="-fsanitize=address -fno-omit-frame-pointer" \
	    CARGO_TARGET_DIR=target/sanitize cargo test --quiet --locked --workspace --target $$(rustc -vV | sed -n 's/^host: //p') \
	    --lib --tests --no-default-features --config 'profile.dev.package.scorewire_kernel.opt-level=0'
else
	@echo "No cargo here, so the native crates are not checked."
endif

licences: setup ## write the licences of the crates that are linked into the native wheels
	$(BIN)/python -m tests.wheels.third_party

docs: setup ## write the generated parts of the pages, of the chart's schema, and the dashboards
	$(BIN)/python -m tests.docs
	$(BIN)/python -m tests.deploy.chart
	$(BIN)/python -m deploy.grafana.definitions

dockerfile: setup ## lint the Dockerfile
	$(BIN)/hadolint Dockerfile

lock: ## resolve the dependencies again, and write requirements/*.lock
	$(UV) lock --upgrade
	$(UV) export --quiet --all-packages --all-extras --no-extra xgboost --no-emit-workspace --no-header --format requirements-txt --output-file requirements/dev.lock
	$(UV) export --quiet --package scorewire-server --no-default-groups --no-emit-workspace --no-header --format requirements-txt --output-file requirements/server.lock
	$(UV) export --quiet --package scorewire-records --no-default-groups --no-emit-workspace --no-header --format requirements-txt --output-file requirements/records.lock
	$(UV) export --quiet --package scorewire-gateway --extra records --no-default-groups --no-emit-workspace --no-header --format requirements-txt --output-file requirements/gateway.lock
	$(UV) export --quiet --only-group build --no-emit-workspace --no-header --format requirements-txt --output-file requirements/build.lock
	$(UV) pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-header --output-file requirements/triton.lock requirements/triton.in
	$(UV) pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-header --output-file requirements/mlflow.lock requirements/mlflow.in
	$(UV) pip compile --quiet --upgrade --generate-hashes --no-annotate --python-version 3.11 --resolution lowest-direct --no-header \
	    --no-emit-package scorewire-contract --no-emit-package scorewire --output-file requirements/oldest.lock $(MANIFESTS) requirements/oldest.in
	$(UV) export --quiet --only-group native --no-emit-workspace --no-header --format requirements-txt --output-file requirements/native.lock

bench: setup ## measure the speed of the engines, and write tests/bench/results
	$(BIN)/python -m tests.bench

image: ## build the server's container image
	docker build --tag scorewire-server .

# Your own models: make stack SCOREWIRE_MODELS_DIR=/absolute/path/to/models
stack: export SCOREWIRE_MODELS_DIR ?= $(CURDIR)/build/demo/models
stack: setup ## start server, gateway, PostgreSQL, MLflow, Prometheus and Grafana with docker compose, and score the demo's rows
	@docker compose version >/dev/null 2>&1 \
	    || { echo "There is no docker compose here: install Docker and its compose plugin"; exit 1; }
	@if [ ! -d "$(SCOREWIRE_MODELS_DIR)" ]; then $(MAKE) demo; fi
	deploy/compose/secrets.sh
	docker compose --file deploy/compose/compose.yaml up --build --wait
	@$(BIN)/python -m tests.stack

clean: ## remove what the targets above created
	rm -rf .venv .venv-* build dist target .mypy_cache .ruff_cache .hypothesis
