# Every target sets up its own .venv first; Python >= 3.11 and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Byte code is written on first import: hardly any of the 14,000 files is ever imported.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	--constraint constraints.txt

# Parallel test processes, and the lowest accepted coverage in percent.
JOBS ?= 2
COVERAGE ?= 91

GOLDEN ?= tests/reference
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs parity setup constraints release-check release clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: $(VENV)/.ready  ## edit the demo faces to every emotion; results go to demo/
	$(BIN)/mien demo -o demo --overwrite

# One thread per process: parallel tests would otherwise compete for the same cores.
test: $(VENV)/.complete  ## all tests in parallel, with the coverage floor
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE)

lint: $(VENV)/.ready  ## style, formatting and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.complete  ## static types (mypy, strict)
	$(BIN)/mypy

docs: $(VENV)/.complete  ## the documentation site, in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

parity: $(VENV)/.complete  ## published nets against the recorded outputs in GOLDEN, for SEED
	$(BIN)/python -m tests.parity $(GOLDEN) --seed $(SEED)

setup: $(VENV)/.complete  ## the development environment, in .venv

constraints: $(VENV)/.complete  ## write the versions installed in .venv to constraints.txt
	sed -n '/^#/p' constraints.txt > constraints.new
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' >> constraints.new
	mv constraints.new constraints.txt

release-check: $(VENV)/.complete  ## build the distributions and try the wheel in fresh environments
	BIN=$(BIN) bash tools/release_check.sh

release: $(VENV)/.complete  ## check, build and tag a release; UPLOAD=--upload sends it too
	BIN=$(BIN) bash tools/release.sh $(UPLOAD)

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[dev]"
	touch $@

$(VENV)/.complete: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch torchmetrics --editable ".[dev,docs,train,edtalk,svd,metrics,serve,provenance,remote]"
	$(BIN)/python -m pip check
	touch $(VENV)/.ready $@

clean:  ## remove everything that make writes
	rm -rf $(VENV) demo build dist
