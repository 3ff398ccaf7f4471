# Everything here sets up its own .venv first; nothing but Python >= 3.11 and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A release whose Linux wheel is small enough for a test machine; any torch >= 2.6 will do.
TORCH ?= torch==2.13.0

.PHONY: demo test lint types parity setup clean

demo: $(VENV)/.ready  ## edit the demo faces to every emotion; prints where the results are
	$(BIN)/mien demo -o demo --overwrite

test: $(VENV)/.trains  ## all tests
	$(BIN)/python -m pytest

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.trains
	$(BIN)/mypy

GOLDEN ?= tests/reference
SEED ?= 0
parity: $(VENV)/.trains  ## recorded outputs in GOLDEN, with weights and inputs of SEED
	$(BIN)/python -m tests.parity $(GOLDEN) --seed $(SEED)

setup: $(VENV)/.trains

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

$(VENV)/.trains: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" -e ".[dev,train,edtalk,svd]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist
