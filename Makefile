# What a person does here. `make` alone lists it. Everything runs in .venv, made when it is missing, with exactly the
# packages of requirements.lock; the only things needed beforehand are Python 3.11 and make.

PYTHON ?= python3.11
ARGS ?=
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY)  ## watch a fleet being governed, live, on a Kafka of its own (ARGS="--seconds 30 --rate max")
	@$(BIN)/cognistream demo $(ARGS)

.PHONY: test
test: $(READY)  ## all tests, on a real Kafka (ARGS="tests/test_admin.py -k fit")
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: lint
lint: $(READY)  ## ruff and mypy, as strict as they get
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: bench
bench: $(READY)  ## measure throughput, latency and memory beside stock Faust and a raw loop (minutes)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: chaos
chaos: $(READY)  ## do harm to real workers on a real Kafka, and read the books (ARGS="--minutes 10 --seed 7")
	@$(BIN)/python -m chaos $(ARGS)

.PHONY: fuzz
fuzz: $(READY)  ## throw a million damaged inputs at what reads bytes (minutes; ARGS="--inputs 100000 --seed 7")
	@$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: docs
docs: $(READY)  ## write the pages that are made from the code
	@$(BIN)/python -m agents.pages

.PHONY: lock
lock: $(READY)  ## resolve anew what requirements.lock and the locks of jars pin
	@test -x .venv/lock/bin/uv || { $(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv; }
	@.venv/lock/bin/uv pip compile --quiet --upgrade pyproject.toml --group dev --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-package cognistream-client -o requirements.lock
	@$(BIN)/python -m connectors.kafka_jars > .venv/kafka_jars.lock && mv .venv/kafka_jars.lock connectors/kafka_jars.lock
	@$(BIN)/python -m tests.producers > .venv/jars.lock && mv .venv/jars.lock docs/producers/jars.lock

.PHONY: clean
clean:  ## remove .venv and what tools left behind
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

# Installed once for each state of the lock file and of the project's metadata.
$(READY): requirements.lock pyproject.toml connectors/client/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing: install Python 3.11, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the packages of requirements.lock into .venv (a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--editable . --editable connectors/client
	@touch $(READY)
