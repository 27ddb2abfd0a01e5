# Everything a developer does with Showcart. The two commands to begin with: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PIP_NO_INPUT := 1
unexport PYTHONDONTWRITEBYTECODE  # or each of the tests' hundred servers would compile every module anew

.PHONY: help setup run test coverage lint bench loadtest system
.DEFAULT_GOAL := help

help:
	@echo "make run        install and start the demo on http://127.0.0.1:8000"
	@echo "make test       install what the tests need and run all of them"
	@echo "make setup      .venv with everything for development"
	@echo "make lint       ruff, mypy, import contracts, dependencies, container files"
	@echo "make bench      print the figures as JSON lines   [ONLY=relay|join|edge|hotpath|fanout|storm|pricing|price|feeds|stampede]"
	@echo "make loadtest   rehearse an event                 [SCENARIO=quiet|broadcast|drop|join-storm|reconnect-storm|slow-readers|valkey-restart]"

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

PURE := tests/live/test_shows.py tests/live/test_timeline.py tests/realtime/test_session.py \
  tests/realtime/test_audience.py tests/realtime/test_facts.py tests/realtime/test_figures.py \
  tests/realtime/test_tail.py tests/realtime/test_frames.py tests/core/test_kernel.py tests/core/test_nesting.py tests/core/test_seeing.py tests/core/test_slots.py tests/core/test_text.py tests/chat/test_messages.py \
  tests/chat/test_moderation.py tests/chat/test_reactions.py tests/cart/test_pure.py tests/cart/waiting/test_waiting_pure.py tests/cart/places/test_locations.py tests/cart/webhooks/test_pure.py tests/cart/pricing/test_checks.py tests/cart/pricing/test_history.py tests/cart/pricing/test_money_words.py \
  tests/cart/pricing/test_orders_and_hints.py tests/cart/pricing/test_pricing_laws.py tests/cart/pricing/test_units_and_items.py \
  tests/cart/insight/test_report.py tests/cart/ordering/test_orders.py tests/cart/ordering/test_shipping.py tests/cart/handoff/test_pure.py tests/cart/feeds/test_formats.py tests/cart/feeds/test_google.py tests/live/access/test_claims.py tests/live/access/test_jwks.py tests/live/access/test_keys.py tests/stream/test_cache.py \
  tests/stream/test_lines.py tests/stream/test_reports.py tests/stream/test_retransmission.py \
  tests/stream/test_reception.py tests/stream/test_rtcp.py tests/stream/test_rtp.py tests/stream/test_sdp.py \
  tests/stream/test_bitstream.py tests/stream/test_codecs.py tests/stream/test_offers.py tests/stream/test_payloads.py \
  tests/stream/test_sessions.py tests/stream/test_layers.py tests/stream/test_selection.py \
  tests/stream/test_selection_congestion.py tests/stream/test_selection_viewings.py \
  tests/stream/test_incoming.py tests/stream/test_losses.py tests/stream/test_routes.py tests/stream/test_xr.py \
  tests/cluster/test_batches.py tests/cluster/test_casting.py tests/core/test_gate.py tests/core/test_addresses.py tests/realtime/test_admission.py tests/realtime/test_pace.py tests/stream/test_paths.py tests/stream/test_turn.py \
  tests/stream/test_tally.py

test: setup system coverage
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not alone" $(addprefix --ignore=,$(PURE)) $(ARGS)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "alone and not browser" $(ARGS) || [ $$? = 5 ]  # 5: ARGS selects none
	$(BIN)/python -m pytest -m "alone and browser" $(ARGS) || [ $$? = 5 ]

# Every branch of the pure modules, tried by their own tests and not by accident; `make test` does not repeat these.
coverage: setup
	$(BIN)/python -m pytest -q -n 2 --cov --cov-report=term $(PURE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/hadolint Containerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml docs/operations/compose/cluster.yaml
	$(BIN)/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml,$(wildcard docs/operations/kubernetes/*.yaml))

bench: setup
	@$(BIN)/python -m loadtests.benches $(ONLY)

SCENARIO ?= quiet
loadtest: setup
	@$(BIN)/showcart loadtest $(SCENARIO)
