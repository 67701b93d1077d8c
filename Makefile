# Two commands do everything on a fresh machine: `make demo` and `make test`. Both install into .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test bench lint clean

help:
	@echo "make demo   segment the sample chest CT; writes openvocabct-demo/"
	@echo "make test   run the tests"
	@echo "make bench  run the benchmarks; writes Testing/benchmarks/RESULTS.md"
	@echo "make lint   ruff (rules and format) and mypy"
	@echo "make clean  remove what the programs and tools wrote, and .venv"

demo: $(STAMP)
	$(BIN)/openvocabct demo

# One process a core, at most four; tests of one file stay together, because they share slow fixtures.
test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

bench: $(STAMP)
	$(BIN)/python -m Testing.benchmarks.run

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info openvocabct-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The stamp is newer than both files once everything is installed, so a second run installs nothing.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	    echo "error: '$(PYTHON)' is not Python 3.11 to 3.13: install one and run make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[train,demo,test]'
	@touch $@
