# Everything a developer does with Showcart. The two commands to begin with: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PIP_NO_INPUT := 1

.PHONY: help setup run test lint bench loadtest system
.DEFAULT_GOAL := help

help:
	@echo "make run        install and start the demo on http://127.0.0.1:8000"
	@echo "make test       install what the tests need and run all of them"
	@echo "make setup      .venv with everything for development"
	@echo "make lint       ruff, mypy, import contracts, dependencies"
	@echo "make bench      print the figures as JSON lines   [ONLY=relay|fanout|join]"
	@echo "make loadtest   rehearse an event                 [SCENARIO=quiet|drop]"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Showcart needs Python 3.11 or newer; call make with PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(VENV)/.installed
	@exec $(BIN)/showcart demo

setup: $(VENV)/.developed

# Chromium and PostgreSQL come from the system's packages; node and iproute2 only widen what the tests can try.
system:
	@sh tests/system_packages.sh

test: setup system
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

bench: setup
	@$(BIN)/python -m loadtests.benches $(ONLY)

SCENARIO ?= quiet
loadtest: setup
	@$(BIN)/showcart loadtest $(SCENARIO)
